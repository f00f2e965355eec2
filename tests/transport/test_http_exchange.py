"""The real door's API calls: what each way of ending means, and that a paid call is sent once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from pipeline.errors import Bug, CardError, SecretMissing
from pipeline.transport.gateways import base_url
from pipeline.transport.http import HttpDoor
from pipeline.transport.leaving import LEAVING
from pipeline.values.wire import Answered, Broken, NotSent, Request
from tests.transport.servers import CANARY, card, door_to, free_port, get, http, mute_server, post, raw_server

LARGE = b"x" * 3_000_000


async def test_a_request_carries_the_key_the_agent_and_no_coding() -> None:
    """The gateway sees the body as it is, the key in its header, the card's agent, below the base URL."""
    async with raw_server(lambda _: http("202 Accepted", b'{"id":1}', "X-Request-ID: r1", "X-A: 1", "X-A: 2")) as seen:
        async with door_to(seen.port) as door:
            outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert (outcome.response.status, outcome.response.body) == (202, b'{"id":1}')
    assert outcome.response.headers["x-request-id"] == "r1"
    assert outcome.response.headers["x-a"] == "1, 2"
    ((head, body),) = seen.requests
    lines = head.lower().split("\r\n")
    assert head.startswith("POST /v1/images HTTP/1.1")
    assert f"authorization: bearer {CANARY}".lower() in lines
    assert "user-agent: batch/1" in lines
    assert "accept-encoding: identity" in lines
    assert "content-type: application/json" in lines
    assert not any(line.startswith("cookie") for line in lines)
    assert body == b'{"prompt":"a cup"}'


async def test_a_key_goes_into_the_header_that_the_card_names() -> None:
    """A gateway with a header of its own gets the key there, bare, and no Authorization."""
    async with raw_server(lambda _: http("200 OK")) as seen:
        async with door_to(seen.port, auth_header="API-KEY", auth_prefix="") as door:
            await door.exchange(get(), timeout_s=5)
    lines = seen.requests[0][0].lower().split("\r\n")
    assert f"api-key: {CANARY}".lower() in lines
    assert not any(line.startswith("authorization") for line in lines)


@pytest.mark.parametrize("request_", [post(), get()], ids=["submit", "poll"])
async def test_a_refused_connection_proves_that_nothing_was_sent(request_: Request) -> None:
    """Nobody listens: NotSent, naming the sort of failure and the host."""
    async with door_to(free_port()) as door:
        outcome = await door.exchange(request_, timeout_s=5)
    assert outcome == NotSent("127.0.0.1: nothing takes connections there (ConnectionRefusedError)")


async def test_a_path_that_leads_out_of_the_base_is_not_sent() -> None:
    """An operation id from a gateway cannot steer the key to another path or host."""
    async with raw_server(lambda _: http("200 OK")) as seen, door_to(seen.port) as door:
        for path in (
            "/../admin",
            "/a/%2e%2E/b",
            "//evil.example/x/..",
            "@evil.example/",
            "/a b",
            "/a\r\nX: y",
            "/a#b",
            "/a\\b",
        ):
            outcome = await door.exchange(Request("acme", "GET", path), timeout_s=5)
            assert isinstance(outcome, NotSent), path
    assert seen.connections == 0


HALF_HEAD = b"HTTP/1.1 202 Accepted\r\nContent-Le"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="closed without a byte"),
        pytest.param(HALF_HEAD, id="half of the head"),
        pytest.param(http("202 Accepted", b'{"id"', length=40), id="half of the body"),
        pytest.param(
            http("202 Accepted", b"3\r\nabc\r\n", "Transfer-Encoding: chunked").replace(b"Content-Length: 8\r\n", b""),
            id="half of the chunks",
        ),
        pytest.param(b"garbage\r\n\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 OK fine\r\n\r\n", id="no status"),
        pytest.param(http("200 OK", b"abc", "Content-Length: 7"), id="two lengths"),
        pytest.param(http("200 OK", b"not gzip", "Content-Encoding: gzip"), id="broken coding"),
    ],
)
async def test_what_breaks_after_the_connection_is_broken_and_sent_once(answer: bytes | None) -> None:
    """Whatever breaks once a connection was made is Broken, never an answer (not a 400 either), and never repeated."""
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Broken)
    assert len(seen.requests) == 1
    assert seen.connections == 1
    assert CANARY not in repr(outcome)


