"""Which addresses a result link may lead to: public ones; loopback only where the gateway itself is on loopback."""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.values.addresses import is_public


class BlockedAddress(OSError):  # noqa: N818 - a word of the house
    """A link leads to an address that is not public; no connection was made."""


def is_loopback(address: str) -> bool:
    """Whether this address, in text, is this machine: 127.0.0.0/8 or ::1, not a disguise of one."""
    parsed = _parse(address)
    return parsed is not None and parsed.is_loopback and (parsed.version == 4 or parsed == IPv6Address("::1"))


def names_loopback(host: str) -> bool:
    """Whether this host of a URL means this machine: a loopback address or `localhost`."""
    return host.lower() == "localhost" or is_loopback(host)


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


class AddressGuard:
    """Lets connections through to public addresses only, checked where they are made; `loopback` adds this machine."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddressGuard) and other._loopback is self._loopback

    def __hash__(self) -> int:
        return hash(self._loopback)

    def allows(self, address: str) -> bool:
        """Whether a connection to this address may be made."""
        return is_public(address) or (self._loopback and is_loopback(address))

    def socket(self, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """A socket for an address as it was resolved. *Raises* BlockedAddress: nothing resolves again after this."""
        family, kind, protocol, _, address = info
        if family not in {socket.AF_INET, socket.AF_INET6} or not self.allows(str(address[0])):
            raise BlockedAddress("the address is not public")
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Looks names up and refuses an answer in which any address is not allowed."""

    def __init__(self, inner: AbstractResolver, guard: AddressGuard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of a host. *Raises* BlockedAddress."""
        found = await self._inner.resolve(host, port, family)
        if not all(self._guard.allows(one["host"]) for one in found):
            raise BlockedAddress("the name leads to an address that is not public")
        return found

    async def close(self) -> None:
        """Let go of the resolver underneath."""
        await self._inner.close()


_HTTP_PORT: Final = 80
#: Longer links are nobody's (characters).
_LINK_MAX: Final = 8192
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_][a-z0-9_-]*)*\.?", re.ASCII | re.IGNORECASE)
#: 2130706433, 0177.0.0.1, 127.1 and 0x7f.1: read as addresses by some, as names by others.
_NUMERIC: Final = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)


def checked_link(link: str, guard: AddressGuard) -> URL:
    """A result link that may be asked: https to a name or a public address; http only to this machine, where allowed.

    http to anyone else is asked as https, on the same host. *Raises* ValueError saying why not, without the link.
    """
    if not link or len(link) > _LINK_MAX or not link.isprintable() or " " in link or "\\" in link:
        raise ValueError("the link is not a URL")
    try:
        # A signed link must be asked exactly as it was written, or its signature does not match.
        url = URL(link, encoded=link.isascii()).with_fragment(None)
        host, port = url.raw_host, url.port
    except ValueError:
        raise ValueError("the link is not a URL") from None
    if url.scheme not in {"http", "https"}:
        raise ValueError("the link is neither https nor http")
    if not host or not port:
        raise ValueError("the link names no host")
    if "@" in url.raw_authority:
        raise ValueError("the link carries a user name")
    _check_host(host, guard)
    if url.scheme == "http" and not _is_local(host):
        if port != _HTTP_PORT:
            raise ValueError("the link is not https")
        return url.with_scheme("https").with_port(None)
    return url


@lru_cache(maxsize=256)
def _is_local(host: str) -> bool:
    return names_loopback(host)


def unfit_location(location: str, guard: AddressGuard) -> str:
    """Why a paid call may not name this as an input picture; empty when it may.

    A gateway fetches what it is told to from where it stands: a link into a private network would be ours. What is no
    URL is a path or a key of the gateway's own.
    """
    scheme, separator, _ = location.partition("://")
    if not separator or scheme == "oss":
        return ""
    try:
        checked_link(location, guard)
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=256)
def _check_host(host: str, guard: AddressGuard) -> None:
    """Hosts are few and links many: one that passed once is not looked at again."""
    local = names_loopback(host.rstrip("."))
    if (local and not guard.allows("127.0.0.1")) or (not local and _parse(host) and not guard.allows(host)):
        raise ValueError("the link leads to an address that is not public")
    if _parse(host) is None and (_NAME.fullmatch(host) is None or _NUMERIC.fullmatch(host)):
        raise ValueError("the link's host is neither a name nor an address")
