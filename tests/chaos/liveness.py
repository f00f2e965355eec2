"""T25: after chaos, with all faults off and no kills, everything comes to its end, and soon.

Each seed is a job that misbehaves and dies a few times in its first ten minutes. Then the gateway is well again: every
item must reach an end state within twice the slowest generation, besides the minutes that the run may not submit in,
with the exit code that its state has. What the gateway lost for ever may stay in doubt, and nothing else may wait.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import pipeline
from pipeline import failpoints
from pipeline.runtime import inspect, wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop
from pipeline.runtime.history import EXITS, Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run
from tests.chaos.jobs import drawn
from tests.chaos.judge import Judge
from tests.chaos.report import Report, idle

SEEDS: Final = {"small": 4, "merge": 1000}
TASKS: Final = 10
#: Seconds that the slowest picture takes.
SLOWEST_S: Final = 40.0
CHAOS_S: Final = 600.0
#: A lane whose last window is not known begins as if it had been full, and `rate` counts by seconds; polls come late by
#: their own interval at most, and what failed goes again after a pause (seconds).
MARGIN_S: Final = 90.0
#: States in which a task waits for nothing.
_ENDED: Final = frozenset({"done", "short", "failed", "skipped", "in_doubt"})


class _Ends(Exception):  # noqa: N818 - a campaign's word for a death
    """The process ends here."""


class _Life:
    """One job through several processes."""

    def __init__(self, place: Path, dice: random.Random) -> None:
        self.folder, self.dice, self.place = place / "run", dice, place
        generation = [1, int(SLOWEST_S)]
        job = drawn(dice, tasks=TASKS, latency_s=0.2, generation_s=generation, policies=("hold", "write_off"))
        # More pictures than asked for stop a lane for a person to look at: that is an end, and not what is asked here.
        job = replace(job, faults={name: each for name, each in job.faults.items() if name != "more"})
        spec = job.write(place)
        (place / "calm.yaml").write_text(f"latency_s: 0.2\ngeneration_s: {generation}\n")
        self.plan = pipeline.plan(pipeline.load(spec))
        self.options = Options(simulate=True, run_dir=self.folder, faults=place / "faults.yaml", yes=True)
        self.judge = Judge(self.folder, self.folder / "world.jsonl", job)
        self.now = wiring.REHEARSAL_EPOCH_S
        self.deaths = 0

    def process(self, *, dies_after: int | None, calm: bool = False) -> Result | None:
        """One process, to its end or to its death after so many commits."""
        visits = 0

        def act(name: str) -> None:
            nonlocal visits
            visits += name == "commit.done"
            if dies_after is not None and visits > dies_after:
                raise _Ends

        options = replace(self.options, faults=self.place / "calm.yaml") if calm else self.options
        failpoints.arm(act)
        loop = VirtualLoop(self.now)
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                clock = VirtualClock(round(self.now * 1e6), self.now)
                return runner.run(run(self.plan, options, clock=clock))
        except _Ends:
            self.deaths += 1
            return None
        finally:
            failpoints.arm(None)
            self.now = loop.time() + self.dice.choice((0.5, 5.0, 30.0))


def _live(seed: int, figures: Counter[str]) -> list[str]:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        life = _Life(Path(place), dice)
        found: list[str] = []
        begun = life.now
        for _ in range(dice.randrange(2, 6)):
            if life.now - begun < CHAOS_S:
                life.process(dies_after=dice.randrange(1, 15))
            found += life.judge.moment()
        calm = life.now
        result = life.process(dies_after=None, calm=True)
        assert result is not None
        took = result.simulated_s or 0.0
        found += life.judge.moment() + life.judge.end(result.exit_code)
        counts = inspect.status(life.folder)["tasks"]
        assert isinstance(counts, dict)
        waiting = {name: count for name, count in counts.items() if name not in _ENDED and name != "total"}
        # A budget that binds leaves what it cannot pay for.
        if waiting and result.state != "budget_reached":
            found.append(f"stuck {took:.0f} s after the last fault: {waiting}, exit {result.exit_code}")
        if result.exit_code != EXITS[result.state]:
            found.append(f"{result.state} ended with exit code {result.exit_code}")
        if took > 2 * SLOWEST_S + MARGIN_S and result.state != "in_doubt":
            found.append(f"{took:.0f} s from calm ({calm:.0f}) to the end, state {result.state}")
        figures["seeds"] += 1
        figures["deaths"] += life.deaths
        figures["slowest end s"] = max(figures["slowest end s"], round(took))
        figures[result.state] += 1
        return [f"seed {seed}: {each}" for each in found]


def campaign(size: str, seed: int) -> Report:
    """So many lives."""
    figures: Counter[str] = Counter()
    found: list[str] = []
    for number in range(SEEDS[size]):
        found += _live(seed * 100_000 + number, figures)
    found += [f"seed {seed}: {fault}" for fault in idle(figures, {"deaths": SEEDS[size] // 2, "seeds": SEEDS[size]})]
    return Report("liveness", dict(figures), tuple(found))
