"""A browser of a few lines: raw HTTP to a served page, and its server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.runtime import prepare
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run_sync

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal, "<script>alert(1)</script>"]}
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""
PATIENCE_S = 40.0


def rehearsed(folder: Path, spec: str = SPEC) -> Path:
    """The folder of a finished rehearsal of three pictures."""
    path = folder / "mugs.yaml"
    path.write_text(spec)
    place = folder / "runs" / "mugs.sim"
    result = run_sync(prepare.plan(prepare.load(path)), Options(simulate=True, run_dir=place))
    assert result.state == "complete"
    return place


@dataclass(frozen=True)
class Reply:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    def data(self) -> Any:
        """What a data file hands to the page."""
        text = self.body.decode()
        return json.loads(text[text.index("push(") + 5 : text.rindex(")")])


@dataclass
class Browser:
    """One browser with its cookie, once it entered by the address."""

    address: str
    cookie: str = ""
    #: Sent with each request unless a test says otherwise.
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The server's."""
        return urlsplit(self.address).port or 0

    @property
    def origin(self) -> str:
        """Of the page itself."""
        return f"http://127.0.0.1:{self.port}"

    async def enter(self) -> Reply:
        """Open the address; keep the cookie."""
        reply = await self.ask("GET", "/?" + urlsplit(self.address).query)
        self.cookie = reply.headers.get("set-cookie", "").partition(";")[0]
        return reply

    async def ask(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Reply:
        """One request, its target as it is written."""
        reader, writer = await self.send(method, target, headers, body)
        status, found = await _head(reader)
        length = found.get("content-length")
        data = await asyncio.wait_for(reader.read() if length is None else reader.readexactly(int(length)), PATIENCE_S)
        writer.close()
        return Reply(status, found, data)

    async def get(self, target: str, **headers: str) -> Reply:
        """A GET."""
        return await self.ask("GET", target, headers)

    async def post(self, target: str, value: object, **headers: str) -> Reply:
        """A POST as the page makes it."""
        return await self.ask("POST", target, {**self.own(), **headers}, json.dumps(value).encode())

    def own(self) -> dict[str, str]:
        """The headers of the page's own requests that change something."""
        return {"Origin": self.origin, "X-Pipeline": "1", "Content-Type": "application/json"}

    async def send(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request and leave its answer to be read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", "Cookie": self.cookie, **(headers or {})}
        if body:
            lines.setdefault("Content-Length", str(len(body)))
        text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(text.encode() + b"\r\n" + body)
        await writer.drain()
        return reader, writer

    async def events(self, **headers: str) -> AsyncIterator[tuple[str, Any, str]]:
        """(event, its data, its id), as they come."""
        reader, writer = await self.send("GET", "/events", headers)
        try:
            status, _ = await _head(reader)
            assert status == 200, status
            found: dict[str, str] = {}
            async for text in _lines(reader):
                name, _, value = text.partition(": ")
                if text:
                    found[name] = value
                elif "data" in found:
                    yield found["event"], json.loads(found["data"]), found.get("id", "")
                    found = {}
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    text = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode()
    first, *rest = text.strip().split("\r\n")
    return int(first.split()[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
    }


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of a chunked body; the sizes between them are left out."""
    buffered = b""
    while size := int(await asyncio.wait_for(reader.readline(), PATIENCE_S) or b"0", 16):
        buffered += await asyncio.wait_for(reader.readexactly(size + 2), PATIENCE_S)
        buffered = buffered[:-2]
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            yield line.decode()
