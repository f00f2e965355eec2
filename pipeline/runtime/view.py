"""The page of one run, served to one browser on this machine: `pipeline view`.

Only what the page needs of the run folder is served: pictures that its store names, thumbnails of them, and the data.
Nothing else has a name here, so there is nothing to climb out of.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from pipeline.errors import PipelineError, RunError, RunNotFound, StorageFailed
from pipeline.report.data import COLUMNS
from pipeline.report.pages import INDEX, META, page_files
from pipeline.runtime.answering import FRESH, Stream, body, nothing, plain, refused, safely, said, send, tell_bug
from pipeline.runtime.control import DONE_S
from pipeline.runtime.door import Door
from pipeline.runtime.drawing import unwrapped
from pipeline.runtime.guard import HEADERS, Guard
from pipeline.runtime.hub import ROWS_MAX, Hub
from pipeline.runtime.line import Line
from pipeline.runtime.portrait import REVIEW
from pipeline.runtime.reviews import save_review
from pipeline.runtime.thumbs import Thumbs, digest_of
from pipeline.store.inside import open_picture
from pipeline.values.folder import CONTROL

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
#: An open page hears something this often at least (seconds); and so many pages may be open.
_PULSE_S: Final = 15.0
_PAGES_MAX: Final = 32
_GRACE_S: Final = 1.0
_KEPT: Final = {"Cache-Control": "private, max-age=86400, immutable"}
#: Sent once: it leaves the token's address behind, and the page's own requests carry the cookie.
_DOOR: Final = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/"><title>pipeline</title>'
)


class Viewer:
    """Answers requests about one run."""

    def __init__(self, folder: Path, *, resume: str) -> None:
        self._folder = folder
        self.hub = Hub(folder, resume)
        self._thumbs = Thumbs(folder, self.hub.book)
        self._site = {path.name: path for path in page_files()}
        self._who = f"view, user {_user()}"
        self._saving = asyncio.Lock()
        self.guard: Guard | None = None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request: guarded, answered, and never with a listing or an error's insides."""
        assert self.guard is not None
        if fault := self.guard.strange_host(request.headers):
            return refused(*fault)
        path = unquote(request.rel_url.raw_path)
        if path == "/" and "token" in request.query and request.method == "GET":
            return self._enter(request.query["token"])
        if fault := self.guard.refusal(request.method, request.headers, request.cookies):
            return refused(*fault)
        try:
            match request.method:
                case "GET" | "HEAD":
                    return await self._get(request, path.removeprefix("/"))
                case "POST":
                    return await self._post(request, path)
                case _:
                    return refused(405, "no such method")
        except (RunNotFound, StorageFailed) as error:
            return refused(503, str(error))
        except PipelineError as error:
            return refused(400, str(error))

    def _enter(self, token: str) -> web.Response:
        assert self.guard is not None
        if not self.guard.is_token(token):
            return refused(403, "this token is of another server: open the address that `pipeline view` printed last")
        response = web.Response(text=_DOOR, content_type="text/html", headers={**HEADERS, **FRESH})
        response.set_cookie(self.guard.cookie, self.guard.token, httponly=True, samesite="Strict", path="/")
        return response

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _get(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        name = name or INDEX
        if name in self._site:
            return await send(request, plain(self._site[name]), _TYPES[Path(name).suffix], FRESH)
        if name == "events":
            return await self._events(request)
        if name == REVIEW:
            sent = await send(request, plain(self._folder / REVIEW), _CSV, FRESH)
            # No review yet is an empty one: a page that asks is not to be told of a fault.
            return sent if sent.status == 200 else web.Response(headers={**HEADERS, **FRESH, "Content-Type": _CSV})
        if name.startswith("data-"):
            # The meta file is asked for first: it begins a page, and the others are of the same drawing.
            drawing = await self.hub.drawing() if name == META else self.hub.drawn or await self.hub.drawing()
            place = drawing.file(name)
            return nothing() if place is None else await send(request, plain(place), _TYPES[".js"], FRESH)
        if digest := digest_of(name):
            return await self._thumb(request, name, digest)
        return await self._picture(request, name)

    async def _thumb(self, request: web.BaseRequest, name: str, digest: str) -> web.StreamResponse:
        if not self._thumbs.known(digest):
            await self.hub.drawing(at_once=True)
        place = await self._thumbs.file(name, digest)
        return nothing() if place is None else await send(request, plain(place), _TYPES[".webp"], _KEPT)

    async def _picture(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        known = self.hub.book.pictures
        if name not in known:
            await self.hub.drawing()
        if name not in known:
            return nothing()
        return await send(request, partial(open_picture, self._folder, name), known[name], _KEPT)

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        """Server-sent events: `meta` and `rows`, until the browser goes away."""
        hub = self.hub
        if hub.pages >= _PAGES_MAX:
            return refused(503, "too many pages are open")
        hub.enter()
        stream = Stream(request)
        try:
            await hub.drawing()
            await stream.begin()
            # A browser names it by itself when a connection broke, and a page when it opens its stream once more.
            last = request.headers.get("Last-Event-ID") or request.query.get("after")
            await self._feed(stream, _position(last, hub.start))
        except Exception as error:
            if not stream.response.prepared:
                raise
            # Whatever ended it, nothing else may be written into a stream that has begun.
            if not isinstance(error, OSError | TimeoutError | PipelineError):
                tell_bug(error)
            if request.transport is not None:
                request.transport.abort()
        finally:
            hub.leave()
        return stream.response

    async def _feed(self, stream: Stream, count: int) -> None:
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

    async def _whole(self, stream: Stream) -> int:
        """A page that fell too far behind gets every row anew."""
        count = self.hub.start
        for name in (await self.hub.drawing()).files():
            await stream.write(f"event: rows\ndata: {await asyncio.to_thread(unwrapped, name)}\n\n")
        return max(count, self.hub.log.floor)

    # --- doing ------------------------------------------------------------------------------------------------------

    async def _post(self, request: web.BaseRequest, path: str) -> web.Response:
        match path:
            case "/control":
                return await self._control(await body(request, _CONTROL_MAX))
            case "/review":
                entries = await body(request, _REVIEW_MAX)
                async with self._saving:
                    count = await asyncio.to_thread(save_review, self._folder, entries)
                return said(ok=True, words=f"{count} {'picture' if count == 1 else 'pictures'} in review.csv")
            case _:
                return nothing()

    async def _control(self, asked: object) -> web.Response:
        if not isinstance(asked, dict):
            return said(ok=False, words="an object is needed", status=400)
        line = await Line.open(self._folder / CONTROL)
        if line is None:
            return said(ok=False, words=f"no run is alive here; go on with it by: {self.hub.resume}")
        try:
            request = {"do": asked.get("action"), "lane": asked.get("lane"), "amount": asked.get("amount")}
            answer = await line.ask({**request, "by": self._who}, timeout_s=DONE_S)
        finally:
            line.close()
        if answer is None:
            return said(ok=False, words="no answer came: the run has ended, or is too busy to say whether it was done")
        return said(ok=bool(answer.get("ok")), words=str(answer.get("said", "")))

    async def close(self) -> None:
        """End what was begun for pages."""
        self._thumbs.close()
        await self.hub.close()


def _position(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else otherwise


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"


@asynccontextmanager
async def serving(folder: Path, *, port: int, resume: str) -> AsyncIterator[str]:
    """Serve; yields the address with its token. *Raises* RunError when the port is taken."""
    viewer = Viewer(folder, resume=resume)
    runner = web.ServerRunner(Door(safely(viewer.answer)), shutdown_timeout=_GRACE_S)
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
