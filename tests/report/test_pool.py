"""Worker processes: one message for several pictures, one picture for a crash, and none left behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pipeline.report import pool
from pipeline.report.pixels import Job, Made, make
from pipeline.report.pool import BATCH, FEW, made_of, spawned
from tests.report.test_gallery import picture

ROOT = Path(__file__).parents[2]


def jobs(folder: Path, count: int) -> list[Job]:
    """Small pictures of their own."""
    made = []
    for number in range(count):
        data = picture(size=(32, 20), seed=number)
        made.append(Job(hashlib.sha256(data).hexdigest(), data, folder / f"{number}.webp"))
    return made


@pytest.mark.slow
def test_workers_make_what_one_process_makes(tmp_path: Path) -> None:
    """The same bytes and the same figures, each picture once."""
    wanted = jobs(tmp_path / "a", 2 * BATCH + FEW)
    found = {each.sha256: each for each in made_of(wanted, workers=2)}
    alone = {each.sha256: make(each) for each in jobs(tmp_path / "b", len(wanted))}
    assert found == alone
    for each in wanted:
        assert each.thumb.read_bytes() == (tmp_path / "b" / each.thumb.name).read_bytes()


def _end_here() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_decoder_that_ends_its_process_costs_one_picture(tmp_path: Path) -> None:
    """It is told as damaged; all others are made."""
    wanted = jobs(tmp_path, 2 * BATCH)
    bad = Job(wanted[3].sha256, _Deadly(), wanted[3].thumb)  # type: ignore[arg-type]  # unpickled, it ends the process
    found = list(made_of([*wanted[:3], bad, *wanted[4:]], workers=2))
    assert {each.sha256: each.problem for each in found} == {
        each.sha256: "damaged" if each is wanted[3] else "" for each in wanted
    }


class Scripted:
    """Workers that are gone: one batch is lost with them, one hangs, and no other is taken."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.sent = 0

    def submit(self, make: Callable[[list[Job]], list[Made]], batch: list[Job]) -> Future[list[Made]]:
        """The first is lost, the second waits for ever."""
        self.sent += 1
        if self.sent == 3:
            raise BrokenProcessPool
        found: Future[list[Made]] = Future()
        if self.sent == 1:
            found.set_exception(BrokenProcessPool())
        return found

    def shutdown(self, **_: bool) -> None:
        """Nobody is left."""


class Here:
    """Workers without a process."""

    def submit(self, make: Callable[[list[Job]], list[Made]], batch: list[Job]) -> Future[list[Made]]:
        """Done at once."""
        found: Future[list[Made]] = Future()
        found.set_result(make(batch))
        return found

    def shutdown(self, **_: bool) -> None:
        """Nobody to end."""


def test_no_picture_is_lost_with_the_workers_that_had_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the broken message, those that were waiting and those that nobody took are made by others, once each."""
    pools = iter([Scripted()])
    monkeypatch.setattr(pool, "spawned", lambda _: next(pools, Here()))
    wanted = [Job(f"{number:064d}", b"", tmp_path / f"{number}.webp") for number in range(5 * BATCH + 1)]
    assert sorted(each.sha256 for each in made_of(wanted, workers=1)) == [each.sha256 for each in wanted]


class _Deadly:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return _end_here, ()


PARENT = """
import sys, time
from pathlib import Path
from pipeline.report.pool import spawned
if __name__ == "__main__":
    pool = spawned(2)
    futures = [pool.submit(time.sleep, 60) for _ in range(4)]
    while len(pool._processes) < 2 or not any(each.running() for each in futures):
        pass
    print(*pool._processes, flush=True)
    time.sleep(60)
"""


def _alive(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here to look for processes in")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_leave_when_their_parent_does(number: signal.Signals, tmp_path: Path) -> None:
    """Even by kill -9, in the middle of a picture."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        parent.send_signal(number)
        parent.wait(20)
        # They are nobody's children now, so nothing but a look tells.
        until = time.monotonic() + 20
        while any(map(_alive, workers)) and time.monotonic() < until:
            pass
        assert not any(map(_alive, workers))


@pytest.mark.slow
def test_a_worker_ignores_the_terminals_interrupt() -> None:
    """Ctrl-C is for the parent, which stops them in order."""
    workers = spawned(1)
    try:
        assert workers.submit(signal.getsignal, signal.SIGINT).result(60) is signal.SIG_IGN
    finally:
        workers.shutdown(cancel_futures=True)
