"""Sessions of the HTTP client: one per class of call, so that a paid POST never shares a long idle connection."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import aiohttp

from pipeline.transport.addresses import AddressGuard, GuardedResolver
from pipeline.values.wire import Request

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

#: A connection that was idle for longer may be half closed, and a POST on it would end in doubt (seconds).
_SUBMIT_IDLE_S: Final = 2.0
_IDLE_S: Final = 30.0
#: A name, a connection and its TLS handshake take no longer than this, whatever the call may take (seconds).
_CONNECT_S: Final = 20.0
#: A download that is silent for this long is broken.
_SILENT_S: Final = 30.0

CallClass: TypeAlias = Literal[
    "submit", "submit anew", "ask", "upload", "foreign", "foreign here", "download", "download here"
]


@dataclass(slots=True)
class Mark:
    """Whether a connection was made or reused for a request: from then on bytes may have left."""

    #: Who is told then.
    left: Callable[[], None] | None = None
    connected: bool = False

    def connect(self) -> None:
        """The connection stands: the request leaves."""
        self.connected = True
        if self.left is not None:
            self.left()


#: The mark of the exchange that runs in this task.
MARK: Final[ContextVar[Mark | None]] = ContextVar("MARK", default=None)


class MarkingConnector(aiohttp.TCPConnector):
    """Says when a connection is there: aiohttp writes a request once this returned, and no byte of it before.

    Its own tracing says so too, at the price of some ten objects a request.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - as aiohttp calls it
    ) -> Connection:
        """A connection that stands, TLS included, from the pool or new."""
        connection = await super().connect(req, traces, timeout)
        mark = MARK.get()
        if mark is not None:
            mark.connect()
        return connection


def class_of(request: Request, *, reuse: bool) -> CallClass:
    """Which connections a request may use. What is not known to be free is the paid call."""
    if request.free:
        return "ask" if request.method == "GET" else "upload"
    if request.method == "GET":
        return "ask"
    return "submit" if reuse else "submit anew"


def open_session(kind: CallClass) -> aiohttp.ClientSession:
    """A session without cookies, proxies or passwords from files; called in the loop that will use it."""
    # The exchange has its own timeout over everything; aiohttp's stand below it.
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S)
    match kind:
        case "submit":
            connector = MarkingConnector(limit=0, keepalive_timeout=_SUBMIT_IDLE_S)
        case "submit anew":
            connector = MarkingConnector(limit=0, force_close=True)
        case "ask" | "upload":
            connector = MarkingConnector(limit=0, keepalive_timeout=_IDLE_S)
        case "download" | "download here" | "foreign" | "foreign here":
            guard = AddressGuard(loopback=kind.endswith(" here"))
            if kind.startswith("download"):
                timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_SILENT_S)
            connector = MarkingConnector(
                limit=0,
                keepalive_timeout=_IDLE_S,
                resolver=GuardedResolver(aiohttp.ThreadedResolver(), guard),
                socket_factory=guard.socket,
            )
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, trust_env=False
    )
