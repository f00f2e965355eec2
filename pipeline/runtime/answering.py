"""What a page's server says and hears: files, events, bodies and refusals, each within bounds of time and size."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from pipeline.runtime.guard import HEADERS

#: A browser that takes or sends nothing for so long is let go (seconds).
_STALLED_S: Final = 15.0
#: Pieces of a file (bytes).
_PIECE: Final = 256 * 1024
FRESH: Final = {"Cache-Control": "no-store"}
_LOG: Final = logging.getLogger(__name__)


def safely(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Every refusal has the same headers as an answer; a browser that went away is no event."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await answer(request)
        except web.HTTPException as error:
            return refused(error.status, error.text or error.reason)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except Exception as error:  # noqa: BLE001 - one page's bad luck must not tell insides, nor end the server
            tell_bug(error)
            return refused(500, "this cannot be shown: the run's store says what no run writes, or it is our mistake")

    return handle


class Stream:
    """One open page's events. *Raises* TimeoutError for a browser that takes nothing."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = web.StreamResponse(headers={**HEADERS, **FRESH, "X-Accel-Buffering": "no"})
        self.response.content_type = "text/event-stream"

    async def begin(self) -> None:
        """Headers, and how long to wait before trying again (milliseconds)."""
        await self.response.prepare(self._request)
        await self.write("retry: 2000\n\n")

    async def send(self, event: str, data: object, count: int) -> None:
        """One event; `count` is where to go on from."""
        await self.write(f"id: {count}\nevent: {event}\ndata: {json.dumps(data, default=str)}\n\n")

    async def pulse(self) -> None:
        """A comment: shows whether the browser is still there."""
        await self.write(": \n\n")

    async def write(self, text: str) -> None:
        """Text as it is."""
        await asyncio.wait_for(self.response.write(text.encode()), _STALLED_S)


def plain(path: Path) -> Callable[[], int]:
    """Opens a file of ours by its path; a link in its place is not followed."""
    return partial(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


async def send(
    request: web.BaseRequest, opened: Callable[[], int], media_type: str, more: Mapping[str, str]
) -> web.StreamResponse:
    """A plain file, in pieces; a link or anything strange in its place is no file."""
    try:
        handle = opened()
    except OSError:
        return nothing()
    with os.fdopen(handle, "rb") as file:
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode):
            return nothing()
        response = web.StreamResponse(headers={**HEADERS, **more, "Content-Type": media_type})
        response.content_length = known.st_size
        await response.prepare(request)
        left = 0 if request.method == "HEAD" else known.st_size
        while left and (piece := await asyncio.to_thread(file.read, min(left, _PIECE))):
            left -= len(piece)
            await asyncio.wait_for(response.write(piece), _STALLED_S)
        if left:
            # It shrank meanwhile: what the connection says next must not be taken for the rest of it.
            raise ConnectionAbortedError
        await response.write_eof()
    return response


async def body(request: web.BaseRequest, most: int) -> Any:  # noqa: ANN401 - JSON
    """The JSON of a request. *Raises* the HTTP answer for one that is too large, too slow, or none."""
    if (request.content_length or 0) > most:
        raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)
    data = bytearray()
    try:
        async with asyncio.timeout(_STALLED_S):
            async for piece in request.content.iter_chunked(_PIECE):
                data += piece
                if len(data) > most:
                    raise web.HTTPRequestEntityTooLarge(most, len(data))
    except TimeoutError as error:
        raise web.HTTPRequestTimeout from error
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text="not JSON") from error


def refused(status: int, words: str) -> web.Response:
    """A refusal in words."""
    return web.Response(status=status, text=words + "\n", headers={**HEADERS, **FRESH})


def nothing() -> web.Response:
    """There is no such file, or it is none of the page's."""
    return refused(404, "no such file")


def said(*, ok: bool, words: str, status: int = 200) -> web.Response:
    """What became of something that was asked for."""
    return web.json_response({"ok": ok, "said": words}, status=status, headers={**HEADERS, **FRESH})


def tell_bug(error: Exception) -> None:
    """One line for whoever runs the server; where it comes from only when that is asked for."""
    found = "".join(letter if letter.isprintable() else "?" for letter in f"{type(error).__name__}: {error}"[:300])
    _LOG.warning("a page cannot be shown: %s", found, exc_info=error if os.environ.get("PIPELINE_DEBUG") else None)
