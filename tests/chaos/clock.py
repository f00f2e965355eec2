"""T18: wall clocks that jump, while a run is alive and between runs, over a gateway whose links expire.

The vendor counts requests by its own true clock. Ours is set by a second or by ten years, forwards and backwards, at
any moment. No window holds more submits than allowed, every download is tried, no wait is negative, endless or above
its cap.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pipeline
from pipeline import failpoints
from pipeline.runtime import wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run
from pipeline.transport.memory import MemoryDoor
from pipeline.values.wire import Request
from tests.chaos.jobs import Job
from tests.chaos.judge import Judge
from tests.chaos.report import Report, idle

LIVES: Final = {"small": 8, "merge": 600}
#: Submits in a period of the lane, as the spec of the campaign sets it.
COUNT: Final = 6
PERIOD_S: Final = 60.0
DAY: Final = 86_400.0
#: Seconds by which a wall clock is set.
JUMPS: Final = (1.0, 59.0, 3600.0, DAY, 30 * DAY, 3650 * DAY)
#: Nothing in a run waits longer than an hour by what a gateway says, or its card's patience and poll intervals.
WAIT_MAX_S: Final = 3600.0
#: A job of this size is over long before.
LIFE_MAX_S: Final = 2 * 3600.0


class _Ends(Exception):  # noqa: N818 - a campaign's word for a death
    """The process ends here: ours alone, so that no error of the product is taken for it."""


class JumpingClock(VirtualClock):
    """The loop's time is true; its wall is set to another time at random moments."""

    def __init__(self, wall_micros: int, origin_s: float, dice: random.Random) -> None:
        super().__init__(wall_micros, origin_s)
        self.dice = dice
        self.offset = self._drawn()
        self.jumps = 0

    def _drawn(self) -> int:
        return round(self.dice.choice((-1, 1)) * self.dice.choice(JUMPS) * 1e6)

    def wall_micros(self) -> int:
        """What this machine believes; now and then it believes something else from now on."""
        if self.dice.random() < 0.1:
            self.offset = self._drawn()
            self.jumps += 1
        return max(0, super().wall_micros() + self.offset)

    async def until(self, when: float) -> None:
        """Wait; the campaign looks at how long."""
        self.waits.append(when - self.now())
        await super().until(when)

    waits: list[float] = []  # noqa: RUF012 - one list for the campaign


class WatchedLoop(VirtualLoop):
    """Remembers how long anybody wanted to sleep."""

    def __init__(self, start: float, asked: list[float]) -> None:
        self.asked = asked
        super().__init__(start)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]  # passed on as it comes
        """As every loop's."""
        self.asked.append(when - self.time())
        return super().call_at(when, callback, *args, context=context)


class CountingDoor(MemoryDoor):
    """Passes everything on, and counts paid calls by the gateway's own clock as they arrive."""

    def __init__(self, door: MemoryDoor, arrivals: dict[str, list[float]]) -> None:
        self.__dict__.update(door.__dict__)
        self.arrivals = arrivals

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Any:
        if request.method == "POST":
            self.arrivals[request.path].append(asyncio.get_running_loop().time())
        return await super()._exchange(request, timeout_s, body_max)


@contextmanager
def _counting(arrivals: dict[str, list[float]]) -> Generator[None, None, None]:
    usual = wiring.door

    def counted(*given: Any) -> CountingDoor:
        door = usual(*given)
        assert isinstance(door, MemoryDoor)
        return CountingDoor(door, arrivals)

    wiring.door = counted  # type: ignore[assignment]  # one door for the campaign
    try:
        yield
    finally:
        wiring.door = usual


def most_in_a_window(stamps: list[float], period_s: float) -> int:
    """The most arrivals that any half-open window of the period holds."""
    return max((sum(first <= other < first + period_s for other in stamps) for first in stamps), default=0)


