"""The real door: aiohttp, with the keys. It never repeats a POST, never follows a redirect of an API call, and says
`NotSent` only when no connection was made.

A connection counts once its TLS handshake is done: before that no byte of a request can leave. The client below may
ask once more for what is free (a GET whose connection broke before its answer), never for what is paid.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from pipeline.errors import Bug, CardError, SecretMissing
from pipeline.transport import breaks
from pipeline.transport.addresses import (
    AddressGuard,
    BlockedAddress,
    GuardedResolver,
    checked_link,
    names_loopback,
    unfit_location,
)
from pipeline.transport.deadline import in_time
from pipeline.transport.door import ANSWER_MAX, account_of
from pipeline.transport.secrets import Header, RedactingFilter, Secret, hide, need_key
from pipeline.values.card import GatewayCard
from pipeline.values.wire import (
    Answered,
    Broken,
    DownloadBroken,
    Downloaded,
    DownloadOutcome,
    DownloadRefused,
    NotSent,
    Outcome,
    Request,
    Response,
)

#: A connection that was idle for longer may be half closed, and a POST on it would end in doubt (seconds).
_SUBMIT_IDLE_S: Final = 2.0
_IDLE_S: Final = 30.0
#: A name, a connection and its TLS handshake take no longer than this, whatever the call may take (seconds).
_CONNECT_S: Final = 20.0
#: A download that is silent for this long, or slower than this on average once it had time, is broken.
_SILENT_S: Final = 30.0
_SLOW_AFTER_S: Final = 30.0
_SLOW_BYTES_PER_S: Final = 1024
_REDIRECTS_MAX: Final = 3
_CHUNK_BYTES: Final = 64 * 1024
#: aiohttp writes larger bodies in pieces only when they come from a file.
_WHOLE_BODY_MAX: Final = 256 * 1024

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200

#: Everything that an exchange can end with besides an answer; TimeoutError and ssl errors are OSErrors.
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, EOFError)

#: Who else may speak of a request while a door is open. Nobody in this project logs.
_LOGGERS: Final = ("asyncio", "aiohttp.client", "aiohttp.internal")

_Class: TypeAlias = Literal[
    "submit", "submit anew", "ask", "upload", "foreign", "foreign here", "download", "download here"
]
#: How a result link begins that is a key below the gateway's own base of this name.
ASSET: Final = "asset"


@dataclass(slots=True)
class _Mark:
    """Whether a connection was made or reused for a request: from then on bytes may have left."""

    connected: bool = False


@dataclass(frozen=True, slots=True)
class _Base:
    """One address of a gateway, and whether the key may go there."""

    url: URL
    keyed: bool

    def below(self, path: str) -> URL | None:
        """The address of a path below it; None when it leads anywhere else."""
        if not path.startswith("/") or not path.isprintable() or "\\" in path or "#" in path or " " in path:
            return None
        if any(part in {".", ".."} for part in path.partition("?")[0].lower().replace("%2e", ".").split("/")):
            return None
        return URL(str(self.url) + path, encoded=path.isascii())


@dataclass(frozen=True, slots=True)
class _Gateway:
    """One gateway as this process talks to it."""

    #: {"": the API, and the further addresses by name}.
    bases: Mapping[str, _Base]
    key: Secret
    auth_header: str
    auth_prefix: str
    user_agent: str
    reuse: bool
    loopback: bool

    def headers(self, given: tuple[tuple[str, str], ...], *, keyed: bool) -> list[tuple[str, str]]:
        """A request's headers, with the key where it may go, and with nothing that could be a second one."""
        own = [
            ("User-Agent", self.user_agent),
            # An answer in a coding that we asked not to have would be one more thing that can break after payment.
            ("Accept-Encoding", "identity"),
            (self.auth_header, Header(self.auth_prefix + self.key.reveal())),
        ]
        taken = {name.lower() for name, _ in own}
        if any(name.lower() in taken for name, _ in given):
            raise Bug("a request names a header that transport sets")
        return [*given, *(own if keyed else own[:-1])]

    def base(self, name: str) -> _Base:
        """The address that a request names."""
        found = self.bases.get(name)
        if found is None:
            raise Bug(f"a request to an address that is not on the gateway's card: {name}")
        return found

    def result(self, link: str) -> str:
        """A result link as a URL: `asset:KEY` is a key below the gateway's base of that name."""
        if not link.startswith(f"{ASSET}:") or ASSET not in self.bases:
            return link
        url = self.bases[ASSET].below("/" + quote(link.partition(":")[2].lstrip("/"), safe="/-_.~"))
        return "" if url is None else str(url)


