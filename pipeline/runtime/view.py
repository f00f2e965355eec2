"""The page of one run, served to one browser on this machine: `pipeline view`.

Only what the page needs of the run folder is served: pictures that its store names, thumbnails of them, and the data.
Nothing else has a name here, so there is nothing to climb out of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from pipeline.errors import PipelineError, RunError, RunNotFound, StorageFailed
from pipeline.report.data import COLUMNS
from pipeline.report.pages import INDEX, META, page_files
from pipeline.runtime.control import DONE_S, Line
from pipeline.runtime.door import Door
from pipeline.runtime.drawing import unwrapped
from pipeline.runtime.guard import HEADERS, Guard
from pipeline.runtime.hub import ROWS_MAX, Hub
from pipeline.runtime.portrait import REVIEW
from pipeline.runtime.reviews import save_review
from pipeline.runtime.thumbs import Thumbs, digest_of
from pipeline.store.inside import open_picture
from pipeline.values.folder import CONTROL

_LOG: Final = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".webp": "image/webp",
}
_CSV: Final = "text/csv; charset=utf-8"
#: Bodies of what changes something (bytes).
_CONTROL_MAX: Final = 16 * 1024
_REVIEW_MAX: Final = 8 * 1024 * 1024
#: A browser that takes or sends nothing for so long is let go (seconds).
_STALLED_S: Final = 15.0
#: An open page hears something this often at least (seconds); and so many pages may be open.
_PULSE_S: Final = 15.0
_PAGES_MAX: Final = 32
#: Pieces of a file (bytes).
_PIECE: Final = 256 * 1024
_GRACE_S: Final = 1.0
_KEPT: Final = {"Cache-Control": "private, max-age=86400, immutable"}
_FRESH: Final = {"Cache-Control": "no-store"}
#: Sent once: it leaves the token's address behind, and the page's own requests carry the cookie.
_DOOR: Final = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/"><title>pipeline</title>'
)


class Viewer:
    """Answers requests about one run."""

    def __init__(self, folder: Path, *, resume: str, run: str) -> None:
        self._folder = folder
        self.hub = Hub(folder, resume, run)
        self._thumbs = Thumbs(folder, self.hub.book)
        self._site = {path.name: path for path in page_files()}
        self._who = f"view, user {_user()}"
        self._saving = asyncio.Lock()
        self.guard: Guard | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request: guarded, answered, and never with a listing or an error's insides."""
        assert self.guard is not None
        if fault := self.guard.strange_host(request.headers):
            return _refused(*fault)
        path = unquote(request.rel_url.raw_path)
        if path == "/" and "token" in request.query and request.method == "GET":
            return self._enter(request.query["token"])
        if fault := self.guard.refusal(request.method, request.headers, request.cookies):
            return _refused(*fault)
        try:
            match request.method:
                case "GET" | "HEAD":
                    return await self._get(request, path.removeprefix("/"))
                case "POST":
                    return await self._post(request, path)
                case _:
                    return _refused(405, "no such method")
        except (RunNotFound, StorageFailed) as error:
            return _refused(503, str(error))
        except PipelineError as error:
            return _refused(400, str(error))

    def _enter(self, token: str) -> web.Response:
        assert self.guard is not None
        if not self.guard.is_token(token):
            return _refused(403, "this token is of another server: open the address that `pipeline view` printed last")
        response = web.Response(text=_DOOR, content_type="text/html", headers={**HEADERS, **_FRESH})
        response.set_cookie(self.guard.cookie, self.guard.token, httponly=True, samesite="Strict", path="/")
        return response

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _get(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        name = name or INDEX
        if name in self._site:
            return await _send(request, _plain(self._site[name]), _TYPES[Path(name).suffix], _FRESH)
        if name == "events":
            return await self._events(request)
        if name == REVIEW:
            sent = await _send(request, _plain(self._folder / REVIEW), _CSV, _FRESH)
            # No review yet is an empty one: a page that asks is not to be told of a fault.
            return sent if sent.status == 200 else web.Response(headers={**HEADERS, **_FRESH, "Content-Type": _CSV})
        if name.startswith("data-"):
            # The meta file is asked for first: it begins a page, and the others are of the same drawing.
            drawing = await self.hub.drawing() if name == META else self.hub.drawn or await self.hub.drawing()
            place = drawing.file(name)
            return _nothing() if place is None else await _send(request, _plain(place), _TYPES[".js"], _FRESH)
        if digest := digest_of(name):
            return await self._thumb(request, name, digest)
        return await self._picture(request, name)

    async def _thumb(self, request: web.BaseRequest, name: str, digest: str) -> web.StreamResponse:
        if not self._thumbs.known(digest):
            await self.hub.drawing(at_once=True)
        place = await self._thumbs.file(name, digest)
        return _nothing() if place is None else await _send(request, _plain(place), _TYPES[".webp"], _KEPT)

    async def _picture(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        known = self.hub.book.pictures
        if name not in known:
            await self.hub.drawing()
        if name not in known:
            return _nothing()
        return await _send(request, partial(open_picture, self._folder, name), known[name], _KEPT)

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events: `meta` and `rows`, until the browser goes away."""
        hub = self.hub
        if hub.pages >= _PAGES_MAX:
            return _refused(503, "too many pages are open")
        hub.enter()
        stream = _Stream(request)
        try:
            await hub.drawing()
            await stream.begin()
            await self._feed(stream, _position(request.headers.get("Last-Event-ID"), hub.start))
        except Exception as error:
            if not stream.response.prepared:
                raise
            # Whatever ended it, nothing else may be written into a stream that has begun.
            if not isinstance(error, OSError | TimeoutError | PipelineError):
                _tell_bug(error)
            if request.transport is not None:
                request.transport.abort()
        finally:
            hub.leave()
        return stream.response

    async def _feed(self, stream: _Stream, count: int) -> None:
        hub, metas = self.hub, -1
        while True:
            if metas != hub.metas:
                metas = hub.metas
                await stream.send("meta", hub.meta(), count)
            if count < hub.log.floor or count > hub.log.count:
                count = await self._whole(stream)
            while True:
                rows, reached = hub.log.after(count, ROWS_MAX)
                if not rows:
                    break
                count = reached
                await stream.send("rows", {"kind": "rows", "chunk": 0, "columns": COLUMNS, "rows": rows}, count)
            if metas == hub.metas:
                await hub.news(count, metas, _PULSE_S)
                await stream.pulse()

    async def _whole(self, stream: _Stream) -> int:
        """A page that fell too far behind gets every row anew."""
        count = self.hub.start
        for name in (await self.hub.drawing()).files():
            await stream.write(f"event: rows\ndata: {await asyncio.to_thread(unwrapped, name)}\n\n")
        return max(count, self.hub.log.floor)

    # --- doing ------------------------------------------------------------------------------------------------------

    async def _post(self, request: web.BaseRequest, path: str) -> web.Response:
        match path:
            case "/control":
                return await self._control(await _body(request, _CONTROL_MAX))
            case "/review":
                entries = await _body(request, _REVIEW_MAX)
                async with self._saving:
                    count = await asyncio.to_thread(save_review, self._folder, entries)
                return _said(ok=True, words=f"{count} {'picture' if count == 1 else 'pictures'} in review.csv")
            case _:
                return _nothing()

    async def _control(self, asked: object) -> web.Response:
        if not isinstance(asked, dict):
            return _said(ok=False, words="an object is needed", status=400)
        line = await Line.open(self._folder / CONTROL)
        if line is None:
            return _said(ok=False, words=f"no run is alive here; go on with it by: {self.hub.resume}")
        try:
            request = {"do": asked.get("action"), "lane": asked.get("lane"), "amount": asked.get("amount")}
            answer = await line.ask({**request, "by": self._who}, timeout_s=DONE_S)
        finally:
            line.close()
        if answer is None:
            return _said(ok=False, words="the run ended before it answered")
        return _said(ok=bool(answer.get("ok")), words=str(answer.get("said", "")))

    async def close(self) -> None:
        """End what was begun for pages."""
        self._thumbs.close()
        await self.hub.close()


class _Stream:
    """One open page's events. *Raises* TimeoutError for a browser that takes nothing."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response = web.StreamResponse(headers={**HEADERS, **_FRESH, "X-Accel-Buffering": "no"})
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


def _plain(path: Path) -> Callable[[], int]:
    """Opens a file of ours by its path; a link in its place is not followed."""
    return partial(os.open, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


async def _send(
    request: web.BaseRequest, opened: Callable[[], int], media_type: str, more: Mapping[str, str]
) -> web.StreamResponse:
    """A plain file, in pieces; a link or anything strange in its place is no file."""
    try:
        handle = opened()
    except OSError:
        return _nothing()
    with os.fdopen(handle, "rb") as file:
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode):
            return _nothing()
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


async def _body(request: web.BaseRequest, most: int) -> Any:  # noqa: ANN401 - JSON
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


def _position(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else otherwise


def _refused(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n", headers={**HEADERS, **_FRESH})


def _nothing() -> web.Response:
    return _refused(404, "no such file")


def _said(*, ok: bool, words: str, status: int = 200) -> web.Response:
    return web.json_response({"ok": ok, "said": words}, status=status, headers={**HEADERS, **_FRESH})


def _tell_bug(error: Exception) -> None:
    """One line for whoever runs the server; where it comes from only when that is asked for."""
    found = "".join(letter if letter.isprintable() else "?" for letter in f"{type(error).__name__}: {error}"[:300])
    _LOG.warning("a page cannot be shown: %s", found, exc_info=error if os.environ.get("PIPELINE_DEBUG") else None)


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"


@asynccontextmanager
async def serving(folder: Path, *, port: int, resume: str, run: str) -> AsyncIterator[str]:
    """Serve; yields the address with its token. *Raises* RunError when the port is taken."""
    viewer = Viewer(folder, resume=resume, run=run)
    runner = web.ServerRunner(Door(_safely(viewer.answer)), shutdown_timeout=_GRACE_S)
    await runner.setup()
    follower: asyncio.Task[None] | None = None
    try:
        try:
            await web.TCPSite(runner, _HOST, port).start()
        except OSError as error:
            raise RunError(f"port {port} of {_HOST} cannot be opened: {error.strerror}") from error
        bound = int(runner.addresses[0][1])
        viewer.guard = Guard(bound)
        follower = asyncio.create_task(viewer.hub.follow())
        yield f"http://{_HOST}:{bound}/?token={viewer.guard.token}"
    finally:
        if follower is not None:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower
        await viewer.close()
        await runner.cleanup()


def _safely(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Every refusal has the same headers as an answer; a browser that went away is no event."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await answer(request)
        except web.HTTPException as refused:
            return _refused(refused.status, refused.text or refused.reason)
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except Exception as error:  # noqa: BLE001 - one page's bad luck must not tell insides, nor end the server
            _tell_bug(error)
            return _refused(500, "this cannot be shown: the run's store says what no run writes, or it is our mistake")

    return handle
