"""P6: a finished job is run again: nothing is sent, nothing changes; and P10: its manifest is made from the store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import StubProcess
from tests.benchmarks.project import Job, build, pipeline, run_job
from tests.benchmarks.table import Reached, number

#: {tasks: seconds at most}.
AGAIN_S: Final = {10_000: 0.8, 100_000: 1.2, 1_000_000: 3.0}
MANIFEST_S: Final = {1_000_000: 10.0}
_BUILT: Final = "folder built by the real engine and journal, pictures linked"


def measure(stub: StubProcess, sizes: tuple[int, ...], rounds: int) -> list[Reached]:
    """P6 and P10 over folders of these sizes. Beside sizes that have a goal the next larger goal stands."""
    found = []
    for tasks in sizes:
        with TemporaryDirectory(prefix="benchmark-") as name:
            folder, job = Path(name), Job("sync", tasks)
            stub.reset()
            build(job, folder, stub.environment())
            before = fingerprint(folder / "run")
            stub.reset()
            runs = [run_job(job, folder, stub.environment(), timeout_s=600) for _ in range(rounds)]
            changed = len(set(fingerprint(folder / "run").items()) ^ set(before.items()))
            sent = stub.stats()["requests"]
            goal = next((AGAIN_S[size] for size in AGAIN_S if size >= tasks), None)
            cpu = sorted(ended.cpu_s for ended in runs)[len(runs) // 2]
            note = f"CPU {number(cpu)} s, peak {max(e.tree_max for e in runs) >> 20} MB; {_BUILT}"
            seconds = tuple(ended.seconds for ended in runs)
            found.append(Reached("P6", f"{tasks:,} tasks again", goal, seconds, "s", at_least=False, note=note))
            found.append(Reached("P6", f"{tasks:,}: requests", 0, (sent,), "", at_least=False))
            found.append(Reached("P6", f"{tasks:,}: files that changed", 0, (changed,), "", at_least=False))
            found.append(_manifest(folder, tasks, rounds))
    return found


def _manifest(folder: Path, tasks: int, rounds: int) -> Reached:
    files = [folder / "run" / name for name in ("images.arrow", "images.parquet", "tasks.arrow")]
    ends = []
    for _ in range(rounds):
        for file in files:
            file.unlink(missing_ok=True)
        ends.append(pipeline("manifest", str(folder / "run"), cwd=folder))
    if any(ended.code for ended in ends) or not all(file.is_file() for file in files):
        raise RuntimeError(f"the manifest was not made: {ends[-1].err[-500:]}")
    goal = MANIFEST_S.get(tasks, MANIFEST_S[1_000_000] * tasks / 1e6 + 1.0)
    note = f"peak {max(ended.tree_max for ended in ends) >> 20} MB"
    if tasks not in MANIFEST_S:
        note += "; goal scaled from 1M, with 1 s for starting"
    seconds = tuple(ended.seconds for ended in ends)
    return Reached("P10", f"{tasks:,} rows of two tables, with parquet", goal, seconds, "s", at_least=False, note=note)


def fingerprint(folder: Path) -> dict[str, str]:
    """{path: what would change if a byte of it did}: digests, and of pictures, which are many, size and time."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            told = path.lstat()
            key = path.relative_to(folder).as_posix()
            small = not key.startswith("images/")
            content = hashlib.sha256(path.read_bytes()).hexdigest() if small and path.is_file() else ""
            found[key] = f"{told.st_size} {told.st_mtime_ns} {content}"
    return found
