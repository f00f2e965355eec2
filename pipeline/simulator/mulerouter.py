"""MuleRouter as an emulator: written from the vendor's pages, stricter than the vendor where those are silent.

*Source* - API pages of qwen-image-max and qwen-image-edit-max, read 2026-11; what they do not say is marked ours.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pipeline.simulator import desk
from pipeline.simulator.books import Books
from pipeline.simulator.desk import Desk
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.orders import Operation, Order
from pipeline.simulator.pictures import PictureLimits, SeenPicture
from pipeline.values.digest import JSON, sha256_hex
from pipeline.values.wire import Response

NAME: Final = "mulerouter"

#: {model: micro-USD for each image}, from the pages' "Pricing": $0.075 both; edit-plus $0.03 on edit-max's page.
PRICES: Final[Mapping[str, int]] = {
    "qwen-image-max": 75_000,
    "qwen-image-edit-max": 75_000,
    "qwen-image-edit-plus": 30_000,
}
#: "Available options" of qwen-image-max, the first being the default.
SIZES: Final = ("1664*928", "1472*1104", "1328*1328", "1104*1472", "928*1664")
#: "Image Requirements" of qwen-image-edit-max. MB is read as 2^20 bytes, the laxer reading: ours.
PICTURES: Final = PictureLimits(384, 3072, 10 * 2**20, ("JPEG", "MPO", "PNG", "BMP", "TIFF", "WEBP", "GIF"))
PROMPT_MAX: Final = 800
NEGATIVE_PROMPT_MAX: Final = 500
SEED_MAX: Final = 2_147_483_647
#: "Width and height must be in range [512, 2048] pixels"; a bound on n; the area of an edit without a size.
SIDE_MIN, SIDE_MAX, N_MAX, EDIT_AREA = 512, 2048, 6, 1024 * 1024
#: Result links live for 24 h (documented); finished tasks are remembered as long (ours). Seconds.
LINKS_LIVE_S: Final = 86_400.0
RETENTION_S: Final = 86_400.0
#: A task is `pending` for this part of its time and then `processing`: ours.
PENDING_PART: Final = 0.1

_TARGET: Final = re.compile(r"/vendors/alibaba/v1/([^/?]+)/generation(?:/([^/?]+))?")
_SIZE: Final = re.compile(r"([1-9]\d{0,4})\*([1-9]\d{0,4})", re.ASCII)
_GENERATE_FIELDS: Final = ("prompt", "negative_prompt", "size", "prompt_extend", "seed", "safety_filter")
_EDIT_FIELDS: Final = ("images", *_GENERATE_FIELDS, "n")


def handle(books: Books, request: WireRequest, now: float) -> Exchange:
    """Answer one request to the API."""
    agent = request.headers.get("user-agent", "")
    if any(part in agent for part in books.faults.banned_user_agents):
        return Exchange(books.latency_s(request.target, now), page_response(403, "Access denied | error code: 1010"))
    target = _TARGET.fullmatch(request.target.partition("?")[0])
    if request.method == "POST" and target is not None and target[2] is None and target[1] in PRICES:
        exchange = _submit(books, target[1], request, now)
    else:
        exchange = _ask(books, target, request, now)
    return _traced(exchange, books, request, now)


# --- submit -------------------------------------------------------------------------------------------------------


def _submit(books: Books, model: str, request: WireRequest, now: float) -> Exchange:
    body = _read(request.body)
    prompt = body.get("prompt") if body is not None else None

    def take(occasion: str) -> Operation | Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _problem(400, "Invalid Request", "Content-Type must be application/json")
        if body is None:
            return _problem(400, "Invalid Request", "the body must be one JSON object")
        order, pictures, wrong = read_order(model, body, lambda text: books.look(text, PICTURES))
        if order is None:
            return _problem(400, "Invalid Request", "; ".join(wrong))
        return books.accept(order, pictures, occasion, now)

    return desk.submit(
        _DESK,
        books,
        request,
        now,
        lane=f"{NAME}/{model}",
        prompt=prompt if isinstance(prompt, str) else "",
        take=take,
        answer=lambda operation: json_response(202, {"task_info": _task_info(operation, now)}),
    )


# --- poll ---------------------------------------------------------------------------------------------------------


def _ask(books: Books, target: re.Match[str] | None, request: WireRequest, now: float) -> Exchange:
    delay_s = books.latency_s(request.target, now)
    refusal = _gate(request)
    if refusal is not None:
        return Exchange(delay_s, refusal)
    if target is None or target[1] not in PRICES:
        return Exchange(delay_s, _problem(404, "Not Found", "the requested path does not exist"))
    if target[2] is None or request.method != "GET":
        return Exchange(delay_s, _problem(405, "Method Not Allowed", f"{request.method} is not allowed here"))
    operation = books.operations.get(target[2])
    if operation is None or operation.order.gateway != NAME or operation.order.model != target[1]:
        return Exchange(delay_s, _no_task(target[2]))
    return desk.ask(
        _DESK, books, operation, request, now, answer=lambda occasion: _stand(books, operation, occasion, now)
    )


def _stand(books: Books, operation: Operation, occasion: str, now: float) -> Response:
    if operation.vanished or (operation.has_ended(now) and now >= operation.ends_at + RETENTION_S):
        return _no_task(operation.id)
    told: dict[str, JSON] = {"task_info": _task_info(operation, now)}
    if operation.billed_images(now):
        expires = desk.expires_s(books, operation, occasion, LINKS_LIVE_S, now)
        told["images"] = [books.link(operation, index, expires) for index in range(operation.images)]
    return json_response(200, told)


def _task_info(operation: Operation, now: float) -> dict[str, JSON]:
    processing_at = operation.accepted_at + PENDING_PART * (operation.ends_at - operation.accepted_at)
    info: dict[str, JSON] = {"id": operation.id, "created_at": _timestamp(operation.accepted_at)}
    if not operation.has_ended(now):
        started = now >= processing_at and now > operation.accepted_at
        info["status"] = "processing" if started else "pending"
        info["updated_at"] = _timestamp(processing_at if started else operation.accepted_at)
        return info
    info["status"] = "completed" if operation.end == "completed" else "failed"
    info["updated_at"] = _timestamp(operation.ends_at)
    if operation.end == "moderated":
        detail = "The prompt contains prohibited content"
        info["error"] = {"code": 3001, "title": "Invalid Request", "detail": detail}
    elif operation.end == "failed":
        detail = "The task failed while it was being executed"
        info["error"] = {"code": 3001, "title": "Task Execution Error", "detail": detail}
    return info


# --- the rules of a request body ----------------------------------------------------------------------------------


def read_order(
    model: str, body: Mapping[str, object], look: Callable[[str], SeenPicture | str]
) -> tuple[Order | None, tuple[SeenPicture, ...], list[str]]:
    """A request body as an order, or everything that is wrong with it. Unknown fields are wrong: ours, the stricter."""
    edits = model != "qwen-image-max"
    known = _EDIT_FIELDS if edits else _GENERATE_FIELDS
    wrong = [f"{key}: unknown field, known fields are {', '.join(known)}" for key in body if key not in known]
    wrong += _text_faults(body) + _choice_faults(body)
    pictures = _pictures(body.get("images"), look, wrong) if edits else ()
    width, height = _edit_size(body, pictures, wrong) if edits else _listed_size(body, wrong)
    n = body.get("n", 1) if edits else 1
    if not _is_int(n, 1, N_MAX):
        wrong.append(f"n: value must be an integer from 1 to {N_MAX}")
    if wrong:
        return None, (), wrong
    seed, negative = body.get("seed"), body.get("negative_prompt")
    order = Order(
        gateway=NAME,
        model=model,
        prompt=str(body["prompt"]),
        negative_prompt=negative if isinstance(negative, str) else "",
        width=width,
        height=height,
        n=n if isinstance(n, int) else 1,
        seed=seed if isinstance(seed, int) else None,
        inputs=tuple(picture.digest for picture in pictures),
        micros_per_image=PRICES[model],
    )
    return order, pictures, []


def _text_faults(body: Mapping[str, object]) -> list[str]:
    wrong = []
    prompt, negative = body.get("prompt"), body.get("negative_prompt")
    if "prompt" not in body:
        wrong.append("prompt: field required")
    elif not isinstance(prompt, str) or not prompt.strip():
        wrong.append("prompt: value must be a non-empty string")
    elif len(prompt) > PROMPT_MAX:
        wrong.append(f"prompt: at most {PROMPT_MAX} characters, has {len(prompt)}")
    if negative is not None and not isinstance(negative, str):
        wrong.append("negative_prompt: value must be a string or null")
    elif isinstance(negative, str) and len(negative) > NEGATIVE_PROMPT_MAX:
        wrong.append(f"negative_prompt: at most {NEGATIVE_PROMPT_MAX} characters, has {len(negative)}")
    return wrong


def _choice_faults(body: Mapping[str, object]) -> list[str]:
    wrong = []
    if not isinstance(body.get("prompt_extend", True), bool):
        wrong.append("prompt_extend: value must be true or false")
    if not isinstance(body.get("safety_filter"), bool | None):
        wrong.append("safety_filter: value must be true, false or null")
    if "seed" in body and not _is_int(body["seed"], 0, SEED_MAX):
        wrong.append(f"seed: value must be an integer from 0 to {SEED_MAX}")
    return wrong


def _pictures(value: object, look: Callable[[str], SeenPicture | str], wrong: list[str]) -> tuple[SeenPicture, ...]:
    if value is None:
        wrong.append("images: field required")
        return ()
    if not isinstance(value, list) or not 1 <= len(value) <= 3:
        wrong.append("images: value must be an array of 1 to 3 strings")
        return ()
    seen = []
    for index, text in enumerate(value):
        found = look(text) if isinstance(text, str) and text else "must be a non-empty string"
        if isinstance(found, str):
            wrong.append(f"images[{index}]: {found}")
        else:
            seen.append(found)
    return tuple(seen)


def _listed_size(body: Mapping[str, object], wrong: list[str]) -> tuple[int, int]:
    size = body.get("size", SIZES[0])
    if not isinstance(size, str) or size not in SIZES:
        wrong.append(f"size: value must be one of {', '.join(SIZES)}")
        return 0, 0
    width, _, height = size.partition("*")
    return int(width), int(height)


def _edit_size(body: Mapping[str, object], pictures: tuple[SeenPicture, ...], wrong: list[str]) -> tuple[int, int]:
    """The size asked for, or one near 1024*1024 in the ratio of the last picture, in steps of 16 (ours)."""
    if "size" not in body:
        last = pictures[-1] if pictures else None
        ratio = last.width / last.height if last is not None and last.height else 1.0
        width = math.sqrt(EDIT_AREA * ratio)
        return 16 * round(width / 16), 16 * round(width / ratio / 16)
    size = body["size"]
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None or not all(SIDE_MIN <= int(side) <= SIDE_MAX for side in match.groups()):
        wrong.append(f"size: value must be width*height, each from {SIDE_MIN} to {SIDE_MAX}")
        return 0, 0
    return int(match[1]), int(match[2])


def _is_int(value: object, minimum: int, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum


# --- answers ------------------------------------------------------------------------------------------------------


def _gate(request: WireRequest) -> Response | None:
    """401 unless a key comes in the one accepted form. The second sentence was observed."""
    authorization = request.headers.get("authorization", "")
    if not authorization:
        return _problem(401, "Unauthorized", "Authorization header is missing")
    if not re.fullmatch(r"Bearer [!-~]+", authorization):
        return _problem(401, "Unauthorized", "Invalid Authorization header format")
    return None


def _problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    told: JSON = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    answer = json_response(status, told, headers)
    return Response(status, answer.body, {**answer.headers, "content-type": "application/problem+json"})


def _of_the_work(operation: Operation, chance: float) -> Response:
    """A 400 that names an accepted operation where nobody expects it: ours."""
    more: tuple[dict[str, JSON], ...] = (
        {"task_info": {"id": operation.id, "status": "failed"}},
        {"data": {"task_id": operation.id}},
        {"context": [{"operationId": operation.id}]},
        {"meta": {"usage": {"image_count": operation.order.n}}},
        {"detail": f"The task id {operation.id} could not be executed"},
    )
    told: dict[str, JSON] = {"title": "Invalid Request", "status": 400, "detail": "the request cannot be executed"}
    return json_response(400, {**told, **more[int(chance * len(more))]})


_DESK: Final = Desk(
    gate=_gate,
    too_many=lambda headers: _problem(429, "Too Many Requests", "rate limit exceeded, try again later", headers),
    unavailable=lambda: _problem(503, "Service Unavailable", "try again later"),
    upstream=lambda: _problem(502, "Bad Gateway", "the upstream did not answer in time"),
    wrong_after=_of_the_work,
)


def _no_task(identity: str) -> Response:
    return _problem(404, "Not Found", f"The task id {identity[:64]} does not exist")


def _traced(exchange: Exchange, books: Books, request: WireRequest, now: float) -> Exchange:
    """Give the answer its `traceparent`, by which the vendor's support finds it."""
    if exchange.response is None:
        return exchange
    trace = sha256_hex(f"{books.dice.seed}/{request.method}/{request.target}/{now}".encode())
    headers = {**exchange.response.headers, "traceparent": f"00-{trace[:32]}-{trace[32:48]}-01"}
    answer = Response(exchange.response.status, exchange.response.body, headers)
    return Exchange(exchange.delay_s, answer, exchange.cut)


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(body: bytes) -> Mapping[str, object] | None:
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
