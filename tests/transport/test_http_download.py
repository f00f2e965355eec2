"""Downloads of result links: whole or not at all, without credentials, and to public addresses only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.transport.addresses import AddressGuard, BlockedAddress, GuardedResolver, checked_link
from pipeline.transport.http import HttpDoor
from pipeline.values.wire import DownloadBroken, Downloaded, DownloadOutcome, DownloadRefused
from tests.transport.servers import CANARY, card, door_to, http, mute_server, raw_server

PICTURE = bytes(range(256)) * 2000


async def fetch(door: HttpDoor, link: str, write: Callable[[bytes], object], size_max: int = 10**7) -> DownloadOutcome:
    """Download with the usual limits."""
    return await door.download("acme", link, write, timeout_s=5, size_max=size_max)


async def test_a_download_is_streamed_hashed_and_carries_no_credentials() -> None:
    """The bytes arrive in order with their digest; the key does not leave, and the signature is left as it was."""
    kept = bytearray()
    async with raw_server(lambda _: http("200 OK", PICTURE, "Content-Type: image/PNG; x=1")) as seen:
        async with door_to(seen.port) as door:
            link = f"http://127.0.0.1:{seen.port}/a%2Fb.png?Signature=a%2Bb%3D&E=1#part"
            outcome = await fetch(door, link, kept.extend)
    assert outcome == Downloaded(200, "image/png", len(PICTURE))
    assert bytes(kept) == PICTURE
    head = seen.requests[0][0]
    assert head.startswith("GET /a%2Fb.png?Signature=a%2Bb%3D&E=1 HTTP/1.1")
    assert CANARY not in head
    assert "authorization" not in head.lower()
    assert "cookie" not in head.lower()


@pytest.mark.parametrize(
    ("status", "gone"),
    [
        ("403 No", True),
        ("404 No", True),
        ("410 Gone", True),
        ("500 Oh", False),
        ("429 Slow", False),
        ("206 Part", False),
    ],
)
async def test_another_status_is_refused_and_nothing_is_written(status: str, gone: bool) -> None:  # noqa: FBT001
    """403, 404 and 410 ask for a fresh link; the rest ask for patience."""
    kept = bytearray()
    async with raw_server(lambda _: http(status, b"<Error/>")) as seen, door_to(seen.port) as door:
        outcome = await fetch(door, seen.link, kept.extend)
    assert outcome == DownloadRefused(int(status[:3]), gone=gone)
    assert not kept


@pytest.mark.parametrize(
    ("answer", "size_max"),
    [
        pytest.param(None, 10**7, id="closed"),
        pytest.param(http("200 OK", b"half", length=9), 10**7, id="half"),
        pytest.param(http("200 OK", b"four"), 3, id="promises too much"),
        pytest.param(http("200 OK", b"four").replace(b"Content-Length: 4\r\n", b""), 3, id="is too much"),
    ],
)
async def test_what_does_not_arrive_whole_is_broken(answer: bytes | None, size_max: int) -> None:
    """A part of a picture is no picture, and too much of one is not kept."""
    kept = bytearray()
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        outcome = await fetch(door, seen.link, kept.extend, size_max)
    assert isinstance(outcome, DownloadBroken)
    assert not outcome.blocked
    assert len(kept) <= size_max
    assert "signature" not in outcome.why


async def test_a_silent_download_ends_at_its_timeout() -> None:
    """A server that says nothing does not hold a download for ever."""
    async with mute_server() as seen, door_to(seen.port) as door:
        outcome = await door.download("acme", seen.link, len, timeout_s=0.05, size_max=10)
    assert outcome == DownloadBroken("downloading: no answer came in time (TimeoutError)")


async def test_a_full_disk_is_not_the_links_fault() -> None:
    """What `write` raises comes out as it is."""

    def write(_data: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with raw_server(lambda _: http("200 OK", PICTURE)) as seen, door_to(seen.port) as door:
        with pytest.raises(OSError, match="No space left"):
            await fetch(door, seen.link, write)


@pytest.mark.parametrize(("hops", "whole"), [(1, True), (3, True), (4, False)])
async def test_three_redirects_are_followed_and_no_more(hops: int, whole: bool) -> None:  # noqa: FBT001
    """Storage may redirect a link; a loop ends."""

    def script(number: int) -> bytes:
        return http("302 Found", b"", f"Location: /hop{number}") if number < hops else http("200 OK", b"picture")

    async with raw_server(script) as seen, door_to(seen.port) as door:
        outcome = await fetch(door, seen.link, len)
    assert isinstance(outcome, Downloaded) is whole
    assert len(seen.requests) == min(hops, 3) + 1


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/x",
        "https://169.254.169.254/latest",
        "file:///etc/passwd",
        "http://[::ffff:7f00:1]/",
        "//u:p@x.example/",
    ],
)
async def test_a_redirect_is_checked_like_the_link(target: str) -> None:
    """A public link cannot lead on to a private address."""
    async with raw_server(lambda _: http("302 Found", b"", f"Location: {target}")) as seen, door_to(seen.port) as door:
        outcome = await fetch(door, seen.link, len)
    assert isinstance(outcome, DownloadBroken)
    assert outcome.blocked
    assert len(seen.requests) == 1


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "[::1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ],
)
async def test_a_gateway_elsewhere_cannot_send_us_to_this_machine(host: str) -> None:
    """Only a gateway that is on this machine itself may link to it. No connection is made."""
    async with raw_server(lambda _: http("200 OK", b"secret")) as seen:
        door = HttpDoor({"acme": card()}, {"ACME_API_KEY": CANARY}, {})
        try:
            for scheme in ("http", "https"):
                outcome = await fetch(door, f"{scheme}://{host}:{seen.port}/", len)
                assert isinstance(outcome, DownloadBroken)
                assert outcome.blocked, (scheme, outcome)
        finally:
            await door.close()
    assert seen.connections == 0


PUBLIC, LOCAL = AddressGuard(loopback=False), AddressGuard(loopback=True)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "picture.png",
        "//cdn.example/x",
        "file:///etc/passwd",
        "ftp://cdn.example/x",
        "gopher://cdn.example/x",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://:443/x",
        "https://cdn.example:0/x",
        "https://cdn.example:99999/x",
        "https://user@cdn.example/x",
        "https://user:pass@cdn.example/x",
        "https://@cdn.example/x",
        "https://cdn.example\\@10.0.0.1/x",
        "https://cdn.example/x\r\nX: y",
        "https://cdn.example/a b",
        "https://cdn.example/\x00",
        "https://%31%30.0.0.1/x",
        "https://10.0.0.1/x",
        "https://10.1/x",
        "https://0xa.0.0.1/x",
        "https://167772161/x",
        "https://012.0.0.1/x",
        "https://1.2.3.4.5/x",
        "https://10.0.0.1./x",
        "https://[fe80::1%25eth0]/x",
        "https://[::]/x",
        "http://8.8.8.8:8080/x",
        "http://cdn.example:8080/x",
        "https://cdn.example/" + "x" * 9000,
    ],
)
def test_a_link_that_is_no_public_address_is_refused_before_any_look_up(link: str) -> None:
    """The reason is said without the link, for its query may be a signature."""
    with pytest.raises(ValueError, match="the link"):
        checked_link(link, PUBLIC)


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("https://cdn.example/x?a=%2B&b=1", "https://cdn.example/x?a=%2B&b=1"),
        ("https://cdn.example:8443/x", "https://cdn.example:8443/x"),
        ("http://cdn.example/x?s=%3D", "https://cdn.example/x?s=%3D"),
        ("http://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://[2606:4700::1111]/x", "https://[2606:4700::1111]/x"),
        ("https://my_bucket.cdn.example./x", "https://my_bucket.cdn.example./x"),
        ("https://b\u00fccher.example/\u00fc", "https://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_a_public_link_is_asked_as_it_was_written_and_over_tls(link: str, asked: str) -> None:
    """A signature covers the very bytes; plain http to elsewhere becomes https."""
    assert str(checked_link(link, PUBLIC)) == asked


def test_this_machine_may_be_asked_over_http_where_it_is_allowed() -> None:
    """The emulator's own links work, and other private addresses still do not."""
    assert str(checked_link("http://127.0.0.1:8399/x", LOCAL)) == "http://127.0.0.1:8399/x"
    assert str(checked_link("http://localhost:8399/x", LOCAL)) == "http://localhost:8399/x"
    for link in ("http://192.168.0.1/x", "http://[::ffff:127.0.0.1]/x", "http://0.0.0.0:8399/x"):
        with pytest.raises(ValueError, match="not public"):
            checked_link(link, LOCAL)


