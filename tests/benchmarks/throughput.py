"""P1 and P2: whole task lives against the bare loop, in interleaved rounds of fresh processes."""

from __future__ import annotations

import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import ROOT, Ended, StubProcess, python, run
from tests.benchmarks.project import Job, run_job, with_card
from tests.benchmarks.table import Reached, number

#: Requests of one task, by kind.
REQUESTS: Final = {"sync": 2, "async3": 3}
SHARE: Final = 0.55
#: CPU seconds per 1,000 lives beyond the bare loop's.
CPU_S: Final = {"sync": 0.25, "async3": 0.30}


@dataclass(frozen=True, slots=True)
class Lap:
    """One process against the stub. *Units* - seconds; CPU of the process and its children."""

    tasks: int
    #: From the first to the last request, as the stub saw them, and the life of the process.
    seconds: float
    whole_s: float
    cpu_s: float
    stub_cpu_s: float
    requests: int
    submits: int
    open_max: int
    rss_max: int

    @property
    def rate(self) -> float:
        """Tasks a second in steady state."""
        return self.tasks / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """The bare loop and the project in turn; and each of them with one task, for what starting alone takes."""

    bare: Lap
    project: Lap
    bare_start_cpu_s: float
    project_start_cpu_s: float

    @property
    def share(self) -> float:
        """Of the bare loop's rate."""
        return self.project.rate / self.bare.rate

    def cpu_beyond(self) -> float:
        """CPU seconds per 1,000 lives beyond the bare loop's, without what starting takes."""
        return self.cpu_whole() - self.cpu_bare()

    def cpu_bare(self) -> float:
        """CPU milliseconds of a life of the bare loop, without what starting takes."""
        return 1000 * (self.bare.cpu_s - self.bare_start_cpu_s) / max(1, self.bare.tasks - 1)

    def cpu_whole(self) -> float:
        """CPU milliseconds of a life of the project, without what starting takes."""
        return 1000 * (self.project.cpu_s - self.project_start_cpu_s) / max(1, self.project.tasks - 1)


def bare_lap(stub: StubProcess, kind: str, tasks: int, in_flight: int, into: Path) -> Lap:
    """The bare loop, once."""
    more = ("--tasks", str(tasks), "--in-flight", str(in_flight), "--into", str(into))
    ended = run(python("-m", "tests.benchmarks.bare", kind, stub.origin, *more), cwd=ROOT)
    if ended.code:
        raise RuntimeError(f"the bare loop broke: {ended.err[-500:]}")
    return _lap(stub, tasks, ended)


def project_lap(stub: StubProcess, job: Job, into: Path, *, before: tuple[str, ...] = (), keep: bool = False) -> Lap:
    """The project, once, in a folder of its own below `into`, which is removed unless it is to be kept."""
    folder = into / f"{job.kind}-{job.tasks}"
    folder.mkdir()
    try:
        ended = run_job(job, folder, stub.environment(), before=before, timeout_s=60 + job.tasks / 20)
        if ended.code:
            raise RuntimeError(f"the project ended with {ended.code}: {ended.err[-1500:]}")
        return _lap(stub, job.tasks, ended)
    finally:
        if not keep:
            shutil.rmtree(folder)


def _lap(stub: StubProcess, tasks: int, ended: Ended) -> Lap:
    told = stub.stats()
    return Lap(
        tasks,
        told["seconds"],
        ended.seconds,
        ended.cpu_s,
        told["cpu_s"],
        told["requests"],
        told["submits"],
        told["open_max"],
        ended.rss_max,
    )


def one_round(stub: StubProcess, job: Job, into: Path, number_: int) -> Round:
    """Both in turn, the first one changing from round to round."""
    laps: dict[str, Lap] = {}
    for who in ("bare", "project") if number_ % 2 == 0 else ("project", "bare"):
        stub.reset()
        if who == "bare":
            laps[who] = bare_lap(stub, job.kind, job.tasks, job.in_flight, into)
        else:
            laps[who] = project_lap(stub, job, into)
    stub.reset()
    start = bare_lap(stub, job.kind, 1, 1, into).cpu_s
    stub.reset()
    own_start = project_lap(stub, Job(job.kind, 1, job.in_flight), into).cpu_s
    return Round(laps["bare"], laps["project"], start, own_start)