class HttpDoor:
    """The network. Make it with the cards of the gateways that a run uses; open it and close it in one loop."""

    def __init__(self, cards: Mapping[str, GatewayCard], environ: Mapping[str, str], dotenv: Mapping[str, str]) -> None:
        """Find every key and base URL. *Raises* SecretMissing, and CardError for a base URL that may not be used."""
        self._gateways: dict[str, _Gateway] = {}
        missing = []
        for name, card in cards.items():
            try:
                self._gateways[name] = _gateway(card, environ, dotenv)
            except SecretMissing as error:
                missing.append(str(error))
        if missing:
            # All of them at once: nobody wants to be sent for one key after another.
            raise SecretMissing("; ".join(missing))
        self._sessions: dict[_Class, aiohttp.ClientSession] = {}
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
                    self._gateways[name] = _gateway(card, environ, dotenv)
                except SecretMissing as missing:
                    closed[name] = str(missing)
                    self._gateways[name] = _gateway(card, environ, dotenv, key=Secret(""))
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
            kind: _Class = "foreign here" if gateway.loopback else "foreign"
        else:
            base = gateway.base(request.base)
            url, keyed = base.below(request.path), base.keyed
            kind = _class(request, reuse=gateway.reuse)
        if url is None:
            return NotSent("the path leads out of the gateway's base URL")
        mark, host = _Mark(), url.host
        calling = self._session(kind).request(
            request.method,
            url,
            data=_body(request.body),
            headers=gateway.headers(request.headers, keyed=keyed),
            allow_redirects=False,
            trace_request_ctx=mark,
        )
        try:
            return await in_time(_answered(calling, gateway.key, host, body_max), timeout_s)
        except _FAILURES as error:
            # Nothing of the exception but its class goes further: its text and repr hold headers, so the key. Its
            # status is no answer either: a reply that cannot be parsed calls itself a 400.
            why = breaks.at(breaks.named(error), host or request.gateway)
            return Broken(why) if mark.connected else NotSent(why)

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        """Stream a result link's body into `write`, without credentials, hashing as it passes.

        What `write` raises goes through: a full disk is not the link's fault.
        """
        known = self._known(gateway)
        link = known.result(link)
        guard = AddressGuard(loopback=known.loopback)
        session = self._session("download here" if known.loopback else "download")
        sink = _Sink(write, size_max)
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
                            return await _receive(response, sink)
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

    def _known(self, gateway: str) -> _Gateway:
        known = self._gateways.get(gateway)
        if known is None:
            raise Bug(f"a request to a gateway that the door was not made for: {gateway}")
        return known

    def _session(self, kind: _Class) -> aiohttp.ClientSession:
        """One session per class of call, so that a paid POST never shares a long idle connection with a poll."""
        session = self._sessions.get(kind)
        if session is None:
            session = self._sessions[kind] = _open(kind)
        return session


@dataclass(slots=True)
class _Sink:
    """Where a download goes: counts, hashes, and tells its own failures from those of the network."""

    write: Callable[[bytes], object]
    size_max: int
    size_bytes: int = 0
    failed: OSError | ValueError | None = None
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: bytes) -> bool:
        """Keep a piece; False when it is too much."""
        self.size_bytes += len(data)
        if self.size_bytes > self.size_max:
            return False
        self._digest.update(data)
        try:
            self.write(data)
        except (OSError, ValueError) as error:
            self.failed = error
            raise
        return True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


async def _receive(response: aiohttp.ClientResponse, sink: _Sink) -> DownloadOutcome:
    if response.status != _OK:
        return DownloadRefused(response.status, gone=response.status in _GONE)
    loop = asyncio.get_running_loop()
    began = loop.time()
    if (response.content_length or 0) > sink.size_max:
        response.close()
        return DownloadBroken(f"the picture is larger than {sink.size_max} bytes")
    async for data in response.content.iter_chunked(_CHUNK_BYTES):
        if not sink.take(data):
            response.close()
            return DownloadBroken(f"the picture is larger than {sink.size_max} bytes")
        took = loop.time() - began
        if took > _SLOW_AFTER_S and sink.size_bytes < took * _SLOW_BYTES_PER_S:
            response.close()
            return DownloadBroken("the download is too slow")
    return Downloaded(response.status, response.content_type, sink.size_bytes, sink.sha256)


def _class(request: Request, *, reuse: bool) -> _Class:
    """Which connections a request may use. What is not known to be free is the paid call."""
    if request.free:
        return "ask" if request.method == "GET" else "upload"
    if request.method == "GET":
        return "ask"
    return "submit" if reuse else "submit anew"


async def _answered(
    calling: AbstractAsyncContextManager[aiohttp.ClientResponse], key: Secret, host: str | None, body_max: int
) -> Outcome:
    async with calling as response:
        body = await _whole(response, body_max)
        if body is None:
            return Broken(f"the answer of {host} is larger than {body_max} bytes", too_large=True)
        return Answered(Response(response.status, hide(key, body), _plain(response.headers, key)))


