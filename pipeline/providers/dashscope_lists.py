"""DashScope's list of tasks: evidence of what became of a submit whose answer was lost.

*Source* - the vendor's page on asynchronous tasks, and `client/base_api.py` of its client `dashscope` 2.0.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from urllib.parse import quote, urlencode

from pipeline.providers.answers import is_success, read_object, words
from pipeline.providers.dashscope_answers import code_of, fault, operation_of, output_of
from pipeline.values.evidence import ListedOperation
from pipeline.values.reply import EvidenceBroken, Fault, FaultKind, ListedPage, ListReply
from pipeline.values.wire import Answered, Outcome, Request, Response

NAME: Final = "dashscope"
#: The models whose calls are tasks. *Source* - page on text to image, asynchronous.
TASKS_FOR: Final = ("qwen-image", "qwen-image-plus")
_SNAPSHOT: Final = re.compile(r"-\d{4}-\d{2}-\d{2}\Z", re.ASCII)
#: The vendor's times without a zone, as its events show them beside ones with a zone (inferred).
_VENDOR_TIME: Final = timezone(timedelta(hours=8))
_DAY_S: Final = 86_400
#: Entries of a page that we ask for; ours, as the greatest is not documented. The answer repeats it, so the second one
#: says that the time asked about was cut to the documented day and the pages cannot show all of it.
_PAGE: Final = 100
_PAGE_OF_A_CUT: Final = 99
#: How the name of a page begins that is one task.
_TASK: Final = "task:"


def family(model: str) -> str:
    """A model's name without the date of a snapshot."""
    return _SNAPSHOT.sub("", model)


def listing(model: str, since: int, until: int, page: str | None) -> Request | None:
    """The GET that lists a model's tasks in a span of a day at most, of which the latest is kept.

    `page` is a page's number, or names one task (`ListedOperation.page`): then the GET asks for that task, which
    repeats its prompt once it has ended. *Source* - page on asynchronous tasks, list.
    """
    if family(model) not in TASKS_FOR:
        return None  # Calls that answer with their pictures are no tasks.
    if page is not None and page.startswith(_TASK):
        return _get(f"/tasks/{quote(page.removeprefix(_TASK), safe='')}")
    cut = until - since > _DAY_S * 1_000_000
    query = {
        "start_time": _vendor_time(until // 1_000_000 - _DAY_S if cut else since // 1_000_000),
        "end_time": _vendor_time(until // 1_000_000),
        "model_name": model,
        "page_no": page or "1",
        "page_size": str(_PAGE_OF_A_CUT if cut else _PAGE),
    }
    return _get(f"/tasks/?{urlencode(query)}")


def listed(outcome: Outcome) -> ListReply:
    """What its outcome means. Total: what is not understood proves nothing."""
    if not isinstance(outcome, Answered):
        return EvidenceBroken(Fault(FaultKind.TIMEOUT, words(outcome.why) or "no answer came"))
    response = outcome.response
    answer = read_object(response.body) if is_success(response) else None
    if answer is None or code_of(answer):
        return EvidenceBroken(fault(FaultKind.MALFORMED, response, "no list of tasks"))
    if isinstance(answer.get("output"), dict):
        return _one_task(response, output_of(answer))
    entries, number, pages = answer.get("data"), _whole(answer.get("page_no")), _whole(answer.get("total_page"))
    if not isinstance(entries, list) or number is None or pages is None:
        return EvidenceBroken(fault(FaultKind.MALFORMED, response, "no list of tasks"))
    found = [operation for operation in map(_entry, entries) if operation is not None]
    size = _whole(answer.get("page_size"))
    following = str(number + 1) if 0 < number < min(pages, 10**6) else None
    whole = len(found) == len(entries) and size is not None and size != _PAGE_OF_A_CUT and bool(entries or not pages)
    return ListedPage(tuple(found), following, whole)


def _get(path: str) -> Request:
    return Request(NAME, "GET", path, headers=(("Accept", "application/json"),), free=True)


def _vendor_time(seconds: int) -> str:
    """`YYYYMMDDhhmmss` as lists take it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=min(max(seconds, 0), 10**11))
    return at.astimezone(_VENDOR_TIME).strftime("%Y%m%d%H%M%S")


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _entry(value: object) -> ListedOperation | None:
    """One task of a list. It repeats nothing of what was asked; the task itself may. Failed ones are not billed."""
    if not isinstance(value, dict):
        return None
    operation, at = operation_of(value), _whole(value.get("gmt_create"))
    if operation is None or at is None or at > 10**14:
        return None
    unbilled = value.get("status") in ("FAILED", "CANCELED")
    return ListedOperation(operation, at * 1000, None, None, None, page=f"{_TASK}{operation}", unbilled=unbilled)


def _one_task(response: Response, output: Mapping[str, object]) -> ListReply:
    """One task that was asked about by itself: a finished one repeats the prompt. *Source* - asynchronous page."""
    operation = operation_of(output)
    if operation is None:
        return EvidenceBroken(fault(FaultKind.MALFORMED, response, "no task in the answer"))
    results = output.get("results")
    prompts = {
        text
        for result in (results if isinstance(results, list) else ())
        if isinstance(result, dict) and isinstance(text := result.get("orig_prompt"), str) and text
    }
    prompt = prompts.pop() if len(prompts) == 1 else None
    return ListedPage((ListedOperation(operation, 0, prompt, None, None),), None, whole=False)
