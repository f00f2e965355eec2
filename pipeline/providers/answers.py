"""Reading answers that nobody vouches for: JSON, header values and words for people. Total functions all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final, NoReturn

from pipeline.values.card import NotBilled
from pipeline.values.wire import Response

#: Longest message kept from an answer, in characters.
MESSAGE_MAX: Final = 500
#: A wait longer than this is not believed, in seconds: a day.
RETRY_AFTER_MAX_S: Final = 86_400.0
#: A larger body is not read: parsed, a few bytes of JSON take up to thirty times as much memory (bytes).
BODY_MAX: Final = 1024 * 1024
#: Longer error codes and request ids are cut, in characters.
NAME_MAX: Final = 128

#: A link up to its query or fragment, where signatures stand, and the rest of it.
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are distinct. Of two ids nobody can say which one is meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key stands twice")
    return made


def read_object(body: bytes) -> Mapping[str, object] | None:
    """The JSON object in a body, or None for anything else.

    That is: other bytes, other values, NaN, nesting without end, a key that stands twice, more than `BODY_MAX` bytes.
    """
    if len(body) > BODY_MAX:
        return None
    try:
        value = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_page(response: Response) -> bool:
    """Whether the answer is a web page, as gateways' gatekeepers send, and not the API's own JSON."""
    if "html" in response.headers.get("content-type", "").lower():
        return True
    start = response.body[:64].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html"))


def find_row(table: Sequence[NotBilled], status: int, code: str, *, page: bool) -> NotBilled | None:
    """The row of a not-billed table that this answer is; None: the answer releases nothing."""
    body = "page" if page else "error"
    rows = (row for row in table if (row.status, row.body) == (status, body) and row.code in {None, code})
    return next(rows, None)


def words(value: object, length: int = MESSAGE_MAX) -> str:
    """A text from an answer, made safe for terminals and stores: printable, encodable, cut, no link with its query.
    Empty for other values.
    """
    if not isinstance(value, str):
        return ""
    shown = "".join(letter if letter.isprintable() else " " for letter in value[: 2 * length])
    # A cut link could end inside its signature, so links are mended first.
    return _QUERY.sub(r"\1", " ".join(shown.split()))[:length]


def code_text(value: object) -> str:
    """A gateway's error code as text: codes come as numbers and as words."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else ""
    return words(value, NAME_MAX)


def retry_after_s(response: Response) -> float | None:
    """Seconds that `Retry-After` asks for: a number, or a date measured from the answer's own `Date`; None if neither.

    *Source* - RFC 9110, 10.2.3.
    """
    text = response.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_MAX_S)
    until, answered = _date(text), _date(response.headers.get("date", ""))
    if until is None or answered is None:
        return None
    return min(max((until - answered).total_seconds(), 0.0), RETRY_AFTER_MAX_S)


def _date(text: str) -> datetime | None:
    """An HTTP date, or None. HTTP dates are in GMT, so one without a zone or in another one is not believed."""
    if not text.endswith("GMT") or len(text) > NAME_MAX:
        return None
    try:
        return parsedate_to_datetime(text[:-3] + "+0000")
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
