"""Whatever bytes a server writes: an exchange ends as a value, after one request, and never as an exception."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import zlib

import pytest

from pipeline.values.wire import Answered, Broken, DownloadBroken, Downloaded, DownloadRefused
from tests.transport.servers import CANARY, door_to, get, http, post, raw_server

SEED = int(os.environ.get("PIPELINE_SEED") or 1)
ANSWERS = int(os.environ.get("WIRE_FUZZ") or 600)
_WHOLE = (
    http("202 Accepted", b'{"task_info":{"id":"x","status":"pending"}}', "Content-Type: application/json"),
    http("200 OK", b"abc", "Transfer-Encoding: chunked").replace(b"Content-Length: 3\r\n", b"")[:-3]
    + b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nTrailer: x\r\n\r\n",
    http("200 OK", gzip.compress(b"x" * 500), "Content-Encoding: gzip"),
    http("200 OK", zlib.compress(b"x" * 500), "Content-Encoding: deflate"),
    http("302 Found", b"", "Location: /x", "Set-Cookie: a=b; Path=/"),
    http("429 Slow", b"{}", "Retry-After: 3", "Connection: close"),
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00",
)
_PIECES = (
    *(b"\r\n", b"\r", b"\n", b"\0", b"\xff", b"\xc3\xa9", b":", b" ", b"\t", b"HTTP/1.1 ", b"HTTP/9.9 ", b"\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n", b"Content-Length: \xb2\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Content-Encoding: br\r\n"),
    *(
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: zstd\r\n",
        b"Location: http://[::1\r\n",
        b"Location: \xff\r\n",
    ),
    *(b"Content-Type: ;;;=\r\n", b"Set-Cookie: \x01=\xff\r\n", b"Connection: upgrade\r\n", b"Content-Length: 5, 6\r\n"),
    *(b"ffffffffffffffffff\r\n", b"-1\r\n", b"9" * 5000, b"x" * 9000, b"200", b"000", b"999999", b"Keep-Alive: \r\n"),
)


def spoilt(dice: random.Random) -> bytes:
    """An answer with a few bytes cut, put in, doubled or flipped."""
    data = bytearray(dice.choice(_WHOLE))
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(5):
            case 0:
                del data[place : place + dice.randint(1, 12)]
            case 1:
                data[place:place] = dice.choice(_PIECES)
            case 2:
                line = data.find(b"\r\n") + 2
                data[line:line] = dice.choice(_PIECES)
            case 3:
                data[place:place] = data[place : place + 20]
            case _:
                if place < len(data):
                    data[place] ^= 1 << dice.randrange(8)
    return bytes(data)


@pytest.mark.slow
async def test_any_bytes_from_a_server_end_as_a_value() -> None:
    """Each answer once to a paid call, a poll and a download; a paid call is asked once, and no text holds the key."""
    dice = random.Random(SEED)
    ends: set[str] = set()
    queue = [spoilt(dice) for _ in range(ANSWERS)]

    async def lane() -> None:
        while queue:
            answer = queue.pop()
            async with raw_server(lambda _, answer=answer: answer) as seen, door_to(seen.port) as door:  # type: ignore[misc]  # bound here and now
                paid = await door.exchange(post(), timeout_s=5, body_max=10_000)
                assert isinstance(paid, Answered | Broken), f"PIPELINE_SEED={SEED}: {answer!r}"
                assert len(seen.requests) == 1, f"PIPELINE_SEED={SEED}: {answer!r}"
                polled = await door.exchange(get(), timeout_s=5, body_max=10_000)
                assert isinstance(polled, Answered | Broken), f"PIPELINE_SEED={SEED}: {answer!r}"
                picture = await door.download("acme", seen.link, len, timeout_s=5, size_max=10_000)
                assert isinstance(picture, Downloaded | DownloadRefused | DownloadBroken)
                assert CANARY not in repr((paid, polled, picture))
                if isinstance(paid, Answered):
                    "".join(paid.response.headers.values()).encode()
                ends.update(type(one).__name__ for one in (paid, polled, picture))

    await asyncio.gather(*(lane() for _ in range(8)))
    assert ends == {"Answered", "Broken", "Downloaded", "DownloadRefused", "DownloadBroken"}
