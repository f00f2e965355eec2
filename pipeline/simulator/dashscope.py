"""DashScope as an emulator: calls that answer with pictures, tasks with a list and a cancel, and temporary storage.

*Source* - the vendor's pages on image editing, the Qwen image API, asynchronous tasks and error codes, and what its own
client asks for, read 2026-11; what they do not say is marked ours. It is the international site: it bills in USD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

from pipeline.simulator import dashscope_storage, desk
from pipeline.simulator.books import Books
from pipeline.simulator.dashscope_orders import (
    DATA_URI_MAX,
    NAME,
    PICTURES,
    TASK_MODELS,
    URL_ERROR,
    Wrong,
    family,
    read_call,
    read_task,
)
from pipeline.simulator.dashscope_tasks import cancel, listing, task_answer
from pipeline.simulator.desk import Desk
from pipeline.simulator.exchange import Exchange, WireRequest, json_response, page_response
from pipeline.simulator.orders import Operation, Order
from pipeline.simulator.pictures import SeenPicture
from pipeline.values.digest import JSON, sha256_hex
from pipeline.values.wire import Response

__all__ = ["NAME", "handle"]

#: Result links live for 24 h (documented). Seconds.
LINKS_LIVE_S: Final = 86_400.0
#: So many calls are answered in each of the odd ways that clients expect: ours.
ODD_PART: Final = 0.15
ROOT: Final = "/api/v1"
CALLS: Final = f"{ROOT}/services/aigc/multimodal-generation/generation"
TASKS: Final = f"{ROOT}/services/aigc/text2image/image-synthesis"
_TASK: Final = re.compile(rf"{ROOT}/tasks/([^/?]+)(/cancel)?")
_TOO_MANY: Final = Wrong("Requests rate limit exceeded, please try again later.", "Throttling.RateQuota", 429)
_UNAVAILABLE: Final = Wrong("the service is not available, try again later", "ServiceUnavailable", 503)
_NOT_PENDING: Final = Wrong(
    "Failed to cancel the task, please confirm if the task is in PENDING status.", "UnsupportedOperation"
)
_FIELDS: Final = {"model", "input", "parameters"}


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request to the API, with the id that every answer to it repeats. *Units* - now: seconds."""

    books: Books
    request: WireRequest
    now: float
    request_id: str

    def tell(self, told: Mapping[str, JSON]) -> Response:
        """An answer that is no error."""
        return json_response(200, {**told, "request_id": self.request_id}, {"x-request-id": self.request_id})

    def refuse(self, wrong: Wrong) -> Response:
        """A complete error: with its code and the request's id, and nothing is billed."""
        told: JSON = {"request_id": self.request_id, "code": wrong.code, "message": wrong.message}
        return json_response(wrong.status, told, {"x-request-id": self.request_id})

    def desk(self) -> Desk:
        """How this gateway says what any can say."""
        return Desk(
            gate=lambda _: self.gate(),
            too_many=lambda headers: _with(self.refuse(_TOO_MANY), headers),
            unavailable=lambda: self.refuse(_UNAVAILABLE),
            # An error of the API would say that nothing is billed: what is lost on the way is a proxy's page.
            upstream=lambda: page_response(502, "Bad Gateway"),
            wrong_after=lambda operation, chance: _of_the_work(self, operation, chance),
        )

    def gate(self) -> Response | None:
        """401 unless a key comes in the one documented form."""
        authorization = self.request.headers.get("authorization", "")
        if not authorization:
            return self.refuse(Wrong("No API-key provided.", "InvalidApiKey", 401))
        if not re.fullmatch(r"Bearer [!-~]+", authorization):
            return self.refuse(Wrong("Invalid API-key provided.", "InvalidApiKey", 401))
        return None


def handle(books: Books, request: WireRequest, now: float) -> Exchange:
    """Answer one request to the API, or to the storage's host."""
    if request.base == dashscope_storage.BASE:
        return dashscope_storage.handle(books, request, now)
    name = books.new_name(NAME, "request", request.target, sha256_hex(request.body), now)
    visit = _Visit(books, request, now, f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}")
    path, _, query = request.target.partition("?")
    if request.method == "POST" and path in {CALLS, TASKS} and not request.base:
        return _buy(visit, by_task=path == TASKS)
    task = _TASK.fullmatch(path)
    if visit.gate() is None and task is not None and not task[2] and request.method == "GET":
        return _ask(visit, task[1])
    return Exchange(books.latency_s(request.target, now), visit.gate() or _answer(visit, path, dict(parse_qsl(query))))


