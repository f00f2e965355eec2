"""DashScope's temporary storage as an emulator: policies from the gateway, and the OSS host that takes a signed form.

*Source* - the vendor's page on temporary URLs for local files and `utils/oss_utils.py` of its client, read 2026-11;
what they do not say is marked ours.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pipeline.simulator import desk
from pipeline.simulator.books import Books
from pipeline.simulator.dashscope_orders import NAME, PICTURES, URL_ERROR, Wrong
from pipeline.simulator.desk import Desk
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.forms import read_form
from pipeline.simulator.pictures import PictureLimits, SeenPicture
from pipeline.values.digest import JSON, sha256_hex
from pipeline.values.wire import Response

#: The name of the storage's host among the gateway's addresses.
BASE: Final = "oss"
#: An upload is kept for 48 h (documented), a policy holds for 300 s and files up to 100 MB (ours).
LIVES_S: Final = 172_800.0
POLICY_S: Final = 300
FILE_MB: Final = 100
_ACCESS_KEY: Final = "LTAI-rehearsal"
#: The form's fields in the order of the vendor's client; `file` has to be the last.
_FIELDS: Final = (
    "OSSAccessKeyId",
    "Signature",
    "policy",
    "key",
    "x-oss-object-acl",
    "x-oss-forbid-overwrite",
    "success_action_status",
    "x-oss-content-type",
    "file",
)
#: The storage looks at nothing; what a model takes is looked at when a submit names it.
_KEPT: Final = PictureLimits(1, 100_000, FILE_MB * 2**20, PICTURES.formats)


def policy(books: Books, model: str, now: float) -> dict[str, JSON]:
    """What `getPolicy` answers: a folder that nobody has used, and leave to put files there for one model."""
    occasion = books.occasion(f"{NAME}/policy", model.encode())
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(now))).strftime("%Y-%m-%d")
    name = books.new_name(NAME, "folder", occasion)
    folder = f"dashscope-instant/{books.new_name(NAME, 'account')}/{day}/{name}"
    terms: dict[str, JSON] = {"until": int(now) + POLICY_S, "folder": folder, "model": model}
    text = base64.b64encode(json.dumps(terms).encode()).decode("ascii")
    return {
        "policy": text,
        "signature": _signature(books, text),
        "upload_dir": folder,
        "upload_host": f"{books.address(NAME, BASE)}/",
        "expire_in_seconds": POLICY_S,
        "max_file_size_mb": FILE_MB,
        "oss_access_key_id": _ACCESS_KEY,
        "x_oss_object_acl": "private",
        "x_oss_forbid_overwrite": "true",
    }


def handle(books: Books, request: WireRequest, now: float) -> Exchange:
    """Answer one request to the storage's host. It wants no key of the gateway: the form is signed."""
    own = Desk(
        gate=_gate,
        too_many=lambda _: _xml(503, "SlowDown", "Please reduce your request rate."),
        unavailable=lambda: _xml(503, "ServiceUnavailable", "Please try again later."),
        upstream=lambda: _xml(502, "InternalError", "Please contact the server administrator."),
    )
    if request.method != "POST" or request.target.partition("?")[0] not in {"", "/"}:
        # What lies here is private: a plain GET is refused.
        answer = _xml(403, "AccessDenied", "You have no right to access this object because of bucket acl.")
        return Exchange(books.latency_s(request.target, now), answer)
    return desk.upload(own, books, request, now, lambda _: _keep(books, request, now))


def find(books: Books, uri: str, model: str, now: float, *, resolves: bool) -> SeenPicture | Wrong:
    """The picture that an `oss://` address in a submit names. Without the header nobody resolves it (documented)."""
    if not resolves:
        return Wrong(URL_ERROR)
    key = uri.removeprefix("oss://")
    seen, upload = books.uploaded(NAME, key, now, model=model), books.uploads.get((NAME, key))
    if seen is None or upload is None:
        return Wrong("download image failed: the file does not exist, has expired, or belongs to another model")
    if not (PICTURES.side_min <= min(seen.width, seen.height) and max(seen.width, seen.height) <= PICTURES.side_max):
        return Wrong(f"the image is too small or too large: {seen.width}*{seen.height}")
    if upload.size_bytes > PICTURES.bytes_max:
        return Wrong(f"the image is larger than {PICTURES.bytes_max} bytes")
    return seen


def _keep(books: Books, request: WireRequest, now: float) -> Response:
    parts = read_form(request.headers.get("content-type", ""), request.body)
    if isinstance(parts, str):
        return _xml(400, "MalformedPOSTRequest", parts)
    if tuple(part.name for part in parts) != _FIELDS:
        return _xml(400, "InvalidArgument", f"the form must hold {', '.join(_FIELDS)}, in this order")
    fields = {part.name: part.data.decode("utf-8", "replace") for part in parts[:-1]}
    terms = _terms(books, fields)
    if terms is None:
        return _xml(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
    if now >= int(str(terms["until"])):
        return _xml(403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    folder, _, name = fields["key"].rpartition("/")
    if folder != terms["folder"] or not name or fields["x-oss-object-acl"] != "private":
        return _xml(403, "AccessDenied", "Invalid according to Policy: Policy Condition failed.")
    if (NAME, fields["key"]) in books.uploads:
        return _xml(409, "FileAlreadyExists", "The object you specified already exists and can not be overwritten.")
    data = parts[-1].data
    if len(data) > FILE_MB * 2**20:
        return _xml(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    books.keep_upload(
        NAME, fields["key"], name, data, limits=_KEPT, now=now, lives_s=LIVES_S, model=str(terms["model"])
    )
    return Response(200 if fields["success_action_status"] == "200" else 204, b"", {})


def _terms(books: Books, fields: Mapping[str, str]) -> Mapping[str, object] | None:
    """What a policy of ours says; None when it is none."""
    if fields["OSSAccessKeyId"] != _ACCESS_KEY or fields["Signature"] != _signature(books, fields["policy"]):
        return None
    try:
        terms = json.loads(base64.b64decode(fields["policy"], validate=True))
    except (ValueError, binascii.Error):
        return None
    return terms if isinstance(terms, dict) else None


def _signature(books: Books, text: str) -> str:
    return base64.b64encode(sha256_hex(f"{books.dice.seed}/{text}".encode())[:20].encode()).decode("ascii")


def _gate(request: WireRequest) -> Response | None:
    if "authorization" in request.headers:
        return _xml(400, "InvalidArgument", "the form is signed; a key of the gateway has no business here")
    return None


def _xml(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, body.encode(), {"content-type": "application/xml"})
