"""What every simulated gateway does alike: it takes submits on, answers questions and uploads, misbehaves as planned.

An emulator says how its vendor words things (`Desk`) and what a request means; faults strike here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pipeline.simulator.books import Books
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.orders import Operation
from pipeline.values.wire import Response


@dataclass(frozen=True, slots=True)
class Desk:
    """How one gateway says what any gateway can say."""

    #: Refuses a request that brings no proper key; None: the key is fine.
    gate: Callable[[WireRequest], Response | None]
    #: 429, with the headers that say how long to wait.
    too_many: Callable[[Mapping[str, str]], Response]
    #: 503: try again later.
    unavailable: Callable[[], Response]
    #: 502 or so: what is behind the gateway did not answer in time.
    upstream: Callable[[], Response]
    #: 400 about an operation that was accepted: one of several wordings, by a chance from 0 to 1.
    wrong_after: Callable[[Operation, float], Response] = lambda _, __: Response(400, b"", {})


def submit(
    desk: Desk,
    books: Books,
    request: WireRequest,
    now: float,
    *,
    lane: str,
    prompt: str,
    take: Callable[[str], Operation | Response],
    answer: Callable[[Operation], Response],
    waits: bool = False,
) -> Exchange:
    """Answer a paid POST, with everything that can befall it before and after it was accepted.

    `take` is told the occasion; it accepts the order with it (`books.accept`) and gives the operation, or gives the
    response of a refusal, or of one that repeats an earlier answer. `answer` words the acceptance. With `waits` the
    answer comes when the operation has ended, and `answer` words that end.
    """
    occasion = books.occasion(lane, request.body)
    delay_s = books.latency_s(request.target, now)
    if books.strikes("cut_before", occasion, prompt):
        return Exchange(delay_s, None, "before")
    refusal = desk.gate(request) or _pace(desk, books, lane, now, occasion=occasion, prompt=prompt)
    taken = refusal or take(occasion)
    if isinstance(taken, Response):
        return Exchange(delay_s, taken)
    if waits:
        if taken.end == "stuck":
            return Exchange(delay_s, None)
        delay_s += taken.ends_at - now
    if books.strikes("bad_request_after", occasion, prompt):
        return Exchange(delay_s, desk.wrong_after(taken, books.dice.chance("wording", occasion)))
    return _deliver(desk, books, answer(taken), delay_s, occasion=occasion, prompt=prompt)


def _pace(desk: Desk, books: Books, lane: str, now: float, *, occasion: str, prompt: str) -> Response | None:
    over, wait_s = books.over_the_rate(lane, now)
    if over or books.strikes("rate_limited", occasion, prompt):
        return desk.too_many({} if wait_s is None else {"retry-after": f"{wait_s:g}"})
    return desk.unavailable() if books.strikes("server_error_before", occasion, prompt) else None


def _deliver(desk: Desk, books: Books, answer: Response, delay_s: float, *, occasion: str, prompt: str) -> Exchange:
    """The answer to an accepted submit, and everything that can befall it on the way."""
    if books.strikes("server_error_after", occasion, prompt):
        return Exchange(delay_s, desk.upstream())
    if books.strikes("cut_after", occasion, prompt):
        return Exchange(delay_s, None, "after")
    if books.strikes("cut_mid", occasion, prompt):
        return Exchange(delay_s, answer, "mid")
    if books.strikes("malformed_submit", occasion, prompt):
        return Exchange(delay_s, Response(answer.status, answer.body[: len(answer.body) // 2], answer.headers))
    return Exchange(delay_s, answer)


def ask(
    desk: Desk,
    books: Books,
    operation: Operation,
    request: WireRequest,
    now: float,
    *,
    answer: Callable[[str], Response],
) -> Exchange:
    """Answer a question about an operation whose key was checked already; `answer` is told the occasion."""
    delay_s = books.latency_s(request.target, now)
    occasion, prompt = f"{operation.id}/{now:.3f}", operation.order.prompt
    if books.strikes("cut_poll", occasion, prompt):
        return Exchange(delay_s, None, "after")
    if books.strikes("server_error_poll", occasion, prompt):
        return Exchange(delay_s, desk.unavailable())
    told = answer(occasion)
    if told.status < 400 and books.strikes("malformed_poll", occasion, prompt):
        told = replace(told, body=b"<" + told.body[: len(told.body) // 2])
    return Exchange(delay_s, told)


def upload(desk: Desk, books: Books, request: WireRequest, now: float, keep: Callable[[str], Response]) -> Exchange:
    """Answer an upload, which is free. `keep` is told the occasion; it keeps what came, or refuses it.

    Where the key is not asked for, as at a vendor's storage host, give a desk whose gate is open.
    """
    occasion = books.occasion("upload", request.body)
    delay_s = books.latency_s(request.target, now)
    refusal = desk.gate(request)
    if refusal is not None:
        return Exchange(delay_s, refusal)
    if books.strikes("server_error_upload", occasion):
        return Exchange(delay_s, desk.unavailable())
    answer = keep(occasion)
    if books.strikes("cut_upload", occasion):
        return Exchange(delay_s, None, "after")
    return Exchange(delay_s, answer)


def expires_s(books: Books, operation: Operation, occasion: str, lives_s: float, now: float) -> int:
    """When the links of an answer expire, in seconds; with `expired_links` they have expired already."""
    if books.strikes("expired_links", occasion, operation.order.prompt):
        return max(0, int(now) - 1)
    return int(operation.ends_at + lives_s)
