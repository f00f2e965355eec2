"""The served page of a run: live while it runs, by the store when it does not, for several pages at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime.drawing import Drawing
from pipeline.runtime.hub import Hub, Log
from pipeline.runtime.view import serving
from pipeline.values.folder import IMAGES
from tests.runtime.browsing import Browser, rehearsed
from tests.runtime.living import PATIENCE_S, Living, living


class Page:
    """What an open page knows: loaded once, then kept up to date by events."""

    def __init__(self, browser: Browser) -> None:
        """Not loaded yet."""
        self.browser = browser
        self.rows: dict[str, dict[str, Any]] = {}
        self.meta: dict[str, Any] = {}
        self.metas: list[dict[str, Any]] = []
        self.last_id = ""

    async def load(self) -> None:
        """As the page does: meta, then chunks."""
        self.meta = (await self.browser.get("/data-meta.js")).data()
        for chunk in range(self.meta["chunks"]):
            self._take((await self.browser.get(f"/data-{chunk:03d}.js")).data())

    def _take(self, data: Any) -> None:
        for row in data["rows"]:
            known = dict(zip(data["columns"], row, strict=True))
            self.rows[known["id"]] = known
            if known["image_index"] is not None:
                self.rows.pop(f"{known['task_id']}#", None)

    def states(self) -> dict[str, int]:
        """{state: rows}."""
        found: dict[str, int] = {}
        for row in self.rows.values():
            found[row["state"]] = found.get(row["state"], 0) + 1
        return found

    async def listen(self, until: Any, **headers: str) -> None:
        """Hear events until something holds of this page."""
        async with asyncio.timeout(PATIENCE_S):
            events = self.browser.events(**headers)
            async for event, data, self.last_id in events:
                if event == "meta":
                    self.meta = data
                    self.metas.append(data)
                else:
                    self._take(data)
                if until(self):
                    break
            await events.aclose()  # type: ignore[attr-defined]  # an async generator


@asynccontextmanager
async def viewed(folder: Path, *, pages: int = 1) -> AsyncIterator[list[Page]]:
    """Pages of one server."""
    async with serving(folder, port=0, resume="pipeline run cups.yaml") as address:
        opened = [Page(Browser(address)) for _ in range(pages)]
        for page in opened:
            await page.browser.enter()
        yield opened


async def begun(run: Living) -> None:
    """The run is alive and answers."""
    await asyncio.to_thread(run.until, lambda status: status["gateways"])


@pytest.mark.slow
async def test_two_pages_follow_a_run_from_its_middle_to_its_end(tmp_path: Path, exports: dict[str, str]) -> None:
    """Both end with all that the store has, after a pause, a continuation and a budget that the page asked for."""
    with living(tmp_path, exports, cups=12, rate="300/min") as run:
        await begun(run)
        async with viewed(run.folder, pages=2) as (first, second):
            await asyncio.gather(first.load(), second.load())
            assert first.meta["live"] is True
            other = asyncio.create_task(second.listen(lambda page: not page.meta["live"]))
            await first.listen(lambda page: page.states().get("done", 0) >= 2)
            post = first.browser.post
            assert (await post("/control", {"action": "pause", "lane": None, "amount": None})).json()["ok"]
            await first.listen(lambda page: page.meta.get("paused"))
            assert first.meta["paused"][0]["why"].startswith("view, user ")
            assert all(lane["why"].startswith("paused (view") for lane in first.meta["lanes"])
            told = (await post("/control", {"action": "budget", "amount": "9 USD"})).json()
            assert told["said"].startswith("the budget is 9.00 USD now")
            assert (await post("/control", {"action": "resume"})).json()["ok"]
            await first.listen(lambda page: page.meta["live"] and not page.meta.get("paused"))
            assert first.meta["money"][0]["limit_micros"] == 9_000_000
            shown = next(row for row in first.rows.values() if row["src"])
            assert (await first.browser.get(shown["src"].removeprefix(".."))).headers["content-type"] == "image/png"
            # A connection that was lost begins where it ended.
            await first.listen(lambda page: not page.meta["live"], **{"Last-Event-ID": first.last_id})
            await other
            code, err = await asyncio.to_thread(run.ended)
            assert code == 0, err
            for page in (first, second):
                assert (page.states(), page.meta["state"], page.meta["images"]) == ({"done": 24}, "complete", 24)
            fresh = Page(first.browser)
            await fresh.load()
            assert fresh.rows == first.rows == second.rows
            refused = (await post("/control", {"action": "pause"})).json()
            assert (refused["ok"], "no run is alive" in refused["said"]) == (False, True)
        with run.store() as journal:
            said = [(each.what, each.why.partition(" user ")[0]) for each in journal.said_rows()]
            assert said == [("pause", "view,"), ("continue", "view,")]


@pytest.mark.slow
async def test_a_page_outlives_a_killed_run_and_hears_of_the_next(tmp_path: Path, exports: dict[str, str]) -> None:
    """After kill -9 the store has the word; when the same command goes on, the page is live again and ends whole."""
    with living(tmp_path, exports, cups=6, rate="120/min") as run:
        await begun(run)
        async with viewed(run.folder) as (page,):
            await page.load()
            await page.listen(lambda page: page.meta["live"] and page.states().get("done", 0) >= 2)
            os.kill(run.process.pid, signal.SIGKILL)
            await page.listen(lambda page: not page.meta["live"])
            assert page.meta["state"] == "stopped"
            before = dict(page.rows)
            with living(tmp_path, exports, cups=6, rate="120/min"):
                await page.listen(lambda page: page.meta["live"])
                await page.listen(lambda page: page.meta["state"] == "complete")
            assert page.states() == {"done": 12}
            assert before.keys() & page.rows.keys() >= {name for name, row in before.items() if row["state"] == "done"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of three pictures."""
    return rehearsed(tmp_path)


