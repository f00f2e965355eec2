"""The real door: aiohttp, with the keys. It never repeats a POST, never follows a redirect of an API call, and says
`NotSent` only when no connection was made.

A connection counts once its TLS handshake is done: before that no byte of a request can leave. The client below may
ask once more for what is free (a GET whose connection broke before its answer), never for what is paid.
"""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from pipeline.errors import Bug, SecretMissing
from pipeline.transport import breaks
from pipeline.transport.addresses import AddressGuard, BlockedAddress, checked_link, unfit_location
from pipeline.transport.deadline import in_time
from pipeline.transport.door import ANSWER_MAX, account_of
from pipeline.transport.gateways import KnownGateway, known_gateway
from pipeline.transport.leaving import LEAVING
from pipeline.transport.receiving import Sink, answered, receive
from pipeline.transport.secrets import RedactingFilter, Secret
from pipeline.transport.sessions import MARK, CallClass, Mark, class_of, open_session
from pipeline.values.card import GatewayCard
from pipeline.values.wire import Broken, DownloadBroken, DownloadOutcome, NotSent, Outcome, Request

_REDIRECTS_MAX: Final = 3
#: aiohttp writes larger bodies in pieces only when they come from a file.
_WHOLE_BODY_MAX: Final = 256 * 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

#: Everything that an exchange can end with besides an answer; TimeoutError and ssl errors are OSErrors.
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, EOFError)

#: Who else may speak of a request while a door is open. Nobody in this project logs.
_LOGGERS: Final = ("asyncio", "aiohttp.client", "aiohttp.internal")


