"""What stands in 1min.ai's answers: the record, the words of an error, and faults made of them. Total functions all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pipeline.providers.answers import NAME_MAX, code_text, read_object, retry_after_s, words
from pipeline.values.money import format_money, micros_from_text
from pipeline.values.reply import PRICE_TOO_LOW, Fault, FaultKind
from pipeline.values.task import Task
from pipeline.values.wire import Response

CREDIT: Final = "1min-credit"
#: What a 406 says that this very call costs. *Source* - observed by other clients.
_REQUIRES: Final = re.compile(r"requires (\d{1,12}(?:\.\d{1,6})?) credits", re.ASCII)


def record_of(answer: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """The record of a call, where there is one."""
    record = None if answer is None else answer.get("aiRecord")
    return record if isinstance(record, dict) else None


def code_of(answer: Mapping[str, object]) -> str:
    """The gateway's own code."""
    error = answer.get("error")
    return code_text(answer.get("errorCode")) or (code_text(error.get("code")) if isinstance(error, dict) else "")


def texts_of(answer: Mapping[str, object]) -> list[str]:
    """The gateway's words: all of `message`, `error` and `detail`, which may be objects or lists themselves."""
    found: list[object] = []
    for key in ("message", "error", "detail"):
        told = answer.get(key)
        if isinstance(told, dict):
            found += [told.get("message"), told.get("detail")]
        elif isinstance(told, list):
            found += told
        else:
            found.append(told)
    return [text for text in map(words, found) if text]


def message_of(answer: Mapping[str, object]) -> str:
    """The first of the gateway's words, in the order in which other clients read them."""
    return next(iter(texts_of(answer)), "")


def fault_of(kind: FaultKind, response: Response, otherwise: str, message: str = "") -> Fault:
    """A fault with the gateway's own words where it gave some."""
    answer = read_object(response.body) or {}
    return Fault(
        kind=kind,
        message=words(message) or message_of(answer) or otherwise,
        code=code_of(answer),
        status=response.status,
        retry_after_s=retry_after_s(response),
        request_id=request_id_of(response),
    )


def request_id_of(response: Response) -> str:
    """The record's id: the only name that the vendor gives a call."""
    record = record_of(read_object(response.body))
    return "" if record is None else words(record.get("uuid"), NAME_MAX)


def priced(task: Task, fault: Fault) -> Fault:
    """A 406 names what the call costs: where that is more than the spec's price, the price is what has to be mended."""
    found = _REQUIRES.search(fault.message)
    put_aside = task.price.native_cost(task.n)
    if fault.kind is not FaultKind.OUT_OF_CREDIT or found is None or task.price.native_unit != CREDIT:
        return fault
    asked = micros_from_text(found[1])
    if asked <= put_aside:
        return fault
    each = format_money(-(-asked // task.n), CREDIT)
    told = (
        f"your `prices:` is too low: the gateway asks {format_money(asked, CREDIT)} for this call, the spec gives "
        f"{format_money(put_aside, CREDIT)}; state {each} an image. What was bought before may have cost more than is "
        f"booked ({fault.message})"
    )
    return replace(fault, message=told[:500], code=PRICE_TOO_LOW)
