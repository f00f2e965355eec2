"""How MuleRouter talks: one POST makes an operation, GETs of the same path with its id say how it stands.

*Source* - the vendor's API pages for qwen-image-max and qwen-image-edit-max, its list of HTTP statuses and its own
client, as of 2026-11. The marks documented, observed and inferred say how sure we are.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never
from urllib.parse import quote

from pipeline.providers.answers import (
    NAME_MAX,
    OF_THE_ACCOUNT,
    believable,
    broken,
    code_text,
    counted,
    find_row,
    is_page,
    is_success,
    not_sent,
    read_object,
    refused_id,
    retry_after_s,
    speaks_of_work,
    words,
)
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, UploadFailed, UploadStep
from pipeline.values.reply import (
    BalanceReply,
    EvidenceBroken,
    Fault,
    FaultKind,
    Gone,
    ListReply,
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
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

NAME: Final = "mulerouter"


#: What an id may be. The documented ids are UUIDs; of what could lead a path elsewhere, nothing is taken.
_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._:@=+,~-]{0,199}", re.ASCII)
#: Words by which a failure's text tells that a filter refused the content. "prohibited" is documented, the rest is
#: inferred from the upstream vendor's messages.
_MODERATION_WORDS: Final = ("prohibited", "moderation", "content policy", "inappropriate", "sensitive content")


def submit(task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
    """The POST that buys this task. Only what the task says is sent: nothing is added that could cost or alter."""
    del tag  # No idempotency key is documented.
    body: dict[str, JSON] = dict(task.params)
    if inputs:
        body["images"] = [_carried(picture) for picture in inputs]
    body["prompt"] = task.prompt
    if task.negative_prompt is not None:
        body["negative_prompt"] = task.negative_prompt
    if task.size is not None:
        body["size"] = task.size.replace("x", "*")
    if task.operation == "image.edit":
        body["n"] = task.n
    if task.seed is not None:
        body["seed"] = task.seed
    return Request(
        gateway=task.gateway,
        method="POST",
        path=_path(task.model),
        body=json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
    )


def upload(model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """There are no uploads: pictures travel inside the body. *Source* - API page of qwen-image-edit-max, images."""
    del model, asset, name, told
    return UploadFailed(Fault(FaultKind.REJECTED, "MuleRouter takes no uploads"))


def submitted(task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
    """What the outcome of that POST means; the default is Unknown, which keeps the money.

    Left out of the card's table on purpose: 409, which may speak of a task that does exist; 423; and all 5xx.
    """
    match outcome:
        case NotSent():
            return Unsent(not_sent(outcome))
        case Broken():
            return Unknown(broken(outcome))
        case Answered(response):
            return _accepted(response) if is_success(response) else _not_accepted(response, not_billed)
    assert_never(outcome)


def poll(task: Task, operation: str) -> Request:
    """The GET that asks how an operation stands."""
    return Request(
        gateway=task.gateway,
        method="GET",
        path=f"{_path(task.model)}/{quote(operation, safe='')}",
        headers=(("Accept", "application/json"),),
        free=True,
    )


def polled(task: Task, outcome: Outcome) -> PollReply:
    """What a poll's outcome means. States that nobody documented count as running, as in the vendor's own client."""
    match outcome:
        case NotSent():
            return PollBroken(not_sent(outcome))
        case Broken():
            return PollBroken(broken(outcome))
        case Answered(response):
            return _stands(task, response) if is_success(response) else _not_told(response)
    assert_never(outcome)


def listing(model: str, since: int, until: int, page: str | None) -> None:
    """MuleRouter documents no list of operations."""


def listed(outcome: Outcome) -> ListReply:
    """Never asked."""
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "MuleRouter lists no operations"))


def balance() -> None:
    """MuleRouter documents no balance."""


def balanced(outcome: Outcome) -> BalanceReply:
    """Never asked."""
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "MuleRouter tells no balance"))


# --- questions ----------------------------------------------------------------------------------------------------


def _path(model: str) -> str:
    return f"/vendors/alibaba/v1/{quote(model, safe='')}/generation"


def _carried(picture: Carried) -> str:
    match picture:
        case CarriedBytes(media_type, data):
            return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
        case CarriedUrl(url):
            return url
    assert_never(picture)


# --- answers to the POST ------------------------------------------------------------------------------------------


def _accepted(response: Response) -> Reply:
    """A 2xx: Pending if it carries an id that can be asked about, else nobody knows."""
    info = _task_info(read_object(response.body))
    operation = _operation(None if info is None else info.get("id"))
    if operation is not None:
        return Pending(operation)
    told = f"accepted, but without an id that can be asked about{refused_id((info or {}).get('id'))}"
    return Unknown(_fault(FaultKind.MALFORMED, response, told))


def _operation(value: object) -> str | None:
    """An id that can be asked about. A number is taken at its word: what is asked for can be followed and collected."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value < 10**18 else None
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _not_accepted(response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    page, answer = is_page(response), read_object(response.body) or {}
    believable = page or (_message(answer) != "" and not speaks_of_work(answer))
    row = find_row(not_billed, response.status, _code(answer), page=page) if believable else None
    if row is None:
        kind = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
        return Unknown(_fault(kind, response, "an answer that is not in the not-billed table"))
    if page:
        # No later call from here would pass either.
        message = "the CDN in front of MuleRouter refused this client with a page; the API never saw the request"
        return Refused(_fault(row.kind, response, message))
    return Refused(_fault(row.kind, response, "refused"))


# --- answers to the GET -------------------------------------------------------------------------------------------


def _stands(task: Task, response: Response) -> PollReply:
    answer = read_object(response.body)
    info = _task_info(answer)
    status = None if info is None else info.get("status")
    if answer is None or info is None or not isinstance(status, str) or status == "":
        return PollBroken(_fault(FaultKind.MALFORMED, response, "no state in the answer"))
    match status:
        case "completed" | "succeeded":
            return _made(task, response, answer)
        case "failed":
            return OperationFailed(_failure(response, answer), billed=False)
        case _:
            return StillRunning()


def _made(task: Task, response: Response, answer: Mapping[str, object]) -> PollReply:
    told = answer.get("images")
    if not isinstance(told, list):
        return PollBroken(_fault(FaultKind.MALFORMED, response, "completed, but without a list of links"))
    if not told:
        # Nothing made should cost nothing, but no page says so of a completed task: its money is in doubt.
        return OperationFailed(_fault(FaultKind.SHORT, response, "completed without any picture"), billed=None)
    if not believable(len(told), task.n):
        # A few pictures too many are booked in full, above the hold. But a number that the vendor cannot have made
        # is no bill: the hold stays whole, and somebody has to look.
        many = f"completed with {len(told)} links for {task.n} pictures, which nobody can believe"
        return OperationFailed(_fault(FaultKind.MALFORMED, response, many), billed=None)
    links, billed = counted(told, task.n)
    if not links:
        return PollBroken(_fault(FaultKind.MALFORMED, response, "completed, but without a usable link"))
    return Ready(links=links, billed_images=billed, request_id=_request_id(response))


def _failure(response: Response, answer: Mapping[str, object]) -> Fault:
    """Why an operation failed: moderated and rejected ones would fail again, others may not."""
    error = _error(answer)
    title, message = (words(error.get("title")), _message(answer)) if error else ("", _message(answer))
    text = f"{title} {message}".lower()
    if any(word in text for word in _MODERATION_WORDS):
        kind = FaultKind.MODERATED
    elif title.lower() == "invalid request" or (error or {}).get("code") == 400:
        kind = FaultKind.REJECTED
    else:
        kind = FaultKind.UPSTREAM
    return _fault(kind, response, "the operation failed")


def _not_told(response: Response) -> PollReply:
    answer = read_object(response.body)
    status = response.status
    if status == 404 and answer is not None and _message(answer):
        return Gone(_fault(FaultKind.LOST, response, "MuleRouter does not know this operation"))
    kind = OF_THE_ACCOUNT.get(status, FaultKind.TRANSIENT if status >= 500 else FaultKind.UNKNOWN)
    return PollBroken(_fault(kind, response, "no usable answer to a poll"))


# --- both ---------------------------------------------------------------------------------------------------------


def _task_info(answer: Mapping[str, object] | None) -> Mapping[str, object] | None:
    info = None if answer is None else answer.get("task_info")
    return info if isinstance(info, dict) else None


def _error(answer: Mapping[str, object]) -> Mapping[str, object] | None:
    """The error object, wherever it stands: the answer itself, `error` in it, or `error` in its task."""
    for holder in (_task_info(answer) or {}, answer):
        error = holder.get("error")
        if isinstance(error, dict):
            return error
    return None


def _code(answer: Mapping[str, object]) -> str:
    return code_text((_error(answer) or answer).get("code"))


def _message(answer: Mapping[str, object]) -> str:
    """The gateway's words: `detail`, then `error`, then `message`, then the task's error, as the vendor's client."""
    error = _error(answer) or {}
    told = (answer.get("detail"), answer.get("error"), answer.get("message"))
    nested = (error.get("detail"), error.get("message"), error.get("title"), answer.get("title"))
    return next((text for text in map(words, (*told, *nested)) if text), "")


def _fault(kind: FaultKind, response: Response, otherwise: str) -> Fault:
    """A fault with the gateway's own words where it gave some."""
    answer = read_object(response.body) or {}
    return Fault(
        kind=kind,
        message=_message(answer) or otherwise,
        code=_code(answer),
        status=response.status,
        retry_after_s=retry_after_s(response),
        request_id=_request_id(response),
    )


def _request_id(response: Response) -> str:
    """The id that the vendor's support asks for: the trace header, as its own client keeps it."""
    return words(response.headers.get("traceparent"), NAME_MAX)
