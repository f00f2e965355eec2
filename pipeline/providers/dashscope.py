"""How DashScope (Alibaba Cloud Model Studio) talks: a call that answers with its pictures, or a task to ask about.

*Source* - the vendor's pages on image editing, the Qwen image API, asynchronous tasks and error codes, and its own
client `dashscope` 2.0.2, as of 2026-11. The marks documented, observed and inferred say how sure we are.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, assert_never
from urllib.parse import quote

from pipeline.providers.answers import (
    believable,
    broken,
    find_row,
    is_page,
    is_success,
    not_sent,
    read_object,
    refused_id,
)
from pipeline.providers.dashscope_answers import (
    code_of,
    complete_error,
    fault,
    kind_of,
    made,
    operation_of,
    output_of,
    request_id,
    revised_prompt,
    unmade,
)
from pipeline.providers.dashscope_lists import TASKS_FOR, family, listed, listing
from pipeline.providers.dashscope_uploads import upload
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl
from pipeline.values.reply import (
    BalanceReply,
    EvidenceBroken,
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    StillRunning,
    Unknown,
    Unsent,
)
from pipeline.values.task import InlineInput, LocalInput, Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

__all__ = [
    "NAME",
    "balance",
    "balanced",
    "cancel",
    "cancelled",
    "listed",
    "listing",
    "poll",
    "polled",
    "submit",
    "submitted",
    "upload",
]

NAME: Final = "dashscope"

#: Every Qwen image model answers here with its pictures (documented).
SYNCHRONOUS: Final = "/services/aigc/multimodal-generation/generation"
#: The legacy path of tasks, documented for two models only.
ASYNCHRONOUS: Final = "/services/aigc/text2image/image-synthesis"
#: Models that make one picture and are told no `n` (documented).
_ONE_PICTURE: Final = (*TASKS_FOR, "qwen-image-max", "qwen-image-edit")

#: Pictures up to so many bytes travel inside the call: `inline_bytes_max` of every model on the card.
INLINE_MAX: Final = 7_864_302
#: How a submit is refused whose picture cannot be fetched (error code page: "url error", "download image failed").
_UNFETCHED: Final = re.compile(r"\burl error\b|\bdownload\b.*\bfail|\bfail\w* to download\b", re.IGNORECASE)
_JSON: Final = (("Content-Type", "application/json"), ("Accept", "application/json"))


def submit(task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
    """The POST that buys this task. Only what the task says is sent: nothing is added that could cost or alter."""
    del tag  # No idempotency key is documented.
    parameters: dict[str, JSON] = dict(task.params)
    if task.size is not None:
        parameters["size"] = task.size.replace("x", "*")
    if family(task.model) not in _ONE_PICTURE:
        parameters["n"] = task.n
    if task.seed is not None:
        parameters["seed"] = task.seed
    by_task = family(task.model) in TASKS_FOR
    asked: dict[str, JSON]
    if by_task:
        # The vendor's page has the negative prompt among the parameters, its client beside the prompt.
        asked = {"prompt": task.prompt}
        if task.negative_prompt is not None:
            asked["negative_prompt"] = task.negative_prompt
    else:
        images: list[JSON] = [{"image": _carried(picture)} for picture in inputs]
        asked = {"messages": [{"role": "user", "content": [*images, {"text": task.prompt}]}]}
        if task.negative_prompt is not None:
            parameters["negative_prompt"] = task.negative_prompt
    body: JSON = {"model": task.model, "input": asked, "parameters": parameters}
    headers: tuple[tuple[str, str], ...] = _JSON
    if by_task:
        headers = (*headers, ("X-DashScope-Async", "enable"))
    if any(isinstance(each, CarriedUrl) and each.url.startswith("oss://") for each in inputs):
        headers = (*headers, ("X-DashScope-OssResourceResolve", "enable"))
    return Request(
        gateway=task.gateway,
        method="POST",
        path=ASYNCHRONOUS if by_task else SYNCHRONOUS,
        body=json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        headers=headers,
    )


def submitted(task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
    """What the outcome of that POST means; the default is Unknown, which keeps the money.

    An error is definite when it is complete, with its code and its request id, and speaks of no work. Its status must
    be in the card's table; an error that comes with a 2xx, as the vendor's client expects it, needs a row of its code.
    """
    match outcome:
        case NotSent():
            return Unsent(not_sent(outcome))
        case Broken():
            return Unknown(broken(outcome))
        case Answered(response):
            return (
                _accepted(task, response, not_billed) if is_success(response) else _refused(task, response, not_billed)
            )
    assert_never(outcome)


def poll(task: Task, operation: str) -> Request:
    """The GET that asks how a task stands."""
    return _question(f"/tasks/{quote(operation, safe='')}")


def polled(task: Task, outcome: Outcome) -> PollReply:
    """What a poll's outcome means. UNKNOWN is the vendor's word for a task that it does not know, or not any more."""
    match outcome:
        case NotSent():
            return PollBroken(not_sent(outcome))
        case Broken():
            return PollBroken(broken(outcome))
        case Answered(response):
            return _stands(task, response)
    assert_never(outcome)


def cancel(task: Task, operation: str) -> Request:
    """The POST that takes back a task which is still PENDING. *Source* - page on asynchronous tasks."""
    return _question(f"/tasks/{quote(operation, safe='')}/cancel", "POST")


def cancelled(outcome: Outcome) -> bool | None:
    """Whether a task was taken back: True when the vendor says so, False when it says that it is too late, else None.

    Only a poll that says CANCELED is the end of the task.
    """
    if not isinstance(outcome, Answered):
        return None
    answer = read_object(outcome.response.body)
    if answer is None:
        return None
    if code_of(answer) == "UnsupportedOperation":
        return False
    request_id = answer.get("request_id")
    told = isinstance(request_id, str) and request_id != "" and not code_of(answer)
    return True if told and is_success(outcome.response) else None


def balance() -> None:
    """DashScope documents no balance that a key could ask for."""


def balanced(outcome: Outcome) -> BalanceReply:
    """Never asked."""
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "DashScope tells no balance"))


# --- questions ----------------------------------------------------------------------------------------------------


def _question(path: str, method: str = "GET") -> Request:
    return Request(NAME, method, path, headers=(("Accept", "application/json"),), free=True)


def _carried(picture: Carried) -> str:
    match picture:
        case CarriedBytes(media_type, data):
            return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
        case CarriedUrl(url):
            return url
    assert_never(picture)


# --- answers to the POST ------------------------------------------------------------------------------------------


def _accepted(task: Task, response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    """A 2xx: pictures, or a task's id; else a complete error whose code is in the table; else nobody knows."""
    answer = read_object(response.body)
    if answer is None:
        return Unknown(fault(FaultKind.MALFORMED, response, "accepted, but the answer cannot be read"))
    output = output_of(answer)
    links, _ = made(answer)
    if links and not believable(len(links), task.n):
        many = f"{len(links)} pictures for {task.n}, which nobody can believe"
        return Unknown(fault(FaultKind.MALFORMED, response, many))
    if links:
        return _ready(task, response, answer)
    if (operation := operation_of(output)) is not None:
        return Pending(operation)
    row = next((row for row in not_billed if row.code is not None and row.code == code_of(answer)), None)
    if row is not None and complete_error(answer):
        return Refused(fault(row.kind, response, "refused"))
    told = f"accepted, but without a picture or a task to ask about{refused_id(output.get('task_id'))}"
    return Unknown(fault(FaultKind.MALFORMED, response, told))


