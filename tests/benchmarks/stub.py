"""The counting stub: two gateways on one socket, lean enough not to be what is measured, and exact in what it counts.

One process and one loop, so that "most in flight" is a fact. It reads just as much of HTTP/1.1 as clients send: a head,
a body with a Content-Length, keep-alive; anything else is answered by 400 and counted as strange.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tests.benchmarks import gateways
from tests.benchmarks.pictures import Png, picture

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_PNG = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%b"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_BAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Books:
    """What was asked of the stub since the last reset. *Units* - seconds of a monotonic clock."""

    #: How long a purchase takes: a synchronous call's answer, or an asynchronous operation's end.
    latency_s: float = 0.0
    size: str = "1KB"
    submits: int = 0
    polls: int = 0
    downloads: int = 0
    #: Requests that no gateway knows.
    strange: int = 0
    #: Purchases without an answer, and with operations that are not told as done.
    unanswered: int = 0
    unanswered_max: int = 0
    open: int = 0
    open_max: int = 0
    connections: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    cpu_s: float = 0.0
    #: When each purchase arrived, and when each asynchronous operation is done.
    arrivals: array[float] = field(default_factory=lambda: array("d"))
    done_at: dict[int, float] = field(default_factory=dict)

    def told(self) -> dict[str, object]:
        """As JSON, with what came between the first and the last request."""
        names = ("submits", "polls", "downloads", "strange", "unanswered_max", "open_max", "connections")
        counts: dict[str, object] = {name: getattr(self, name) for name in names}
        counts["requests"] = self.submits + self.polls + self.downloads + self.strange
        counts["seconds"] = self.last_at - self.first_at
        counts["first_at"], counts["last_at"] = self.first_at, self.last_at
        counts["cpu_s"] = time.process_time() - self.cpu_s
        return counts


class Stub:
    """The state that all connections share."""

    def __init__(self) -> None:
        self.origin = b""
        self.reset({})

    def reset(self, wanted: dict[str, str]) -> None:
        """Close the books and begin anew: `latency_s` and `size` may be given."""
        size = wanted.get("size", "1KB")
        self.books = Books(float(wanted.get("latency_s", "0")), size, cpu_s=time.process_time())
        self.png: Png = picture(size)
        self.download = _PNG % (len(self.png.data), self.png.data)

    def answer(self, method: bytes, path: bytes, wire: Connection) -> bytes | None:
        """What to send at once; None when the answer comes later, by itself."""
        books = self.books
        now = time.monotonic()
        if path.startswith(b"/__"):
            return self._control(path)
        if not books.first_at:
            books.first_at = now
        books.last_at = now
        if method == b"GET":
            return self._asked(path, now)
        if method == b"POST" and (path == gateways.DASHSCOPE_CALL or gateways.is_submit(path)):
            return self._bought(path, now, wire)
        if method == b"POST" and path == gateways.CHAT:
            books.submits += 1
            body = gateways.chatted(books.submits)
            return _OK % (len(body), body)
        books.strange += 1
        return _NOT_FOUND % (2, b"{}")

    def _asked(self, path: bytes, now: float) -> bytes:
        books = self.books
        if path.startswith(gateways.PICTURES):
            books.downloads += 1
            return self.download
        operation = gateways.polled_id(path)
        if operation is None:
            books.strange += 1
            return _NOT_FOUND % (2, b"{}")
        books.polls += 1
        number = gateways.number_of(operation)
        if number is None or not 0 < number <= books.submits:
            body = gateways.unknown_operation()
            return _NOT_FOUND % (len(body), body)
        due = books.done_at.get(number)
        if due is not None:
            if now < due:
                body = gateways.running(operation)
                return _OK % (len(body), body)
            del books.done_at[number]
            books.open -= 1
        body = gateways.completed(operation, self._link(number))
        return _OK % (len(body), body)

    def _bought(self, path: bytes, now: float, wire: Connection) -> bytes | None:
        books = self.books
        books.submits += 1
        books.arrivals.append(now)
        number = books.submits
        books.open += 1
        books.open_max = max(books.open_max, books.open)
        if path != gateways.DASHSCOPE_CALL:
            # The operation is open until a poll tells of its end.
            books.unanswered_max = max(books.unanswered_max, books.unanswered + 1)
            books.done_at[number] = now + books.latency_s
            body = gateways.accepted(gateways.operation_id(number))
            return _OK % (len(body), body)
        books.unanswered += 1
        books.unanswered_max = max(books.unanswered_max, books.unanswered)
        if books.latency_s:
            wire.later(books.latency_s, number)
            return None
        return self.made(number)

    def made(self, number: int) -> bytes:
        """A synchronous call's answer; the call is open no longer."""
        self.forget()
        body = gateways.made(gateways.operation_id(number), self._link(number), self.png.width, self.png.height)
        return _OK % (len(body), body)

    def forget(self) -> None:
        """A synchronous call was answered, or its client hung up."""
        self.books.unanswered -= 1
        self.books.open -= 1

    def _link(self, number: int) -> bytes:
        return b"%b%b%d.png" % (self.origin, gateways.PICTURES, number)

    def _control(self, path: bytes) -> bytes:
        name, _, query = path.partition(b"?")
        match name:
            case b"/__stats":
                body = json.dumps(self.books.told()).encode()
            case b"/__arrivals":
                body = json.dumps(list(self.books.arrivals)).encode()
            case b"/__reset":
                self.reset(dict(parse_qsl(query.decode())))
                body = b"{}"
            case _:
                return _NOT_FOUND % (2, b"{}")
        return _OK % (len(body), body)


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = ("_buffer", "_closes", "_stub", "_timer", "_transport")

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closes = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=4 << 20)
        self._transport = transport
        self._stub.books.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """A client left; what it waited for was bought all the same."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._stub.forget()

    def data_received(self, data: bytes) -> None:
        """A piece of one request, or of several."""
        self._buffer = self._buffer + data if self._buffer else data
        self._read()

    def _read(self) -> None:
        while self._buffer and self._timer is None and self._transport is not None:
            buffer = self._buffer
            ends = buffer.find(b"\r\n\r\n")
            if ends < 0:
                return
            whole = ends + 4
            head = buffer[:ends]
            line = head.find(b"\r\n")
            method, _, rest = head[: line if line > 0 else ends].partition(b" ")
            if method != b"GET":
                length = _length(head)
                if length is None:
                    self._stub.books.strange += 1
                    self._transport.write(_BAD)
                    self._transport.close()
                    return
                whole += length
                if len(buffer) < whole:
                    return
            self._buffer = buffer[whole:]
            self._closes = b"Connection: close" in head
            answer = self._stub.answer(method, rest.rpartition(b" ")[0], self)
            if answer is not None:
                self._send(answer)

    def later(self, seconds: float, number: int) -> None:
        """Answer this purchase then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._due, number)

    def _due(self, number: int) -> None:
        self._timer = None
        self._send(self._stub.made(number))
        self._read()

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)
            if self._closes:
                self._transport.close()


def _length(head: bytes) -> int | None:
    """The Content-Length of a request; None without one."""
    at = head.find(b"Content-Length: ")
    if at < 0:
        at = head.lower().find(b"content-length: ")
        if at < 0:
            return None
    digits = head[at + 16 : at + 32].partition(b"\r\n")[0].strip()
    return int(digits) if digits.isdigit() else None
