"""What Evolink's answers hold: how a task stands, why it failed, what was charged, and the vendor's words.

*Source* - the vendor's pages on tasks and on task errors, and clients under its licence header, as of 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from pipeline.providers.answers import (
    NAME_MAX,
    OF_THE_ACCOUNT,
    believable,
    code_text,
    counted,
    is_link,
    read_object,
    retry_after_s,
    words,
)
from pipeline.values.money import Money
from pipeline.values.reply import (
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    PollBroken,
    PollReply,
    Ready,
    StillRunning,
)
from pipeline.values.task import InlineInput, LocalInput, Task
from pipeline.values.wire import Response

UNIT: Final = "evolink-credit"

#: Whether a cancelled one is charged, nobody says.
CANCELLED_BILLED: Final[bool | None] = None
#: A sum so many times above the price list is not believed: so much is booked at most.
_DEARER_MAX: Final = 10
#: So many of the vendor's internal units are one credit (observed, from its price catalogue).
_INTERNAL_UNITS: Final = 10_000
#: More credits than anybody has used: what is above is no number to count with.
_CREDITS_MAX: Final = 1e9
#: A wait in words, as a deployment under another name gives it (observed).
_WAIT: Final = re.compile(r"retry after (\d{1,5}) seconds?", re.ASCII | re.IGNORECASE)

#: {a failed task's code: what it means, and the seconds that the vendor asks to wait}. *Source* - the vendor's page of
#: task error codes (documented), its client's retry flags (documented); what is not here may pass next time.
TASK_ERRORS: Final[Mapping[str, tuple[FaultKind, float | None]]] = MappingProxyType(
    {
        "content_policy_violation": (FaultKind.MODERATED, None),
        "invalid_parameters": (FaultKind.REJECTED, None),
        "image_processing_error": (FaultKind.REJECTED, None),
        "image_dimension_mismatch": (FaultKind.REJECTED, None),
        # What was uploaded is not there (any more): it is uploaded again. The page says "try later".
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


def stands(task: Task, response: Response) -> PollReply:
    """How a task stands, from a 2xx; a state that nobody documented is no end."""
    answer = read_object(response.body)
    status = None if answer is None else answer.get("status")
    if answer is None or not isinstance(status, str) or status == "":
        return PollBroken(fault_of(FaultKind.MALFORMED, response, "no state in the answer"))
    match status:
        case "completed":
            return _made(task, response, answer)
        case "failed":
            return _failed(task, response, answer)
        case "cancelled" | "canceled":
            # No value of the documented list, but the words about callbacks use it.
            return OperationFailed(fault_of(FaultKind.UPSTREAM, response, "cancelled"), billed=CANCELLED_BILLED)
        case _:
            return StillRunning()


def _failed(task: Task, response: Response, answer: Mapping[str, object]) -> PollReply:
    code = code_of(answer).lower()
    if code == "request_cancelled":
        return OperationFailed(fault_of(FaultKind.UPSTREAM, response, "cancelled"), billed=CANCELLED_BILLED)
    kind, wait_s = TASK_ERRORS.get(code, (FaultKind.UPSTREAM, None))
    told = for_uploads_only(task, fault_of(kind, response, "the task failed", wait_s))
    return OperationFailed(told, billed=False)


def for_uploads_only(task: Task, told: Fault) -> Fault:
    """What is gone is uploaded again; but of a URL of the spec nothing was uploaded, and it is refused."""
    ours = any(isinstance(source, LocalInput | InlineInput) for source in task.inputs)
    return told if ours or told.kind is not FaultKind.EXPIRED else replace(told, kind=FaultKind.REJECTED)


def _made(task: Task, response: Response, answer: Mapping[str, object]) -> PollReply:
    told = _told(answer)
    if told is None:
        return PollBroken(fault_of(FaultKind.MALFORMED, response, "completed, but without a list of links"))
    if not told:
        # Nothing made should cost nothing, but no page says so of a completed task: its money is in doubt.
        return OperationFailed(fault_of(FaultKind.SHORT, response, "completed without any picture"), billed=None)
    if not believable(len(told), task.n):
        # A few pictures too many are booked in full, above the hold. But a number that the vendor cannot have made
        # is no bill: the hold stays whole, and somebody has to look.
        many = f"completed with {len(told)} links for {task.n} pictures, which nobody can believe"
        return OperationFailed(fault_of(FaultKind.MALFORMED, response, many), billed=None)
    links, billed = counted(told, task.n)
    if not links:
        return PollBroken(fault_of(FaultKind.MALFORMED, response, "completed, but without a usable link"))
    list_price = task.price.native_cost(billed) if task.price.native_unit == UNIT else 0
    return Ready(
        links=links, billed_images=billed, request_id=_request_id(response), charged=_charged(answer, list_price)
    )


def _told(answer: Mapping[str, object]) -> list[object] | None:
    """What stands in the place of each link: `results`, or `result_data[].image_url` where those hold none."""
    told, data = answer.get("results"), answer.get("result_data")
    results: list[object] | None = told if isinstance(told, list) else None
    if isinstance(data, list) and data and not any(map(is_link, results or ())):
        return [object_in(entry).get("image_url") for entry in data]
    return results


def _charged(answer: Mapping[str, object], list_price: int) -> Money | None:
    """What the vendor says that the task used (observed); what it reserved is no bill.

    A sum that nobody can believe is read in the vendor's internal units, or bounded: the pictures are paid either way.
    """
    used = micros_told(object_in(answer.get("usage")).get("credits_used"))
    if not used:
        return None
    most = _DEARER_MAX * list_price
    if list_price and used > most:
        smaller = -(-used // _INTERNAL_UNITS)
        used = smaller if list_price <= smaller <= most else most
    return Money(used, UNIT)


def not_told(response: Response) -> PollReply:
    """What any other answer to a poll means."""
    answer = read_object(response.body)
    status = response.status
    if status == 404 and answer is not None and message_of(answer):
        return Gone(fault_of(FaultKind.LOST, response, "Evolink does not know this task"))
    kind = OF_THE_ACCOUNT.get(status, FaultKind.TRANSIENT if status >= 500 else FaultKind.UNKNOWN)
    return PollBroken(fault_of(kind, response, "no usable answer to a poll"))


def micros_told(value: object) -> int | None:
    """Credits from an answer in micro-units, to the four decimals that the vendor keeps; None for no such number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _CREDITS_MAX:
        return None
    return round(value * 10_000) * 100


