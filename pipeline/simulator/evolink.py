"""Evolink as an emulator: tasks, credits and the file service, stricter than the vendor where its pages are silent.

*Source* - API page of qwen-image-edit-plus, the vendor's pages on tasks, task errors and credits, and its client, read
2026-11; what they do not say is marked ours. Callbacks are checked and never made; nothing can be cancelled, because no
route for it was found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pipeline.simulator import desk, evolink_files, evolink_orders
from pipeline.simulator.books import Books
from pipeline.simulator.desk import Desk
from pipeline.simulator.evolink_orders import PRICES, Wrong, read_order
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.orders import Operation
from pipeline.simulator.pictures import SeenPicture
from pipeline.values.digest import JSON, sha256_hex
from pipeline.values.wire import Response

NAME: Final = evolink_orders.NAME
#: Result links live for 24 h (documented); finished tasks are remembered for three days (ours). Seconds.
LINKS_LIVE_S: Final = 86_400.0
RETENTION_S: Final = 3 * 86_400.0
#: A task is `pending` for this part of its time and then `processing`: ours.
PENDING_PART: Final = 0.1
#: So many completed tasks have their links in `result_data` too, and a quarter of these there alone: ours.
RESULT_DATA_PART: Final = 0.25
#: So many of the tasks that fail were cancelled, as a callback's words have it (documented): ours.
CANCELLED_PART: Final = 1 / 16
#: What the account had at the start, in 10^-6 credits: ours.
START_MICROS: Final = 10**12
#: Why a task fails, one of them by chance: codes that the vendor's page calls worth another try.
FAILURES: Final[Mapping[str, str]] = {
    "generation_failed_no_content": "The model returned no image. Please try again.",
    "generation_timeout": "Generation timed out.",
    "service_error": "The service had an error. Please retry later.",
    "service_unavailable": "The service is temporarily unavailable.",
    "resource_exhausted": "Resources are exhausted. Please retry later.",
    "unknown_error": "Unknown error.",
    "quota_exceeded": "The quota is exceeded. Please retry later.",
}

_TASK: Final = re.compile(r"/v1/tasks/([^/?]+)")
_ID: Final = re.compile(r"task-unified-\d+-[a-z0-9]{8}", re.ASCII)
_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)


def handle(books: Books, request: WireRequest, now: float) -> Exchange:
    """Answer one request to the API or to the file service."""
    agent = request.headers.get("user-agent", "")
    if any(part in agent for part in books.faults.banned_user_agents):
        return Exchange(books.latency_s(request.target, now), page_response(403, "Access denied | error code: 1010"))
    if request.base:
        exchange = evolink_files.handle(books, request, now, _gate)
    elif request.method == "POST" and request.target == "/v1/images/generations":
        exchange = _submit(books, request, now)
    else:
        exchange = _ask(books, request, now)
    return _named(exchange, books, request, now)


# --- submit -------------------------------------------------------------------------------------------------------


def _submit(books: Books, request: WireRequest, now: float) -> Exchange:
    body = _read(request.body)
    model, prompt = body.get("model"), body.get("prompt")
    name, hint = (text if isinstance(text, str) else "" for text in (model, prompt))
    return desk.submit(
        _DESK,
        books,
        request,
        now,
        lane=f"evolink/{name}",
        prompt=hint,
        take=lambda occasion: _take(books, request, body, occasion, now),
        answer=lambda operation: json_response(200, _first(operation)),
    )


def _take(
    books: Books, request: WireRequest, body: Mapping[str, object], occasion: str, now: float
) -> Operation | Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json" or not body:
        return _refusal(400, "invalid_parameters", "the body must be one JSON object, as application/json")
    key, digest = request.headers.get("idempotency-key"), sha256_hex(request.body)
    if key is not None and not _KEY.fullmatch(key):
        return _refusal(400, "invalid_parameters", "Idempotency-Key must have 1 to 255 visible characters")
    known = books.operations.get(books.keyed.get((NAME, key), "")) if key is not None else None
    if known is not None:
        return _again(known, digest)
    model = body.get("model")
    if not isinstance(model, str) or model not in PRICES:
        return _refusal(400, "invalid_parameters", f"must be one of {', '.join(PRICES)}", param="model")

    def look(link: str) -> SeenPicture | Wrong:
        chance = f"{occasion}/{link}"
        return evolink_files.look_behind(
            books, link, now, lost=lambda: books.strikes("lost_upload", chance, str(body.get("prompt")))
        )

    order, pictures, wrong = read_order(model, body, look)
    if order is None:
        message = "; ".join(f"{each.field}: {each.what}" for each in wrong)
        return _refusal(400, wrong[0].code, message, param=wrong[0].field)
    notes: dict[str, JSON] = {} if key is None else {"key": key, "body": digest}
    identity = f"task-unified-{int(now)}-{books.new_name('task', occasion)[:8]}"
    return books.accept(replace(order, notes=notes), pictures, occasion, now, identity=identity)


def _again(known: Operation, digest: str) -> Response:
    """The key was used before: the same answer once more, or a conflict when something else is asked for."""
    if known.order.notes.get("body") != digest:
        message = "this idempotency key was used for a different request"
        return _refusal(409, "idempotency_conflict", message)
    return json_response(200, _first(known), {"idempotency-replayed": "true"})


# --- questions ----------------------------------------------------------------------------------------------------


def _ask(books: Books, request: WireRequest, now: float) -> Exchange:
    delay_s = books.latency_s(request.target, now)
    path = request.target.partition("?")[0]
    if path == "/v1/credits" and request.method == "GET":
        # On this page the code of an error is a number.
        refusal = None if _gate(request) is None else _refusal(401, 401, "Invalid API key", kind="authentication_error")
        return Exchange(delay_s, refusal or json_response(200, _credits(books, now)))
    refusal = _gate(request)
    if refusal is not None:
        return Exchange(delay_s, refusal)
    task = _TASK.fullmatch(path)
    if task is None or request.method != "GET":
        return Exchange(delay_s, _refusal(404, "not_found", f"no such endpoint: {request.method} {path[:80]}"))
    if not _ID.fullmatch(task[1]):
        return Exchange(delay_s, _refusal(400, "invalid_task_id", "a task id begins with task-unified-", param="id"))
    operation = books.operations.get(task[1])
    if operation is None or operation.order.gateway != NAME:
        return Exchange(delay_s, _no_task(task[1]))
    return desk.ask(
        _DESK, books, operation, request, now, answer=lambda occasion: _stand(books, operation, occasion, now)
    )


def _stand(books: Books, operation: Operation, occasion: str, now: float) -> Response:
    if operation.vanished or (operation.has_ended(now) and now >= operation.ends_at + RETENTION_S):
        return _no_task(operation.id)
    told = _task(operation)
    if not operation.has_ended(now):
        passed = max(0.0, now - operation.accepted_at) / max(operation.ends_at - operation.accepted_at, 0.001)
        told["status"] = "processing" if passed >= PENDING_PART else "pending"
        told["progress"] = min(99, int(100 * passed)) if passed >= PENDING_PART else 0
        left = max(1, round(operation.ends_at - now))
        told["task_info"] = {"can_cancel": True, "estimated_time": left}
        return json_response(200, told)
    told["task_info"] = {"can_cancel": False}
    if operation.end == "completed":
        expires = desk.expires_s(books, operation, occasion, LINKS_LIVE_S, now)
        told |= {"status": "completed", "progress": 100}
        links: list[JSON] = [books.link(operation, index, expires) for index in range(operation.images)]
        where = books.dice.chance("where", operation.id)
        # Some models tell their links once more, with more about each (observed); now and then only so: ours.
        if where < RESULT_DATA_PART:
            told["result_data"] = [{"image_url": link} for link in links]
        told["results"] = [] if where < RESULT_DATA_PART / 4 else links
        used = {"credits_used": _credits_text(operation.billed_micros(now))}
        told["usage"] = {**_usage(operation), **used}
        return json_response(200, told)
    told |= {"status": "failed", "progress": 0, "error": _failure(books, operation)}
    return json_response(200, told)


def _failure(books: Books, operation: Operation) -> JSON:
    code = "content_policy_violation"
    message = "Content policy violation.\nYour request was blocked by safety filters."
    if operation.end == "canceled" or (
        operation.end == "failed" and books.dice.chance("cancelled", operation.id) < CANCELLED_PART
    ):
        code, message = "request_cancelled", "The request was cancelled."
    elif operation.end == "failed":
        code, message = list(FAILURES.items())[int(books.dice.chance("why", operation.id) * len(FAILURES))]
    return {"code": code, "message": message, "type": "task_error"}


def _credits(books: Books, now: float) -> JSON:
    """What was made, and what is reserved for what is being made: "pre-charged based on the value of n"."""
    own = [operation for operation in books.operations.values() if operation.order.gateway == NAME]
    used = sum(each.billed_micros(now) if each.has_ended(now) else _reserved(each) for each in own)
    rest = {"remaining_credits": _credits_text(START_MICROS - used), "used_credits": _credits_text(used)}
    return {"success": True, "message": "", "data": {"user": rest, "token": {**rest, "unlimited_credits": False}}}


# --- answers ------------------------------------------------------------------------------------------------------


def _task(operation: Operation) -> dict[str, JSON]:
    return {
        "created": int(operation.accepted_at),
        "id": operation.id,
        "model": operation.order.model,
        "object": "image.generation.task",
        "type": "image",
    }


def _first(operation: Operation) -> dict[str, JSON]:
    """The answer to an accepted submit, the same whenever it is repeated."""
    return {
        **_task(operation),
        "progress": 0,
        "status": "pending",
        "task_info": {"can_cancel": True, "estimated_time": 30},
        "usage": _usage(operation),
    }


def _usage(operation: Operation) -> dict[str, JSON]:
    rule = "per_image" if operation.order.model.startswith("qwen-image-3.0") else "per_call"
    reserved = _credits_text(_reserved(operation))
    return {"billing_rule": rule, "credits_reserved": reserved, "user_group": "default"}


def _reserved(operation: Operation) -> int:
    return operation.order.n * operation.order.micros_per_image + operation.order.micros_per_call


def _credits_text(micros: int) -> float:
    """Credits as a JSON number with four decimals."""
    return round(micros / 1_000_000, 4)


def _gate(request: WireRequest) -> Response | None:
    """401 unless a key comes as the page says."""
    if re.fullmatch(r"Bearer [!-~]+", request.headers.get("authorization", "")):
        return None
    return _refusal(401, "unauthorized", "Invalid or missing API key", kind="authentication_error")


def _refusal(
    status: int,
    code: str | int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    error: dict[str, JSON] = {"code": code, "message": message, "type": kind}
    if param:
        error["param"] = param
    return json_response(status, {"error": error}, headers)


def _of_the_work(operation: Operation, chance: float) -> Response:
    """A 400 that names an accepted task where nobody expects it: ours."""
    error: dict[str, JSON] = {"code": "invalid_parameters", "message": "cannot be made", "type": "task_error"}
    answers: tuple[JSON, ...] = (
        {"error": error, "data": {"id": operation.id}},
        {"error": {**error, "task_id": operation.id}},
        {"error": error, "usage": {"credits_used": _credits_text(_reserved(operation))}},
        {"error": {**error, "message": f"{operation.id} cannot be made"}},
    )
    return json_response(400, answers[int(chance * len(answers))])


def _no_task(identity: str) -> Response:
    return _refusal(404, "task_not_found", f"task not found: {identity[:64]}")


def _named(exchange: Exchange, books: Books, request: WireRequest, now: float) -> Exchange:
    """Give the answer an id by which the vendor's support finds it."""
    if exchange.response is None:
        return exchange
    trace = sha256_hex(f"{books.dice.seed}/{request.method}/{request.target}/{now}".encode())[:24]
    headers = {**exchange.response.headers, "x-request-id": trace}
    return replace(exchange, response=replace(exchange.response, headers=headers))


def _read(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


_DESK: Final = Desk(
    gate=_gate,
    too_many=lambda headers: _refusal(
        429, "rate_limit_exceeded", "Too many requests, slow down", kind="evo_api_error", headers=headers
    ),
    unavailable=lambda: _refusal(503, "service_unavailable", "try again later", kind="service_unavailable_error"),
    upstream=lambda: _refusal(502, "upstream_error", "the upstream did not answer in time", kind="upstream_error"),
    wrong_after=_of_the_work,
)
