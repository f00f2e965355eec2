"""Evolink's file service as an emulator: uploads in three ways, a list, a quota, and links that live for three days.

*Source* - the vendor's pages on its file service and its client, read 2026-11; what they do not say is marked ours.
Deleting a file is not emulated.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pipeline.simulator import desk
from pipeline.simulator.books import Books
from pipeline.simulator.desk import Desk
from pipeline.simulator.evolink_orders import NAME, Wrong, is_public
from pipeline.simulator.exchange import Exchange, WireRequest, json_response
from pipeline.simulator.forms import read_form
from pipeline.simulator.orders import Upload
from pipeline.simulator.pictures import PictureLimits, SeenPicture, look
from pipeline.values.digest import JSON
from pipeline.values.wire import Response

BASE: Final = "files"
LIVES_S: Final = 72 * 3600.0
FILES_MAX: Final = 100
#: jpeg, png, gif and webp up to 100 MB (2^20 bytes each, the laxer reading: ours); sides are not limited.
_KEPT: Final = PictureLimits(1, 100_000, 100 * 2**20, ("JPEG", "MPO", "PNG", "GIF", "WEBP"))
#: What a model takes of them: "Image width and height must be within [384-3072]"; 10 MB, the laxer of two notes.
_TAKEN: Final = PictureLimits(384, 3072, 10 * 2**20, ("JPEG", "MPO", "PNG", "BMP", "TIFF", "WEBP"))
_PREFIX: Final = "/api/v1/files/"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}", re.ASCII)
_DATA_URI: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.ASCII | re.IGNORECASE)


def handle(books: Books, request: WireRequest, now: float, gate: Callable[[WireRequest], Response | None]) -> Exchange:
    """Answer one request to the file service; `gate` knows who has a key, as everywhere at this vendor."""
    path, _, query = request.target.partition("?")
    own = Desk(
        gate=lambda asked: None if gate(asked) is None else _refusal(401, 401, "invalid API key"),
        too_many=lambda _: _refusal(429, 429, "too many requests"),
        unavailable=lambda: _refusal(503, 50001, "storage is not available"),
        upstream=lambda: _refusal(502, 50001, "storage is not available"),
    )
    if request.method == "POST" and path in {f"{_PREFIX}upload/{way}" for way in ("base64", "stream", "url")}:
        way = path.rpartition("/")[2]
        return desk.upload(own, books, request, now, lambda occasion: _keep(books, way, request, occasion, now))
    delay_s = books.latency_s(request.target, now)
    if request.method == "GET" and path.startswith("/f/"):
        upload = find(books, f"{address(books)}{path}", now)
        if upload is None:
            return Exchange(delay_s, _refusal(404, 404, "file not found"))
        # The bytes themselves were not kept; whoever looks sees a small picture of the same.
        thumbnail = books.pictures[upload.digest].thumbnail
        return Exchange(delay_s, Response(200, thumbnail, {"content-type": "image/webp"}))
    refusal = own.gate(request)
    if refusal is None and request.method == "GET" and path == f"{_PREFIX}quota":
        refusal = _told("OK", _quota(books, now))
    elif refusal is None and request.method == "GET" and path == f"{_PREFIX}list":
        refusal = _told("OK", _page(books, query, now))
    return Exchange(delay_s, refusal or _refusal(404, 404, "not found"))


def address(books: Books) -> str:
    """Where the service is in this world."""
    return books.address(NAME, BASE)


def find(books: Books, link: str, now: float) -> Upload | None:
    """The file behind a link that is still kept."""
    start = f"{address(books)}/f/"
    if not link.startswith(start):
        return None
    upload = books.uploads.get((NAME, link[len(start) :].partition("/")[0]))
    return upload if upload is not None and _link(books, upload) == link and _is_kept(upload, now) else None


def look_behind(books: Books, link: str, now: float, *, lost: Callable[[], bool]) -> SeenPicture | Wrong:
    """The picture that a request's link names, as a model sees it, or what is wrong with it.

    A file of the service is really looked at. Elsewhere nothing is fetched: such a link must be public, and its path
    must not say that it is a GIF (ours).
    """
    if not link.startswith(("http://", "https://")):
        return Wrong("", "must be an http or https URL; base64 is not supported")
    if link.startswith(f"{address(books)}/"):
        upload = find(books, link, now)
        if upload is None or lost():
            return Wrong("", "the file cannot be fetched: it is not there (any more)", "resource_not_found")
        return _judge(upload, books.pictures[upload.digest])
    host_is_fine = is_public(link) and not re.match(r"https?://[^/]*\.invalid(:\d+)?(/|$)", link)
    if not host_is_fine or any(letter <= " " for letter in link):
        return Wrong("", "must be directly accessible by the server", "resource_not_found")
    if link.partition("?")[0].lower().endswith(".gif"):
        return Wrong("", "supported formats are .jpg, .jpeg, .png, .bmp, .webp, .tiff")
    seen = look(link, _TAKEN)
    return Wrong("", seen) if isinstance(seen, str) else seen


def _judge(upload: Upload, seen: SeenPicture) -> SeenPicture | Wrong:
    if upload.media_type == "image/gif":
        return Wrong("", "supported formats are .jpg, .jpeg, .png, .bmp, .webp, .tiff")
    if min(seen.width, seen.height) < _TAKEN.side_min or max(seen.width, seen.height) > _TAKEN.side_max:
        sides = f"{_TAKEN.side_min} to {_TAKEN.side_max} pixels, are {seen.width}x{seen.height}"
        return Wrong("", f"width and height must be {sides}", "image_dimension_mismatch")
    if upload.size_bytes > _TAKEN.bytes_max:
        return Wrong("", f"must be no larger than {_TAKEN.bytes_max} bytes")
    return seen


# --- uploads ------------------------------------------------------------------------------------------------------


def _keep(books: Books, way: str, request: WireRequest, occasion: str, now: float) -> Response:
    if _used(books, now) >= FILES_MAX:
        return _refusal(400, 40003, f"file quota exceeded: {FILES_MAX} files")
    identity = f"file_{books.new_name('file', occasion)}"
    if way == "url":
        return _copy(books, _object(request.body), identity, now)
    found = _form(request) if way == "stream" else _encoded(_object(request.body))
    if isinstance(found, Response):
        return found
    name, data = found
    kept = books.keep_upload(NAME, identity, name, data, limits=_KEPT, now=now, lives_s=LIVES_S)
    if isinstance(kept, str):
        return _refusal(400, 40001 if "bytes" in kept else 40002, f"file rejected: {kept}")
    return _told("File uploaded successfully", _file(books, kept))


def _form(request: WireRequest) -> tuple[str, bytes] | Response:
    parts = read_form(request.headers.get("content-type", ""), request.body)
    if isinstance(parts, str):
        return _refusal(400, 400, parts)
    unknown = [part.name for part in parts if part.name not in {"file", "uploadPath", "fileName"}]
    files = [part for part in parts if part.name == "file"]
    if unknown or len(files) != 1 or not files[0].filename:
        return _refusal(400, 400, "the form must hold one file in the field `file`, uploadPath and fileName")
    names = [part.data.decode("utf-8", "replace") for part in parts if part.name == "fileName"]
    return _named(names[0] if names else files[0].filename, files[0].data)


def _encoded(body: Mapping[str, object]) -> tuple[str, bytes] | Response:
    text, name = body.get("base64_data"), body.get("file_name", "upload")
    if (
        not isinstance(text, str)
        or not isinstance(name, str)
        or set(body) - {"base64_data", "upload_path", "file_name"}
    ):
        return _refusal(400, 400, "base64_data is needed; upload_path and file_name are possible")
    head = _DATA_URI.match(text)
    try:
        data = base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        return _refusal(400, 400, "base64_data is not Base64")
    return _named(name, data)


def _named(name: str, data: bytes) -> tuple[str, bytes] | Response:
    if not _NAME.fullmatch(name):
        return _refusal(400, 400, "a file name has letters, digits, dots, hyphens and underscores")
    return name, data


def _copy(books: Books, body: Mapping[str, object], identity: str, now: float) -> Response:
    """Of the files of this world only those of the service itself can be fetched; what is elsewhere is not (ours)."""
    url = body.get("file_url")
    if not isinstance(url, str):
        return _refusal(400, 400, "file_url is needed")
    upload = find(books, url, now)
    if upload is None:
        return _refusal(400, 40004, "the source URL cannot be fetched")
    kept = books.copy_upload(upload, identity, now, lives_s=LIVES_S)
    return _told("File uploaded successfully", _file(books, kept))


# --- answers ------------------------------------------------------------------------------------------------------


def _file(books: Books, upload: Upload) -> dict[str, JSON]:
    link = _link(books, upload)
    return {
        "file_id": upload.id,
        "file_name": upload.name,
        "original_name": upload.name,
        "file_size": upload.size_bytes,
        "mime_type": upload.media_type,
        "upload_path": "images",
        "file_url": link,
        "download_url": link,
        "upload_time": _moment(upload.at),
        "expires_at": _moment(upload.expires_at or 0.0),
    }


def _link(books: Books, upload: Upload) -> str:
    return f"{address(books)}/f/{upload.id}/{upload.name}"


def _quota(books: Books, now: float) -> dict[str, JSON]:
    used = _used(books, now)
    return {"user_group": "default", "used_files": used, "max_files": FILES_MAX, "remain_files": FILES_MAX - used}


def _page(books: Books, query: str, now: float) -> dict[str, JSON]:
    asked = dict(part.partition("=")[::2] for part in query.split("&"))
    page, size = (int(asked[key]) if asked.get(key, "").isdigit() else usual for key, usual in _PAGE.items())
    kept = [upload for upload in books.uploads.values() if upload.gateway == NAME and _is_kept(upload, now)]
    shown = kept[max(page - 1, 0) * size :][:size]
    keys = ("file_id", "file_name", "file_size", "upload_time")
    return {"total": len(kept), "files": [{key: _file(books, upload)[key] for key in keys} for upload in shown]}


_PAGE: Final = {"page": 1, "pageSize": 20}


def _used(books: Books, now: float) -> int:
    return sum(upload.gateway == NAME and _is_kept(upload, now) for upload in books.uploads.values())


def _is_kept(upload: Upload, now: float) -> bool:
    return upload.expires_at is None or now < upload.expires_at


def _told(message: str, data: dict[str, JSON]) -> Response:
    return json_response(200, {"success": True, "code": 200, "msg": message, "data": data})


def _refusal(status: int, code: int, message: str) -> Response:
    return json_response(status, {"success": False, "code": code, "msg": message})


def _moment(at: float) -> str:
    # Whole seconds, downwards: nobody is promised more than there is.
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
