"""T22: many tasks, whole: three pictures of 1 KB a call against emulators in memory that answer at once, in real time.

Asked of the merge size: 10 minutes, 60 MB of ledger, 400 MB of memory with the emulators' own books in it, a loop that
is late by 50 ms at most (p99), 5 s from a restart to its first POST without what the emulators take for their books, a
fifth of the CPU for the ledger. The small size shows that the campaign works: its own limits stand in the table.
"""

from __future__ import annotations

import asyncio
import random
import resource
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pipeline
import pipeline.runtime.run as runs
import pipeline.simulator.results as results_module
from pipeline.engine.facts import Fact, Permitted
from pipeline.runtime import wiring
from pipeline.runtime.commits import ThreadCommitter
from pipeline.runtime.prepare import Options
from pipeline.simulator.faults import parse_faults
from pipeline.store.journal import Journal
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.wire import Request
from tests.benchmarks.pictures import picture
from tests.chaos.forks import inside, scratch
from tests.chaos.report import Report

#: {size: tasks}
TASKS: Final = {"small": 60, "merge": 100_000}
N: Final = 3
#: What is asked of the merge size. *Units* - bytes, MB, seconds, a share of CPU.
LEDGER_MAX: Final = 60e6
RSS_MAX_MB: Final = 400
WHOLE_MAX_S: Final = 600.0
LAG_MAX_S: Final = 0.05
RESUME_MAX_S: Final = 5.0
LEDGER_CPU_MAX: Final = 0.2
_LAG_EVERY_S: Final = 0.01

SPEC: Final = """\
version: 1
name: load
model: dashscope/qwen-image-2.0
size: 512x512
n: {n}
matrix: {{word: {{range: {{from: 1, to: {tasks}}}}}}}
prompt: "A picture of {{{{ word }}}}"
budget: none
limits: {{dashscope: {{rate: 100000/s, in_flight: 64, unanswered: 64}}}}
"""


@dataclass(slots=True)
class Measured:
    """One process's figures. *Units* - seconds, bytes, MB."""

    exit_code: int = 0
    whole_s: float = 0.0
    first_post_s: float = 0.0
    #: Of it, what the emulators took to read their own books again.
    books_s: float = 0.0
    cpu_s: float = 0.0
    ledger_cpu_s: float = 0.0
    lags: list[float] = field(default_factory=list)
    #: From the wish to commit a permission until it is durable.
    intents: list[float] = field(default_factory=list)
    rss_mb: int = 0
    images: int = 0
    doubts: list[str] = field(default_factory=list)


def p99(values: Sequence[float]) -> float:
    """The 99th of a hundred, in order."""
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


def written(place: Path, tasks: int, n: int = N) -> Path:
    """The job in a folder of its own; its spec."""
    spec = place / "spec.yaml"
    spec.write_text(SPEC.format(tasks=tasks, n=n))
    return spec


def process(spec: Path, limit: int | None = None) -> Measured:
    """One process of the job, measured; it changes what it runs in for good, so call it in a fork."""
    found = Measured()
    begun = time.monotonic()
    with _watched(found, begun):
        plan = pipeline.plan(pipeline.load(spec))
        options = Options(run_dir=spec.parent / "run", yes=True, limit=limit)

        async def work() -> Any:
            lag = asyncio.create_task(_lag(found.lags))
            try:
                return await runs.run(plan, options)
            finally:
                lag.cancel()

        result = asyncio.run(work())
    found.exit_code, found.whole_s, found.cpu_s = result.exit_code, time.monotonic() - begun, time.process_time()
    found.doubts = [str(each) for name in ("in_doubt", "failures") for each in result.status[name]]
    found.rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    images = result.status["images"]
    found.images = images if isinstance(images, int) else 0
    return found


async def _lag(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        lags.append(loop.time() - due)


class _Door(MemoryDoor):
    """The emulators, at once and in real time; the first POST is noted."""

    posted: Callable[[], None]

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Any:
        if request.method == "POST":
            self.posted()
        return await super()._exchange(request, timeout_s, body_max)


@contextmanager
def _watched(found: Measured, begun: float) -> Generator[None, None, None]:
    def posted() -> None:
        found.first_post_s = found.first_post_s or time.monotonic() - begun

    def door(plan: Any, _options: object, place: Path, clock: Any) -> MemoryDoor:
        opening = time.monotonic()
        world = open_world(place / "world.jsonl", faults=parse_faults({"latency_s": 0, "generation_s": 0}))
        found.books_s = time.monotonic() - opening
        made = _Door(world, clock, journal=place / "world.jsonl", cards=plan.cards)
        made.posted = posted
        return made

    one = picture("1KB").data
    shared: Any = wiring
    drawing: Any = results_module
    assert hasattr(drawing, "draw"), "pictures are drawn elsewhere: all the time would go there"
    shared.door, drawing.draw = door, lambda _scene: one
    commit, wish = Journal.commit, ThreadCommitter.commit

    def committed(journal: Journal, facts: Sequence[Fact], *more: Any) -> None:
        at = time.thread_time()
        commit(journal, facts, *more)
        found.ledger_cpu_s += time.thread_time() - at

    def wished(committer: ThreadCommitter, facts: Sequence[Fact]) -> Any:
        at, future = time.monotonic(), wish(committer, facts)
        if any(isinstance(fact, Permitted) for fact in facts):
            future.add_done_callback(lambda _: found.intents.append(time.monotonic() - at))
        return future

    Journal.commit, ThreadCommitter.commit = committed, wished  # type: ignore[method-assign, assignment]
    yield


def campaign(size: str, seed: int) -> Report:
    """All but a hundredth in one process, the rest in a second one that finds the first one's store."""
    random.seed(seed)
    tasks = TASKS[size]
    place = scratch("load")
    try:
        spec = written(place, tasks)
        patience = 1200.0
        first = inside(lambda: process(spec, tasks - max(1, tasks // 100)), patience_s=patience)
        rest = inside(lambda: process(spec), patience_s=patience)
        ledger = (place / "run" / "state.db").stat().st_size
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found = [f"exit code {each.exit_code}: {each.doubts[:3]}" for each in (first, rest) if each.exit_code]
    if rest.images != tasks * N:
        found.append(f"{rest.images} pictures of {tasks * N}")
    whole, share = first.whole_s + rest.whole_s, first.ledger_cpu_s / max(1e-9, first.cpu_s)
    if size == "merge":
        limits = {
            "whole_s": (whole, WHOLE_MAX_S),
            "ledger bytes": (ledger, LEDGER_MAX),
            "rss MB": (first.rss_mb, RSS_MAX_MB),
            "lag p99 s": (p99(first.lags), LAG_MAX_S),
            "resume s": (rest.first_post_s - rest.books_s, RESUME_MAX_S),
            "ledger's share of CPU": (share, LEDGER_CPU_MAX),
        }
        found += [f"{name}: {value:g}, at most {most:g}" for name, (value, most) in limits.items() if value > most]
    figures: dict[str, int | float | str] = {
        "tasks": tasks,
        "s": round(whole, 1),
        "lives/s": round(tasks / whole, 1),
        "CPU s per 1,000": round(1000 * first.cpu_s / tasks, 2),
        "bytes of ledger a task": ledger // tasks,
        "MB": first.rss_mb,
        "ms lag p99": round(1000 * p99(first.lags), 1),
        "s to the first POST of a resume": round(rest.first_post_s - rest.books_s, 2),
        "s of the emulators before it": round(rest.books_s, 2),
        "of CPU is the ledger's": round(share, 3),
    }
    return Report("load", figures, tuple(f"seed {seed}: {each}" for each in found))
