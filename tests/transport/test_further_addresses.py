"""A gateway's further addresses, addresses that it names itself, and result links that are keys below one of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from pipeline.errors import Bug, CardError
from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import MemoryDoor
from pipeline.values.card import Base, GatewayCard
from pipeline.values.wire import Answered, DownloadBroken, Downloaded, NotSent, Outcome, Request, Response
from tests.transport.servers import CANARY, Seen, card, http, raw_server

BASES = {
    "files": Base("https://files.acme.example/up", "ACME_FILES_URL"),
    "asset": Base("https://asset.acme.example", "ACME_ASSET_URL", keyed=False),
}
CARD = replace(card(base_url="https://api.acme.example/v1", auth_header="API-KEY", auth_prefix=""), bases=BASES)


@asynccontextmanager
async def door_to(port: int) -> AsyncIterator[HttpDoor]:
    """A door whose gateway lives on this machine with all its addresses."""
    here = f"http://127.0.0.1:{port}"
    environ = {
        "ACME_API_KEY": CANARY,
        "ACME_BASE_URL": f"{here}/v1",
        "ACME_FILES_URL": f"{here}/f",
        "ACME_ASSET_URL": f"{here}/a",
    }
    door = HttpDoor({"acme": CARD}, environ, {})
    try:
        yield door
    finally:
        await door.close()


def head(seen: Seen) -> tuple[str, bool]:
    """The first line of the one request, and whether the key was in it."""
    ((text, _),) = seen.requests
    return text.split("\r\n")[0], CANARY in text


@pytest.mark.parametrize(
    ("base", "line", "keyed"),
    [
        ("", "POST /v1/x HTTP/1.1", True),
        ("files", "POST /f/x HTTP/1.1", True),
        ("asset", "POST /a/x HTTP/1.1", False),
    ],
)
async def test_a_base_is_asked_at_its_own_address_with_the_key_only_where_it_wants_one(
    base: str, line: str, *, keyed: bool
) -> None:
    """What is public or signed is asked without the key."""
    async with raw_server(lambda _: http("200 OK")) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(Request("acme", "POST", "/x", b"1", base=base, free=True), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert head(seen) == (line, keyed)


async def test_an_address_that_the_gateway_named_is_asked_without_the_key_and_never_redirected() -> None:
    """A storage host gets the form and nothing else; where it points to is not followed."""
    answer = http("307 Temporary Redirect", b"", "Location: http://127.0.0.1:9/elsewhere")
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        url = f"http://127.0.0.1:{seen.port}/bucket"
        outcome = await door.exchange(Request("acme", "POST", "", b"form", url=url, free=True), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert outcome.response.status == 307
    assert head(seen) == ("POST /bucket HTTP/1.1", False)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "http://169.254.169.254/latest",
        "https://10.0.0.1/x",
        "https://user@storage.example/x",
        "ftp://storage.example/x",
        "http://storage.example:8080/x",
        "https://localhost/x",
    ],
)
async def test_an_address_that_is_not_public_is_not_asked(url: str) -> None:
    """A real gateway cannot send us, or our pictures, to this machine or its neighbours."""
    door = HttpDoor({"acme": CARD}, {"ACME_API_KEY": CANARY}, {})
    try:
        outcome = await door.exchange(Request("acme", "POST", "", b"form", url=url, free=True), timeout_s=5)
    finally:
        await door.close()
    assert isinstance(outcome, NotSent)


async def test_a_key_among_the_results_is_a_file_below_the_asset_address() -> None:
    """`asset:KEY` leads there, quoted, without the key of the account; a key that climbs leads nowhere."""
    kept = bytearray()
    async with (
        raw_server(lambda _: http("200 OK", b"png", "Content-Type: image/png")) as seen,
        door_to(seen.port) as door,
    ):
        found = await door.download("acme", "asset:images/a b?c.png", kept.extend, timeout_s=5, size_max=99)
        climbed = await door.download("acme", "asset:images/../../x", kept.extend, timeout_s=5, size_max=99)
    assert isinstance(found, Downloaded)
    assert bytes(kept) == b"png"
    assert isinstance(climbed, DownloadBroken)
    assert climbed.blocked
    assert head(seen) == ("GET /a/images/a%20b%3Fc.png HTTP/1.1", False)


async def test_an_address_that_is_not_on_the_card_is_a_bug() -> None:
    """A provider and its card do not agree."""
    async with door_to(9) as door:
        with pytest.raises(Bug, match="not on the gateway's card: oss"):
            await door.exchange(Request("acme", "GET", "/x", base="oss"), timeout_s=5)


@pytest.mark.parametrize("led", ["ACME_BASE_URL", "ACME_FILES_URL"])
def test_a_rehearsal_of_one_address_only_is_refused(led: str) -> None:
    """Pictures of a rehearsal would go to the vendor, or a real run's to this machine."""
    environ = {"ACME_API_KEY": CANARY, led: "http://127.0.0.1:8080/x"}
    with pytest.raises(CardError, match="must both lead to this machine, or neither"):
        HttpDoor({"acme": CARD}, environ, {})


