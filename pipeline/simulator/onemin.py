"""1min.ai as an emulator: an asset store, and one synchronous call that takes credits and answers with keys.

*Source* - the vendor's page for IMAGE_EDITOR / qwen-image-edit-plus and its Asset API page, read 2026-11; statuses as
other clients observed them. What nobody says is marked ours, and is the stricter of what could be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs, quote, unquote

from pipeline.simulator import desk
from pipeline.simulator.books import Books
from pipeline.simulator.desk import Desk
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.forms import read_form
from pipeline.simulator.onemin_orders import GATEWAY, MODEL, read_order
from pipeline.simulator.orders import Operation, Order, Upload
from pipeline.simulator.pictures import PictureLimits, media_type_of
from pipeline.simulator.results import picture
from pipeline.values.digest import JSON
from pipeline.values.wire import Response

NAME: Final = GATEWAY
#: "About 50 MB" a file (observed); MB is read as 2^20 bytes, the laxer: ours.
ASSETS: Final = PictureLimits(1, 20_000, 50 * 2**20, ("JPEG", "MPO", "PNG", "WEBP"))
#: File names that are taken, by extension. That a name without one is refused was observed; the list is ours.
_TYPES: Final = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
#: X-Amz-Expires of the page's sample: 7 days, in seconds.
LINKS_LIVE_S: Final = 604_800

#: A result's key ends in its record's uuid and the picture's number: ours; the sample's ends in six digits.
_KEY: Final = re.compile(r"images/[0-9_]{23}_([0-9a-f-]{36})_([0-9])\.png", re.ASCII)
_BUCKET: Final = "/asset.1min.ai/"
#: Keys carry a stamp of local time, seven hours ahead of UTC in the sample.
_LOCAL: Final = timedelta(hours=7)


def handle(books: Books, request: WireRequest, now: float) -> Exchange:
    """Answer one request to the API (""), to the host of keys (`asset`) or to the host of signed links (`s3`)."""
    path = request.target.partition("?")[0]
    match request.base, request.method, path:
        case "asset", _, _:
            return _of_the_asset_host(books, request, now)
        case "s3", _, _:
            return _of_the_signed_host(books, request, now)
        case "", "POST", "/api/features":
            return _submit(books, request, now)
        case "", "POST", "/api/assets":
            return desk.upload(_DESK, books, request, now, lambda occasion: _keep(books, request, occasion, now))
        case _:
            refusal = _gate(request) or _wrong(404, "NOT_FOUND", f"Cannot {request.method} {path[:80]}")
            return Exchange(books.latency_s(request.target, now), refusal)


# --- assets -------------------------------------------------------------------------------------------------------


def _keep(books: Books, request: WireRequest, occasion: str, now: float) -> Response:
    """An upload, by the Asset API page: one field `asset`, whose file name has an extension."""
    parts = read_form(request.headers.get("content-type", ""), request.body)
    if isinstance(parts, str):
        return _wrong(400, "BAD_REQUEST", parts)
    if [part.name for part in parts] != ["asset"] or parts[0].filename is None:
        return _wrong(400, "BAD_REQUEST", "the form must hold one file in the field asset")
    name, data = parts[0].filename, parts[0].data
    stem, dot, extension = name.rpartition(".")
    expected = _TYPES.get(extension.lower())
    if not stem or not dot or expected is None:
        return _wrong(400, "BAD_REQUEST", f"Unsupported file type: {name[:60]}")
    kind = media_type_of(data)
    if kind != expected or parts[0].media_type != expected:
        return _wrong(400, "BAD_REQUEST", f"invalid file: its name says {expected}, its data {kind or 'nothing'}")
    key = f"images/{_stamp(now)}_{name}"
    while (NAME, key) in books.uploads:
        now += 0.001
        key = f"images/{_stamp(now)}_{name}"
    kept = books.keep_upload(NAME, key, name, data, limits=ASSETS, now=now, lives_s=None)
    if isinstance(kept, str):
        return _wrong(400, "BAD_REQUEST", f"invalid file: {kept}")
    return json_response(200, _asset(books, kept, occasion))


def _asset(books: Books, kept: Upload, occasion: str) -> dict[str, JSON]:
    location = f"https://asset.1min.ai.s3.us-east-1.amazonaws.com/{quote(kept.id)}"
    return {
        "asset": {
            "fieldname": "asset",
            "originalname": kept.name,
            "encoding": "7bit",
            "mimetype": kept.media_type,
            "size": kept.size_bytes,
            "bucket": "asset.1min.ai",
            "key": kept.id,
            "acl": "private",
            "contentType": kept.media_type,
            "metadata": {"team-id": _uuid(books, "team"), "user-id": _uuid(books, "user")},
            "location": location,
            "etag": f'"{kept.digest[:32]}"',
        },
        "fileContent": {
            "uuid": _uuid(books, "file", occasion),
            "path": kept.id,
            "type": kept.name.rpartition(".")[2],
            "name": kept.name,
        },
    }


# --- features -----------------------------------------------------------------------------------------------------


def _submit(books: Books, request: WireRequest, now: float) -> Exchange:
    body = _read(request.body)
    wanted = None if body is None else body.get("promptObject")
    prompt = wanted.get("prompt") if isinstance(wanted, dict) else None

    def take(occasion: str) -> Operation | Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _wrong(400, "BAD_REQUEST", "Content-Type must be application/json")
        if body is None:
            return _wrong(400, "BAD_REQUEST", "the body must be one JSON object")
        order, pictures, wrong = read_order(books, body, occasion, now)
        if order is None:
            return _wrong(400, "BAD_REQUEST", "; ".join(wrong))
        return _poor(books, order) or books.accept(order, pictures, occasion, now)

    return desk.submit(
        _DESK,
        books,
        request,
        now,
        lane=f"{NAME}/{MODEL}",
        prompt=prompt if isinstance(prompt, str) else "",
        take=take,
        answer=lambda operation: _told(books, operation),
        waits=True,
    )


def _poor(books: Books, order: Order) -> Response | None:
    """406 when the team's credits do not suffice. *Source* - observed, words and all."""
    if books.faults.onemin_credits is None:
        return None
    taken = sum(_cost(made.order) for made in books.operations.values() if made.end == "completed" and _ours(made))
    left = int(books.faults.onemin_credits * 1_000_000) - taken
    if _cost(order) <= left:
        return None
    told = (
        f"The feature requires {_cost(order) / 1e6:g} credits, but the rehearsal team only has {left / 1e6:g} credits"
    )
    return _wrong(406, "INSUFFICIENT_CREDITS", told)


