"""T11: two runners on one folder. Exactly one ever commits, the other is refused within a second, no unlocking exists.

Runners are forked, so that hundreds of races cost seconds; each is a process of its own with its own locks.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.engine.facts import CapSet
from pipeline.errors import RunLocked, StorageFailed
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.values.folder import LOCK, STORE
from tests.chaos.report import Report

_RACES: Final = {"small": 20, "merge": 200}
#: What the second runner may take at most. *Units* - seconds, of a machine that has other work.
_REFUSED_S: Final = 1.0


class Violation(Exception):  # noqa: N818 - a word of the campaigns
    """What must never happen, happened."""


def campaign(size: str, seed: int) -> Report:
    """Races at the start, then each way of getting past a holder."""
    figures, violations = Counter[str](), []
    slowest = 0.0
    for number in range(_RACES[size]):
        try:
            slowest = max(slowest, _race(random.Random(f"{seed}:{number}")))
            figures["races"] += 1
        except Violation as exc:
            violations.append(f"seed {seed}, race {number}: {exc}")
    for story in _STORIES:
        with tempfile.TemporaryDirectory(prefix="pipeline-runners-") as name:
            try:
                slowest = max(slowest, story(Path(name) / "run"))
                figures["stories"] += 1
            except Violation as exc:
                violations.append(f"{story.__name__}: {exc}")
    return Report("runners", {**figures, "ms at most": round(slowest * 1000)}, tuple(violations))


# --- one runner ---


@dataclass(frozen=True, slots=True)
class _Runner:
    """A forked process that holds a folder and does as it is told, one letter at a time."""

    pid: int
    orders: int
    answers: int

    def tell(self, order: str) -> str:
        """Send an order and wait for its answer."""
        os.write(self.orders, order.encode())
        return self.hear()

    def hear(self) -> str:
        """The next line of it."""
        line = b""
        while not line.endswith(b"\n"):
            letter = os.read(self.answers, 1)
            if not letter:
                return line.decode() or "gone"
            line += letter
        return line.decode().strip()

    def end(self) -> None:
        """Kill it, however it stands."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # and what it forked
        os.kill(self.pid, signal.SIGKILL)  # not waited for yet, so it is ours, even if it has no group of its own yet
        os.waitpid(self.pid, 0)
        os.close(self.orders)
        os.close(self.answers)


def _open(folder: Path) -> tuple[RunLock, Journal]:
    """As a run opens its folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = RunLock.take(folder / LOCK)
    try:
        return lock, Journal.open(folder / STORE, run_id=f"run-{os.getpid()}", clock=lambda: time.time_ns() // 1000)
    except BaseException:
        lock.release()
        raise


@contextmanager
def _runner(folder: Path) -> Iterator[_Runner]:
    """A runner that opens the folder on `o`; commits on `c`; forks on `f`; drops SQLite's own lock on `d`."""
    orders, answers = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.close(orders[1])
        os.close(answers[0])
        try:
            _serve(folder, orders[0], answers[1])
        finally:
            os._exit(0)
    os.close(orders[0])
    os.close(answers[1])
    runner = _Runner(pid, orders[1], answers[0])
    try:
        yield runner
    finally:
        runner.end()


def _serve(folder: Path, orders: int, answers: int) -> None:
    held: tuple[RunLock, Journal] | None = None
    while order := os.read(orders, 1):
        word = "done"
        begun = time.monotonic()
        try:
            if order == b"o":
                held = _open(folder)
            elif order == b"c":
                assert held is not None
                held[1].commit([CapSet("USD", os.getpid(), "a runner")])
            elif order == b"f" and os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            elif order == b"d":
                # Closing any handle of a file drops a process's record locks on it: the trap that a fence is for.
                os.close(os.open(folder / STORE, os.O_RDONLY))
        except RunLocked:
            word = f"locked {time.monotonic() - begun:.3f}"
        except StorageFailed as exc:
            word = f"failed {exc}"
        except BaseException as exc:  # noqa: BLE001 - told to the judge
            word = f"broke {type(exc).__name__}: {exc}"
        os.write(answers, f"{word}\n".encode())


def _expect(found: str, wanted: str, what: str) -> None:
    if not found.startswith(wanted):
        raise Violation(f"{what}: {found}")


def _refused(runner: _Runner, what: str) -> float:
    found = runner.tell("o")
    _expect(found, "locked", what)
    took = float(found.split()[1])
    if took > _REFUSED_S:
        raise Violation(f"{what}: refused after {took:.2f} s only")
    return took


def _caps(folder: Path) -> list[int]:
    journal = Journal.open_read_only(folder / STORE)
    try:
        if faults := journal.integrity_check():
            raise Violation(f"the store is damaged: {faults}")
        return [row.cap_micros for row in journal.cap_rows()]
    finally:
        journal.close(clean=False)


# --- races ---


def _race(dice: random.Random) -> float:
    """Two to four runners at the same instant: one is in, and what is committed is its own."""
    with tempfile.TemporaryDirectory(prefix="pipeline-race-") as name:
        folder = Path(name) / "run"
        if dice.random() < 0.5:  # an old folder, or none yet
            lock, journal = _open(folder)
            journal.close(clean=dice.random() < 0.5)
            lock.release()
        return _raced(folder, dice.randint(2, 4))


