"""Evolink's file service: where a picture of this machine gets the link that its models fetch.

*Source* - the vendor's pages on its file service and its client, as of 2026-11 (documented unless marked).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from pipeline.providers.answers import broken, code_text, not_sent, read_object, retry_after_s, words
from pipeline.providers.forms import form
from pipeline.values.provider import CarriedBytes, Placed, UploadFailed, UploadStep
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

#: The name of its address on the card.
BASE: Final = "files"
_PATH: Final = "/api/v1/files/upload/stream"
_LINK_MAX: Final = 2_048
#: Nothing is believed to be kept for longer than this, in seconds: a month.
_LIVES_MAX_S: Final = 30 * 86_400.0
_LINK: Final = re.compile(r"https?://[!-~]+", re.ASCII)
#: So many files are kept for an account; they go by themselves after three days.
_FULL: Final = "40003"
#: {the service's own code: what it means}; a file that is too large or of another type will never pass.
_CODES: Final[Mapping[str, FaultKind]] = {
    "40001": FaultKind.REJECTED,
    "40002": FaultKind.REJECTED,
    _FULL: FaultKind.CLOSED,
    "40004": FaultKind.UPSTREAM,
    "50001": FaultKind.TRANSIENT,
}
_STATUSES: Final[Mapping[int, FaultKind]] = {
    400: FaultKind.REJECTED,
    401: FaultKind.UNAUTHORIZED,
    402: FaultKind.OUT_OF_CREDIT,
    403: FaultKind.UNAUTHORIZED,
    413: FaultKind.REJECTED,
    415: FaultKind.REJECTED,
    429: FaultKind.RATE_LIMITED,
}


def upload(gateway: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """The upload's one request, or how it ended."""
    match told[-1] if told else None:
        case None:
            return _request(gateway, asset, name)
        case NotSent() as outcome:
            return UploadFailed(not_sent(outcome))
        case Broken() as outcome:
            return UploadFailed(broken(outcome))
        case Answered(response):
            return _kept(response)


def _request(gateway: str, asset: CarriedBytes, name: str) -> Request:
    body, kind = form({}, "file", name, asset)
    headers = (("Content-Type", kind), ("Accept", "application/json"))
    return Request(gateway, "POST", _PATH, body, headers=headers, base=BASE, free=True)


def _kept(response: Response) -> UploadStep:
    answer = read_object(response.body) or {}
    data = answer.get("data")
    good = 200 <= response.status < 300 and answer.get("success") is not False
    if not good:
        return UploadFailed(_fault(response, answer))
    link = data.get("file_url") if isinstance(data, dict) else None
    if not isinstance(link, str) or len(link) > _LINK_MAX or not _LINK.fullmatch(link):
        named = f": {link.partition('?')[0][:120]!a}" if isinstance(link, str) and "@" not in link else ""
        useless = f"uploaded, but without a usable link{named}"
        return UploadFailed(Fault(FaultKind.MALFORMED, useless, status=response.status))
    return Placed(link, _lives_s(data if isinstance(data, dict) else {}))


def _lives_s(data: Mapping[str, object]) -> float | None:
    """From the service's own two moments, so that no clock of ours comes in; None where they cannot be read."""
    born, gone = _moment(data.get("upload_time")), _moment(data.get("expires_at"))
    if born is None or gone is None:
        return None
    return min(max((gone - born).total_seconds(), 0.0), _LIVES_MAX_S)


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    # Two moments are compared, and one without a zone cannot be compared with one that has it.
    return moment if moment.tzinfo is not None else None


def _fault(response: Response, answer: Mapping[str, object]) -> Fault:
    code = code_text(answer.get("code"))
    error = answer.get("error")
    inner = error if isinstance(error, dict) else {}
    kind = _CODES.get(code) or _STATUSES.get(int(code) if code.isascii() and code.isdigit() and len(code) == 3 else 0)
    usual = FaultKind.TRANSIENT if response.status >= 500 else FaultKind.UNKNOWN
    told = (answer.get("msg"), answer.get("message"), inner.get("message"), error)
    said = next((text for text in map(words, told) if text), "the file service kept nothing")
    if code == _FULL:
        said = (
            f"the file service keeps no more files for this account ({said[:200]}): delete some there, or wait until "
            "the oldest go, 72 hours after their upload"
        )
    return Fault(
        kind=kind or _STATUSES.get(response.status, usual),
        message=said,
        code=code,
        status=response.status,
        retry_after_s=retry_after_s(response),
        request_id=words(response.headers.get("x-request-id"), 128),
    )