@pytest.mark.slow
async def test_thumbnails_are_made_when_asked_for_and_a_broken_picture_has_none(folder: Path) -> None:
    """In a process of its own, once; the same file serves the report. What is no picture any more is not found."""
    async with serving(folder, port=0, resume="") as address:
        page = Page(Browser(address))
        await page.browser.enter()
        await page.load()
        first, second, _ = page.rows.values()
        place = folder / "report" / first["thumb"]
        assert not place.exists()
        replies = await asyncio.gather(*(page.browser.get(f"/{first['thumb']}") for _ in range(5)))
        assert [(reply.status, reply.body[8:12]) for reply in replies] == [(200, b"WEBP")] * 5
        assert place.stat().st_mode & 0o777 == 0o600
        broken = folder / IMAGES / second["src"].partition(f"{IMAGES}/")[2]
        broken.write_bytes(broken.read_bytes()[:-40])
        for _ in range(2):
            assert (await page.browser.get(f"/{second['thumb']}")).status == 404


def test_a_page_hears_of_each_row_once_as_it_is_now() -> None:
    """What changed twice since a page last listened is told once; what is forgotten is known to be."""
    log = Log()
    for state in ("a", "b"):
        for name in ("x", "y", "z"):
            log.put([name, state])
    rows, reached = log.after(0, 2)
    assert (rows, reached) == ([["x", "b"], ["y", "b"]], 5)
    assert log.after(reached, 9) == ([["z", "b"]], 6)
    assert log.after(6, 9) == ([], 6)
    assert (log.changed_after("x", 3), log.changed_after("x", 4), log.changed_after("other", 0)) == (True, False, False)
    log.drop(5)
    assert (log.floor, log.after(0, 9)) == (5, ([["z", "b"]], 6))
    log.lose()
    assert (log.count, log.floor, log.after(6, 9)) == (7, 7, ([], 6))
    log.drop(3)  # a drawing that was begun before
    assert log.floor == 7


async def test_a_page_that_listened_to_a_server_before_this_one_gets_every_row(folder: Path) -> None:
    """Its place in the news is none of this server's: it is not waited for until as much has changed again."""
    async with serving(folder, port=0, resume="") as address, asyncio.timeout(10.0):
        browser = Browser(address)
        await browser.enter()
        events = browser.events(**{"Last-Event-ID": "999999"})
        while (await anext(events))[0] != "rows":
            pass
        await events.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.slow
async def test_a_stream_that_broke_is_cut_off_and_does_not_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Words of an error would become part of what the page hears; a proper end would say that there is no more."""
    calls, meta = iter([True]), Hub.meta

    def breaks(hub: Hub) -> dict[str, Any]:
        if next(calls, None):
            return meta(hub)
        raise KeyError("lane")

    monkeypatch.setattr(Hub, "meta", breaks)
    async with serving(folder, port=0, resume="") as address, asyncio.timeout(10.0):
        browser = Browser(address)
        await browser.enter()
        (whole, _), (broken, ended) = [await _heard(browser) for _ in range(2)]
        assert b"event: meta" in whole
        assert (b"event: meta" in broken, ended) == (False, False), broken
        assert broken.startswith(b"HTTP/1.1 200")
    assert [record.getMessage() for record in caplog.records] == ["a page cannot be shown: KeyError: 'lane'"]


async def _heard(browser: Browser) -> tuple[bytes, bool]:
    """What a stream says first, or until it is over; and whether it ended in order."""
    reader, writer = await browser.send("GET", "/events")
    found = b""
    with suppress(ConnectionError):
        while b"event: meta" not in found and (piece := await reader.read(65536)):
            found += piece
    writer.close()
    return found, found.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("failed", "age_s", "anew"), [(0, 2.0, False), (0, 14.0, False), (0, 16.0, True), (1, 0.5, False), (1, 2.0, True)]
)
def test_reasons_of_failures_are_gathered_sooner_than_other_sums(failed: int, age_s: float, anew: bool) -> None:  # noqa: FBT001
    """A card that lags behind its count puzzles; charts may be a quarter of a minute old."""
    hub = Hub(Path("run"), "pipeline run mugs.yaml")
    hub._drawing = Drawing(Path("place"), {"tasks": {"done": 2}}, 0, (), time.monotonic() - age_s, 0.01)
    hub._status = {"tasks": {"done": 3, "failed": failed}}
    assert hub._old() is anew
