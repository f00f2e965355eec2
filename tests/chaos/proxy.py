"""A TCP proxy between a client and an emulator that hurts one message at one byte.

It reads each HTTP message whole, so that "the last byte but one" is a known place, and then passes it on up to that
place, where the harm begins. Everything before the place arrives for certain.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import socket
import struct
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

#: A whole message fits into the reader of a connection (bytes).
_LIMIT: Final = 96 * 1024 * 1024
#: How long `latency` and `slow close` wait, and `bandwidth` between two pieces (seconds).
_LATENCY_S: Final = 0.03
_PIECE_S: Final = 0.004
_PIECES: Final = 5
#: `slicer` sends so many single bytes, then larger slices.
_SINGLE_BYTES: Final = 48
_SLICES: Final = 24


class Kind(StrEnum):
    """What is done to the bytes from the place on."""

    LATENCY = "latency"
    BANDWIDTH = "bandwidth"
    SLICER = "slicer"
    #: RST to both ends.
    RESET = "reset"
    #: The end of the stream, in good order.
    LIMIT = "limit data"
    #: Nothing more, and the connection stays.
    HANG = "hang"
    #: Nothing more for a while, then the end of the stream.
    SLOW_CLOSE = "slow close"


class Side(StrEnum):
    """Which message is hurt."""

    REQUEST = "request"
    RESPONSE = "response"


class Spot(StrEnum):
    """Where in a message the harm begins: after so many of its bytes."""

    NONE = "0"
    FIRST = "1"
    IN_HEAD = "in the head"
    HEAD_END = "end of the head"
    BODY_FIRST = "head + 1"
    MID_BODY = "mid body"
    LAST_BUT_ONE = "last - 1"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Harm:
    """One fault on one message."""

    side: Side
    spot: Spot
    kind: Kind

    @property
    def breaks(self) -> bool:
        """Whether bytes after the place never arrive."""
        return self.kind in {Kind.RESET, Kind.LIMIT, Kind.HANG, Kind.SLOW_CLOSE}

    @property
    def leaves_whole(self) -> bool:
        """Whether every byte of the answer arrives all the same."""
        return not self.breaks or (self.side is Side.RESPONSE and self.spot is Spot.LAST)

    def __str__(self) -> str:
        return f"{self.kind} at {self.spot} of the {self.side}"


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response, whole; `head` and `data` are byte counts and bytes of both head and body."""

    first_line: str
    head: int
    data: bytes
    keeps: bool

    def place(self, spot: Spot) -> int:
        """After how many bytes a spot is."""
        last = len(self.data)
        found = {
            Spot.NONE: 0,
            Spot.FIRST: 1,
            Spot.IN_HEAD: self.head // 2,
            Spot.HEAD_END: self.head,
            Spot.BODY_FIRST: min(self.head + 1, last),
            Spot.MID_BODY: self.head + (last - self.head) // 2,
            Spot.LAST_BUT_ONE: last - 1,
            Spot.LAST: last,
        }
        return found[spot]


class _Cut(Exception):  # noqa: N818 - ends a conversation, and is caught in this file
    """The conversation is over."""


@dataclass(slots=True)
class _Ends:
    """Both connections of one conversation."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None

    def all(self) -> list[asyncio.StreamWriter]:
        return [self.client, *([self.server] if self.server else [])]


@dataclass(slots=True)
class Proxy:
    """Listens on a port of this machine and passes on to `target`, another one. A context manager."""

    target: int
    port: int = 0
    connections: int = 0
    #: First lines of the requests that came whole, in order.
    requests: list[str] = field(default_factory=list)
    #: How many messages were hurt.
    struck: int = 0
    _harm: Harm | None = None
    _times: int = 0
    _matches: Callable[[str], bool] = lambda _: True
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_LIMIT)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def strike(self, harm: Harm, matches: Callable[[str], bool] = lambda _: True, *, times: int = 1) -> None:
        """Hurt the next exchanges whose request's first line matches, so many of them."""
        self._harm, self._matches, self._times = harm, matches, times

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.connections += 1
        ends = _Ends(writer)
        try:
            await self._talk(reader, ends)
        except (_Cut, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, asyncio.CancelledError):
            # Cancelled is how the proxy itself is closed.
            pass
        finally:
            for end in ends.all():
                end.close()
            self._talks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, ends: _Ends) -> None:
        server: asyncio.StreamReader | None = None
        ends.client.transport.set_write_buffer_limits(0)
        while True:
            request = await _message(reader)
            self.requests.append(request.first_line)
            harm = self._take(request)
            if server is None:
                server, ends.server = await asyncio.open_connection("127.0.0.1", self.target, limit=_LIMIT)
                ends.server.transport.set_write_buffer_limits(0)
            assert ends.server is not None
            await self._pass(request, ends.server, ends, harm if harm and harm.side is Side.REQUEST else None, reader)
            response = await _message(server)
            await self._pass(response, ends.client, ends, harm if harm and harm.side is Side.RESPONSE else None, reader)
            if not (request.keeps and response.keeps):
                return

    def _take(self, request: Message) -> Harm | None:
        if not self._times or not self._matches(request.first_line):
            return None
        self._times -= 1
        self.struck += 1
        return self._harm

    async def _pass(
        self,
        message: Message,
        to: asyncio.StreamWriter,
        ends: _Ends,
        harm: Harm | None,
        client: asyncio.StreamReader,
    ) -> None:
        """Pass a message on, whole or as the harm will have it. *Raises* _Cut when the conversation ends."""
        if harm is None:
            to.write(message.data)
            await to.drain()
            return
        place = message.place(harm.spot)
        to.write(message.data[:place])
        await _arrived(to)
        await _HARMS[harm.kind](to, message.data[place:], ends, client)


