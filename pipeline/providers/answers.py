"""Reading answers that nobody vouches for: JSON, header values and words for people. Total functions all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, NoReturn, TypeGuard

from pipeline.values.card import NotBilled
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.wire import Broken, NotSent, Response

#: Longest message kept from an answer, in characters.
MESSAGE_MAX: Final = 500
#: A wait longer than this is not believed, in seconds: a day.
RETRY_AFTER_MAX_S: Final = 86_400.0
#: A larger body is not read: parsed, a few bytes of JSON take up to thirty times as much memory (bytes).
BODY_MAX: Final = 1024 * 1024
#: Longer error codes and request ids are cut, in characters.
NAME_MAX: Final = 128
#: The most pictures that any gateway's model makes in one call (documented by each: n).
_PICTURES_MAX: Final = 6
_LINK_MAX: Final = 8_192
#: What a question's status says of the account, whatever an operation does.
OF_THE_ACCOUNT: Final[Mapping[int, FaultKind]] = MappingProxyType(
    {
        401: FaultKind.UNAUTHORIZED,
        402: FaultKind.OUT_OF_CREDIT,
        403: FaultKind.UNAUTHORIZED,
        429: FaultKind.RATE_LIMITED,
    }
)

#: A link up to its query or fragment, where signatures stand, and the rest of it.
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", re.IGNORECASE)
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{1,6})?", re.ASCII)

#: Where a name of two words is written as one: taskId.
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])", re.ASCII)
_ID_KEY: Final = re.compile(r"(?:^|_)(?:ids?|uuids?|guid)$", re.ASCII)
#: Ids of what is asked and who asks, not of work.
_HARMLESS_ID: Final = re.compile(
    r"(?:x_)?(?:request|trace|span|correlation|log|error|user|team|org|organization|account|workspace|project)_?u?u?id",
    re.ASCII,
)
_WORK_KEYS: Final = frozenset(
    {
        *("task", "task_info", "task_status", "task_metric", "task_metrics", "operation", "job", "ai_record", "record"),
        *("usage", "credits_used", "used_credits", "credits_reserved", "credits_charged", "charged", "billed", "cost"),
        *(
            "image_count",
            "output_image_count",
            "result",
            "results",
            "result_data",
            "result_object",
            "output",
            "outputs",
        ),
        *("choices", "image", "images", "image_url", "image_urls", "url", "urls", "link", "links", "file_url"),
        *("temporary_url", "b64_json", "ai_record_detail"),
    }
)
_STATE_KEYS: Final = frozenset({"status", "state"})
_STATES_OF_WORK: Final = frozenset(
    {
        *("pending", "queued", "submitted", "accepted", "created", "processing", "running", "in_progress", "suspended"),
        *("completed", "succeeded", "success", "done", "finished"),
    }
)
#: A task named in words: an id of Evolink's, a UUID, or "task id" with something that has a digit.
_TASK_IN_WORDS: Final = re.compile(
    r"\btask-unified-\w|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|"
    r"\b(?:task|operation|job|record)[ _-]?id\b[\"'`:= ]{1,4}[\w-]{0,100}\d",
    re.ASCII | re.IGNORECASE,
)
_PICTURE_LINK: Final = re.compile(r"https?://\S+\.(?:png|jpe?g|webp|bmp|tiff?)(?:\?\S*)?", re.ASCII | re.IGNORECASE)


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


def speaks_of_work(answer: Mapping[str, object]) -> bool:
    """Whether an answer names, anywhere in it, an id, a usage or a result. Then work was begun, whatever it says else.

    Ids of requests, traces and accounts are none of work; nulls, zeros and what is empty say nothing. In any text, a
    task's id speaks, and so does a text that is a picture's link.
    """
    told: list[tuple[str, object]] = [("", answer)]
    texts: list[str] = []
    harmless: list[str] = []
    while told:
        key, value = told.pop()
        match value:
            case dict():
                told += ((_CAMEL.sub("_", str(name)).lower().replace("-", "_"), each) for name, each in value.items())
            case list():
                told += ((key, each) for each in value)
            case str():
                (harmless if _HARMLESS_ID.fullmatch(key) else texts).append(value.strip())
        of_work = key in _WORK_KEYS or (_ID_KEY.search(key) is not None and not _HARMLESS_ID.fullmatch(key))
        if of_work and _says_something(value):
            return True
        if key in _STATE_KEYS and isinstance(value, str) and value.strip().lower() in _STATES_OF_WORK:
            return True
    return any(_names_work(text, harmless) for text in texts)


def _says_something(value: object) -> bool:
    """Whether a value holds an entry of a list, or a leaf that is not empty, null, false or zero."""
    left = [value]
    while left:
        match left.pop():
            case dict() as inner:
                left += inner.values()
            case list() as inner:
                # One entry is one picture, and be it an empty object.
                if inner:
                    return True
            case str() as text:
                if text.strip():
                    return True
            case leaf:
                if leaf:
                    return True
    return False


def _names_work(text: str, harmless: Sequence[str]) -> bool:
    for known in harmless:
        text = text.replace(known, "") if known else text
    return _TASK_IN_WORDS.search(text) is not None or _PICTURE_LINK.fullmatch(text) is not None


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


def is_success(response: Response) -> bool:
    """Whether the status is a 2xx."""
    return 200 <= response.status < 300


def is_link(value: object) -> TypeGuard[str]:
    """Whether this can be asked for: a link of a sane length, without a space or a control in it."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        return False
    return len(value) <= _LINK_MAX and value.isprintable() and " " not in value


def believable(pictures: int, asked: int) -> bool:
    """A few pictures too many are booked in full. But a number that cannot have been made is no bill."""
    return pictures <= max(_PICTURES_MAX, 2 * asked)


def counted(told: Sequence[object], asked: int) -> tuple[tuple[str, ...], int]:
    """The usable links of a list, each once, and how many pictures it bills.

    What was asked for and is not told by a link of its own counts as billed: it shows as a picture not delivered.
    """
    links = tuple(dict.fromkeys(link for link in told if is_link(link)))
    return links, max(len(links), min(len(told), asked))


def not_sent(outcome: NotSent) -> Fault:
    """Why no byte left."""
    return Fault(FaultKind.NOT_SENT, words(outcome.why) or "no connection was made")


def broken(outcome: Broken) -> Fault:
    """Why no answer is there: it broke off or came too late, or it is larger than anything that an API says."""
    kind = FaultKind.MALFORMED if outcome.too_large else FaultKind.TIMEOUT
    return Fault(kind, words(outcome.why) or "no complete answer came")


def refused_id(value: object) -> str:
    """`: 'what stood there'`, escaped, for an id that cannot be asked about; empty where nothing stood there."""
    return "" if value is None else f": {ascii(value)[:200]}"


def words(value: object, length: int = MESSAGE_MAX) -> str:
    """A text from an answer, made safe for terminals and stores: printable, encodable, cut, no link with its query.
    Empty for other values.
    """
    if not isinstance(value, str):
        return ""
    shown = value[: 2 * length]
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else " " for letter in shown)
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
