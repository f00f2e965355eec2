"""Whoever asks a living run: each answer belongs to its question, and a run that is alive has the word."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.runtime import inspect
from pipeline.runtime.control import ANSWER_MAX
from pipeline.runtime.line import Line
from pipeline.values.folder import CONTROL, STORE
from tests.runtime.browsing import rehearsed

Answers = Callable[[dict[str, Any]], object]


class Told(list[object]):
    """Everything that a watcher is told, before the run ends."""


@asynccontextmanager
async def answering(path: Path, answers: Answers) -> AsyncIterator[list[dict[str, Any]]]:
    """A run that answers as a test says; yields what it was asked."""
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while line := await reader.readline():
                asked.append(json.loads(line))
                answer = answers(asked[-1])
                if isinstance(answer, asyncio.Future):
                    answer = await answer
                for each in answer if isinstance(answer, Told) else (answer,):
                    writer.write(json.dumps(each).encode() + b"\n")
                if isinstance(answer, Told):
                    break
        writer.close()

    server = await asyncio.start_unix_server(serve, path, limit=ANSWER_MAX)
    try:
        yield asked
    finally:
        server.close()


async def opened(path: Path) -> Line:
    """A conversation that begins."""
    line = await Line.open(path)
    assert line is not None
    return line


async def test_an_answer_that_comes_too_late_is_never_taken_for_another(tmp_path: Path) -> None:
    """The conversation ends with the first answer that does not come in time; a new one has answers of its own."""
    place = tmp_path / CONTROL
    late: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    answers: dict[str, object] = {"first": late, "second": {"to": "second"}}
    async with answering(place, lambda request: answers[request["ask"]]) as asked:
        line = await opened(place)
        assert await line.ask({"ask": "first"}, timeout_s=0.05) is None
        assert line.closed
        late.set_result({"to": "first"})
        assert (await line.ask({"ask": "second"}), await line.next()) == (None, None)
        assert [request["ask"] for request in asked] == ["first"], "nothing is asked of whoever does not answer"
        again = await opened(place)
        assert await again.ask({"ask": "second"}) == {"to": "second"}
        assert not again.closed
        again.close()


@pytest.mark.parametrize("answer", [7, [], "words"])
async def test_an_answer_that_is_none_ends_the_conversation(tmp_path: Path, answer: object) -> None:
    """What is no object is of no request."""
    async with answering(tmp_path / CONTROL, lambda _: answer):
        line = await opened(tmp_path / CONTROL)
        assert await line.ask({"ask": "status"}) is None
        assert line.closed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of three pictures."""
    return rehearsed(tmp_path)


@pytest.mark.parametrize("note", ["{}", "[]", "{"])
async def test_status_of_a_living_run_leaves_out_what_its_store_cannot_say(folder: Path, note: str) -> None:
    """A note of another shape in the store of a run that is alive and answers: the run has the word."""
    with closing(sqlite3.connect(folder / STORE, isolation_level=None)) as db:
        db.execute("INSERT INTO meta (k, v) VALUES ('said:1', ?)", (note,))
    async with answering(folder / CONTROL, lambda _: {"state": "running", "images": 1}):
        assert await asyncio.to_thread(inspect.status, folder) == {"state": "running", "images": 1}
