"""Reading DashScope's answers: what was made, what was told of the bill, and what an error code means.

*Source* - the vendor's error code page, its API pages and its own client `dashscope` 2.0.2, as of 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pipeline.providers.answers import NAME_MAX, code_text, is_link, read_object, retry_after_s, speaks_of_work, words
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.wire import Response

#: {code: what it means for the task}, wherever it stands: in the answer to a call, or in a task that failed.
KINDS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {
        "DataInspectionFailed": FaultKind.MODERATED,
        "IPInfringementSuspect": FaultKind.MODERATED,
        "CustomRoleBlocked": FaultKind.MODERATED,
        "FaqRuleBlocked": FaultKind.MODERATED,
        "InvalidParameter": FaultKind.REJECTED,
        "InvalidParameter.DataInspection": FaultKind.TRANSIENT,
        "InvalidURL": FaultKind.REJECTED,
        "UnsupportedOperation": FaultKind.REJECTED,
        "Arrearage": FaultKind.OUT_OF_CREDIT,
        "InvalidApiKey": FaultKind.UNAUTHORIZED,
        "AccessDenied.Unpurchased": FaultKind.OUT_OF_CREDIT,
        # Of one model each: a right to it, its free quota, and its quota of a window, which comes back.
        "AccessDenied": FaultKind.CLOSED,
        "Model.AccessDenied": FaultKind.CLOSED,
        "AllocationQuota.FreeTierOnly": FaultKind.CLOSED,
        "Throttling.AllocationQuota": FaultKind.RATE_LIMITED,
        "insufficient_quota": FaultKind.RATE_LIMITED,
        "CommodityNotPurchased": FaultKind.OUT_OF_CREDIT,
        "PrepaidBillOverdue": FaultKind.OUT_OF_CREDIT,
        "PostpaidBillOverdue": FaultKind.OUT_OF_CREDIT,
    }
)
#: Codes that come with endings of many kinds, such as InternalError.Timeout.
_FAMILIES: Final = (
    ("InvalidParameter", FaultKind.REJECTED),
    ("BadRequest", FaultKind.REJECTED),
    ("Throttling", FaultKind.RATE_LIMITED),
    ("LimitRequests", FaultKind.RATE_LIMITED),
    ("InternalError", FaultKind.TRANSIENT),
)

#: What an id may be. The documented ids are UUIDs; of what could lead a path elsewhere, nothing is taken.
_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:@=+,~-]{0,199}", re.ASCII)
#: A count beyond this says no more than that it cannot be believed.
_COUNT_MAX: Final = 10**6
#: Longest rewritten prompt that is kept, in characters.
_REVISED_MAX: Final = 4_000
_MILLISECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,3})?", re.ASCII)


def kind_of(code: str, otherwise: FaultKind) -> FaultKind:
    """What a code means; a code that is not known means what its surroundings mean."""
    if code in KINDS:
        return KINDS[code]
    return next((kind for name, kind in _FAMILIES if code == name or code.startswith(f"{name}.")), otherwise)


def output_of(answer: Mapping[str, object]) -> Mapping[str, object]:
    """The object `output`; an empty one where there is none."""
    output = answer.get("output")
    return output if isinstance(output, dict) else {}


def code_of(answer: Mapping[str, object]) -> str:
    """The gateway's own code; empty where there is none."""
    return code_text(answer.get("code"))


def operation_of(output: Mapping[str, object]) -> str | None:
    """A task's id that can be asked about."""
    value = output.get("task_id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def complete_error(answer: Mapping[str, object]) -> bool:
    """Whether this is a whole error of the API: a code and a request id, and not a word of work that was done."""
    named = words(answer.get("request_id"), NAME_MAX) != ""
    return named and code_of(answer) != "" and not speaks_of_work(answer)


def made(answer: Mapping[str, object]) -> tuple[tuple[str, ...], int]:
    """The links of an answer, each once, and how many pictures it bills.

    That is the gateway's own count where it gives one, never less than the links; and what is told as a picture without
    a usable link counts as well. Parts that hold text only, and pictures that failed, are none.
    """
    told = list(_told(output_of(answer)))
    links = tuple(dict.fromkeys(link for link in told if is_link(link)))
    count = _count(answer)
    return links, max(len(links), len(told) if count is None else count)


def unmade(output: Mapping[str, object]) -> str | None:
    """The code by which every picture of a task failed; None if one of them did not, or there are none.

    *Source* - page on asynchronous tasks: results with `code` and `message` in the place of a link.
    """
    results = output.get("results")
    if not isinstance(results, list) or not results:
        return None
    codes = [code_of(each) if isinstance(each, dict) and not each.get("url") else "" for each in results]
    return codes[0] if all(codes) else None


def revised_prompt(output: Mapping[str, object]) -> str | None:
    """The prompt as the vendor rewrote it, made safe for stores; tasks tell it, calls do not."""
    results = output.get("results")
    for result in results if isinstance(results, list) else ():
        text = words(result.get("actual_prompt"), _REVISED_MAX) if isinstance(result, dict) else ""
        if text:
            return text
    return None


def fault(kind: FaultKind, response: Response, otherwise: str) -> Fault:
    """A fault with the gateway's own words where it gave some: of the task, else of the answer."""
    answer = read_object(response.body) or {}
    output = output_of(answer)
    # The vendor's client takes `msg` for `message`.
    texts = (holder.get(key) for holder in (answer, output) for key in ("message", "msg"))
    return Fault(
        kind=kind,
        message=next((text for text in map(words, texts) if text), "") or otherwise,
        code=code_of(answer) or code_of(output),
        status=response.status,
        retry_after_s=_retry_after_s(response),
        request_id=request_id(response, answer),
    )


def request_id(response: Response, answer: Mapping[str, object]) -> str:
    """What the vendor's support asks for: the answer names it, or else its header."""
    return words(answer.get("request_id"), NAME_MAX) or words(response.headers.get("x-request-id"), NAME_MAX)


def _retry_after_s(response: Response) -> float | None:
    """Seconds to wait. `retry-after-ms` is what the vendor's client looks for first; neither is documented."""
    text = response.headers.get("retry-after-ms", "").strip()
    if _MILLISECONDS.fullmatch(text):
        return min(float(text) / 1000, 86_400.0)
    return retry_after_s(response)


def _told(output: Mapping[str, object]) -> Iterator[object]:
    """What stands in the place of each link: in one choice or one per choice, or in the results of a task."""
    choices, results = output.get("choices"), output.get("results")
    for choice in choices if isinstance(choices, list) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and "image" in part:
                yield part["image"]
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict) and "url" in result:
            yield result["url"]
        elif not isinstance(result, dict) or not code_of(result):
            yield None


def _count(answer: Mapping[str, object]) -> int | None:
    """The gateway's own count of pictures: in the usage, under one of two names, or in the numbers of a task."""
    usage, output = answer.get("usage"), output_of(answer)
    places = [(usage, "image_count"), (usage, "output_image_count")]
    places += [(output.get(name), "SUCCEEDED") for name in ("task_metric", "task_metrics")]
    for holder, key in places:
        value = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return min(value, _COUNT_MAX)
    return None