def object_in(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def code_of(answer: Mapping[str, object]) -> str:
    """The vendor's code, which comes as a word and as a number (documented, and observed)."""
    return code_text((object_in(answer.get("error")) or answer).get("code"))


def message_of(answer: Mapping[str, object]) -> str:
    """The gateway's own words; empty when it gave none."""
    error = object_in(answer.get("error"))
    told = (error.get("message"), answer.get("error"), answer.get("message"), error.get("type"))
    return next((text for text in map(words, told) if text), "")


def fault_of(kind: FaultKind, response: Response, otherwise: str, wait_s: float | None = None) -> Fault:
    """A fault with the gateway's own words where it gave some."""
    answer = read_object(response.body) or {}
    message = message_of(answer) or otherwise
    asked = retry_after_s(response)
    if asked is None:
        hint = _WAIT.search(words(object_in(answer.get("error")).get("fallback_suggestion")))
        asked = float(hint[1]) if hint else wait_s
    return Fault(
        kind=kind,
        message=message,
        code=code_of(answer),
        status=response.status,
        retry_after_s=asked,
        request_id=_request_id(response),
    )


def _request_id(response: Response) -> str:
    """The id that the vendor's support can find an answer by (observed)."""
    return words(response.headers.get("x-request-id"), NAME_MAX)