def _answer(visit: _Visit, path: str, query: Mapping[str, str]) -> Response:
    """The answer to what buys nothing."""
    method, task = visit.request.method, _TASK.fullmatch(path)
    found: Mapping[str, JSON] | Wrong = Wrong("there is no such address", "NotFound", 404)
    if method == "GET" and path in {f"{ROOT}/tasks", f"{ROOT}/tasks/"}:
        found = listing(visit.books, query, visit.now)
    elif method == "GET" and path == f"{ROOT}/uploads":
        found = _policy(visit, query)
    elif method == "POST" and task is not None and task[2]:
        found = {} if cancel(visit.books, task[1], visit.now) else _NOT_PENDING
    elif path.startswith(f"{ROOT}/services/"):
        # Seen also when a request went to the wrong sort of endpoint.
        found = Wrong(URL_ERROR)
    return visit.refuse(found) if isinstance(found, Wrong) else visit.tell(found)


def _with(response: Response, headers: Mapping[str, str]) -> Response:
    return Response(response.status, response.body, {**response.headers, **headers})


# --- submits ------------------------------------------------------------------------------------------------------


def _buy(visit: _Visit, *, by_task: bool) -> Exchange:
    books, request, now = visit.books, visit.request, visit.now
    body = _read(request.body)
    prompt = _hint(body)

    def take(occasion: str) -> Operation | Response:
        if body is None:
            return visit.refuse(Wrong("the body must be one JSON object", "BadRequest.EmptyInput"))
        found: tuple[Order, tuple[SeenPicture, ...]] | Wrong | None = _wrong_form(request, body, by_task=by_task)
        if found is None and by_task:
            found = read_task(body)
        elif found is None:
            lost = b"oss://" in request.body and books.strikes("lost_upload", occasion, prompt)
            found = read_call(body, _looker(visit, str(body["model"]), lost=lost))
        return visit.refuse(found) if isinstance(found, Wrong) else books.accept(*found, occasion, now)

    def answer(operation: Operation) -> Response:
        if by_task:
            return visit.tell({"output": {"task_status": "PENDING", "task_id": operation.id}})
        # The vendor's support finds a call by the id of its request: here, one and the same.
        return _called(replace(visit, request_id=operation.id), operation)

    return desk.submit(
        visit.desk(),
        books,
        request,
        now,
        lane=f"{NAME}/{body.get('model') if body is not None else ''}",
        prompt=prompt,
        take=take,
        answer=answer,
        waits=not by_task,
    )


