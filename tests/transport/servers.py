"""Small servers on this machine that misbehave byte by byte, and a door that talks to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pipeline.transport.http import HttpDoor
from pipeline.values.card import Figure, GatewayCard
from pipeline.values.wire import Request

#: A key that must never be seen anywhere.
CANARY = "canary-Zx9-4711-key"


@dataclass
class Seen:
    """What a server was asked."""

    port: int = 0
    connections: int = 0
    #: Set with the first connection.
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set when a connection ended.
    left: asyncio.Event = field(default_factory=asyncio.Event)
    #: Head and body of each request that came whole.
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def link(self) -> str:
        """A link to this server."""
        return f"http://127.0.0.1:{self.port}/picture.png?signature=1"


#: Answers request number N (from 0): what it writes; None closes the connection without a byte.
Script = Callable[[int], bytes | None]


@asynccontextmanager
async def raw_server(script: Script, *, keep: bool = False) -> AsyncIterator[Seen]:
    """Serve what `script` says; with `keep` the connection stays open for the next request."""
    seen = Seen()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                body = await reader.readexactly(_length(head))
                number = len(seen.requests)
                seen.requests.append((head, body))
                answer = script(number)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if not keep:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            seen.left.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()


@asynccontextmanager
async def mute_server() -> AsyncIterator[Seen]:
    """Takes connections and says nothing, ever."""
    seen = Seen()
    writers = []

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        writers.append(writer)
        seen.reached.set()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        for writer in writers:
            writer.close()
        server.close()


def _length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An answer; `length` is what it promises when that differs from what it holds."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def card(
    name: str = "acme",
    base_url: str = "https://api.acme.example",
    *,
    reuse: bool = True,
    auth_header: str = "Authorization",
    auth_prefix: str = "Bearer ",
) -> GatewayCard:
    """A gateway that sells nothing."""
    return GatewayCard(
        name=name,
        title=name.title(),
        base_url=base_url,
        base_url_env="ACME_BASE_URL",
        key_env="ACME_API_KEY",
        user_agent="batch/1",
        poll_rate=Figure(1, "ours", "", ""),
        lists_operations=False,
        tells_balance=False,
        reuse_connections=reuse,
        not_billed=(),
        models={},
        rates={},
        notes=(),
        auth_header=auth_header,
        auth_prefix=auth_prefix,
    )


@asynccontextmanager
async def door_to(
    port: int, *, reuse: bool = True, auth_header: str = "Authorization", auth_prefix: str = "Bearer "
) -> AsyncIterator[HttpDoor]:
    """A door whose one gateway lives on this port of this machine, below /v1."""
    environ = {"ACME_API_KEY": CANARY, "ACME_BASE_URL": f"http://127.0.0.1:{port}/v1/"}
    made = card(reuse=reuse, auth_header=auth_header, auth_prefix=auth_prefix)
    door = HttpDoor({"acme": made}, environ, {})
    try:
        yield door
    finally:
        await door.close()


def post(body: bytes = b'{"prompt":"a cup"}') -> Request:
    """The paid call."""
    return Request("acme", "POST", "/images", body, (("Content-Type", "application/json"),))


def get() -> Request:
    """The free call."""
    return Request("acme", "GET", "/tasks/1")
