"""T23: a disk whose syncs are slow: each of SQLite's (by its VFS) and each of Python's own takes 10 or 30 ms longer.

Group commit must carry the run all the same. The syncs are heard where `powerloss` hears them: `SqliteCalls` puts its
own `xSync` into SQLite's table; `os.fsync`, `os.fdatasync` and the sync of a whole file system are replaced by name.
Nothing is preloaded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pipeline.store import syncing
from tests.chaos.forks import inside
from tests.chaos.load import Measured, p99, process, written
from tests.chaos.report import Report
from tests.chaos.sqlite_calls import SqliteCalls
from tests.chaos.tape import Tape, Unusable

TASKS: Final = {"small": 40, "merge": 8_000}
#: How much longer a sync takes (seconds).
SLOWER: Final = (0.01, 0.03)
#: What is asked of the merge size at 30 ms.
LIVES_MIN: Final = 300.0
INTENT_MAX_S: Final = 0.15


#: What C holds on to, for the life of a fork.
_KEPT: Final[list[SqliteCalls]] = []


class _Slow(Tape):
    """Fails nothing and remembers nothing: each sync waits."""

    slower_s: float = 0.0

    def fail(self, call: str, path: str) -> int:
        """Never."""
        if call == "fsync":
            time.sleep(self.slower_s)
        self.events.clear()
        return 0


def _slowed(real: Callable[[int], None], seconds: float) -> Callable[[int], None]:
    def synced(handle: int) -> None:
        time.sleep(seconds)
        real(handle)

    return synced


def _process(spec: Path, seconds: float) -> Measured:
    tape = _Slow(spec.parent)
    tape.slower_s = seconds
    calls = SqliteCalls(tape)
    calls.install()
    _KEPT.append(calls)
    patched: Any = os
    patched.fsync, patched.fdatasync = _slowed(os.fsync, seconds), _slowed(os.fdatasync, seconds)
    shared: Any = syncing
    shared.sync_file_system = _slowed(syncing.sync_file_system, seconds)
    return process(spec)


def campaign(size: str, seed: int) -> Report:
    """The same job at each pace of the disk."""
    figures: dict[str, int | float | str] = {"tasks": TASKS[size]}
    found: list[str] = []
    for seconds in SLOWER:
        # On the disk that users have: what is asked of a file system in memory is not what is asked of one on a disk.
        place = Path(tempfile.mkdtemp(prefix="chaos-slowdisk-"))
        try:
            spec = written(place, TASKS[size], 1)
            ran = inside(partial(_process, spec, seconds), patience_s=600.0)
        except Unusable as reason:
            return Report("slowdisk", {}, (), str(reason))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        lives, intent = TASKS[size] / ran.whole_s, p99(ran.intents)
        ms = round(1000 * seconds)
        figures[f"lives/s at {ms} ms"] = round(lives, 1)
        figures[f"ms intent p99 at {ms} ms"] = round(1000 * intent, 1)
        if ran.exit_code or ran.images != TASKS[size]:
            found.append(f"at {ms} ms: exit code {ran.exit_code}, {ran.images} pictures of {TASKS[size]}")
        if not ran.intents:
            found.append(f"at {ms} ms: no permission was timed")
        if size == "merge" and seconds == max(SLOWER) and (lives < LIVES_MIN or intent > INTENT_MAX_S):
            found.append(f"at {ms} ms: {lives:.0f} lives/s, intents {1000 * intent:.0f} ms")
    return Report("slowdisk", figures, tuple(f"seed {seed}: {each}" for each in found))
