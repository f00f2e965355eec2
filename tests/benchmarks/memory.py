"""P4: memory of the process tree at 10,000 tasks, and what a further million of planned or done tasks adds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import StubProcess
from tests.benchmarks.project import Job, build, run_job
from tests.benchmarks.table import Reached, number

MB: Final = 1024 * 1024
AT_10K: Final = 140.0
GROWTH: Final = 20.0
#: A job is seen at work for so many tasks; what it planned or did before is what differs.
SEEN: Final = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large: tasks that are run whole, and the two sizes between which growth is seen."""

    run: int
    planned: tuple[int, int]
    done: tuple[int, int]


FULL: Final = Sizes(10_000, (10_000, 1_010_000), (10_000, 1_010_000))
SMALL: Final = Sizes(300, (5_000, 25_000), (500, 1_500))


def measure(stub: StubProcess, sizes: Sizes) -> list[Reached]:
    """A whole run; a run of few tasks of a small and a large plan; a run of few new tasks over few and many done."""
    found = []
    stub.reset()
    with TemporaryDirectory(prefix="benchmark-") as folder:
        ended = run_job(Job("sync", sizes.run), Path(folder), stub.environment(), timeout_s=3600)
    note = "" if sizes.run == 10_000 else "the goal is stated at 10,000"
    peak = ended.tree_max / MB
    found.append(Reached("P4", f"peak of a run of {sizes.run:,}", AT_10K, (peak,), "MB", at_least=False, note=note))
    found.append(_growth("planned", sizes.planned, [_planned(stub, tasks) for tasks in sizes.planned]))
    by_number, by_id = [], []
    for tasks in sizes.done:
        one, other = _done(stub, tasks)
        by_number.append(one)
        by_id.append(other)
    found.append(_growth("done, the plan unchanged", sizes.done, by_number))
    found.append(_growth("done, the plan changed", sizes.done, by_id))
    return found


def _growth(what: str, sizes: tuple[int, int], peaks: list[int]) -> Reached:
    few, many = sizes
    grown = (peaks[1] - peaks[0]) / MB / (many - few) * 1e6
    note = f"{number(peaks[0] / MB)} MB at {few:,}, {number(peaks[1] / MB)} MB at {many:,}"
    # Of a few thousand the allocator's steps are the larger part: no verdict then.
    goal = GROWTH if many - few >= 500_000 else None
    note += "" if goal else "; too few to tell"
    return Reached("P4", f"growth per 1M tasks {what}", goal, (grown,), "MB", at_least=False, note=note)


def _planned(stub: StubProcess, tasks: int) -> int:
    """Peak of a run that makes the first few of so many tasks."""
    stub.reset()
    with TemporaryDirectory(prefix="benchmark-") as folder:
        job, more = Job("sync", tasks), ("--limit", str(SEEN))
        return run_job(job, Path(folder), stub.environment(), timeout_s=3600, more=more).tree_max


def _done(stub: StubProcess, tasks: int) -> tuple[int, int]:
    """Peaks of runs that make few further tasks beside so many done: of the same plan, and of one with a new prompt
    for what is not done.
    """
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        job = Job("sync", tasks + 2 * SEEN)
        stub.reset()
        build(job, folder, stub.environment(), stop=tasks)
        further = ("--limit", str(tasks + SEEN))
        same = run_job(job, folder, stub.environment(), timeout_s=3600, more=further)
        changed = Job("sync", job.tasks, lines=_new_prompts((job.tasks - SEEN) // job.wide))
        other = run_job(changed, folder, stub.environment(), timeout_s=3600)
        if same.code or other.code:
            raise RuntimeError(f"a run over done tasks ended with {same.code}, {other.code}: {other.err[-800:]}")
        return same.tree_max, other.tree_max


def _new_prompts(after: int) -> str:
    return f'overrides:\n  - when: "object > {after}"\n    set: {{prompt: "A drawing of object {{{{ object }}}}"}}\n'