def measure(stub: StubProcess, kinds: tuple[str, ...], tasks: int, rounds: int, in_flight: int) -> list[Reached]:
    """P1 and P2 of these kinds. *Raises* RuntimeError when something other than the expected requests came."""
    found = []
    for kind in kinds:
        job = Job(kind, tasks, in_flight)
        with TemporaryDirectory(prefix="benchmark-") as folder:
            done = [one_round(stub, job, Path(folder), index) for index in range(rounds)]
        for each in done:
            for lap in (each.bare, each.project):
                if (lap.requests, lap.submits) != (tasks * REQUESTS[kind], tasks):
                    raise RuntimeError(f"{kind}: {tasks} tasks made {lap.submits} purchases, {lap.requests} requests")
        found += lines(kind, job, done)
    return found


def lines(kind: str, job: Job, done: list[Round]) -> list[Reached]:
    """The table's lines of one kind."""
    bare, own = [each.bare for each in done], [each.project for each in done]
    middle = statistics.median
    # In CPU seconds: how many of these clients one stub could serve, whatever else the machine does.
    room = middle((each.bare.cpu_s - each.bare_start_cpu_s) / each.bare.stub_cpu_s for each in done)
    rates = f"project {number(middle(lap.rate for lap in own))}/s, bare {number(middle(lap.rate for lap in bare))}/s"
    return [
        Reached(
            "P1",
            f"{kind}, {job.tasks:,} tasks, {job.in_flight} in flight",
            SHARE,
            tuple(each.share for each in done),
            "of bare",
            note=f"{rates}; the stub could serve {number(room)} such clients",
        ),
        Reached(
            "P1",
            f"{kind}: whole processes, with starting and manifest",
            None,
            tuple(each.bare.whole_s / each.project.whole_s for each in done),
            "of bare",
            note=f"project {number(middle(lap.whole_s for lap in own))} s, "
            f"bare {number(middle(lap.whole_s for lap in bare))} s",
        ),
        Reached(
            "P1",
            f"{kind}: by CPU seconds of a life instead",
            None,
            tuple(each.cpu_bare() / each.cpu_whole() for each in done if each.cpu_whole() > 0) or (0.0,),
            "of bare",
            note="what one core could do; on a busy machine the figure to look at",
        ),
        Reached(
            "P2",
            f"{kind}: beyond bare, without starting",
            CPU_S[kind],
            tuple(each.cpu_beyond() for each in done),
            "s",
            at_least=False,
            note=f"whole processes per 1,000: project {number(middle(1000 * lap.cpu_s / lap.tasks for lap in own))} s, "
            f"bare {number(middle(1000 * lap.cpu_s / lap.tasks for lap in bare))} s; "
            f"starting {number(middle(each.project_start_cpu_s for each in done))} s, "
            f"bare {number(middle(each.bare_start_cpu_s for each in done))} s",
        ),
        Reached(
            "P2",
            f"{kind}: the whole per life, without starting",
            None,
            tuple(each.cpu_whole() for each in done),
            "ms",
            at_least=False,
            note=f"of which the bare loop takes {number(middle(each.cpu_bare() for each in done))} ms",
        ),
    ]


def profile(stub: StubProcess, kinds: tuple[str, ...], tasks: int, in_flight: int, into: Path) -> list[Path]:
    """One further run of the project per kind under a profiler, not measured; the files that were written.

    `.svg` is a flame graph and `.txt` its stacks by py-spy; a pool's thread that waits for work shows as `_worker` and
    counts for nothing. `.pstats` is for pstats.
    """
    written = []
    for kind in kinds:
        file = into.absolute().with_name(f"{into.stem}-{kind}{into.suffix}")
        form = {".svg": "flamegraph", ".txt": "raw", ".json": "speedscope"}.get(into.suffix)
        spied = (
            str(Path(sys.executable).with_name("py-spy")),
            "record",
            "--rate",
            "250",
            "--format",
            form or "",
            "--output",
            str(file),
            "--threads",
            "--",
        )
        before = tuple(spied) if form else ()
        stub.reset()
        with TemporaryDirectory(prefix="benchmark-") as folder:
            if form:
                project_lap(stub, Job(kind, tasks, in_flight), Path(folder), before=before)
            else:
                _cprofile(stub, Job(kind, tasks, in_flight), Path(folder), file)
        written.append(file)
    return written


def _cprofile(stub: StubProcess, job: Job, folder: Path, file: Path) -> None:
    """CProfile sees the loop's thread only, and slows what it sees: for counts of calls, not for seconds."""
    spec = folder / "spec.yaml"
    spec.write_text(job.text())
    arguments = ("run", str(spec), "--run-dir", str(folder / "run"), "--display", "none", "--yes")
    environ = {**stub.environment(), "PYTHONPATH": str(with_card())}
    run(python("-m", "cProfile", "-o", str(file), "-m", "pipeline", *arguments), cwd=folder, environment=environ)