async def _message(reader: asyncio.StreamReader) -> Message:
    """The next message of a connection. *Raises* IncompleteReadError at its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    keeps = fields.get("connection", "").lower() != "close"
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    elif "chunked" in fields.get("transfer-encoding", ""):
        body = await _chunks(reader)
    elif lines[0].startswith("HTTP/"):
        body, keeps = await reader.read(-1), False
    else:
        body = b""
    return Message(lines[0], len(head), head + body, keeps)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        body += line
        size = int(line.split(b";")[0], 16)
        body += await reader.readexactly(size + 2)
        if not size:
            return bytes(body)


async def _arrived(writer: asyncio.StreamWriter) -> None:
    """Wait until every byte is in the other end's own buffer: what is cut off later was cut off there."""
    await writer.drain()
    sock = writer.get_extra_info("socket")
    while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(0.001)


async def _latency(to: asyncio.StreamWriter, rest: bytes, _ends: _Ends, _client: asyncio.StreamReader) -> None:
    await asyncio.sleep(_LATENCY_S)
    to.write(rest)
    await to.drain()


async def _bandwidth(to: asyncio.StreamWriter, rest: bytes, _ends: _Ends, _client: asyncio.StreamReader) -> None:
    step = max(1, len(rest) // _PIECES)
    for start in range(0, len(rest), step):
        await asyncio.sleep(_PIECE_S)
        to.write(rest[start : start + step])
        await to.drain()


async def _slicer(to: asyncio.StreamWriter, rest: bytes, _ends: _Ends, _client: asyncio.StreamReader) -> None:
    to.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    step = max(1, len(rest) // _SLICES)
    places = [*range(min(_SINGLE_BYTES, len(rest))), *range(_SINGLE_BYTES, len(rest), step), len(rest)]
    for start, end in itertools.pairwise(places):
        to.write(rest[start:end])
        await to.drain()
        await asyncio.sleep(0)


async def _reset(_to: asyncio.StreamWriter, _rest: bytes, ends: _Ends, _client: asyncio.StreamReader) -> None:
    for end in ends.all():
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.transport.abort()
    raise _Cut


async def _limit(_to: asyncio.StreamWriter, _rest: bytes, _ends: _Ends, _client: asyncio.StreamReader) -> None:
    raise _Cut


async def _hang(_to: asyncio.StreamWriter, _rest: bytes, _ends: _Ends, client: asyncio.StreamReader) -> None:
    # Until the client has had enough.
    with contextlib.suppress(ConnectionError):
        await client.read(-1)
    raise _Cut


async def _slow_close(_to: asyncio.StreamWriter, _rest: bytes, _ends: _Ends, _client: asyncio.StreamReader) -> None:
    await asyncio.sleep(_LATENCY_S)
    raise _Cut


_Do = Callable[[asyncio.StreamWriter, bytes, _Ends, asyncio.StreamReader], Awaitable[None]]
_HARMS: Final[dict[Kind, _Do]] = {
    Kind.LATENCY: _latency,
    Kind.BANDWIDTH: _bandwidth,
    Kind.SLICER: _slicer,
    Kind.RESET: _reset,
    Kind.LIMIT: _limit,
    Kind.HANG: _hang,
    Kind.SLOW_CLOSE: _slow_close,
}