async def test_a_timeout_after_the_connection_is_broken() -> None:
    """Silence is no proof of anything."""
    async with mute_server() as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=0.05)
    assert outcome == Broken("127.0.0.1: no answer came in time (TimeoutError)")
    assert seen.connections == 1


async def test_a_post_on_a_stale_connection_is_not_sent_again() -> None:
    """A reused connection that closes under the second POST: Broken, and the gateway saw that POST once."""
    async with raw_server(lambda number: http("200 OK", b"1") if number == 0 else None, keep=True) as seen:
        async with door_to(seen.port) as door:
            first = await door.exchange(post(b"first"), timeout_s=5)
            second = await door.exchange(post(b"second"), timeout_s=5)
    assert isinstance(first, Answered)
    assert isinstance(second, Broken)
    assert seen.connections == 1, "the second POST went over the first one's connection"
    assert [body for _, body in seen.requests] == [b"first", b"second"]


@pytest.mark.parametrize(("reuse", "connections"), [(True, 1), (False, 3)], ids=["reused", "new for each"])
async def test_the_card_says_whether_paid_calls_reuse_a_connection(reuse: bool, connections: int) -> None:  # noqa: FBT001
    """With `reuse_connections: false` every paid call has a connection of its own, whatever the server keeps open."""
    async with raw_server(lambda _: http("200 OK", b"1"), keep=True) as seen, door_to(seen.port, reuse=reuse) as door:
        for _ in range(3):
            assert isinstance(await door.exchange(post(), timeout_s=5), Answered)
    assert (seen.connections, len(seen.requests)) == (connections, 3)


async def test_a_paid_call_reuses_no_connection_that_was_idle_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection idle beyond the bound (shortened here) is closed, and the next paid call makes a new one."""
    monkeypatch.setattr("pipeline.transport.sessions._SUBMIT_IDLE_S", 0.05)
    async with raw_server(lambda _: http("200 OK", b"1"), keep=True) as seen, door_to(seen.port) as door:
        await door.exchange(post(), timeout_s=5)
        await seen.left.wait()
        await door.exchange(post(), timeout_s=5)
    assert (seen.connections, len(seen.requests)) == (2, 2)


async def test_only_a_paid_call_moves_its_slot_to_when_it_left() -> None:
    """A poll that runs in the context of the call it asks about leaves that call's slot where it is."""
    left: list[str] = []
    LEAVING.set(lambda: left.append("left"))
    async with raw_server(lambda _: http("200 OK", b"1"), keep=True) as seen, door_to(seen.port) as door:
        await door.exchange(get(), timeout_s=5)
        assert left == []
        await door.exchange(post(), timeout_s=5)
    assert left == ["left"]


async def test_submits_and_polls_do_not_share_a_connection() -> None:
    """A poll's long idle connection is never used for a paid call."""
    async with raw_server(lambda _: http("200 OK", b"1"), keep=True) as seen, door_to(seen.port) as door:
        await door.exchange(get(), timeout_s=5)
        await door.exchange(post(), timeout_s=5)
        await door.exchange(get(), timeout_s=5)
    assert seen.connections == 2


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("request_", [post(), get()], ids=["submit", "poll"])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: str, request_: Request) -> None:
    """No byte of key or body goes to where an API call is redirected."""
    async with raw_server(lambda _: http("200 OK")) as foreign:
        location = f"Location: http://127.0.0.1:{foreign.port}/steal"
        async with raw_server(lambda _: http(status, b"", location)) as seen, door_to(seen.port) as door:
            outcome = await door.exchange(request_, timeout_s=5)
    assert isinstance(outcome, Answered)
    assert outcome.response.status == int(status[:3])
    assert (foreign.connections, len(seen.requests)) == (0, 1)


@pytest.mark.parametrize("letter", [b"caf\xe9", b"\xff\xfe", "墨".encode(), b"\xc3"])
async def test_a_letter_in_a_header_does_not_cost_the_answer(letter: bytes) -> None:
    """The answer to a paid call counts, in whatever encoding a proxy on the way writes its headers."""
    answer = b"HTTP/1.1 202 Accepted\r\nX-Made-In: " + letter + b"\r\nContent-Length: 2\r\n\r\n{}"
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert (outcome.response.status, outcome.response.body) == (202, b"{}")
    outcome.response.headers["x-made-in"].encode()


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "402 Pay", "404 No", "429 Slow", "500 Oh", "503 No"])
async def test_any_complete_status_is_an_answer(status: str) -> None:
    """What a status means is not transport's business, and none is asked again."""
    async with raw_server(lambda _: http(status, b"{}")) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert outcome.response.status == int(status[:3])
    assert len(seen.requests) == 1