class HttpDoor:
    """The network. Make it with the cards of the gateways that a run uses; open it and close it in one loop."""

    def __init__(self, cards: Mapping[str, GatewayCard], environ: Mapping[str, str], dotenv: Mapping[str, str]) -> None:
        """Find every key and base URL. *Raises* SecretMissing, and CardError for a base URL that may not be used."""
        self._gateways: dict[str, KnownGateway] = {}
        missing = []
        for name, card in cards.items():
            try:
                self._gateways[name] = known_gateway(card, environ, dotenv)
            except SecretMissing as error:
                missing.append(str(error))
        if missing:
            # All of them at once: nobody wants to be sent for one key after another.
            raise SecretMissing("; ".join(missing))
        self._sessions: dict[CallClass, aiohttp.ClientSession] = {}
        self._redact()

    def admit(
        self, cards: Mapping[str, GatewayCard], environ: Mapping[str, str], dotenv: Mapping[str, str]
    ) -> dict[str, str]:
        """Open to further gateways, at which work is left; answers {gateway: why nothing can be asked of it}.

        Without a key nothing goes there but downloads, which need none. *Raises* CardError.
        """
        closed = {}
        for name, card in cards.items():
            if name not in self._gateways:
                try:
                    self._gateways[name] = known_gateway(card, environ, dotenv)
                except SecretMissing as missing:
                    closed[name] = str(missing)
                    self._gateways[name] = known_gateway(card, environ, dotenv, key=Secret(""))
        self._unredact()
        self._redact()
        return closed

    def _redact(self) -> None:
        self._filter = RedactingFilter(gateway.key for gateway in self._gateways.values())
        for logger in map(logging.getLogger, _LOGGERS):
            logger.addFilter(self._filter)

    def _unredact(self) -> None:
        for logger in map(logging.getLogger, _LOGGERS):
            logger.removeFilter(self._filter)

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = ANSWER_MAX) -> Outcome:
        """One request, one outcome; never raises for what the world does. NotSent only if no connection was made."""
        try:
            return await self._exchange(request, timeout_s, body_max)
        except Bug:
            raise
        except Exception as error:  # noqa: BLE001 - its frames hold the answer as it came, with a key that it echoes
            broke = _where(error)
        # Outside the block, so that no traceback leads back to those frames.
        raise Bug(f"the exchange with {request.gateway} broke: {broke}")

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        gateway = self._known(request.gateway)
        if not gateway.key:
            return NotSent(f"there is no key for {request.gateway}")
        if request.url:
            try:
                url: URL | None = checked_link(request.url, AddressGuard(loopback=gateway.loopback))
            except ValueError as error:
                return NotSent(str(error).replace("the link", "the address that the gateway named"))
            keyed = False
            kind: CallClass = "foreign here" if gateway.loopback else "foreign"
        else:
            base = gateway.base(request.base)
            url, keyed = base.below(request.path), base.keyed
            kind = class_of(request, reuse=gateway.reuse)
        if url is None:
            return NotSent("the path leads out of the gateway's base URL")
        paid = kind in {"submit", "submit anew"}
        # A poll may run in the context of the call that it asks about, whose slot was taken long ago.
        mark, host = Mark(LEAVING.get() if paid else None), url.host
        MARK.set(mark)
        calling = self._session(kind).request(
            request.method,
            url,
            data=_body(request.body),
            headers=gateway.headers(request.headers, keyed=keyed),
            allow_redirects=False,
        )
        try:
            if paid:
                return await in_time(answered(calling, gateway.hider, host, body_max), timeout_s)
            async with asyncio.timeout(timeout_s):
                return await answered(calling, gateway.hider, host, body_max)
        except _FAILURES as error:
            # Nothing of the exception but its class goes further: its text and repr hold headers, so the key. Its
            # status is no answer either: a reply that cannot be parsed calls itself a 400.
            why = breaks.at(breaks.named(error), host or request.gateway)
            return Broken(why) if mark.connected else NotSent(why)

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        """Stream a result link's body into `write`, without credentials.

        What `write` raises goes through: a full disk is not the link's fault.
        """
        known = self._known(gateway)
        link = known.result(link)
        guard = AddressGuard(loopback=known.loopback)
        session = self._session("download here" if known.loopback else "download")
        sink = Sink(write, size_max)
        MARK.set(None)
        headers = {"User-Agent": known.user_agent, "Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "identity"}
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(_REDIRECTS_MAX + 1):
                    try:
                        url = checked_link(link, guard)
                    except ValueError as error:
                        return DownloadBroken(str(error), blocked=True)
                    async with session.get(url, headers=headers, allow_redirects=False) as response:
                        target = response.headers.get("Location")
                        if response.status not in _REDIRECTS or not target:
                            return await receive(response, sink)
                        link = _joined(url, target)
                return DownloadBroken(f"the link was redirected more than {_REDIRECTS_MAX} times")
        except _FAILURES as error:
            if sink.failed is not None:
                raise sink.failed from None
            if _was_blocked(error):
                return DownloadBroken("the link leads to an address that is not public", blocked=True)
            return DownloadBroken(breaks.at(breaks.named(error), "downloading"))

    def account(self, gateway: str) -> str:
        """Whose key it is, as a digest that gives nothing of it away: 16 hex digits."""
        return account_of(self._known(gateway).key.reveal())

    def unfit(self, gateway: str, location: str) -> str:
        """Why a call may not name this location; this machine may be named only where the gateway is on it."""
        return unfit_location(location, AddressGuard(loopback=self._known(gateway).loopback))

    async def close(self) -> None:
        """Let go of every connection."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()
        self._unredact()

    def _known(self, gateway: str) -> KnownGateway:
        known = self._gateways.get(gateway)
        if known is None:
            raise Bug(f"a request to a gateway that the door was not made for: {gateway}")
        return known

    def _session(self, kind: CallClass) -> aiohttp.ClientSession:
        """One session per class of call, so that a paid POST never shares a long idle connection with a poll."""
        session = self._sessions.get(kind)
        if session is None:
            session = self._sessions[kind] = open_session(kind)
        return session


def _body(body: bytes | None) -> bytes | io.BytesIO | None:
    return body if body is None or len(body) <= _WHOLE_BODY_MAX else io.BytesIO(body)


def _joined(url: URL, target: str) -> str:
    try:
        return str(url.join(URL(target, encoded=target.isascii())))
    except ValueError:
        return ""


def _where(error: BaseException) -> str:
    """The class of an exception and the line that raised it, without its text."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.filename}:{last.lineno}"


def _was_blocked(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, BlockedAddress) or isinstance(getattr(error, "os_error", None), BlockedAddress):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False
