"""What stands in 1min.ai's answers: the record, the words of an error, and faults made of them. Total functions all."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.providers.answers import NAME_MAX, code_text, read_object, retry_after_s, words
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.wire import Response


def is_success(response: Response) -> bool:
    """A 2xx."""
    return 200 <= response.status < 300


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