def _cost(order: Order) -> int:
    return order.n * order.micros_per_image


def _ours(operation: Operation) -> bool:
    return operation.order.gateway == NAME


def _told(books: Books, operation: Operation) -> Response:
    """What the call answers when the work is over. Neither a moderated nor a failed call is on any page: ours."""
    if operation.end == "moderated":
        return _wrong(400, "CONTENT_MODERATION", "The request was stopped by content moderation")
    keys = [_key(operation, index) for index in range(operation.images)]
    done = operation.end == "completed"
    record: dict[str, JSON] = {
        "uuid": operation.id,
        "userId": _uuid(books, "user"),
        "teamId": _uuid(books, "team"),
        "model": MODEL,
        "type": "IMAGE_EDITOR",
        "metadata": None,
        "rating": None,
        "feedback": None,
        "conversationId": None,
        "status": "SUCCESS" if done else "FAILED",
        "createdAt": _timestamp(operation.accepted_at),
        "aiRecordDetail": {
            "promptObject": operation.order.notes.get("promptObject"),
            "resultObject": [*keys] if done else [],
            "responseObject": {},
        },
        "additionalData": None,
    }
    if done:
        record["temporaryUrl"] = _signed(books, operation, keys[0])
    return json_response(200, {"aiRecord": record})


#: How a 400 may be worded when the credits are gone. No page shows one: ours, as like a refusal as can be.
OF_THE_WORK: Final = (
    "An unknown error occurred while generating the image",
    "The provider returned an invalid response",
    "Generation failed: output missing",
    "Expected 3 images, got 1",
    "Image generation exceeds time limit",
    "Your prompt was flagged and must be changed",
    "violates policy: unsupported content",
    "model: required output missing",
    "Media analysis failed",
)


def _of_the_work(operation: Operation, chance: float) -> Response:
    """Words alone, or beside them the record's id and an honest sentence about a field."""
    which = int(chance * (len(OF_THE_WORK) + 1))
    if which < len(OF_THE_WORK):
        return _wrong(400, "BAD_REQUEST", OF_THE_WORK[which])
    told: JSON = {"errorCode": "BAD_REQUEST", "message": "n is required", "data": {"uuid": operation.id}}
    return json_response(400, told)


