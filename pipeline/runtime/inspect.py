"""Looking at a run folder from outside: status, list, verify, manifest; and sending failed tasks again."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.machine import Machine
from pipeline.engine.messages import OnDoubt, Phase, Policy, RetryAsked
from pipeline.errors import RunNotFound
from pipeline.manifest.table import Written, write_manifest
from pipeline.manifest.verify import verify as verify_folder
from pipeline.runtime import prepare, wiring
from pipeline.runtime.control import ask
from pipeline.runtime.history import EXITS, Result, state_of
from pipeline.runtime.progress import money_of
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.store.story import Story
from pipeline.values.folder import CONTROL, STORE


@contextmanager
def _reading(folder: Path) -> Iterator[Journal]:
    if not (folder / STORE).exists():
        raise RunNotFound(f"there is no run at {folder}; `pipeline ls` lists the runs below ./runs")
    journal = Journal.open_read_only(folder / STORE)
    try:
        yield journal
    finally:
        journal.close(clean=False)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = RunLock.take(RunFolder(folder).lock)
    try:
        yield
    finally:
        lock.release()


def status(folder: Path) -> dict[str, object]:
    """The object of `status --json`: asked of the living run, or read from the store. *Raises* RunNotFound."""
    if not (folder / STORE).exists():
        raise RunNotFound(f"there is no run at {folder}; `pipeline ls` lists the runs below ./runs")
    return ask(folder / CONTROL) or _status_of_store(folder)


def _status_of_store(folder: Path) -> dict[str, object]:
    with _reading(folder) as journal:
        snapshot = journal.snapshot()
        counts = {phase.value: count for phase, count in snapshot.counts.items() if count}
        total = int(journal.get_meta("total") or 0)
        tasks = list(journal.task_rows())
        faults: dict[str, int] = {}
        for row in tasks:
            if row.fault:
                faults[row.fault] = faults.get(row.fault, 0) + 1
        phases = {row.task_id: row for row in tasks if row.doubt_micros}
        noted = journal.get_meta("state") or "stopped"
        return {
            # A run that says "running" and does not answer was killed.
            "state": "stopped" if noted == "running" else noted,
            "run": str(folder),
            "tasks": {**counts, "total": total},
            "images": snapshot.images,
            "money": {account.currency: money_of(account) for account in snapshot.accounts},
            "in_doubt": [
                {"task_id": row.task_id, "micros": row.doubt_micros, "currency": row.currency, "why": row.fault_message}
                for row in phases.values()
            ],
            "faults": faults,
            "gateways": {},
        }


def ls(root: Path) -> list[dict[str, object]]:
    """The status of every run below a folder, by name."""
    if not root.is_dir():
        return []
    return [status(path) for path in sorted(root.iterdir()) if (path / STORE).is_file()]


def verify(folder: Path) -> list[str]:
    """Files against manifest, manifest against store, money against entries: every fault found, in words."""
    with _reading(folder) as journal:
        return [*journal.integrity_check(), *verify_folder(folder, journal)]


def rebuild_manifest(folder: Path) -> Written:
    """Write the manifest anew from the store; unchanged files are left alone. *Raises* RunLocked, RunNotFound."""
    with _reading(folder):
        pass
    with _locked(folder):
        journal = Journal.open(folder / STORE, run_id="", clock=wiring.real_clock().wall_micros)
        try:
            return write_manifest(folder, journal)
        finally:
            journal.close(clean=journal.was_clean)


def retry(folder: Path, kinds: Collection[str] = ()) -> int:
    """Send failed and short tasks (of these fault kinds) again at the next run; answers how many."""
    with _reading(folder):
        pass
    clock = wiring.real_clock()
    with _locked(folder):
        journal = Journal.open(folder / STORE, run_id=wiring.new_run_id(), clock=clock.wall_micros)
        try:
            failed = journal.failed_tasks(set(kinds) or None)
            cards = prepare.cards()
            terms = {stored.task.lane: wiring.default_lane(cards, stored.task).terms for stored in failed}
            snapshot = journal.snapshot()
            for stored in snapshot.tasks:
                terms.setdefault(stored.task.lane, wiring.default_lane(cards, stored.task).terms)
            machine = Machine.restore(Policy(3, OnDoubt.HOLD, terms), snapshot)
            story = Story(RunFolder(folder).story, clock=clock.wall_micros)
            for stored in failed:
                machine.remember(stored)
                facts = machine.step(RetryAsked(stored.task.number), 0.0)
                journal.commit(facts)
                story.tell(facts)
            story.close()
            journal.set_meta({"finished_plan": "", "state": "stopped"})
        finally:
            journal.close(clean=True)
    return len(failed)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run folder came from."""

    spec: Path
    simulate: bool


def origin(folder: Path) -> Origin:
    """Which spec a run folder belongs to. *Raises* RunNotFound."""
    with _reading(folder) as journal:
        spec = journal.get_meta("spec_path")
        if spec is None:
            raise RunNotFound(f"{folder} does not say which spec it belongs to")
        return Origin(Path(spec), journal.get_meta("simulate") == "1")


def finished_result(folder: Path, mark: str) -> Result | None:
    """The result of a finished run with this mark, read without writing a byte; None when there is work to do."""
    if not (folder / STORE).exists():
        return None
    with _reading(folder) as journal:
        if journal.get_meta("finished_plan") != mark:
            return None
        counts = journal.snapshot().counts
    found = _status_of_store(folder)
    state = state_of(draining=False, parked=False, budget=False, counts=counts)
    ended = counts.get(Phase.DONE, 0)
    note = f"nothing to do: {ended} tasks done before, 0.00 more (--fresh starts over)"
    return Result(state, EXITS[state], folder, found, 0.0, None, (note,))
