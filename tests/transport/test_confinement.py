"""S2 and S11: where the key goes. Redirects, certificates, TLS that fails, and the proof that nothing was sent."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from pipeline.errors import CardError
from pipeline.plan.catalog import read_card
from pipeline.providers import mulerouter
from pipeline.transport.gateways import base_url
from pipeline.transport.http import HttpDoor
from pipeline.values.reply import PollBroken, Unknown
from pipeline.values.wire import Answered, Broken, DownloadBroken, Downloaded, NotSent, Outcome, Request
from tests.plan.jobs import CARD
from tests.plan.test_catalog import card as card_tree
from tests.providers.tongues import task
from tests.transport.servers import CANARY, Seen, card, door_to, get, http, post, raw_server

REDIRECTS = ("301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary", "308 Permanent")
TASK = task("mulerouter", "m", operation="image.generate")


@pytest.mark.parametrize("origin", ["same", "foreign"])
@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("request_", [post(), get()], ids=["submit", "poll"])
async def test_no_redirect_of_a_call_is_followed_and_none_means_anything(
    request_: Request, status: str, origin: str
) -> None:
    """One request reaches the gateway and none the other origin; the money stays aside, the poll is asked again."""
    async with raw_server(lambda _: http("200 OK", b'{"task_info":{"id":"x"}}')) as foreign:
        here = f"http://127.0.0.1:{foreign.port}" if origin == "foreign" else ""
        answer = http(status, b'{"detail":"moved","task_info":{"id":"x"}}', f"Location: {here}/v1/images")
        async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
            outcome = await door.exchange(request_, timeout_s=5)
    assert isinstance(outcome, Answered)
    assert isinstance(mulerouter.submitted(TASK, outcome, CARD.not_billed), Unknown)
    assert isinstance(mulerouter.polled(TASK, outcome), PollBroken)
    assert (len(seen.requests), foreign.connections) == (1, 0)


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirected_download_takes_no_key_along(status: str) -> None:
    """At either origin there is no byte of the key, no cookie, and no name of where the download came from."""
    async with raw_server(lambda _: http("200 OK", b"picture")) as foreign:
        location = f"Location: http://127.0.0.1:{foreign.port}/there?signature=2"
        async with raw_server(lambda _: http(status, b"", location, "Set-Cookie: a=b")) as seen:
            async with door_to(seen.port) as door:
                outcome = await door.download("acme", seen.link, len, timeout_s=5, size_max=100)
    assert isinstance(outcome, Downloaded)
    for head, body in (*seen.requests, *foreign.requests):
        assert head.startswith("GET ")
        assert CANARY not in head
        assert not {"authorization", "cookie", "referer"} & {line.split(":")[0].lower() for line in head.split("\r\n")}
        assert body == b""
    assert (len(seen.requests), len(foreign.requests)) == (1, 1)


# --- TLS ----------------------------------------------------------------------------------------------------------


async def over_tls(seen: Seen, request: Request, timeout_s: float = 5.0) -> Outcome:
    """An exchange with this port as if it spoke TLS."""
    door = HttpDoor({"acme": card()}, {"ACME_API_KEY": CANARY, "ACME_BASE_URL": f"https://127.0.0.1:{seen.port}"}, {})
    try:
        return await door.exchange(request, timeout_s=timeout_s)
    finally:
        await door.close()


@asynccontextmanager
async def handshake_server(answer: bytes | None) -> AsyncIterator[tuple[Seen, bytearray]]:
    """Reads what a client says first, answers that, and closes; None: keeps silent. Hands out what it was told."""
    seen, told, writers = Seen(), bytearray(), []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        writers.append(writer)
        told.extend(await reader.read(65536))
        if answer is None:
            return
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen, told
    finally:
        for writer in writers:
            writer.close()
        server.close()


@pytest.mark.parametrize(
    ("answer", "timeout_s"),
    [
        pytest.param(b"", 5.0, id="closed"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", 5.0, id="plain HTTP"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", 5.0, id="an alert"),
        pytest.param(b"\x16\x03\x03\x40\x00" + b"\x02" * 100, 5.0, id="half of an answer"),
        pytest.param(None, 0.2, id="silence"),
    ],
)
async def test_a_handshake_that_fails_proves_that_nothing_was_sent(answer: bytes | None, timeout_s: float) -> None:
    """Before its end no byte of a request can leave: the far side saw a greeting, and neither key nor body."""
    async with handshake_server(answer) as (seen, told):
        outcome = await over_tls(seen, post(b"the paid call"), timeout_s)
    assert isinstance(outcome, NotSent)
    assert seen.connections == 1
    assert told.startswith(b"\x16\x03"), "a TLS greeting"
    assert CANARY.encode() not in told
    assert b"paid" not in told


@contextmanager
def certificate(folder: Path) -> Iterator[ssl.SSLContext]:
    """A server's context with a certificate that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, cert = folder / "key.pem", folder / "cert.pem"
    how = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    how += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(
        ["openssl", *how],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    yield context


#: What people set to make other programs accept anything.
SWITCHES = {
    "PYTHONHTTPSVERIFY": "0",
    "SSL_NO_VERIFY": "1",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "GIT_SSL_NO_VERIFY": "1",
    "CURL_INSECURE": "1",
    "REQUESTS_CA_BUNDLE": "",
    "AIOHTTP_NO_VERIFY": "1",
}


async def test_certificates_are_checked_and_no_variable_ends_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that nobody vouches for: nothing is sent, neither a paid call, nor a poll, nor a download."""
    for name, value in SWITCHES.items():
        monkeypatch.setenv(name, value)
    asked = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await reader.read(65536))
        writer.close()

    with certificate(tmp_path) as context:
        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        seen = Seen(port=server.sockets[0].getsockname()[1])
        outcomes = [await over_tls(seen, request) for request in (post(), get())]
        async with door_to(seen.port) as door:
            link = f"https://127.0.0.1:{seen.port}/x"
            download = await door.download("acme", link, len, timeout_s=5, size_max=10)
        server.close()
    assert outcomes == [NotSent("127.0.0.1: its certificate is not to be trusted (SSLCertVerificationError)")] * 2
    assert isinstance(download, DownloadBroken)
    assert asked == b""


# --- the proof that nothing was sent --------------------------------------------------------------------------------


async def test_a_name_that_does_not_resolve_proves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, no connection: the POST cannot have left."""

    async def nobody(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    door = HttpDoor({"acme": card()}, {"ACME_API_KEY": CANARY}, {})
    try:
        outcome = await door.exchange(post(), timeout_s=5)
    finally:
        await door.close()
    assert isinstance(outcome, NotSent)
    assert outcome.why.startswith("api.acme.example: its name cannot be looked up")


async def test_a_connection_that_does_not_come_about_in_time_proves_it() -> None:
    """A full queue of a listener lets no further connection through: the deadline ends the attempt before it began."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(8):
                one = socket.socket()
                one.setblocking(False)  # noqa: FBT003 - the system's own signature
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            async with door_to(port) as door:
                outcome = await door.exchange(post(), timeout_s=0.3)
        finally:
            for one in waiting:
                one.close()
    assert outcome == NotSent("127.0.0.1: no answer came in time (TimeoutError)")


async def test_a_connection_that_is_reset_at_once_proves_nothing() -> None:
    """From the first connection event on the bytes may have left, whatever the exception is called."""
    async with raw_server(lambda _: None) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Broken)


# --- where a gateway lives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["http://api.mulerouter.ai", "http://127.0.0.1:1", "ftp://x", "api.mulerouter.ai"])
def test_a_card_names_https_only(written: str) -> None:
    """Only the environment can point a gateway at this machine."""
    with pytest.raises(CardError, match="base_url"):
        read_card({**card_tree(), "base_url": written})


def test_only_the_gateways_own_variable_moves_it() -> None:
    """Neither another gateway's variable nor a general one moves a key to another origin."""
    others = {
        "BASE_URL": "https://evil.example",
        "OTHER_BASE_URL": "https://evil.example",
        "acme_base_url": "https://x.example",
    }
    assert str(base_url(card(), others)).rstrip("/") == "https://api.acme.example"
