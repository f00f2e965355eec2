"""Stories of how a run ends when the disk, a person or a signal comes in between."""

from __future__ import annotations

import asyncio
import errno
import signal
import sqlite3
from pathlib import Path

import pytest

import pipeline
from pipeline import failpoints
from pipeline.cli.exits import Exit
from pipeline.cli.failures import explain
from pipeline.errors import PlanChanged, RunError, StorageFailed
from pipeline.runtime import inspect, wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run
from pipeline.store.lock import RunLock
from tests.stories.jobs import PRICE, bill, failing, faults, footprint, gateway, money, rehearse, spec

FULL = OSError(errno.ENOSPC, "No space left on device")


async def test_a_declined_change_of_the_spec_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says no to a costly edit has changed no byte, and the next start knows of no crash."""
    path = spec(tmp_path, budget="50 USD", more="limits: {mulerouter: {rate: 6000/min}}\n")
    options = Options(run_dir=tmp_path / "run")
    asked: list[str] = []

    def decline(question: str) -> bool:
        asked.append(question)
        return False

    async with gateway(tmp_path, monkeypatch):
        assert (await pipeline.run(pipeline.plan(pipeline.load(path)), options)).exit_code == 0
        before = footprint(tmp_path / "run")
        path.write_text(path.read_text().replace("scene: [desk", "scene: [a, b, c, d, e, f, g, desk"))
        edited = pipeline.plan(pipeline.load(path))
        with pytest.raises(PlanChanged):
            await pipeline.run(edited, options, confirm=decline)
    assert len(asked) == 1
    assert footprint(tmp_path / "run") == before
    kept = sqlite3.connect(tmp_path / "run" / "state.db").execute("SELECT v FROM meta WHERE k='store:clean'")
    assert kept.fetchone()[0] == "1"
    assert bill(tmp_path, "world.jsonl")[0] == 6


@pytest.mark.parametrize("where", ["told.begun", "told.done", "open.locked", "manifest.begun", "recover.adopted"])
def test_what_the_disk_refuses_anywhere_is_a_fail_stop_and_the_same_command_goes_on(tmp_path: Path, where: str) -> None:
    """Story, manifest, lock, recovery: an OSError ends in exit 70, and nothing is bought twice."""
    path = spec(tmp_path)
    if where == "recover.adopted":
        with failing("keep.synced", RuntimeError("as a kill would")), pytest.raises(RuntimeError):
            rehearse(path)
    with failing(where, FULL), pytest.raises(StorageFailed) as caught:
        rehearse(path)
    assert explain(caught.value).code is Exit.STORAGE_FAILED
    result = rehearse(path)
    assert result.exit_code in (0, 5)
    accepted, billed = bill(tmp_path)
    assert accepted <= 6
    assert money(result)["settled_micros"] <= billed <= money(result)["settled_micros"] + money(result)["doubt_micros"]
    assert inspect.verify(tmp_path / "run") == []


def test_after_a_failed_commit_nothing_leaves_and_nobody_waits_a_minute_in_vain(tmp_path: Path) -> None:
    """What waits for its slot when storage fails is never sent."""
    path = spec(tmp_path, more="samples: 10\n")
    with failing("commit.booked", FULL, after=6), pytest.raises(StorageFailed):
        rehearse(path)
    accepted = bill(tmp_path)[0]
    result = rehearse(path)
    assert accepted <= 4
    assert bill(tmp_path)[0] <= 60
    assert len(result.status["in_doubt"]) <= 4  # type: ignore[arg-type]  # a list


@pytest.mark.parametrize(("signals", "least_s", "most_s"), [(0, 50.0, 70.0), (2, 0.0, 10.0)])
def test_after_a_fail_stop_answers_are_awaited_unless_somebody_is_in_a_hurry(
    tmp_path: Path, signals: int, least_s: float, most_s: float
) -> None:
    """What is unanswered may still reach the black box; the second Ctrl-C does not wait for it."""
    path = spec(tmp_path, more="samples: 4\n")
    plan = pipeline.plan(pipeline.load(path))
    options = Options(simulate=True, run_dir=tmp_path / "run", faults=faults(tmp_path, "latency_s: 50\n"))
    start = wiring.REHEARSAL_EPOCH_S
    loop = VirtualLoop(start)

    def act(name: str) -> None:
        if name == "commit.booked" and loop.time() > start + 2:
            for _ in range(signals):
                signal.raise_signal(signal.SIGINT)
            raise FULL

    failpoints.arm(act)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.raises(StorageFailed):
            runner.run(run(plan, options, clock=VirtualClock(round(start * 1e6), start)))
    finally:
        failpoints.arm(None)
    assert least_s <= loop.time() - start <= most_s
    result = rehearse(path)
    assert bill(tmp_path)[0] <= 24
    assert result.exit_code == (5 if signals else 0)


async def test_status_says_running_while_somebody_holds_the_lock(tmp_path: Path) -> None:
    """A run that opens or concludes does not answer on its socket, and is alive."""
    await asyncio.to_thread(rehearse, spec(tmp_path))
    folder = tmp_path / "run"
    assert inspect.status(folder)["state"] == "complete"
    lock = RunLock.take(folder / "lock")
    assert inspect.status(folder)["state"] == "running"
    lock.release()
    assert inspect.status(folder)["state"] == "complete"


def test_a_status_beside_a_start_never_locks_it_out(tmp_path: Path) -> None:
    """Looking takes the lock of nobody, also when a killed run left its number in it."""
    rehearse(spec(tmp_path))
    folder = tmp_path / "run"
    (folder / "lock").write_text("4194303\n")
    assert inspect.status(folder)["state"] == "complete"
    lock = RunLock.take(folder / "lock")
    lock.release()


def test_a_run_that_is_over_still_tells_its_lanes(tmp_path: Path) -> None:
    """Rates, submits, 429s and what is in flight are read from the store."""
    rehearse(spec(tmp_path), faults=faults(tmp_path, "rate_limited: {first: 2}\n"))
    told = inspect.status(tmp_path / "run")["gateways"]
    assert told == {
        "mulerouter/qwen-image-max": {
            "rate": "60/min",
            "submits": 8,
            "rate_limited": 2,
            "in_flight": 0,
            "parked": None,
        }
    }


def test_a_second_stop_at_the_budget_does_not_say_how_long_nothing_takes(tmp_path: Path) -> None:
    """A rehearsal that sent nothing has no time to tell."""
    path = spec(tmp_path, budget="0.25 USD")
    assert (rehearse(path).simulated_s or 0) > 0
    again = rehearse(path)
    assert (again.exit_code, again.simulated_s) == (3, None)
    assert money(again)["settled_micros"] == 3 * PRICE


async def test_a_rehearsal_and_a_real_run_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulators know nothing of what was really bought, and a rehearsal's pictures are not for sale."""
    path = spec(tmp_path)
    await asyncio.to_thread(rehearse, path, limit=2)
    async with gateway(tmp_path, monkeypatch):
        with pytest.raises(RunError, match="a rehearsal's folder"):
            await pipeline.run(pipeline.plan(pipeline.load(path)), Options(run_dir=tmp_path / "run"))
    assert not (tmp_path / "world.jsonl").exists() or bill(tmp_path, "world.jsonl")[0] == 0
