"""The served page's connections: so many at once, and none that makes the server wait for its request.

A connection that says nothing, or its request a letter at a time, is closed; when there are too many, one that has said
nothing makes room, so that silent ones keep nobody out. Without both, anybody on this machine could use up the server's
descriptors without a token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

#: A browser opens six for a host; the rest is for many pages, and for what has not been heard of yet.
CONNECTIONS_MAX: Final = 128
#: The whole head of a first request is here so soon (seconds); later ones on a connection may be as far apart.
HEAD_S: Final = 10.0
KEPT_S: Final = 30.0

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Door(web.Server):
    """Answers requests, of a bounded number of connections."""

    def __init__(self, answer: Answer, *, most: int = CONNECTIONS_MAX, head_s: float = HEAD_S) -> None:
        super().__init__(self._begun, access_log=None)
        self._answer = answer
        self._most = most
        self._head_s = head_s

    def __call__(self) -> RequestHandler:
        """One connection's protocol."""
        return _Connection(self, self._most, self._head_s)

    async def _begun(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.heard()
        try:
            return await self._answer(request)
        finally:
            connection.waits()


class _Connection(RequestHandler):
    """A connection that is closed when no whole request comes in time, however slowly it drips."""

    __slots__ = ("_deadline", "_head_s", "_most")

    def __init__(self, door: Door, most: int, head_s: float) -> None:
        # aiohttp's own keyword for no log of requests, whatever its type says: addresses have the token.
        super().__init__(door, loop=asyncio.get_running_loop(), access_log=None, keepalive_timeout=KEPT_S)  # type: ignore[arg-type]
        self._most = most
        self._head_s = head_s
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As ever; when there are too many, the one that has said nothing for longest makes room."""
        super().connection_made(transport)
        self._deadline = self._loop.call_later(self._head_s, self.give_up)
        assert self._manager is not None
        known = self._manager.connections
        if len(known) > self._most:
            next(each for each in known if isinstance(each, _Connection) and each.is_waiting).give_up()

    def connection_lost(self, exc: BaseException | None) -> None:
        """As ever; nothing is waited for any more."""
        self.heard()
        super().connection_lost(exc)

    def heard(self) -> None:
        """A request's head is here."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def waits(self) -> None:
        """It was answered: the next one is waited for, and not for ever."""
        self.heard()
        if self.transport is not None:
            self._deadline = self._loop.call_later(KEPT_S, self.give_up)

    @property
    def is_waiting(self) -> bool:
        """Whether no request of it is being answered."""
        return self._deadline is not None

    def give_up(self) -> None:
        """Close it at once."""
        self.heard()
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()