@pytest.mark.parametrize("promised", [True, False], ids=["length", "no length"])
async def test_an_answer_over_the_limit_is_broken(promised: bool) -> None:  # noqa: FBT001
    """A flood is cut off, and a body of exactly the limit is not."""
    answer = http("200 OK", b"y" * 1000, "Connection: close")
    if not promised:
        answer = answer.replace(b"Content-Length: 1000\r\n", b"")
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        over = await door.exchange(post(), timeout_s=5, body_max=999)
        exact = await door.exchange(post(), timeout_s=5, body_max=1000)
    assert over == Broken("the answer of 127.0.0.1 is larger than 999 bytes", too_large=True)
    assert isinstance(exact, Answered)


async def test_a_large_body_arrives_whole() -> None:
    """Pictures travel in the body: megabytes leave in pieces, with their length."""
    async with raw_server(lambda _: http("200 OK")) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(LARGE), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert seen.requests[0][1] == LARGE


async def test_cancelling_an_exchange_cancels_it() -> None:
    """Cancellation is not an outcome."""
    async with mute_server() as seen, door_to(seen.port) as door:
        task = asyncio.ensure_future(door.exchange(get(), timeout_s=5))
        await seen.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_request_cannot_bring_a_key_of_its_own() -> None:
    """A provider that names the header of the key is our own mistake."""
    async with door_to(1) as door:
        with pytest.raises(Bug, match="header"):
            await door.exchange(Request("acme", "GET", "/", None, (("authorization", "x"),)), timeout_s=1)
        with pytest.raises(Bug, match="elsewhere"):
            await door.exchange(Request("elsewhere", "GET", "/"), timeout_s=1)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("http://api.acme.example", "https"),
        ("http://127.0.0.1.evil.example", "https"),
        ("http://10.0.0.1", "https"),
        ("ftp://127.0.0.1", "https"),
        ("api.acme.example", "https"),
        ("https://user:CANARY@api.acme.example", "user name"),
        ("https://CANARY@api.acme.example", "user name"),
        ("https://api.acme.example?key=CANARY", "query"),
        ("https://api.acme.example#CANARY", "fragment"),
        ("https://api.acme.example:port", "URL"),
    ],
)
def test_a_base_url_that_could_leak_a_key_is_refused(written: str, complaint: str) -> None:
    """The variable is named, its value is not shown."""
    with pytest.raises(CardError, match=complaint) as caught:
        base_url(card(), {"ACME_BASE_URL": written})
    assert "ACME_BASE_URL" in str(caught.value)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "written", ["http://127.0.0.1:8399/acme/", "http://localhost:1", "http://[::1]:2", "https://x.example/api/v1"]
)
def test_a_base_url_may_be_https_or_this_machine(written: str) -> None:
    """The environment may point a gateway elsewhere."""
    assert str(base_url(card(), {"ACME_BASE_URL": written})).rstrip("/") == written.rstrip("/")
    assert str(base_url(card(), {})).rstrip("/") == "https://api.acme.example"


def test_a_door_without_a_key_does_not_open() -> None:
    """A missing key is found before anything is sent."""
    with pytest.raises(SecretMissing, match="ACME_API_KEY"):
        HttpDoor({"acme": card()}, {}, {})
    other = replace(card(), name="other", key_env="OTHER_API_KEY")
    with pytest.raises(SecretMissing, match=r"ACME_API_KEY.*OTHER_API_KEY"):
        HttpDoor({"acme": card(), "other": other}, {}, {})


async def test_the_key_is_in_no_outcome_and_no_repr_of_the_door() -> None:
    """What can be printed of a door does not hold the key."""
    async with raw_server(lambda _: b"HTTP/1.1 403 " + CANARY.encode()) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
        texts = [repr(outcome), repr(door), str(vars(door)), repr(door._gateways["acme"])]
    assert isinstance(outcome, Broken)
    assert not any(CANARY in text for text in texts)
