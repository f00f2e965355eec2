"""What every open page of one run is told: rows as they change and how the run stands, alive or not.

While a runner is alive it is asked (never its store by a second connection: drawings read a copy of the files); when
none is, the store is looked at. A page that falls behind hears of each row once, as it is by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pipeline.errors import PipelineError
from pipeline.report.data import COLUMNS
from pipeline.report.failures import ENDS
from pipeline.runtime.clock import until
from pipeline.runtime.drawing import SHOWN, Book, Drawing, draw, signature
from pipeline.runtime.line import Line
from pipeline.runtime.portrait import lanes_of
from pipeline.values.folder import CONTROL

#: A page that is loaded while a run is alive gets a drawing at most so old, or so many times what drawing takes; the
#: rest it hears (seconds). Sums and charts are drawn anew as often.
FRESH_S: Final = 5.0
FRESH_TIMES: Final = 20.0
#: How often somebody looks whether a run has begun, or its store has changed (seconds).
LOOK_EVERY_S: Final = 1.0
#: Nobody looks, and no run is asked, once no page has been open for so long (seconds).
LINGER_S: Final = 10.0
#: Rows in one event.
ROWS_MAX: Final = 500
_ID, _SHA, _SRC, _TYPE = (COLUMNS.index(name) for name in ("id", "sha256", "src", "media_type"))


class Log:
    """Changed rows by id, each as it is now, in the order of their last change."""

    def __init__(self) -> None:
        #: Grows with every change; pages name it to go on from there.
        self.count = 0
        #: Changes up to this one are only in the drawing.
        self.floor = 0
        self._rows: OrderedDict[str, tuple[int, list[Any]]] = OrderedDict()

    def put(self, row: list[Any]) -> None:
        """A row is like this from now on."""
        self.count += 1
        self._rows[row[_ID]] = (self.count, row)
        self._rows.move_to_end(row[_ID])

    def changed_after(self, name: str, count: int) -> bool:
        """Whether a row changed after that."""
        return self._rows.get(name, (0, []))[0] > count

    def after(self, count: int, most: int) -> tuple[list[list[Any]], int]:
        """(rows that changed after that, the oldest changes first; the count that is reached with them)."""
        newest = list(takewhile(lambda each: each[0] > count, reversed(self._rows.values())))
        picked = newest[::-1][:most]
        return [row for _, row in picked], picked[-1][0] if picked else count

    def lose(self) -> None:
        """More changed than is remembered: whoever listens takes everything anew."""
        self.count += 1
        self.drop(self.count)

    def drop(self, count: int) -> None:
        """Forget changes up to this one."""
        while self._rows and next(iter(self._rows.values()))[0] <= count:
            self._rows.popitem(last=False)
        self.floor = max(self.floor, count)


class Hub:
    """One for a server. Runs on its loop; drawing is done in a thread."""

    def __init__(self, folder: Path, resume: str) -> None:
        self.folder = folder
        self.book = Book()
        self.log = Log()
        self.resume = resume
        self._drawing: Drawing | None = None
        self._drawing_now: asyncio.Task[Drawing] | None = None
        #: Pages may still be loading these.
        self._former: list[Drawing] = []
        #: Changes that the drawing before this one has; and this one.
        self._had = self._has = 0
        self._status: Mapping[str, Any] | None = None
        self._pages = 0
        self._left_at = 0.0
        self._news = asyncio.Condition()
        #: Grows with every change of what stands above the rows.
        self.metas = 0

    # --- pages ------------------------------------------------------------------------------------------------------

    @property
    def start(self) -> int:
        """Where a page goes on that loaded this drawing, or the one before."""
        return self._had

    @property
    def pages(self) -> int:
        """How many pages listen."""
        return self._pages

    def enter(self) -> None:
        """A page listens."""
        self._pages += 1

    def leave(self) -> None:
        """A page is gone."""
        self._pages -= 1
        self._left_at = time.monotonic()

    async def news(self, count: int, metas: int, patience_s: float) -> None:
        """Return once there is more than this, or patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._news:
                await self._news.wait_for(lambda: self.log.count > count or self.metas != metas)

    async def _tell(self, *, meta: bool) -> None:
        async with self._news:
            self.metas += meta
            self._news.notify_all()

    def meta(self) -> dict[str, Any]:
        """What stands above the rows: as drawn last, and as the living run says."""
        drawn = dict(self._drawing.meta) if self._drawing is not None else {}
        status = self._status
        if status is None:
            return drawn
        if not drawn.get("simulate"):
            now = drawn["updated_at"] = time.time_ns() // 1000
            drawn["seconds"] = round((now - drawn["created_at"]) / 1e6, 3) if drawn["created_at"] else None
        money = [{"currency": currency, **amounts} for currency, amounts in status["money"].items()]
        told = {name: status[name] for name in ("state", "tasks", "images", "paused")}
        return {**drawn, **told, "live": True, "money": money, "lanes": lanes_of(status)}

    # --- drawing ----------------------------------------------------------------------------------------------------

    async def drawing(self, *, at_once: bool = False) -> Drawing:
        """One that is fresh enough for a page that is loaded now. *Raises* RunNotFound, StorageFailed."""
        known = self._drawing
        if known is not None:
            age = time.monotonic() - known.at
            if known.signature == signature(self.folder) or (not at_once and age < _fresh_s(known)):
                return known
        return await self._redraw()

    @property
    def drawn(self) -> Drawing | None:
        """The one that was made last."""
        return self._drawing

    async def _redraw(self) -> Drawing:
        if self._drawing_now is None or self._drawing_now.done():
            self._drawing_now = asyncio.create_task(self._draw())
        return await asyncio.shield(self._drawing_now)

    async def _draw(self) -> Drawing:
        count = self.log.count
        try:
            new, changed = await asyncio.to_thread(draw, self.folder, self.book, self.resume)
        except BaseException:
            self.book.looks.clear()  # What was seen half-way is told again.
            raise
        old, self._drawing = self._drawing, new
        if old is not None:
            if changed is None:
                self.log.lose()
            for row in changed or ():
                # What was heard of since the reading began is newer.
                if not self.log.changed_after(row[_ID], count):
                    self.log.put(row)
            # Pages that load the old one just now go on from there.
            self.log.drop(self._had)
            self._former.append(old)
            asyncio.get_running_loop().call_later(LINGER_S, self._forget, old)
        self._had, self._has = (count, count) if old is None else (self._has, count)
        await self._tell(meta=True)
        return new

    async def close(self) -> None:
        """Remove what was drawn."""
        if self._drawing_now is not None:
            self._drawing_now.cancel()
            await asyncio.wait([self._drawing_now])
        for each in (*self._former, *([self._drawing] if self._drawing is not None else [])):
            each.drop()

    def _forget(self, old: Drawing) -> None:
        self._former.remove(old)
        old.drop()

    # --- following --------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Listen to whatever run is alive, as long as pages are open; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await until(loop.time() + LOOK_EVERY_S)
            if not self._wanted():
                continue
            line = await Line.open(self.folder / CONTROL)
            with contextlib.suppress(PipelineError):  # pages keep what they have; the next look tries again
                if line is None:
                    await self._look()
                else:
                    await self._live(line)

    def _wanted(self) -> bool:
        return self._pages > 0 or time.monotonic() - self._left_at < LINGER_S

    async def _look(self) -> None:
        known = self._drawing
        if known is None:
            return
        # A run that is opening or closing holds the folder and does not answer.
        closing = known.meta["live"] and time.monotonic() - known.at > max(LOOK_EVERY_S, FRESH_TIMES * known.took_s)
        if closing or known.signature != signature(self.folder):
            await self._redraw()

    async def _live(self, line: Line) -> None:
        """Follow a living run to its end; then the store has the word."""
        rows: Line | None = line
        watch = await Line.open(self.folder / CONTROL)
        try:
            answer = await line.ask({"ask": "rows", "since": None})
            if watch is None or answer is None or not answer.get("cursor"):
                return
            cursor: object = answer["cursor"]
            told = await watch.ask({"ask": "watch"})
            while told is not None and isinstance(status := told.get("status"), dict) and self._wanted():
                was, self._status = self._status, status
                if was is None or self._old():
                    await self._redraw()
                elif was != self._status:
                    await self._tell(meta=True)
                if rows is None or rows.closed:
                    # An answer came too late; what changed since the cursor is asked for once more.
                    rows = await Line.open(self.folder / CONTROL)
                if rows is not None and told.get("cursor") != cursor:
                    cursor = await self._heard(rows, cursor)
                told = await watch.next()
        finally:
            for each in (rows, watch):
                if each is not None:
                    each.close()
            if self._status is not None:
                self._status = None
                await self._redraw()

    def _old(self) -> bool:
        """Whether sums and charts are drawn anew; sooner when more or fewer tasks failed, which want their reasons."""
        drawn, status = self._drawing, self._status
        if drawn is None or status is None:
            return True
        age = time.monotonic() - drawn.at
        before, now = drawn.meta["tasks"], status["tasks"]
        if any(before.get(state, 0) != now.get(state, 0) for state in ENDS):
            return age > max(LOOK_EVERY_S, FRESH_TIMES * drawn.took_s)
        return age > 3 * _fresh_s(drawn)

    async def _heard(self, line: Line, cursor: object) -> object:
        """Take every row that changed since."""
        more = True
        while more:
            answer = await line.ask({"ask": "rows", "since": cursor})
            if answer is None:
                return cursor
            rows = answer.get("rows")
            if not isinstance(rows, dict):
                # Too far behind: everything is read anew, and what changed in it is told.
                fresh = await line.ask({"ask": "rows", "since": None})
                await self._redraw()
                return cursor if fresh is None else fresh.get("cursor")
            for row in rows["rows"]:
                self._take(row)
            cursor, more = answer.get("cursor"), bool(answer.get("more"))
            await self._tell(meta=False)
        return cursor

    def _take(self, row: list[Any]) -> None:
        if row[_SRC] is not None and row[_TYPE] in SHOWN:
            self.book.heard(self.folder, row[_SRC], row[_TYPE], row[_SHA])
        if self.book.changed(row):
            self.log.put(row)


def _fresh_s(drawing: Drawing) -> float:
    return max(FRESH_S, FRESH_TIMES * drawing.took_s)