def _raced(folder: Path, count: int) -> float:
    slowest = 0.0
    with _runner(folder) as one, _runner(folder) as two, _runner(folder) as three, _runner(folder) as four:
        runners = (one, two, three, four)[:count]
        for runner in runners:
            os.write(runner.orders, b"o")
        heard = [(runner, runner.hear()) for runner in runners]
        winners = [runner for runner, word in heard if word == "done"]
        if len(winners) != 1:
            raise Violation(f"{len(winners)} of {count} got in: {[word for _, word in heard]}")
        for _, word in heard:
            if word != "done":
                _expect(word, "locked", "a runner that came second")
                slowest = max(slowest, float(word.split()[1]))
        _expect(winners[0].tell("c"), "done", "the winner's commit")
        if _caps(folder) != [winners[0].pid]:
            raise Violation("somebody else's commit is in the store")
    if slowest > _REFUSED_S:
        raise Violation(f"refused after {slowest:.2f} s only")
    return slowest


# --- stories ---


def _holder_killed(folder: Path) -> float:
    with _runner(folder) as first, _runner(folder) as second:
        _expect(first.tell("o"), "done", "the first")
        _expect(first.tell("c"), "done", "its commit")
        os.kill(first.pid, signal.SIGKILL)
        first.hear()
        begun = time.monotonic()
        _expect(second.tell("o"), "done", "the next start after kill -9")
        took = time.monotonic() - begun
        _expect(second.tell("c"), "done", "its commit")
    if took > _REFUSED_S:
        raise Violation(f"the next start took {took:.2f} s")
    return took


def _holder_forked(folder: Path) -> float:
    with _runner(folder) as first, _runner(folder) as second:
        _expect(first.tell("o"), "done", "the first")
        _expect(first.tell("f"), "done", "its fork")
        slowest = _refused(second, "while the holder lives")
        _expect(first.tell("c"), "done", "the holder's commit after its fork")
        os.kill(first.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        _expect(second.tell("o"), "done", "the next start, while a forked child of the dead holder lives")
    return slowest


def _holder_stopped(folder: Path) -> float:
    with _runner(folder) as first, _runner(folder) as second:
        _expect(first.tell("o"), "done", "the first")
        os.kill(first.pid, signal.SIGSTOP)
        slowest = _refused(second, "while the holder is stopped")
        os.kill(first.pid, signal.SIGCONT)
        _expect(first.tell("c"), "done", "its commit after it went on")
    return slowest


def _lock_file_deleted(folder: Path) -> float:
    with _runner(folder) as first, _runner(folder) as second:
        _expect(first.tell("o"), "done", "the first")
        (folder / LOCK).unlink()
        slowest = _refused(second, "with a fresh lock file, refused by the store")
        _expect(first.tell("c"), "done", "the holder's commit")
        if _caps(folder) != [first.pid]:
            raise Violation("somebody else's commit is in the store")
    return slowest


def _every_lock_lost(folder: Path) -> float:
    with _runner(folder) as first, _runner(folder) as second:
        _expect(first.tell("o"), "done", "the first")
        _expect(first.tell("d"), "done", "SQLite's lock dropped")
        (folder / LOCK).unlink()
        _expect(second.tell("o"), "done", "the second, whom no lock stops")
        _expect(first.tell("c"), "failed", "the first's commit behind the second's back")
        _expect(second.tell("c"), "done", "the second's commit")
        if _caps(folder) != [second.pid]:
            raise Violation("both committed")
    return 0.0


def _folder_moved(folder: Path) -> float:
    moved = folder.with_name("moved")
    with _runner(folder) as first, _runner(moved) as second:
        _expect(first.tell("o"), "done", "the first")
        _expect(first.tell("c"), "done", "its commit")
        folder.rename(moved)
        slowest = _refused(second, "at the new place, while the holder lives")
        _expect(first.tell("c"), "failed", "the holder's commit after its folder was moved")
        os.kill(first.pid, signal.SIGKILL)
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
        _expect(second.tell("o"), "done", "the next start at the new place")
        if _caps(moved) != [first.pid]:
            raise Violation("the refused commit is in the store")
    return slowest


def _folder_copied(folder: Path) -> float:
    copy = folder.with_name("copy")
    with _runner(folder) as first:
        _expect(first.tell("o"), "done", "the first")
        _expect(first.tell("c"), "done", "its commit")
        shutil.copytree(folder, copy)
        journal = Journal.open_read_only(copy / STORE)
        found = journal.original()
        journal.close(clean=False)
        if found != folder.resolve():
            raise Violation(f"a copy does not know its original: {found}")
        _expect(first.tell("c"), "done", "the original's commit")
    return 0.0


_STORIES: Final[tuple[Callable[[Path], float], ...]] = (
    _holder_killed,
    _holder_forked,
    _holder_stopped,
    _lock_file_deleted,
    _every_lock_lost,
    _folder_moved,
    _folder_copied,
)
