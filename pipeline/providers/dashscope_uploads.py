"""DashScope's temporary storage: a policy from the gateway, then a form to the host that it names.

*Source* - the vendor's page on temporary URLs for local files, and `utils/oss_utils.py` of its client `dashscope`
2.0.2: names and order of the fields. What is kept lives 48 hours and serves one model of one account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

from pipeline.providers.answers import broken, not_sent, read_object
from pipeline.providers.dashscope_answers import code_of, fault, kind_of
from pipeline.providers.forms import form
from pipeline.values.provider import CarriedBytes, Placed, UploadFailed, UploadStep
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.wire import Answered, Broken, NotSent, Outcome, Request, Response

NAME: Final = "dashscope"
#: How long an upload is kept (documented: 48 hours), in seconds.
LIVES_S: Final = 172_800.0
#: What a policy must hold, by the names of the form's fields; in the form's order.
_FIELDS: Final = (
    ("OSSAccessKeyId", "oss_access_key_id"),
    ("Signature", "signature"),
    ("policy", "policy"),
    ("key", "upload_dir"),
    ("x-oss-object-acl", "x_oss_object_acl"),
    ("x-oss-forbid-overwrite", "x_oss_forbid_overwrite"),
)
#: The hosts that a policy may name (observed: dashscope-file-... below aliyuncs.com).
_STORAGE: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}\.)+aliyuncs\.com", re.ASCII)
_VALUE_MAX: Final = 16_384
_MEGABYTE: Final = 1_000_000


def upload(model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
    """The next request of an upload after these outcomes, or how it ended.

    A form that broke is begun anew with a new policy, whose folder nobody has used: the first may stand there unused.
    """
    if not told:
        query = urlencode({"action": "getPolicy", "model": model})
        return Request(NAME, "GET", f"/uploads?{query}", headers=(("Accept", "application/json"),), free=True)
    policy = _answer(told[0])
    if isinstance(policy, Fault):
        return UploadFailed(policy)
    known = _policy(policy)
    if isinstance(known, Fault):
        return UploadFailed(known)
    limit = _number(known.get("max_file_size_mb"))
    if limit is not None and len(asset.data) > limit * _MEGABYTE:
        return UploadFailed(Fault(FaultKind.REJECTED, f"DashScope's storage takes files up to {limit} MB"))
    key = f"{known['upload_dir']}/{name}"
    if len(told) == 1:
        return _form(known, key, asset, name)
    kept = told[1]
    if isinstance(kept, Answered) and kept.response.status == 200:
        return Placed(f"oss://{key}", LIVES_S)
    return UploadFailed(_of_storage(kept))


def _answer(outcome: Outcome) -> Response | Fault:
    match outcome:
        case Answered(response):
            return response
        case NotSent():
            return not_sent(outcome)
        case Broken():
            return broken(outcome)


def _policy(response: Response) -> Mapping[str, object] | Fault:
    """What the gateway allows, every text in it fit for a form's field; else why there is none."""
    answer = read_object(response.body) or {}
    if not 200 <= response.status < 300 or code_of(answer):
        unauthorized, rejected = FaultKind.UNAUTHORIZED, FaultKind.REJECTED
        statuses = {400: rejected, 401: unauthorized, 403: unauthorized, 404: rejected}
        kind = statuses.get(response.status, FaultKind.TRANSIENT)
        return fault(kind_of(code_of(answer), kind), response, "no policy for an upload")
    data = answer.get("data")
    known = {key: _text(value) for key, value in data.items()} if isinstance(data, dict) else {}
    if not all(known.get(key) for _, key in _FIELDS):
        return fault(FaultKind.MALFORMED, response, "a policy for an upload that is not complete")
    if not _is_storage(known.get("upload_host") or ""):
        return fault(FaultKind.MALFORMED, response, "a policy for an upload to a host that is not the vendor's storage")
    limit = data.get("max_file_size_mb") if isinstance(data, dict) else None
    return {**known, "max_file_size_mb": limit}


def _form(policy: Mapping[str, object], key: str, asset: CarriedBytes, name: str) -> Request:
    """The form for the storage's host, which gets no key of ours: the policy is signed."""
    fields = {field: str(policy[source]) for field, source in _FIELDS}
    fields |= {"key": key, "success_action_status": "200", "x-oss-content-type": asset.media_type}
    body, kind = form(fields, "file", name, asset)
    headers = (("Content-Type", kind), ("Accept", "application/json"))
    return Request(NAME, "POST", "", body, headers=headers, url=str(policy["upload_host"]), free=True)


def _of_storage(outcome: Outcome) -> Fault:
    """Why the storage's host kept nothing. Its answers are XML, and say nothing of the account at the gateway."""
    response = _answer(outcome)
    if isinstance(response, Fault):
        return response
    # 403: an expired policy (observed); 409: a name that is taken. A new policy may do.
    again = response.status in {403, 408, 409, 429} or not 400 <= response.status < 500
    kind = FaultKind.TRANSIENT if again else FaultKind.REJECTED
    return Fault(kind, f"the storage that DashScope named answered {response.status}", status=response.status)


def _text(value: object) -> str:
    """A policy's value as a form's field: no line breaks, no quotes, nothing that cannot be written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str) or len(value) > _VALUE_MAX:
        return ""
    return value if value.isascii() and value.isprintable() and '"' not in value and " " not in value else ""


def _is_storage(url: str) -> bool:
    """Whether a picture of ours may go there: the vendor's storage (every sample's host ends so), or this machine.

    Whoever carries the form lets a rehearsal alone reach this machine.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or parts.query or parts.fragment:
        return False
    if parts.scheme == "https" and port in {None, 443} and _STORAGE.fullmatch(host):
        return True
    rehearsed = host in {"127.0.0.1", "::1", "localhost"} or host.endswith(".simulator.invalid")
    return rehearsed and parts.scheme in {"http", "https"}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 10**9 else None
