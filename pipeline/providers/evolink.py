"""How Evolink talks: one POST for all image models makes a task, a GET with its id says how it stands.

*Source* - the vendor's API page for qwen-image-edit-plus, its pages on tasks, task errors and credits, and clients
under its licence header, as of 2026-11. The marks documented, observed and inferred say how sure we are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeGuard, assert_never
from urllib.parse import quote

from pipeline.errors import Bug
from pipeline.providers import evolink_files
from pipeline.providers.answers import NAME_MAX, code_text, find_row, is_page, read_object, retry_after_s, words
from pipeline.values.card import NotBilled
from pipeline.values.digest import JSON
from pipeline.values.money import Money
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, UploadStep
from pipeline.values.reply import (
    Balance,
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

NAME: Final = "evolink"
UNIT: Final = "evolink-credit"

#: A failed task is not charged and its reservation returns: observed, in a release note of the vendor's client.
FAILED_BILLED: Final[bool | None] = False
#: Whether a cancelled one is charged, nobody says.
CANCELLED_BILLED: Final[bool | None] = None
#: The model whose only fields are model, prompt, image_urls and callback_url (observed): it makes one picture.
_PLAIN: Final = "qwen-image-edit"
#: Ids begin so, or the vendor answers `invalid_task_id` (documented).
_ID: Final = re.compile(r"task-unified-[A-Za-z0-9_-]{1,180}", re.ASCII)
#: The most pictures that any of the models makes in one call (documented: n of qwen-image-edit-plus).
_PICTURES_MAX: Final = 6
_LINK_MAX: Final = 8_192
#: A sum so many times above the price list is not booked, but looked at by somebody.
_DEARER_MAX: Final = 10
#: More credits than anybody has used: what is above is no number to count with.
_CREDITS_MAX: Final = 1e9
#: Codes that speak of a purchase which may exist; nothing is released for them, whatever the status (observed).
_PAID_BEFORE: Final = frozenset({"idempotency_conflict", "paid_outcome_unknown"})
#: A wait in words, as a deployment under another name gives it (observed).
_WAIT: Final = re.compile(r"retry after (\d{1,5}) seconds?", re.ASCII | re.IGNORECASE)

#: What a poll's status says of the account, whatever the operation does.
_OF_THE_ACCOUNT: Final[Mapping[int, FaultKind]] = MappingProxyType(
    {
        401: FaultKind.UNAUTHORIZED,
        402: FaultKind.OUT_OF_CREDIT,
        403: FaultKind.UNAUTHORIZED,
        429: FaultKind.RATE_LIMITED,
    }
)
#: {a failed task's code: what it means, and the seconds that the vendor asks to wait}. *Source* - the vendor's page of
#: task error codes (documented), its client's retry flags (documented); what is not here may pass next time.
TASK_ERRORS: Final[Mapping[str, tuple[FaultKind, float | None]]] = MappingProxyType(
    {
        "content_policy_violation": (FaultKind.MODERATED, None),
        "invalid_parameters": (FaultKind.REJECTED, None),
        "image_processing_error": (FaultKind.REJECTED, None),
        "image_dimension_mismatch": (FaultKind.REJECTED, None),
        # What was named is not there. The page groups it under "try later", the client never repeats it: the stricter.
        "resource_not_found": (FaultKind.EXPIRED, None),
        "generation_failed_no_content": (FaultKind.UPSTREAM, None),
        "generation_timeout": (FaultKind.UPSTREAM, None),
        "service_error": (FaultKind.UPSTREAM, 60.0),
        "service_unavailable": (FaultKind.UPSTREAM, 120.0),
        "resource_exhausted": (FaultKind.UPSTREAM, 60.0),
        "unknown_error": (FaultKind.UPSTREAM, 60.0),
        "quota_exceeded": (FaultKind.RATE_LIMITED, 60.0),
    }
)


def submit(task: Task, inputs: Sequence[Carried], tag: str = "") -> Request:
    """The POST that buys this task. *Source* - API page of qwen-image-edit-plus; the key: the vendor's client."""
    body: dict[str, JSON] = {**task.params, "model": task.model, "prompt": task.prompt}
    if inputs:
        body["image_urls"] = [_url(picture) for picture in inputs]
    if task.model != _PLAIN:
        body["n"] = task.n
    if task.negative_prompt is not None:
        body["negative_prompt"] = task.negative_prompt
    if task.size is not None:
        body["size"] = task.size
    if task.seed is not None:
        body["seed"] = task.seed
    key = (("Idempotency-Key", tag),) if tag else ()
    return Request(
        gateway=task.gateway,
        method="POST",
        path="/v1/images/generations",
        body=json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(),
        headers=(("Content-Type", "application/json"), ("Accept", "application/json"), *key),
    )