def test_an_address_obeys_the_rules_of_a_base_url() -> None:
    """Plain http only to this machine."""
    with pytest.raises(CardError, match="ACME_FILES_URL must be https"):
        HttpDoor({"acme": CARD}, {"ACME_API_KEY": CANARY, "ACME_FILES_URL": "http://files.example"}, {})


def test_accounts_are_told_apart_without_giving_the_key_away() -> None:
    """Sixteen hex digits, the same for the same key."""
    one, same, other = (
        HttpDoor({"acme": CARD}, {"ACME_API_KEY": key}, {}).account("acme") for key in (CANARY, CANARY, "another-key")
    )
    assert one == same != other
    assert len(one) == 16
    assert CANARY[:6] not in one


class _Asked:
    """A world that keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[WireRequest] = []

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """Always the same."""
        del gateway, now
        self.asked.append(request)
        return Exchange(0.0, Response(200, b"png", {}))

    def fetch(self, link: str, now: float) -> Exchange:
        """A whole link."""
        return self.handle("", WireRequest("GET", link, {}), now)

    def lines(self) -> list[str]:
        """Nothing is kept."""
        return []


def rehearsed(request: Request, cards: dict[str, GatewayCard]) -> WireRequest:
    """A request as an emulator sees it."""
    world = _Asked()

    async def work(clock: VirtualClock) -> Outcome:
        door = MemoryDoor(world, clock, cards=cards)
        outcome = await door.exchange(request, timeout_s=5)
        await door.close()
        return outcome

    run_virtual(work)
    return world.asked[0]


@pytest.mark.parametrize(
    ("request_", "target", "base", "key"),
    [
        (Request("acme", "POST", "/x"), "/v1/x", "", "rehearsal"),
        (Request("acme", "POST", "/x", base="files"), "/up/x", "files", "rehearsal"),
        (Request("acme", "GET", "/x", base="asset"), "/x", "asset", None),
        (
            Request("acme", "POST", "", url="https://acme-oss.simulator.invalid/b"),
            "https://acme-oss.simulator.invalid/b",
            "",
            None,
        ),
    ],
)
def test_in_memory_the_addresses_and_the_key_are_where_the_card_has_them(
    request_: Request, target: str, base: str, key: str | None
) -> None:
    """The emulator sees the vendor's own path, the address by name, and the key in the card's header or not at all."""
    seen = rehearsed(request_, {"acme": CARD})
    assert (seen.target, seen.base, seen.headers.get("api-key")) == (target, base, key)
    assert "authorization" not in seen.headers


async def test_a_gateway_without_a_key_is_sent_nothing_and_its_pictures_are_fetched() -> None:
    """It left the spec: why it is closed is told, a request ends before the wire, a download needs no key."""
    async with raw_server(lambda _: http("200 OK", b"picture", "Content-Type: image/png")) as seen:
        here = f"http://127.0.0.1:{seen.port}"
        environ = {"ACME_BASE_URL": f"{here}/v1", "ACME_FILES_URL": f"{here}/f", "ACME_ASSET_URL": f"{here}/a"}
        door = HttpDoor({}, environ, {})
        try:
            closed = door.admit({"acme": CARD}, environ, {})
            assert await door.exchange(Request("acme", "GET", "/x"), timeout_s=5) == NotSent("there is no key for acme")
            got = await door.download("acme", f"{here}/p.png", lambda _: None, timeout_s=5, size_max=99)
        finally:
            await door.close()
    assert "ACME_API_KEY is not set" in closed["acme"]
    assert isinstance(got, Downloaded)
    assert [text.split("\r\n")[0] for text, _ in seen.requests] == ["GET /p.png HTTP/1.1"]


async def test_a_gateway_that_is_let_in_later_has_its_key_hidden_as_well() -> None:
    """Logs of an open door hold no key, whenever the door came to know it; once it is closed nothing is filtered."""
    door = HttpDoor({}, {}, {})
    try:
        assert door.admit({"acme": CARD}, {"ACME_API_KEY": CANARY}, {}) == {}
        assert door.account("acme") == HttpDoor({"acme": CARD}, {"ACME_API_KEY": CANARY}, {}).account("acme")
        record = logging.LogRecord("asyncio", logging.ERROR, __file__, 1, f"sent {CANARY}", None, None)
        logging.getLogger("asyncio").filter(record)
        assert CANARY not in record.getMessage()
    finally:
        await door.close()
