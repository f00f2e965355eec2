"""The order of writing and sending (docs/reliability.md, W2, W3), looked at while a whole job runs over HTTP."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import feather

import pipeline
from pipeline import failpoints
from pipeline.engine.facts import Fact, Permitted, Released
from pipeline.engine.messages import Submit
from pipeline.errors import RunLocked, StorageFailed
from pipeline.providers import mulerouter
from pipeline.runtime import inspect
from pipeline.runtime.driver import Driver
from pipeline.runtime.perform import Performer
from pipeline.runtime.prepare import Options
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.transport.http import HttpDoor
from tests.stories.jobs import PRICE, bill, faults, gateway, money, rehearse, spec

SPECS = Path(__file__).parents[2] / "specs"
FAST = "limits: {mulerouter: {rate: 6000/min}}\n"


async def _run(path: Path) -> int:
    plan = pipeline.plan(pipeline.load(path))
    return (await pipeline.run(plan, Options(run_dir=path.parent / "run"))).exit_code


async def test_a_post_leaves_only_after_its_permit_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W2: the commit has returned, and was not only queued; the disk is slow here, so that it matters."""
    durable: set[int] = set()
    early: list[int] = []
    commit, submit = Journal.commit, Performer.submit

    def slowly(journal: Journal, facts: Sequence[Fact]) -> None:
        time.sleep(0.02)
        commit(journal, facts)
        durable.update(fact.attempt for fact in facts if isinstance(fact, Permitted))

    async def watched(performer: Performer, command: Submit, *rest: object) -> object:
        if command.attempt not in durable:
            early.append(command.attempt)
        return await submit(performer, command, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Journal, "commit", slowly)
    monkeypatch.setattr(Performer, "submit", watched)
    async with gateway(tmp_path, monkeypatch):
        assert await _run(spec(tmp_path, more=FAST)) == 0
    assert durable == {1, 2, 3, 4, 5, 6}
    assert early == []


async def test_an_answer_is_written_down_before_it_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W3: a process that dies of an answer finds it again in the black box, and buys nothing twice."""
    submitted = mulerouter.submitted

    def broken(*_: object) -> object:
        raise RuntimeError("as a kill would")

    path = spec(tmp_path, more="limits: {mulerouter: {rate: 6000/min, unanswered: 1}}\n")
    async with gateway(tmp_path, monkeypatch):
        monkeypatch.setattr(mulerouter, "submitted", broken)
        with pytest.raises(RuntimeError):
            await _run(path)
        monkeypatch.setattr(mulerouter, "submitted", submitted)
        assert await _run(path) == 0
    assert bill(tmp_path, "world.jsonl") == (6, 6 * PRICE)


async def test_a_run_holds_its_lock_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10: whoever comes while a POST is on its way is refused."""
    refused: list[bool] = []

    def look(name: str) -> None:
        if name == "submit.sending":
            try:
                RunLock.take(tmp_path / "run" / "lock").release()
                refused.append(False)
            except RunLocked:
                refused.append(True)

    async with gateway(tmp_path, monkeypatch):
        failpoints.arm(look)
        try:
            assert await _run(spec(tmp_path, more=FAST)) == 0
        finally:
            failpoints.arm(None)
    assert refused == [True] * 6


async def test_after_a_commit_that_failed_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail-stop: a permit that may not be there after a restart sends nothing."""
    commit = Journal.commit

    def failing(journal: Journal, facts: Sequence[Fact]) -> None:
        if any(isinstance(fact, Permitted) for fact in facts):
            raise StorageFailed("the disk refused")
        commit(journal, facts)

    monkeypatch.setattr(Journal, "commit", failing)
    async with gateway(tmp_path, monkeypatch):
        with pytest.raises(StorageFailed):
            await _run(spec(tmp_path, more=FAST))
    assert bill(tmp_path, "world.jsonl")[0] == 0


async def test_what_waits_for_its_slot_when_somebody_says_stop_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Ctrl-C falls between a permit and its slot: the attempt ends as not sent, its money is free."""
    facts: list[Fact] = []
    told, submit = Driver._note, Performer.submit

    def noted(driver: Driver, fact: Fact) -> None:
        facts.append(fact)
        told(driver, fact)
        if isinstance(fact, Permitted) and fact.attempt == 1:
            asyncio.get_running_loop().call_soon(driver.drain)

    async def late(performer: Performer, *rest: object) -> object:
        await asyncio.sleep(0.05)
        return await submit(performer, *rest)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Driver, "_note", noted)
    monkeypatch.setattr(Performer, "submit", late)
    async with gateway(tmp_path, monkeypatch):
        assert await _run(spec(tmp_path, more=FAST)) == 130
    assert bill(tmp_path, "world.jsonl")[0] == 0
    released = [fact.attempt for fact in facts if isinstance(fact, Released)]
    assert 1 in released


