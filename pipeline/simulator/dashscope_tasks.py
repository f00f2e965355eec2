"""DashScope's tasks as an emulator: how one stands, the list of them, and taking one back.

*Source* - the vendor's page on asynchronous tasks and the asynchronous page of its Qwen text-to-image models, read
2026-11; what they do not say is marked ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from pipeline.simulator.books import Books
from pipeline.simulator.dashscope_orders import NAME, Wrong
from pipeline.simulator.orders import Operation
from pipeline.values.digest import JSON

#: Ended tasks are kept for 24 h (documented), and a list spans as much at most. Seconds.
RETENTION_S: Final = 86_400.0
#: A task is PENDING for this part of its time and then RUNNING: ours.
PENDING_PART: Final = 0.1
#: Times without a zone are those of Beijing: from the vendor's events, which have both.
ZONE: Final = timezone(timedelta(hours=8))
#: The largest page of a list: ours.
PAGE_MAX: Final = 100

_KEYS: Final = {
    *("task_id", "start_time", "end_time", "model_name", "status"),
    *("page_no", "page_size", "api_key_id", "region"),
}
_STATES: Final = ("PENDING", "RUNNING", "SUSPENDED", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN")
_NUMBER: Final = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_TIME: Final = re.compile(r"\d{14}", re.ASCII)
_ENDS: Final = {"completed": "SUCCEEDED", "failed": "FAILED", "moderated": "FAILED", "canceled": "CANCELED"}


def task_answer(books: Books, operation: Operation, expires: int, now: float) -> dict[str, JSON]:
    """How a task stands. One that is gone is UNKNOWN, with status 200."""
    status = _status(operation, now)
    output: dict[str, JSON] = {"task_id": operation.id, "task_status": status}
    if status == "UNKNOWN":
        return {"output": output}
    output["submit_time"] = _text_time(operation.accepted_at)
    if status != "PENDING":
        output["scheduled_time"] = _text_time(_begins_at(operation))
    if not operation.has_ended(now):
        return {"output": output}
    output["end_time"] = _text_time(operation.ends_at)
    match operation.end:
        case "moderated":
            output |= {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}
        case "failed":
            output |= {"code": "InternalError.Algo", "message": "inference internal error."}
        case "completed":
            links = [books.link(operation, index, expires) for index in range(operation.images)]
            output["results"] = [{**_prompts(operation), "url": link} for link in links]
            output["task_metrics"] = {"TOTAL": operation.order.n, "SUCCEEDED": len(links), "FAILED": 0}
            return {"output": output, "usage": {"image_count": len(links)}}
    return {"output": output}


def listing(books: Books, query: Mapping[str, str], now: float) -> dict[str, JSON] | Wrong:
    """A page of the account's tasks, latest first (the order is ours); at most a day of them, by default the last."""
    if unknown := sorted(set(query) - _KEYS):
        return Wrong(f"unknown parameter {unknown[0]}")
    span = _span(query, now)
    if isinstance(span, Wrong):
        return span
    number, size = query.get("page_no", "1"), query.get("page_size", "10")
    if not _NUMBER.fullmatch(number) or not _NUMBER.fullmatch(size) or int(size) > PAGE_MAX:
        return Wrong(f"page_no counts from 1, page_size from 1 to {PAGE_MAX}")
    if "status" in query and query["status"] not in _STATES:
        return Wrong(f"status must be one of {', '.join(_STATES)}")
    found = [_entry(operation, now) for operation in _tasks(books, query, span, now)][::-1]
    start = (int(number) - 1) * int(size)
    page: list[JSON] = [*found[start : start + int(size)]]
    return {
        "total": len(found),
        "data": page,
        "total_page": -(-len(found) // int(size)),
        "page_no": int(number),
        "page_size": int(size),
    }


def cancel(books: Books, identity: str, now: float) -> bool:
    """Take a task back; False when it is not PENDING any more, or there is none."""
    operation = books.operations.get(identity)
    if operation is None or operation.order.gateway != NAME or operation.order.notes.get("mode") != "task":
        return False
    if _status(operation, now) != "PENDING":
        return False
    books.cancel(operation, now)
    return True


def _begins_at(operation: Operation) -> float:
    return operation.accepted_at + PENDING_PART * (operation.ends_at - operation.accepted_at)


def _status(operation: Operation, now: float) -> str:
    if operation.vanished or (operation.has_ended(now) and now >= operation.ends_at + RETENTION_S):
        return "UNKNOWN"
    if operation.has_ended(now):
        return _ENDS[operation.end]
    return "RUNNING" if now >= _begins_at(operation) and now > operation.accepted_at else "PENDING"


def _prompts(operation: Operation) -> dict[str, JSON]:
    """The prompt as it came, and as a language model rewrote it: here, always with the same words."""
    prompt = operation.order.prompt
    rewritten = f"{prompt} Every detail is carefully drawn." if operation.order.notes.get("extends") else prompt
    return {"orig_prompt": prompt, "actual_prompt": rewritten}


def _span(query: Mapping[str, str], now: float) -> tuple[float, float] | Wrong:
    times = [_seconds(query[key]) if key in query else None for key in ("start_time", "end_time")]
    if any(key in query and time is None for key, time in zip(("start_time", "end_time"), times, strict=True)):
        return Wrong("start_time and end_time are written YYYYMMDDhhmmss")
    start, end = times
    if end is None:
        end = now if start is None else start + RETENTION_S
    if start is None:
        start = end - RETENTION_S
    if not 0 <= end - start <= RETENTION_S:
        return Wrong("the time range must not exceed 24 hours")
    return start, end


def _tasks(books: Books, query: Mapping[str, str], span: tuple[float, float], now: float) -> Iterator[Operation]:
    for operation in books.operations.values():
        order, status = operation.order, _status(operation, now)
        if order.gateway != NAME or order.notes.get("mode") != "task" or status == "UNKNOWN":
            continue
        # Both ends are whole seconds, and the last one belongs to the span.
        if not span[0] <= operation.accepted_at < span[1] + 1:
            continue
        if query.get("model_name", order.model) != order.model or query.get("status", status) != status:
            continue
        if query.get("task_id", operation.id) == operation.id:
            yield operation


def _entry(operation: Operation, now: float) -> dict[str, JSON]:
    entry: dict[str, JSON] = {
        "api_key_id": "100001",
        "caller_parent_id": "1000000000000001",
        "caller_uid": "1000000000000001",
        "gmt_create": int(operation.accepted_at * 1000),
        "model_name": operation.order.model,
        "region": "ap-southeast-1",
        "request_id": operation.id[::-1],
        "status": _status(operation, now),
        "task_id": operation.id,
        "user_api_unique_key": f"apikey:v1:aigc:text2image:image-synthesis:{operation.order.model}",
    }
    if entry["status"] != "PENDING":
        entry["start_time"] = int(_begins_at(operation) * 1000)
    if operation.has_ended(now):
        entry["end_time"] = int(operation.ends_at * 1000)
    return entry


def _at(seconds: float) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC).astimezone(ZONE) + timedelta(seconds=seconds)


def _text_time(seconds: float) -> str:
    return _at(seconds).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _seconds(text: str) -> float | None:
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ZONE).timestamp()
    except ValueError:
        return None