async def _whole(response: aiohttp.ClientResponse, body_max: int) -> bytes | None:
    """The whole body, or None when it is larger than that; the connection is given up then."""
    body = bytearray()
    async for data in response.content.iter_chunked(_CHUNK_BYTES):
        body += data
        if len(body) > body_max:
            response.close()
            return None
    return bytes(body)


def _plain(headers: CIMultiDictProxy[str], key: Secret) -> dict[str, str]:
    """Header names in lower case; what comes several times is joined; the key is hidden.

    Bytes that are no UTF-8 are replaced: the answer to a paid call is not given up for a letter in a header.
    """
    plain: dict[str, str] = {}
    for name, value in headers.items():
        known = name.lower()
        plain[known] = f"{plain[known]}, {value}" if known in plain else value
    return {
        name: hide(key, value.encode(errors="surrogateescape")).decode(errors="replace")
        for name, value in plain.items()
    }


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


def _open(kind: _Class) -> aiohttp.ClientSession:
    """A session without cookies, proxies or passwords from files; called in the loop that will use it."""
    # The exchange has its own timeout over everything; aiohttp's stand below it.
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S)
    match kind:
        case "submit":
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_SUBMIT_IDLE_S)
        case "submit anew":
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
        case "ask" | "upload":
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S)
        case "download" | "download here" | "foreign" | "foreign here":
            guard = AddressGuard(loopback=kind.endswith(" here"))
            if kind.startswith("download"):
                timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_SILENT_S)
            connector = aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=_IDLE_S,
                resolver=GuardedResolver(aiohttp.ThreadedResolver(), guard),
                socket_factory=guard.socket,
            )
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(_connected)
    trace.on_connection_reuseconn.append(_connected)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=timeout,
        trust_env=False,
        trace_configs=[trace],
    )


async def _connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    mark = context.trace_request_ctx
    if isinstance(mark, _Mark):
        mark.connected = True


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a gateway as it is used from here: "" is the API."""

    name: str
    url: URL
    keyed: bool
    #: The variable that leads there; empty when it is the card's own.
    said_by: str


def addresses(card: GatewayCard, environ: Mapping[str, str]) -> list[Place]:
    """Every address of a gateway, the API first. *Raises* CardError for one that may not be used."""
    api = base_url(card, environ)
    made = [Place("", api, keyed=True, said_by=_said_by(card.base_url_env, environ))]
    for name, base in card.bases.items():
        url = _address(base.url, base.env, f"the address `{name}` of {card.name}", environ)
        if names_loopback(url.host or "") != names_loopback(api.host or ""):
            # A rehearsal must not send pictures, or the key, to the vendor, nor a real run to this machine.
            raise CardError(
                f"{card.base_url_env} and {base.env} must both lead to this machine, or neither: `pipeline simulate` "
                "prints every line to export"
            )
        made.append(Place(name, url, base.keyed, _said_by(base.env, environ)))
    return made


def _said_by(env: str, environ: Mapping[str, str]) -> str:
    return env if env and environ.get(env, "").strip() else ""


def _gateway(
    card: GatewayCard, environ: Mapping[str, str], dotenv: Mapping[str, str], key: Secret | None = None
) -> _Gateway:
    bases = {place.name: _Base(place.url, place.keyed) for place in addresses(card, environ)}
    return _Gateway(
        bases,
        need_key(card.key_env, card.title or card.name, environ, dotenv) if key is None else key,
        card.auth_header,
        card.auth_prefix,
        card.user_agent,
        reuse=card.reuse_connections,
        loopback=names_loopback(bases[""].url.host or ""),
    )


def base_url(card: GatewayCard, environ: Mapping[str, str]) -> URL:
    """Where a gateway lives: the card's word or the environment's, without a slash at its end. *Raises* CardError."""
    return _address(card.base_url, card.base_url_env, f"the base URL of {card.name}", environ)


def _address(of_card: str, env: str, place: str, environ: Mapping[str, str]) -> URL:
    override = environ.get(env, "").strip() if env else ""
    place = env if override else place
    try:
        url = URL((override or of_card).rstrip("/"))
        host, port = url.host, url.port
    except ValueError:
        raise CardError(f"{place} is not a URL") from None
    if not host or not port or url.scheme not in {"http", "https"}:
        raise CardError(f"{place} must be an https URL, or http on this machine")
    if url.raw_user or url.raw_password or url.raw_query_string or url.raw_fragment:
        # The value is not shown: this is how a key gets into a URL.
        raise CardError(f"{place} must hold no user name, query or fragment")
    if url.scheme == "http" and not names_loopback(host):
        raise CardError(f"{place} must be https: only this machine may be asked over plain http")
    return url