def _wrong_form(request: WireRequest, body: Mapping[str, object], *, by_task: bool) -> Wrong | None:
    """What is wrong with a submit before its contents are read."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Wrong("Content-Type must be application/json", "BadRequest.UnsupportedFileFormat")
    model = family(body.get("model"))
    if "model" not in body:
        return Wrong("Required parameter(model) missing", "BadRequest.EmptyModel")
    if model is None:
        return Wrong("Model not exist.", "ModelNotFound", 404)
    asynchronous = request.headers.get("x-dashscope-async", "").lower() == "enable"
    if asynchronous and (not by_task or model not in TASK_MODELS):
        return Wrong("current user api does not support asynchronous calls", "AccessDenied", 403)
    if by_task and not asynchronous:
        return Wrong("current user api does not support synchronous calls", "AccessDenied", 403)
    if unknown := sorted(set(body) - _FIELDS):
        return Wrong(f"unknown field {unknown[0]}")
    return None


def _looker(visit: _Visit, model: str, *, lost: bool) -> Callable[[str], SeenPicture | Wrong]:
    """Finds an input picture: an address, a data URI, or an upload of this account for this model."""
    books, request = visit.books, visit.request
    resolves = request.headers.get("x-dashscope-ossresourceresolve", "").lower() == "enable"

    def look(text: str) -> SeenPicture | Wrong:
        if text.startswith("oss://"):
            if lost and resolves:
                return Wrong("download image failed: the file does not exist, has expired, or belongs to another model")
            return dashscope_storage.find(books, text, model, visit.now, resolves=resolves)
        if not text.startswith(("http://", "https://", "data:")):
            return Wrong(URL_ERROR)
        if text.startswith("data:") and len(text) > DATA_URI_MAX:
            return Wrong(f"Exceeded limit on max bytes per data-uri item : {DATA_URI_MAX}")
        found = books.look(text, PICTURES)
        return Wrong(f"image: {found}") if isinstance(found, str) else found

    return look


def _called(visit: _Visit, operation: Operation) -> Response:
    """The answer to a call, when its pictures are made: all of them in one choice. Failed calls are not billed."""
    order = operation.order
    chance = visit.books.dice.chance("shape", operation.id)
    if operation.end == "moderated":
        # The vendor's client also expects an error that comes with a 200.
        status = 200 if chance < ODD_PART else 400
        return visit.refuse(Wrong("Output data may contain inappropriate content.", "DataInspectionFailed", status))
    if operation.end == "failed":
        return visit.refuse(Wrong("inference internal error.", "InternalError.Algo", 500))
    expires, made = int(operation.ends_at + LINKS_LIVE_S), operation.images
    parts: list[JSON] = [{"image": visit.books.link(operation, index, expires)} for index in range(made)]
    contents = [parts]
    if chance < ODD_PART:
        # One choice for each picture, as clients expect it.
        contents = [[part] for part in parts]
    elif chance < 2 * ODD_PART:
        # A part that holds words only (observed).
        contents = [[{"text": "Here is the picture."}, *parts]]
    output: dict[str, JSON] = {
        "choices": [
            {"finish_reason": "stop", "message": {"role": "assistant", "content": [*content]}} for content in contents
        ]
    }
    usage: JSON = {"width": order.width, "height": order.height, "image_count": made}
    if (family(order.model) or "").startswith("qwen-image-2."):
        # Newer models tell their usage under other names (observed).
        usage = {"output_width": order.width, "output_height": order.height, "output_image_count": made}
        usage |= {"input_image_count": len(order.inputs)}
    if 2 * ODD_PART <= chance < 3 * ODD_PART:
        # The numbers of a task, and no usage (clients expect it).
        output["task_metric"] = {"TOTAL": order.n, "SUCCEEDED": made, "FAILED": max(0, order.n - made)}
        return visit.tell({"output": output})
    return visit.tell({"output": output, "usage": usage})


def _of_the_work(visit: _Visit, operation: Operation, chance: float) -> Response:
    """A 400 with code and request id that speaks of work all the same, where nobody expects it: ours."""
    more: tuple[dict[str, JSON], ...] = (
        {"output": {"task_id": operation.id}},
        {"data": {"task_id": operation.id}},
        {"usage": {"image_count": operation.order.n}},
        {"output": {"more": {"results": [{}]}}},
    )
    told: JSON = {
        "request_id": visit.request_id,
        "code": "InvalidParameter",
        "message": "cannot be made",
        **more[int(chance * len(more))],
    }
    return json_response(400, told)


def _read(data: bytes) -> Mapping[str, object] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _hint(body: Mapping[str, object] | None) -> str:
    """The prompt of a body that may be anything, for faults that look for words in it."""
    asked = body.get("input") if body is not None else None
    if not isinstance(asked, dict):
        return ""
    messages = asked.get("messages")
    parts = (
        messages[0].get("content") if isinstance(messages, list) and messages and isinstance(messages[0], dict) else ()
    )
    texts = (
        [part["text"] for part in parts if isinstance(part, dict) and "text" in part] if isinstance(parts, list) else []
    )
    found = asked.get("prompt", texts[0] if texts else "")
    return found if isinstance(found, str) else ""


# --- questions ----------------------------------------------------------------------------------------------------


def _ask(visit: _Visit, identity: str) -> Exchange:
    books, now = visit.books, visit.now
    operation = books.operations.get(identity)
    if operation is None or operation.order.gateway != NAME or operation.order.notes.get("mode") != "task":
        unknown: JSON = {"task_id": identity[:64], "task_status": "UNKNOWN"}
        return Exchange(books.latency_s(visit.request.target, now), visit.tell({"output": unknown}))

    def answer(occasion: str) -> Response:
        expires = desk.expires_s(books, operation, occasion, LINKS_LIVE_S, now)
        return visit.tell(task_answer(books, operation, expires, now))

    return desk.ask(visit.desk(), books, operation, visit.request, now, answer=answer)


def _policy(visit: _Visit, query: Mapping[str, str]) -> Mapping[str, JSON] | Wrong:
    model = query.get("model", "")
    if query.get("action") != "getPolicy":
        return Wrong("action must be getPolicy")
    if family(model) is None:
        return Wrong("Model not exist.", "ModelNotFound", 404)
    return {"data": dashscope_storage.policy(visit.books, model, visit.now)}
