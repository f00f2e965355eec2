"""A million tasks against the stub: memory over time, stopped by Ctrl-C on the way, and gone on with to the end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import StubProcess, python, tree_rss
from tests.benchmarks.project import Job, pipeline, with_card
from tests.benchmarks.table import draw

#: No such run lasts longer, whatever the machine (seconds).
LONGEST_S: Final = 6 * 3600.0
#: A line is printed so often on the way (seconds).
SHOWN_S: Final = 60.0
_MB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a run. *Units* - seconds since its start, bytes of its tree, purchases in all."""

    seconds: float
    rss: int
    purchases: int


def story(stub: StubProcess, kind: str, tasks: int, in_flight: int) -> str:
    """Run, stop at four tenths, resume, run once more; what was seen, as text.

    *Raises* RuntimeError when a task was bought twice or not at all.
    """
    job = Job(kind, tasks, in_flight)
    stub.reset()
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "spec.yaml").write_text(job.text())
        first, stopped = _watched(stub, folder, stop_at=tasks * 4 // 10)
        second, ended = _watched(stub, folder, stop_at=None)
        bought = stub.stats()["submits"]
        again, third = _watched(stub, folder, stop_at=None)
        sent = stub.stats()["submits"] - bought
        verified = pipeline("verify", str(folder / "run"), cwd=folder, timeout_s=LONGEST_S)
    if (stopped, ended, third, bought, sent, verified.code) != (130, 0, 0, tasks, 0, 0):
        raise RuntimeError(
            f"stopped with {stopped}, ended with {ended}, again with {third}; {bought:,} of {tasks:,} bought, then "
            f"{sent}; verify said {verified.code}: {verified.out[-500:]}{verified.err[-500:]}"
        )
    told = (
        f"{tasks:,} tasks ({kind}, {in_flight} in flight): {first[-1].seconds:,.0f} s until Ctrl-C took effect, "
        f"{second[-1].seconds:,.0f} s from the resume to the end, {again[-1].seconds:,.1f} s to run it again. "
        f"{bought:,} purchases, none twice; `verify` agreed in {verified.seconds:,.0f} s."
    )
    table = draw(("Run", "After", "Purchases", "Memory"), [*_rows("first", first), *_rows("resumed", second)])
    return f"{told}\n\n{table}"


def _watched(stub: StubProcess, folder: Path, stop_at: int | None) -> tuple[list[Look], int]:
    environ = {**os.environ, **stub.environment(), "PYTHONPATH": str(with_card())}
    command = python("-m", "pipeline", "run", "spec.yaml", "--run-dir", "run", "--display", "none", "--yes")
    began, null = time.monotonic(), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, env=environ, stdin=null, stdout=null, stderr=null)
    looks, told, shown = [Look(0.0, 0, 0)], False, 0.0
    try:
        while process.poll() is None:
            time.sleep(0.25)
            now, bought = time.monotonic() - began, stub.stats()["submits"]
            rss = tree_rss(process.pid)
            if rss:
                looks.append(Look(now, rss, bought))
                if now - shown >= SHOWN_S:
                    # An hour is long: who waits sees that it goes on, and what was seen if it breaks.
                    shown = now
                    print(f"  {now:,.0f} s, {bought:,} bought, {rss / _MB:.0f} MB", flush=True)
            if stop_at is not None and not told and bought >= stop_at:
                process.send_signal(signal.SIGINT)
                told = True
            if now > LONGEST_S:
                process.kill()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
    looks.append(Look(time.monotonic() - began, looks[-1].rss, stub.stats()["submits"]))
    return looks, process.returncode


def _rows(run: str, looks: list[Look]) -> list[tuple[str, str, str, str]]:
    """A dozen looks spread over the time, and the one with the most memory."""
    chosen = {round(index * (len(looks) - 1) / 11) for index in range(12)} - {0}
    most = max(range(len(looks)), key=lambda index: looks[index].rss)
    rows = []
    for index in sorted(chosen | {most}):
        look = looks[index]
        mark = " (the most)" if index == most else ""
        rows.append((run, f"{look.seconds:,.1f} s", f"{look.purchases:,}", f"{look.rss / _MB:.0f} MB{mark}"))
    return rows
