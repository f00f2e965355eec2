"""S3: more than 300 ways to write an address that is not public; none of them is ever dialled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pipeline.transport import http, sessions
from pipeline.transport.addresses import AddressGuard, BlockedAddress, checked_link
from pipeline.transport.http import HttpDoor
from pipeline.values.wire import DownloadBroken
from tests.transport.servers import CANARY, card

_TARGETS = (
    *("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "192.0.0.8", "198.18.0.1", "240.0.0.1"),
)
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")  # noqa: RUF001 - digits that IDNA folds into ours


def disguises(address: str) -> Iterator[str]:
    """Every way to write an IPv4 address as the host of a URL."""
    parts = [int(part) for part in address.split(".")]
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    yield address
    yield f"{address}."
    yield f"{address}.."
    yield str(number)
    yield hex(number)
    yield f"0X{number:08X}"
    yield f"0{number:o}"
    yield ".".join(map(hex, parts))
    yield ".".join(f"0{part:o}" for part in parts)
    yield ".".join(f"{part:03d}" for part in parts)
    yield f"{hex(parts[0])}.{parts[1]}.0{parts[2]:o}.{parts[3]}"
    yield f"{parts[0]}.{number & 0xFFFFFF}"
    yield f"{parts[0]}.{parts[1]}.{low}"
    yield str(number + 2**32)
    yield ".".join(str(part + 256) for part in parts)
    yield "".join(f"%{ord(letter):02x}" for letter in address)
    yield address.translate(_WIDE)
    yield address.replace(".", "。")
    yield f"[::ffff:{address}]"
    yield f"[::ffff:{high:x}:{low:x}]"
    yield f"[0:0:0:0:0:FFFF:{high:X}:{low:X}]"
    yield f"[::{address}]"
    yield f"[::ffff:0:{address}]"
    yield f"[64:ff9b::{address}]"
    yield f"[64:ff9b:1::{address}]"
    yield f"[2002:{high:x}:{low:x}::1]"
    yield f"[2001:0:808:808:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}]"
    yield f"[fe80::5efe:{address}]"
    yield f"[::ffff:{address}%25eth0]"
    yield f"user@{address}"
    yield f"cdn.example@{address}"


_HOSTS = (
    *("localhost", "LOCALHOST", "localhost.", "ⓛocalhost", "loc\u00adalhost", "localhost\u3002", "%6cocalhost"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]"),
    *("[fec0::1]", "[100::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[::1", "::1", "[127.0.0.1]", "[]", ""),
    *("localhost\\.cdn.example", "cdn.example\\@127.0.0.1", "cdn.example:80:80", "127.0.0.1:0", "127.0.0.1:70000"),
    *("cdn.example\r\nHost: x", "cdn.example%0d%0aX:y", "cdn.example\t", " 127.0.0.1", "127.0.0.1\x00.cdn.example"),
    *(":pass@127.0.0.1", "@127.0.0.1", "user:pass@localhost", "cdn.example%40127.0.0.1", "cdn.example%2f@127.0.0.1"),
)
_WHOLE = (
    *("file:///etc/passwd", "file://localhost/etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:6379/_FLUSHALL"),
    *("data:image/png;base64,AAAA", "jar:https://cdn.example!/x", "dict://127.0.0.1:11211/stat", "ldap://127.0.0.1"),
    *("unix:///run/docker.sock", "ws://127.0.0.1/", "javascript:1", "blob:https://cdn.example/1", "//127.0.0.1/x"),
    *("\\\\127.0.0.1\\x", "https:127.0.0.1", "https:/127.0.0.1", "https:///127.0.0.1/x", "HTTPS://127.0.0.1/x"),
    *("https://127.0.0.1#@cdn.example/", "https://127.0.0.1?@cdn.example/", "https://127.0.0.1/;@cdn.example/"),
    *(
        "http://127.0.0.1:22/",
        "http://cdn.example:6379/",
        "https://127.0.0.1:443/",
        "/etc/passwd",
        "x" * 9000,
        "?",
        "#",
    ),
)

LINKS = [
    *(f"https://{host}/x" for target in _TARGETS for host in disguises(target)),
    *(f"https://{host}/x" for host in _HOSTS),
    *_WHOLE,
]
#: Names that a foreign name server answers with something of ours.
NAMES = ("evil.example", "127.0.0.1.nip.example", "localtest.example", "xn--bcher-kva.example")
ANSWERS = (
    *(("127.0.0.1",), ("10.0.0.1",), ("8.8.8.8", "127.0.0.1"), ("127.0.0.1", "8.8.8.8"), ("169.254.169.254",)),
    *(("::1",), ("::ffff:127.0.0.1",), ("64:ff9b::7f00:1",), ("2606:4700::1111", "fd00::1"), ("fe80::1%eth0",)),
)


@dataclass
class Network:
    """What the door did to the network: it has none. A public address is refused as by a firewall, and noted."""

    looked_up: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    connected: list[object] = field(default_factory=list)
    #: What the name server says, one answer after the other; the last one for good.
    answers: list[tuple[str, ...]] = field(default_factory=lambda: [("10.0.0.1",)])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Records every look-up, every socket that is asked for and every connection that is begun."""
    seen = Network()
    honest = AddressGuard.socket

    class Answering(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            seen.looked_up.append(host)
            hosts = seen.answers.pop(0) if len(seen.answers) > 1 else seen.answers[0]
            return [ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in hosts]

        async def close(self) -> None:
            """Nothing to let go of."""

    def dial(self: AddressGuard, info: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        honest(self, info).close()
        seen.dialled.append(str(info[4][0]))
        raise ConnectionRefusedError(111, "there is no network here")

    async def connect(_loop: object, _sock: object, address: object) -> None:
        seen.connected.append(address)
        raise ConnectionRefusedError(111, "there is no network here")

    monkeypatch.setattr(aiohttp, "ThreadedResolver", Answering)
    monkeypatch.setattr(AddressGuard, "socket", dial)
    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    return seen


async def fetch(door: HttpDoor, link: str) -> DownloadBroken:
    """Ask for a link that cannot be had."""
    outcome = await door.download("acme", link, len, timeout_s=5, size_max=10)
    assert isinstance(outcome, DownloadBroken), link
    return outcome


def a_door(base_url: str = "https://api.acme.example") -> HttpDoor:
    """A door to a gateway that lives there."""
    return HttpDoor({"acme": card()}, {"ACME_API_KEY": CANARY, "ACME_BASE_URL": base_url}, {})


def test_there_are_more_than_300_forms() -> None:
    """None of them twice."""
    assert len(set(LINKS)) >= 300


async def test_no_form_of_a_private_address_is_dialled(network: Network) -> None:
    """Every form is refused before a socket is made: 0 sockets, 0 connections; names lead nowhere."""
    door = a_door()
    try:
        for link in LINKS:
            assert (await fetch(door, link)).blocked, link
    finally:
        await door.close()
    assert (network.dialled, network.connected) == ([], [])


async def test_a_gateway_on_this_machine_opens_no_other_address(network: Network) -> None:
    """An emulator's own links lead to 127.0.0.1 and localhost as they are written; every disguise stays closed."""
    door = a_door("http://127.0.0.1:8399")
    plain = {"127.0.0.1", "localhost", "localhost.", "::1", "127.0.0.1."}
    tried = 0
    try:
        for link in LINKS:
            try:
                local = URL(link).raw_host in plain
            except ValueError:
                local = False
            if not local:
                tried += 1
                assert (await fetch(door, link)).blocked, link
    finally:
        await door.close()
    assert tried > 280
    assert (network.dialled, network.connected) == ([], [])


async def test_the_check_at_the_socket_holds_alone(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check of links and the check of answers both gone, no socket for such an address is made either."""
    monkeypatch.setattr(http, "checked_link", lambda link, _guard: URL(link))
    monkeypatch.setattr(sessions, "GuardedResolver", lambda inner, _guard: inner)
    door = a_door()
    addresses = [one.strip("[]") for target in _TARGETS for one in disguises(target)]
    literal = [address for address in addresses if _is_literal(address)]
    try:
        for address in literal:
            host = f"[{address}]" if ":" in address else address
            assert (await fetch(door, f"https://{host}/x")).blocked, address
        for answers in ANSWERS:
            network.answers = [answers]
            for name in NAMES:
                await fetch(door, f"https://{len(network.looked_up)}.{name}/x")
    finally:
        await door.close()
    assert len(literal) > 100
    assert network.connected == []
    assert {address for address in network.dialled if address not in {"8.8.8.8", "2606:4700::1111"}} == set()


def _is_literal(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_leads_inside_is_not_dialled(network: Network, name: str, answers: tuple[str, ...]) -> None:
    """One private address among several is enough to refuse them all."""
    network.answers = [answers]
    door = a_door()
    try:
        assert (await fetch(door, f"https://{name}/x")).blocked
    finally:
        await door.close()
    assert (network.looked_up, network.dialled, network.connected) == ([name], [], [])


async def test_a_name_that_is_public_first_and_private_then_is_dialled_once(network: Network) -> None:
    """Rebinding: what is dialled is what was checked; the second answer is checked anew and refused."""
    network.answers = [("8.8.8.8",), ("127.0.0.1",)]
    door, again = a_door(), a_door()
    try:
        assert not (await fetch(door, "https://evil.example/x")).blocked
        assert network.dialled == ["8.8.8.8"]
        assert (await fetch(again, "https://evil.example/x")).blocked
    finally:
        await door.close()
        await again.close()
    assert network.dialled == ["8.8.8.8"]


def test_a_refusal_says_nothing_of_the_link() -> None:
    """A signature in a refused link does not reach a log through the reason."""
    for link in LINKS:
        with pytest.raises((ValueError, BlockedAddress)) as caught:
            checked_link(link + "?signature=canary", AddressGuard(loopback=False))
        assert "canary" not in str(caught.value), link
        assert quote("canary") not in str(caught.value)