class Answers(AbstractResolver):
    """A name server with one answer."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The answer."""
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in self.hosts
        ]

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize("hosts", [("10.0.0.1",), ("8.8.8.8", "127.0.0.1"), ("64:ff9b::a00:1",), ("fe80::1%eth0",)])
async def test_a_name_that_leads_to_a_private_address_is_refused(hosts: tuple[str, ...]) -> None:
    """One private address among several is enough."""
    with pytest.raises(BlockedAddress):
        await GuardedResolver(Answers(*hosts), PUBLIC).resolve("cdn.example", 443)
    assert len(await GuardedResolver(Answers("8.8.8.8"), PUBLIC).resolve("cdn.example", 443)) == 1


async def test_the_last_check_is_on_the_socket_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when name and answer looked well, a connection to this machine is not made (rebinding)."""
    monkeypatch.setattr("pipeline.transport.sessions.GuardedResolver", lambda _inner, _guard: Answers("127.0.0.1"))
    async with raw_server(lambda _: http("200 OK", b"secret")) as seen:
        door = HttpDoor({"acme": card()}, {"ACME_API_KEY": CANARY}, {})
        try:
            outcome = await fetch(door, f"https://cdn.example:{seen.port}/x", len)
        finally:
            await door.close()
    assert outcome == DownloadBroken("the link leads to an address that is not public", blocked=True)
    assert seen.connections == 0


async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key nor a picture goes through a proxy that the environment names."""
    async with raw_server(lambda _: http("200 OK", b"proxied")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with raw_server(lambda _: http("200 OK", b"direct")) as seen, door_to(seen.port) as door:
            await fetch(door, seen.link, len)
    assert (proxy.connections, seen.connections) == (0, 1)


async def test_cancelling_a_download_cancels_it() -> None:
    """Cancellation is not an outcome."""
    async with mute_server() as seen, door_to(seen.port) as door:
        task = asyncio.ensure_future(fetch(door, seen.link, len))
        await seen.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