class _Life:
    """One job through several processes, each with a wall of its own."""

    def __init__(self, place: Path, dice: random.Random) -> None:
        faults: dict[str, object] = {
            "latency_s": 0.2,
            "generation_s": [1, 20],
            # Never twice in a row: then no picture may be lost.
            "expired_links": {"every": 3},
            "rate_limited": 0.1,
            "cut_poll": 0.1,
            "cut_download": 0.1,
            "server_error_poll": 0.1,
        }
        job = Job(14, 0, "hold", 10_000_000, faults, rate=f"{COUNT}/min")
        self.folder, self.dice = place / "run", dice
        spec = job.write(place)
        self.plan = pipeline.plan(pipeline.load(spec))
        self.options = Options(simulate=True, run_dir=self.folder, faults=place / "faults.yaml")
        self.judge = Judge(self.folder, self.folder / "world.jsonl", job)
        self.arrivals: dict[str, list[float]] = defaultdict(list)
        self.asked: list[float] = []
        self.true_s = wiring.REHEARSAL_EPOCH_S
        self.jumps = 0
        self.deaths = 0

    def process(self, *, dies_after: int | None, limit: int | None = None) -> Result | None:
        """One process: to its end, to a bug after so many commits, or to the first so many tasks."""
        clock = JumpingClock(round(self.true_s * 1e6), self.true_s, self.dice)
        visits = 0

        def act(name: str) -> None:
            nonlocal visits
            visits += name == "commit.done"
            if dies_after is not None and visits > dies_after:
                raise _Ends

        failpoints.arm(act)
        loop = WatchedLoop(self.true_s, self.asked)
        try:
            with _counting(self.arrivals), asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(run(self.plan, replace(self.options, limit=limit), clock=clock))
        except _Ends:
            self.deaths += 1
            return None
        finally:
            failpoints.arm(None)
            self.jumps += clock.jumps
            # Starting again takes a moment, and sometimes a night.
            self.true_s = loop.time() + self.dice.choice((0.5, 2.0, 9.0, 40_000.0))


def _live(seed: int, figures: Counter[str]) -> list[str]:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        life = _Life(Path(place), dice)
        begun = life.true_s
        found: list[str] = []
        limit = 0
        for _ in range(dice.randrange(4)):
            if dice.random() < 0.5:
                limit += dice.randrange(1, 7)
                life.process(dies_after=None, limit=limit)
            else:
                life.process(dies_after=dice.randrange(4, 60))
            found += life.judge.moment()
        result = life.process(dies_after=None)
        assert result is not None
        found += life.judge.moment() + life.judge.end(result.exit_code)
        if result.exit_code not in (0, 5):
            found.append(f"exit code {result.exit_code}: {result.status['faults']}")
        for path, stamps in life.arrivals.items():
            burst = most_in_a_window(sorted(stamps), PERIOD_S)
            figures["most in a window"] = max(figures["most in a window"], burst)
            if burst > COUNT:
                found.append(f"{burst} submits in {PERIOD_S:g} s at {path}")
        found += [f"a sleep of {wait} s" for wait in life.asked if wait < 0 or wait > WAIT_MAX_S]
        took = life.true_s - begun
        if took > LIFE_MAX_S + 3 * 40_000.0:
            found.append(f"the job took {took:.0f} s")
        figures["lives"] += 1
        figures["jumps"] += life.jumps
        figures["deaths"] += life.deaths
        figures["submits"] += sum(map(len, life.arrivals.values()))
        return [f"seed {seed}: {each}" for each in found]


def campaign(size: str, seed: int) -> Report:
    """So many lives, each with clocks of its own."""
    figures: Counter[str] = Counter()
    found: list[str] = []
    for number in range(LIVES[size]):
        found += _live(seed * 100_000 + number, figures)
    lives = LIVES[size]
    floors = {"jumps": 2 * lives, "submits": 6 * lives, "deaths": lives // 4, "most in a window": COUNT}
    found += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("clock", dict(figures), tuple(found))