def _ready(task: Task, response: Response, answer: Mapping[str, object]) -> Ready:
    """Pictures. They are paid, whatever odd count stands beside them: of such a one, what was asked for is booked."""
    links, billed = made(answer)
    if not believable(billed, task.n):
        billed = max(len(links), task.n)
    return Ready(links, billed, revised_prompt(output_of(answer)), request_id(response, answer))


def _refused(task: Task, response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    answer = read_object(response.body)
    if answer is not None and complete_error(answer) and not is_page(response):
        code = code_of(answer)
        row = find_row(not_billed, response.status, code, page=False)
        if row is not None:
            kind = row.kind if row.code is not None else kind_of(code, row.kind)
            told = fault(kind, response, "refused")
            if kind is FaultKind.REJECTED and _uploads(task) and _UNFETCHED.search(told.message):
                # An upload that is gone before its time: it is put there again.
                told = replace(told, kind=FaultKind.EXPIRED)
            return Refused(told)
    kind = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
    return Unknown(fault(kind, response, "an answer that is not in the not-billed table, or not complete"))


def _uploads(task: Task) -> bool:
    """Whether an input went up before the call. Smaller ones travel inside it, and URLs are not ours to put again."""
    return any(
        isinstance(source, LocalInput | InlineInput) and source.picture.size_bytes > INLINE_MAX
        for source in task.inputs
    )


# --- answers to the GET -------------------------------------------------------------------------------------------


def _stands(task: Task, response: Response) -> PollReply:
    answer = read_object(response.body)
    output = output_of(answer or {})
    status = output.get("task_status")
    if answer is None or not is_success(response) or not isinstance(status, str) or not status:
        return PollBroken(fault(_of_the_question(response, answer), response, "no usable answer to a poll"))
    match status:
        case "SUCCEEDED":
            return _ended(task, response, answer)
        case "FAILED":
            kind = kind_of(code_of(output), FaultKind.UPSTREAM)
            if kind is FaultKind.TRANSIENT:
                kind = FaultKind.UPSTREAM
            # One that tells of pictures all the same contradicts itself: its money is in doubt.
            billed = None if any(made(answer)) else False
            return OperationFailed(fault(kind, response, "the task failed"), billed=billed)
        case "CANCELED":
            return OperationFailed(fault(FaultKind.REJECTED, response, "the task was canceled"), billed=False)
        case "UNKNOWN":
            return Gone(fault(FaultKind.LOST, response, "DashScope does not know this task"))
        case _:
            return StillRunning()  # PENDING, RUNNING, SUSPENDED, and states that nobody documented.


def _of_the_question(response: Response, answer: Mapping[str, object] | None) -> FaultKind:
    """What an answer without a state says of the account, whatever the task does."""
    otherwise = {401: FaultKind.UNAUTHORIZED, 403: FaultKind.UNAUTHORIZED, 429: FaultKind.RATE_LIMITED}.get(
        response.status, FaultKind.TRANSIENT if response.status >= 500 else FaultKind.MALFORMED
    )
    return kind_of(code_of(answer or {}), otherwise)


def _ended(task: Task, response: Response, answer: Mapping[str, object]) -> PollReply:
    links, billed = made(answer)
    if not believable(len(links) or billed, task.n):
        many = f"{len(links) or billed} pictures for {task.n}, which nobody can believe"
        return OperationFailed(fault(FaultKind.MALFORMED, response, many), billed=None)
    if links:
        return _ready(task, response, answer)
    code = unmade(output_of(answer))
    if code is not None and billed > 0:
        # Each picture failed by itself, and yet the vendor counts some: asking again tells nothing else.
        told = "succeeded without a picture, but with one on the bill"
        return OperationFailed(fault(FaultKind.SHORT, response, told), billed=None)
    if code is not None:
        # Each picture failed by itself.
        return OperationFailed(fault(kind_of(code, FaultKind.UPSTREAM), response, code), billed=False)
    if output_of(answer).get("results") == []:
        # Nothing made should cost nothing, but no page says so of a task that succeeded: its money is in doubt.
        return OperationFailed(fault(FaultKind.SHORT, response, "succeeded without any picture"), billed=None)
    return PollBroken(fault(FaultKind.MALFORMED, response, "succeeded, but without a usable link"))