def _signed(books: Books, operation: Operation, key: str) -> str:
    """A presigned link to the first picture, as the storage host makes them."""
    at = int(operation.ends_at)
    if books.strikes("expired_links", operation.id, operation.order.prompt):
        at -= LINKS_LIVE_S + 1
    date = datetime.fromtimestamp(max(at, 0), UTC).strftime("%Y%m%dT%H%M%SZ")
    signature = books.signature(operation.id, 0, max(at, 0) + LINKS_LIVE_S)
    return (
        f"{books.address(NAME, 's3')}{_BUCKET}{key}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        f"&X-Amz-Date={date}&X-Amz-Expires={LINKS_LIVE_S}&X-Amz-Signature={signature}&X-Amz-SignedHeaders=host"
    )


# --- pictures -----------------------------------------------------------------------------------------------------


def _of_the_asset_host(books: Books, request: WireRequest, now: float) -> Exchange:
    """A key below the asset host: observed with one client only, so a fault can refuse it, and for good."""
    delay_s = books.latency_s(request.target, now)
    if "api-key" in request.headers or "authorization" in request.headers:
        return Exchange(delay_s, page_response(400, "This host takes no credentials"))
    key = unquote(request.target.partition("?")[0]).removeprefix("/")
    found = _found(books, key)
    if found is None or request.method != "GET":
        return Exchange(delay_s, _denied("AccessDenied", "Access Denied"))
    operation, index = found
    if books.strikes("asset_refused", key, operation.order.prompt):
        return Exchange(delay_s, _denied("AccessDenied", "Access Denied"))
    return picture(books, operation, index, delay_s, now)


def _of_the_signed_host(books: Books, request: WireRequest, now: float) -> Exchange:
    """A presigned link. It is its own proof: credentials beside it are an error, as the storage host has it."""
    delay_s = books.latency_s(request.target, now)
    if "api-key" in request.headers or "authorization" in request.headers:
        return Exchange(delay_s, page_response(400, "Only one auth mechanism allowed"))
    path, _, query = request.target.partition("?")
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    found = _found(books, unquote(path).removeprefix(_BUCKET))
    try:
        at = datetime.strptime(asked["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        expires = int(at) + int(asked["X-Amz-Expires"])
    except (KeyError, ValueError):
        return Exchange(delay_s, _denied("AuthorizationQueryParametersError", "the link is not signed"))
    if found is None or asked.get("X-Amz-Signature") != books.signature(found[0].id, found[1], expires):
        return Exchange(delay_s, _denied("SignatureDoesNotMatch", "The request signature does not match"))
    if now >= expires:
        return Exchange(delay_s, _denied("AccessDenied", "Request has expired"))
    return picture(books, found[0], found[1], delay_s, now)


def _found(books: Books, key: str) -> tuple[Operation, int] | None:
    """The record and the number behind a key."""
    match = _KEY.fullmatch(key)
    operation = books.operations.get(match[1]) if match else None
    if match is None or operation is None or not _ours(operation) or _key(operation, int(match[2])) != key:
        return None
    # A storage host that may not be listed says of what is not there what it says of what is forbidden.
    return (operation, int(match[2])) if int(match[2]) < operation.images else None


def _key(operation: Operation, index: int) -> str:
    return f"images/{_stamp(operation.ends_at)}_{operation.id}_{index}.png"


def _denied(code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(403, body.encode(), {"content-type": "application/xml"})


# --- answers ------------------------------------------------------------------------------------------------------


def _gate(request: WireRequest) -> Response | None:
    """401 unless the key comes in the header API-KEY, as the pages have it."""
    key = request.headers.get("api-key", "")
    if re.fullmatch(r"[!-~]+", key):
        return None
    return _wrong(401, "UNAUTHORIZED", "API key is missing" if not key else "Invalid API key")


def _wrong(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return json_response(status, {"errorCode": code, "message": message}, headers)


_DESK: Final = Desk(
    gate=_gate,
    too_many=lambda headers: _wrong(429, "TOO_MANY_REQUESTS", "Too many requests", headers),
    unavailable=lambda: _wrong(503, "SERVICE_UNAVAILABLE", "Service unavailable, try again later"),
    upstream=lambda: _wrong(502, "BAD_GATEWAY", "The model did not answer in time"),
    wrong_after=_of_the_work,
)


def _uuid(books: Books, *names: object) -> str:
    digits = books.new_name(NAME, *names)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _stamp(at: float) -> str:
    return (datetime.fromtimestamp(at, UTC) + _LOCAL).strftime("%Y_%m_%d_%H_%M_%S_%f")[:-3]


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _read(body: bytes) -> Mapping[str, object] | None:
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
