"""Bodies as they come: answers whole and within bounds, pictures piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy

from pipeline.transport.secrets import Hider
from pipeline.values.wire import (
    Answered,
    Broken,
    DownloadBroken,
    Downloaded,
    DownloadOutcome,
    DownloadRefused,
    Outcome,
    Response,
)

#: A download that is slower than this on average, once it had time, is broken.
_SLOW_AFTER_S: Final = 30.0
_SLOW_BYTES_PER_S: Final = 1024

_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200


@dataclass(slots=True)
class Sink:
    """Where a download goes: counts, and tells its own failures from those of the network."""

    write: Callable[[bytes], object]
    size_max: int
    size_bytes: int = 0
    failed: OSError | ValueError | None = None

    def take(self, data: bytes) -> bool:
        """Keep a piece; False when it is too much."""
        self.size_bytes += len(data)
        if self.size_bytes > self.size_max:
            return False
        try:
            self.write(data)
        except (OSError, ValueError) as error:
            self.failed = error
            raise
        return True


async def receive(response: aiohttp.ClientResponse, sink: Sink) -> DownloadOutcome:
    """A picture's body into its sink, while it is neither too large nor too slow."""
    if response.status != _OK:
        return DownloadRefused(response.status, gone=response.status in _GONE)
    loop = asyncio.get_running_loop()
    began = loop.time()
    if (response.content_length or 0) > sink.size_max:
        response.close()
        return DownloadBroken(f"the picture is larger than {sink.size_max} bytes")
    # Whatever there is: a quarter of a megabyte at most, and pieces of one size would be cut out of it.
    async for data in response.content.iter_any():
        if not sink.take(data):
            response.close()
            return DownloadBroken(f"the picture is larger than {sink.size_max} bytes")
        took = loop.time() - began
        if took > _SLOW_AFTER_S and sink.size_bytes < took * _SLOW_BYTES_PER_S:
            response.close()
            return DownloadBroken("the download is too slow")
    return Downloaded(response.status, response.content_type, sink.size_bytes)


async def answered(
    calling: AbstractAsyncContextManager[aiohttp.ClientResponse], hider: Hider, host: str | None, body_max: int
) -> Outcome:
    """The whole answer to a call, without the key, should it echo it."""
    async with calling as response:
        body = await _whole(response, body_max)
        if body is None:
            return Broken(f"the answer of {host} is larger than {body_max} bytes", too_large=True)
        return Answered(Response(response.status, hider.hide(body), _plain(response.headers, hider)))


async def _whole(response: aiohttp.ClientResponse, body_max: int) -> bytes | None:
    """The whole body, or None when it is larger than that; the connection is given up then."""
    pieces: list[bytes] = []
    size = 0
    while data := await response.content.readany():
        pieces.append(data)
        size += len(data)
        if size > body_max:
            response.close()
            return None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _plain(headers: CIMultiDictProxy[str], hider: Hider) -> dict[str, str]:
    """Header names in lower case; what comes several times is joined; the key is hidden.

    Bytes that are no UTF-8 are replaced: the answer to a paid call is not given up for a letter in a header.
    """
    plain: dict[str, str] = {}
    for name, value in headers.items():
        known = name.lower()
        plain[known] = f"{plain[known]}, {value}" if known in plain else value
    together = "\n".join(plain.values())
    if together.isascii() and not hider.found(together.encode()):
        return plain
    return {
        name: hider.hide(value.encode(errors="surrogateescape")).decode(errors="replace")
        for name, value in plain.items()
    }
