"""P5: how soon something happens: help, one task, and the first request of ten million combinations."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import StubProcess, python
from tests.benchmarks.project import Job, pipeline, run_job, with_card
from tests.benchmarks.table import Reached, number

HELP_S: Final = 0.2
ONE_TASK_S: Final = 1.0
FIRST_S: Final = 2.0
#: Checking ten million takes minutes; longer than this it is given up (seconds).
CHECK_S: Final = 1800.0


def measure(stub: StubProcess, rounds: int, combinations: int) -> list[Reached]:
    """Seconds of the wall, each process alone; CPU seconds beside them, which a busy machine moves less."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        helps = [pipeline("--help", cwd=folder) for _ in range(max(3, rounds))]
        ones = []
        for index in range(max(2, rounds)):
            place = folder / f"one-{index}"
            place.mkdir()
            stub.reset()
            ones.append(run_job(Job("sync", 1), place, stub.environment()))
    cpu = statistics.median(ended.cpu_s for ended in helps), statistics.median(ended.cpu_s for ended in ones)
    found = [
        Reached(
            "P5",
            "pipeline --help",
            HELP_S,
            tuple(e.seconds for e in helps),
            "s",
            at_least=False,
            note=f"CPU {number(cpu[0])} s",
        ),
        Reached(
            "P5",
            "run of one task, whole process",
            ONE_TASK_S,
            tuple(e.seconds for e in ones),
            "s",
            at_least=False,
            note=f"CPU {number(cpu[1])} s",
        ),
    ]
    return [*found, first_request(stub, combinations)]


def first_request(stub: StubProcess, combinations: int) -> Reached:
    """Seconds from the start of `run` to its first request, after `plan` checked the same spec in the same folder."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "spec.yaml").write_text(Job("sync", combinations).text())
        checked = pipeline(
            "plan", "spec.yaml", "--run-dir", "run", cwd=folder, environment=stub.environment(), timeout_s=CHECK_S
        )
        stub.reset()
        environ = {**os.environ, **stub.environment(), "PYTHONPATH": str(with_card())}
        command = python("-m", "pipeline", "run", "spec.yaml", "--run-dir", "run", "--display", "none", "--yes")
        began = time.monotonic()
        null = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=folder, env=environ, stdin=null, stdout=null, stderr=null)
        try:
            while not stub.stats()["first_at"] and process.poll() is None and time.monotonic() < began + CHECK_S:
                time.sleep(0.02)
            first_at = stub.stats()["first_at"]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if not first_at:
        raise RuntimeError("no request came")
    note = f"the check before took {number(checked.seconds)} s" if not checked.code else "the check before did not end"
    what = f"first request of {combinations:,} combinations, checked before"
    return Reached("P5", what, FIRST_S, (first_at - began,), "s", at_least=False, note=note)