async def test_a_post_that_is_called_off_while_it_is_out_is_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving at once with a POST on the wire: the gateway may have it, so its money stays aside."""
    exchange = HttpDoor.exchange
    lost: list[int] = []

    async def called_off(door: HttpDoor, *rest: object, **more: object) -> object:
        answer = await exchange(door, *rest, **more)  # type: ignore[arg-type]  # passed on as they came
        if not lost:
            lost.append(1)
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(HttpDoor, "exchange", called_off)
    async with gateway(tmp_path, monkeypatch):
        plan = pipeline.plan(pipeline.load(spec(tmp_path, more=FAST)))
        result = await pipeline.run(plan, Options(run_dir=tmp_path / "run"))
    assert result.exit_code == 5
    assert money(result)["doubt_micros"] == PRICE
    assert bill(tmp_path, "world.jsonl")[0] == 6


def test_a_limit_is_one_of_tasks_and_not_of_pictures(tmp_path: Path) -> None:
    """`--limit 3` of tasks with two pictures each buys three tasks."""
    shutil.copytree(SPECS, tmp_path / "specs")
    path = tmp_path / "specs" / "edit.yaml"
    assert rehearse(path, limit=3).exit_code == 0
    assert bill(path.parent)[0] == 3


def test_a_picture_that_is_none_is_asked_for_again_and_gets_no_row(tmp_path: Path) -> None:
    """What comes is decoded before it gets a name: a page in the place of a picture is no picture."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, "truncated_picture: {first: 1}\npage_picture: {first: 1}\n"))
    assert result.exit_code == 0
    assert bill(tmp_path) == (6, 6 * PRICE)


def test_every_stored_picture_decodes_to_its_end(tmp_path: Path) -> None:
    """A truncated picture and a page in its place are asked for again; neither gets a name."""
    path = spec(tmp_path)
    assert (
        rehearse(path, faults=faults(tmp_path, "truncated_picture: {every: 3}\npage_picture: {first: 1}\n")).exit_code
        == 0
    )
    for file in (tmp_path / "run" / "images").rglob("*.png"):
        with Image.open(file) as image:
            image.load()
            assert image.size == (1328, 1328)


def test_a_manifest_follows_its_store(tmp_path: Path) -> None:
    """A second run's pictures are in the manifest as well, each once."""
    path = spec(tmp_path, budget="0.25 USD")
    assert rehearse(path).exit_code == 3
    path.write_text(path.read_text().replace("0.25 USD", "2.00 USD"))
    assert rehearse(path).exit_code == 0
    assert inspect.verify(tmp_path / "run") == []
    assert feather.read_table(tmp_path / "run" / "images.arrow").num_rows == 6


def test_a_doubt_is_there_after_a_restart(tmp_path: Path) -> None:
    """Money, number and worst case: a run that is opened again knows what the last one was in doubt about."""
    path = spec(tmp_path)
    first = rehearse(path, faults=faults(tmp_path, "cut_after: {first: 1}\n"))
    journal = Journal.open_read_only(tmp_path / "run" / "state.db")
    doubtful = [task for task in journal.snapshot().tasks if task.phase == "in_doubt"]
    journal.close(clean=False)
    assert first.exit_code == 5
    assert [attempt.open_micros for task in doubtful for attempt in task.attempts] == [PRICE]
