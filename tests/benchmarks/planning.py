"""P9: a plan of a million combinations with every task rendered and checked, and how many there are, at once."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import python, run
from tests.benchmarks.project import Job, pipeline, with_card
from tests.benchmarks.table import Reached, number

PLAN_S: Final = 30.0
COUNT_S: Final = 0.1
FLAT_MB: Final = 20.0
_COUNT: Final = (
    "import sys, time, pipeline; began = time.perf_counter(); made = pipeline.plan(pipeline.load(sys.argv[1])); "
    "read = time.perf_counter(); count = len(made); print(count, read - began, time.perf_counter() - read)"
)


def measure(combinations: int, rounds: int) -> list[Reached]:
    """Seconds, memory beside a small plan, and the count of ten times as many through the library."""
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "few.yaml").write_text(Job("sync", 1000).text())
        (folder / "many.yaml").write_text(Job("sync", combinations).text())
        (folder / "more.yaml").write_text(Job("sync", 10 * combinations).text())
        few = pipeline("plan", "few.yaml", cwd=folder)
        many = [pipeline("plan", "many.yaml", cwd=folder, timeout_s=1800) for _ in range(rounds)]
        if few.code or many[0].code:
            raise RuntimeError(f"planning ended with {few.code}, {many[0].code}: {many[0].err[-500:]}")
        environ = {"PYTHONPATH": str(with_card())}
        counts = [run(python("-c", _COUNT, "more.yaml"), cwd=folder, environment=environ) for _ in range(3)]
        counted, read_s, _ = counts[0].out.split()
    goal = PLAN_S * combinations / 1e6
    grown = (max(ended.tree_max for ended in many) - few.tree_max) / 2**20
    scaled = "" if combinations == 1_000_000 else f"goal scaled from {PLAN_S:g} s for 1M; "
    cpu = sorted(ended.cpu_s for ended in many)[len(many) // 2]
    seconds = tuple(ended.seconds for ended in many)
    what = f"plan of {combinations:,} combinations, every task checked"
    counting = tuple(float(ended.out.split()[2]) for ended in counts)
    return [
        Reached("P9", what, goal, seconds, "s", at_least=False, note=f"{scaled}CPU {number(cpu)} s"),
        Reached("P9", "its memory beyond a plan of 1,000", FLAT_MB, (grown,), "MB", at_least=False),
        Reached(
            "P9",
            f"count of {int(counted):,} combinations",
            COUNT_S,
            counting,
            "s",
            at_least=False,
            note=f"reading the spec took {number(float(read_s))} s",
        ),
    ]