def upload(model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """One multipart POST to the file service; any model can use what it keeps."""
    del model
    return evolink_files.upload(NAME, asset, name, told)


def submitted(task: Task, outcome: Outcome, not_billed: Sequence[NotBilled]) -> Reply:
    """What the outcome of that POST means; the default is Unknown, which keeps the money.

    Left out of the card's table on purpose: 409, and all 5xx, also with codes that the vendor's client takes for free.
    """
    match outcome:
        case NotSent(why):
            return Unsent(Fault(FaultKind.NOT_SENT, words(why) or "no connection was made"))
        case Broken(why):
            return Unknown(Fault(FaultKind.TIMEOUT, words(why) or "no complete answer came"))
        case Answered(response):
            return _accepted(response) if _is_success(response) else _not_accepted(response, not_billed)
    assert_never(outcome)


def poll(task: Task, operation: str) -> Request:
    """The GET that asks how a task stands."""
    return Request(
        gateway=task.gateway,
        method="GET",
        path=f"/v1/tasks/{quote(operation, safe='')}",
        headers=(("Accept", "application/json"),),
    )


def polled(task: Task, outcome: Outcome) -> PollReply:
    """What a poll's outcome means. A state that nobody documented is no end."""
    match outcome:
        case NotSent(why):
            return PollBroken(Fault(FaultKind.NOT_SENT, words(why) or "no connection was made"))
        case Broken(why):
            return PollBroken(Fault(FaultKind.TIMEOUT, words(why) or "no complete answer came"))
        case Answered(response):
            return _stands(task, response) if _is_success(response) else _not_told(response)
    assert_never(outcome)


def listing(model: str, since: int, until: int, page: str | None) -> None:
    """A list of tasks was observed, but no page of the vendor promises what it leaves out: it proves nothing."""


def listed(outcome: Outcome) -> ListReply:
    """Never asked."""
    return EvidenceBroken(Fault(FaultKind.UNKNOWN, "Evolink documents no list of tasks"))


def balance() -> Request:
    """The GET that tells how much the key has used. *Source* - the vendor's page on credits (documented)."""
    return Request(gateway=NAME, method="GET", path="/v1/credits", headers=(("Accept", "application/json"),))


def balanced(outcome: Outcome) -> BalanceReply:
    """The credits that this key has used so far; numbers come with four decimals."""
    match outcome:
        case NotSent(why) | Broken(why):
            return EvidenceBroken(Fault(FaultKind.TIMEOUT, words(why) or "no complete answer came"))
        case Answered(response):
            answer = read_object(response.body) or {}
            token = _object(_object(answer.get("data")).get("token"))
            used = micros_told(token.get("used_credits"))
            if response.status == 200 and answer.get("success") is not False and used is not None:
                return Balance(UNIT, used)
            kind = _OF_THE_ACCOUNT.get(response.status, FaultKind.UNKNOWN)
            return EvidenceBroken(_fault(kind, response, "no usable answer about credits"))
    assert_never(outcome)


def micros_told(value: object) -> int | None:
    """Credits from an answer in micro-units, to the four decimals that the vendor keeps; None for no such number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _CREDITS_MAX:
        return None
    return round(value * 10_000) * 100


# --- questions ----------------------------------------------------------------------------------------------------


def _url(picture: Carried) -> str:
    match picture:
        case CarriedUrl(url):
            return url
        case CarriedBytes():
            raise Bug("Evolink takes links only: a picture of this machine is uploaded first")
    assert_never(picture)


# --- answers to the POST ------------------------------------------------------------------------------------------


def _accepted(response: Response) -> Reply:
    """A 2xx: Pending if it carries an id that can be asked about, else nobody knows."""
    operation = (read_object(response.body) or {}).get("id")
    if isinstance(operation, str) and _ID.fullmatch(operation):
        replayed = response.headers.get("idempotency-replayed", "").strip().lower() == "true"
        return Pending(operation, replayed)
    return Unknown(_fault(FaultKind.MALFORMED, response, "accepted, but without an id that can be asked about"))


def _not_accepted(response: Response, not_billed: Sequence[NotBilled]) -> Reply:
    answer = read_object(response.body) or {}
    code = _code(answer)
    believable = _message(answer) != "" and not _speaks_of_a_task(answer) and code.lower() not in _PAID_BEFORE
    page = is_page(response)
    row = find_row(not_billed, response.status, code, page=page) if believable and not page else None
    if row is not None:
        return Refused(_fault(row.kind, response, "refused"))
    kind = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
    return Unknown(_fault(kind, response, "an answer that is not in the not-billed table"))


def _speaks_of_a_task(answer: Mapping[str, object]) -> bool:
    """Whether an error body names a task: then one was made, whatever the status says."""
    error = _object(answer.get("error"))
    return any(holder.get(key) for holder in (answer, error) for key in ("id", "task_id"))


# --- answers to the GET -------------------------------------------------------------------------------------------


def _stands(task: Task, response: Response) -> PollReply:
    answer = read_object(response.body)
    status = None if answer is None else answer.get("status")
    if answer is None or not isinstance(status, str) or status == "":
        return PollBroken(_fault(FaultKind.MALFORMED, response, "no state in the answer"))
    match status:
        case "completed":
            return _made(task, response, answer)
        case "failed":
            return _failed(response, answer)
        case "cancelled" | "canceled":
            # No value of the documented list, but the words about callbacks use it.
            return OperationFailed(_fault(FaultKind.UPSTREAM, response, "cancelled"), billed=CANCELLED_BILLED)
        case _:
            return StillRunning()


def _failed(response: Response, answer: Mapping[str, object]) -> PollReply:
    code = _code(answer).lower()
    if code == "request_cancelled":
        return OperationFailed(_fault(FaultKind.UPSTREAM, response, "cancelled"), billed=CANCELLED_BILLED)
    kind, wait_s = TASK_ERRORS.get(code, (FaultKind.UPSTREAM, None))
    return OperationFailed(_fault(kind, response, "the task failed", wait_s), billed=FAILED_BILLED)


def _made(task: Task, response: Response, answer: Mapping[str, object]) -> PollReply:
    told = answer.get("results")
    if not isinstance(told, list):
        return PollBroken(_fault(FaultKind.MALFORMED, response, "completed, but without a list of links"))
    if not told:
        # Nothing made should cost nothing, but no page says so of a completed task: its money is in doubt.
        return OperationFailed(_fault(FaultKind.SHORT, response, "completed without any picture"), billed=None)
    if len(told) > max(_PICTURES_MAX, 2 * task.n):
        # A few pictures too many are booked in full, above the hold. But a number that the vendor cannot have made
        # is no bill: the hold stays whole, and somebody has to look.
        many = f"completed with {len(told)} links for {task.n} pictures, which nobody can believe"
        return OperationFailed(_fault(FaultKind.MALFORMED, response, many), billed=None)
    links = tuple(dict.fromkeys(link for link in told if _is_link(link)))
    if not links:
        return PollBroken(_fault(FaultKind.MALFORMED, response, "completed, but without a usable link"))
    # What was asked for and is not told by a link of its own counts as billed: it shows as a picture not delivered.
    billed = max(len(links), min(len(told), task.n))
    charged = _charged(answer)
    list_price = task.price.native_cost(billed) if task.price.native_unit == UNIT else 0
    if charged is not None and list_price and charged.micros > _DEARER_MAX * list_price:
        much = f"completed for {charged}, which is more than {_DEARER_MAX} times the price list and not to be believed"
        return OperationFailed(_fault(FaultKind.MALFORMED, response, much), billed=None)
    return Ready(links=links, billed_images=billed, request_id=_request_id(response), charged=charged)


def _charged(answer: Mapping[str, object]) -> Money | None:
    """What the vendor says that the task used (observed); what it reserved is no bill."""
    used = micros_told(_object(answer.get("usage")).get("credits_used"))
    return Money(used, UNIT) if used else None


def _is_link(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LINK_MAX and value.isprintable() and " " not in value


def _not_told(response: Response) -> PollReply:
    answer = read_object(response.body)
    status = response.status
    if status == 404 and answer is not None and _message(answer):
        return Gone(_fault(FaultKind.LOST, response, "Evolink does not know this task"))
    kind = _OF_THE_ACCOUNT.get(status, FaultKind.TRANSIENT if status >= 500 else FaultKind.UNKNOWN)
    return PollBroken(_fault(kind, response, "no usable answer to a poll"))


# --- both ---------------------------------------------------------------------------------------------------------


def _is_success(response: Response) -> bool:
    return 200 <= response.status < 300


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _code(answer: Mapping[str, object]) -> str:
    """The vendor's code, which comes as a word and as a number (documented, and observed)."""
    return code_text((_object(answer.get("error")) or answer).get("code"))


def _message(answer: Mapping[str, object]) -> str:
    error = _object(answer.get("error"))
    told = (error.get("message"), answer.get("error"), answer.get("message"), error.get("type"))
    return next((text for text in map(words, told) if text), "")


def _fault(kind: FaultKind, response: Response, otherwise: str, wait_s: float | None = None) -> Fault:
    """A fault with the gateway's own words where it gave some."""
    answer = read_object(response.body) or {}
    message = _message(answer) or otherwise
    asked = retry_after_s(response)
    if asked is None:
        hint = _WAIT.search(words(_object(answer.get("error")).get("fallback_suggestion")))
        asked = float(hint[1]) if hint else wait_s
    return Fault(
        kind=kind,
        message=message,
        code=_code(answer),
        status=response.status,
        retry_after_s=asked,
        request_id=_request_id(response),
    )


def _request_id(response: Response) -> str:
    """The id that the vendor's support can find an answer by (observed)."""
    return words(response.headers.get("x-request-id"), NAME_MAX)
