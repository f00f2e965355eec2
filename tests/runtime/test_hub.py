"""What open pages are told while a run is alive: of each row what was heard last, and nothing twice or never."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import StorageFailed
from pipeline.report.data import COLUMNS
from pipeline.runtime import hub as hub_module
from pipeline.runtime.drawing import Book, Drawing, draw
from pipeline.runtime.hub import Hub
from pipeline.values.folder import CONTROL, STORE
from tests.runtime.browsing import rehearsed
from tests.runtime.test_line import Told, answering, opened

ID, STATE, PROMPT = (COLUMNS.index(name) for name in ("id", "state", "prompt"))
STATUS: dict[str, Any] = {"state": "running", "tasks": {"done": 3}, "images": 3, "paused": [], "money": {}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of three pictures."""
    return rehearsed(tmp_path)


async def test_rows_are_asked_for_anew_after_an_answer_that_did_not_come(folder: Path) -> None:
    """Following goes on with another conversation from the same cursor: pages miss nothing."""
    row = changed(rows_of(folder)[0], "failed", name="new")
    answers = iter([7, {"rows": {"rows": [row]}, "cursor": "b", "more": False}])

    def answer(request: dict[str, Any]) -> object:
        if request["ask"] == "watch":
            return Told([{"status": STATUS, "cursor": "b"}] * 4)
        return {"cursor": "a"} if request["since"] is None else next(answers)

    async with hub_of(folder) as hub, answering(folder / CONTROL, answer) as asked:
        hub.enter()
        await hub._live(await opened(folder / CONTROL))
        assert [request["since"] for request in asked if request["ask"] == "rows"] == [None, "a", "a"]
        assert hub.log.after(0, 9) == ([row], 1)


async def test_what_a_drawing_saw_before_it_broke_is_told_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the rows were looked at when one could not be read: they count as new, not as told."""
    monkeypatch.setattr("pipeline.runtime.drawing.CHUNK", 1)
    with closing(sqlite3.connect(folder / STORE, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger}")
        (first, _, last) = (row[0] for row in db.execute("SELECT rowid FROM task ORDER BY rowid").fetchall())
        prompt = "UPDATE task SET record = json_set(record, '$.prompt', ?) WHERE rowid = ?"
        async with hub_of(folder) as hub:
            before = hub.log.count
            db.execute(prompt, ("A taller mug", first))
            db.execute(prompt, (5, last))
            with pytest.raises(StorageFailed, match="prompt"):
                await hub._redraw()
            db.execute(prompt, ("A wider mug", last))
            await hub._redraw()
            told = {row[PROMPT] for row in hub.log.after(before, 9)[0]}
            assert {"A taller mug", "A wider mug"} <= told


async def test_what_was_heard_during_a_drawing_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawing began to read before the run told it: of that row it is the older one."""
    read, go = threading.Event(), threading.Event()

    def slow(*given: Any) -> tuple[Drawing, list[list[Any]] | None]:
        found = draw(*given)
        read.set()
        assert go.wait(20)
        return found

    async with hub_of(folder) as hub:
        first, *others = rows_of(folder)
        hub.book.looks.clear()  # As if each had changed.
        monkeypatch.setattr(hub_module, "draw", slow)
        drawing = asyncio.create_task(hub._redraw())
        await asyncio.to_thread(read.wait, 20)
        hub._take(changed(first, "failed"))
        go.set()
        await drawing
        assert {row[ID]: row[STATE] for row in hub.log.after(0, 9)[0]} == {
            first[ID]: "failed",
            **{row[ID]: row[STATE] for row in others},
        }


async def test_a_page_goes_on_from_the_drawing_before_the_last(folder: Path) -> None:
    """It may have loaded that one: whatever was told since is told once more, and nothing that the drawing had."""
    async with hub_of(folder) as hub:
        row = rows_of(folder)[0]
        assert hub.start == 0
        heard = []
        for name in ("a", "b", "c"):
            hub._take(changed(row, "failed", name=name))
            await hub._redraw()
            heard.append([each[ID] for each in hub.log.after(hub.start, 9)[0]])
        assert heard == [["a"], ["b"], ["c"]]


@asynccontextmanager
async def hub_of(folder: Path) -> AsyncIterator[Hub]:
    """What serves this folder, drawn once."""
    hub = Hub(folder, "pipeline run mugs.yaml")
    try:
        await hub.drawing()
        yield hub
    finally:
        await hub.close()


def changed(row: list[Any], state: str, *, name: str = "") -> list[Any]:
    """This row in another state."""
    other = list(row)
    other[STATE], other[ID] = state, name or row[ID]
    return other


def rows_of(folder: Path) -> list[list[Any]]:
    """Its rows, as a page hears them."""
    found, rows = draw(folder, Book(), "")
    found.drop()
    assert rows is not None
    return rows
