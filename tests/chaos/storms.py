"""T19: rates and retries: restarts in the middle of a window, storms of 429, hostile Retry-After values, brown-outs.

Two lanes of two gateways, in virtual time. The door counts what arrives, by the gateway's own clock, over all processes
of a life; the weather stands between the product and the emulators. No window holds more than the limit, a refusal uses
up no attempt, the other lane goes on, a storm is met by single probes, and what was refused does not come back at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pipeline
from pipeline import failpoints
from pipeline.runtime import inspect, wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.wire import Answered, Outcome, Request, Response
from tests.benchmarks.counting import most_in_a_window
from tests.chaos.report import Report, idle

#: {size: lives of each sort}.
LIVES: Final = {"small": 1, "merge": 24}
#: {gateway: submits in a period of its lane}, and tasks of each lane.
COUNTS: Final = {"mulerouter": 60, "dashscope": 30}
PERIOD_S: Final = 60.0
TASKS: Final = 45
#: How the vendor's answers to a submit that it does not take look, and how long they take (seconds).
LIMITED: Final = {
    "mulerouter": {"title": "Too Many Requests", "status": 429, "detail": "rate limit exceeded"},
    "dashscope": {"request_id": "r-1", "code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"},
}
UNAVAILABLE: Final = {"request_id": "r-1", "code": "ServiceUnavailable", "message": "try again later"}
LATENCY_S: Final = 0.2
#: What a gateway says, or its proxy, or somebody who means harm.
RETRY_AFTER: Final = (
    *(None, "", "-1", "0", "1", "7", "30", "1000000000", "1e9", "nan", "soon", "\u0663", "12, 13"),
    *("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:09 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 32 Foo"),
)
DATE: Final = "Wed, 21 Oct 2015 07:28:00 GMT"
#: POSTs that were permitted before the fifth refusal was heard may still arrive (seconds).
UNDER_WAY_S: Final = 0.3
BREAKER: Final = 5
#: Nothing here is about the disk, which others may be busy with.
_SHARED: Final = Path("/dev/shm")
RETRIES_SHARE: Final = 0.1

SPEC: Final = f"""\
version: 1
name: storms
matrix:
  model: [mulerouter/qwen-image-max, dashscope/qwen-image-2.0]
  word: [{", ".join(f"w{number:02d}" for number in range(TASKS))}]
model: "{{{{ model }}}}"
prompt: "A picture of {{{{ word }}}}"
overrides: [{{when: {{model: dashscope/qwen-image-2.0}}, set: {{size: 512x512}}}}]
retry: {{attempts: ATTEMPTS}}
budget: none
limits:
  mulerouter: {{rate: {COUNTS["mulerouter"]}/min, in_flight: 40, unanswered: 8}}
  dashscope: {{rate: {COUNTS["dashscope"]}/min, in_flight: 40, unanswered: 8}}
"""


class _Ends(Exception):  # noqa: N818 - a campaign's word for a death
    """The process ends here: ours alone, so that no error of the product is taken for it."""


@dataclass(slots=True)
class Arrival:
    """One submit at a gateway. *Units* - seconds of the gateway's clock; `ended` is when its answer left."""

    at: float
    body: bytes
    storm: bool
    good: bool = False
    ended: float = float("inf")


@dataclass(slots=True)
class Weather:
    """What hits one gateway, and when, and what arrived there meanwhile."""

    gateway: str = ""
    begins: float = 0.0
    ends: float = 0.0
    #: 429 or 503, and how many of the submits it hits.
    status: int = 429
    share: float = 1.0
    retry_after: str | None = None
    arrivals: dict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))

    def hits(self, gateway: str, now: float, dice: random.Random) -> bool:
        """Whether a submit is refused just now."""
        return gateway == self.gateway and self.begins <= now < self.ends and dice.random() < self.share

    def refusal(self) -> Response:
        """The answer to what it hits."""
        headers = {"content-type": "application/json", "date": DATE}
        if self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        body = LIMITED[self.gateway] if self.status == 429 else UNAVAILABLE
        return Response(self.status, json.dumps(body).encode(), headers)


class WeatherDoor(MemoryDoor):
    """Passes on what the weather lets through, and counts every submit as it arrives."""

    def __init__(self, door: MemoryDoor, weather: Weather, dice: random.Random) -> None:
        self.__dict__.update(door.__dict__)
        self.weather, self.dice = weather, dice

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        if request.method != "POST" or request.free:
            return await super()._exchange(request, timeout_s, body_max)
        clock = asyncio.get_running_loop()
        arrival = Arrival(clock.time(), request.body or b"", storm=False)
        self.weather.arrivals[request.gateway].append(arrival)
        try:
            if self.weather.hits(request.gateway, arrival.at, self.dice):
                arrival.storm = True
                await asyncio.sleep(LATENCY_S)
                return Answered(self.weather.refusal())
            outcome = await super()._exchange(request, timeout_s, body_max)
            arrival.good = isinstance(outcome, Answered) and outcome.response.status == 200
            return outcome
        finally:
            arrival.ended = clock.time()


@contextmanager
def _under(weather: Weather, dice: random.Random) -> Generator[None, None, None]:
    usual = wiring.door

    def weathered(*given: Any) -> WeatherDoor:
        door = usual(*given)
        assert isinstance(door, MemoryDoor)
        return WeatherDoor(door, weather, dice)

    wiring.door = weathered  # type: ignore[assignment]  # one door for the campaign
    try:
        yield
    finally:
        wiring.door = usual


class _Life:
    """One job through one or several processes."""

    def __init__(self, place: Path, dice: random.Random, weather: Weather) -> None:
        self.folder, self.dice, self.weather = place / "run", dice, weather
        # A 429 may not use up the only attempt that there is; a 503 is an answer, and uses up one.
        attempts = 1 if weather.status == 429 else 5
        (place / "spec.yaml").write_text(SPEC.replace("ATTEMPTS", str(attempts)))
        (place / "faults.yaml").write_text(f"{{latency_s: {LATENCY_S}, generation_s: [2, 6]}}\n")
        self.plan = pipeline.plan(pipeline.load(place / "spec.yaml"))
        self.options = Options(simulate=True, run_dir=self.folder, faults=place / "faults.yaml")
        self.true_s = wiring.REHEARSAL_EPOCH_S

    def process(self, *, dies_after: int | None = None, limit: int | None = None) -> Result | None:
        """One process: to its end, to a death after so many commits, or to the first so many tasks."""
        commits = 0

        def act(name: str) -> None:
            nonlocal commits
            commits += name == "commit.done"
            if dies_after is not None and commits > dies_after:
                raise _Ends

        failpoints.arm(act)
        loop = VirtualLoop(self.true_s)
        clock = VirtualClock(round(self.true_s * 1e6), self.true_s)
        try:
            with _under(self.weather, self.dice), asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(run(self.plan, replace(self.options, limit=limit), clock=clock))
        except _Ends:
            return None
        finally:
            failpoints.arm(None)
            self.true_s = loop.time() + self.dice.choice((0.0, 0.5, 3.0, 20.0))


def _windows(weather: Weather) -> list[str]:
    """Every gateway's windows, over all processes."""
    found = []
    for gateway, arrivals in weather.arrivals.items():
        most = most_in_a_window(sorted(each.at for each in arrivals), PERIOD_S)
        if most > COUNTS[gateway]:
            found.append(f"{most} submits in {PERIOD_S:g} s at {gateway}, {COUNTS[gateway]} are allowed")
    return found


def _probes(weather: Weather) -> list[str]:
    """From the fifth refusal in a row on, one POST at a time until one is answered well."""
    arrivals = weather.arrivals[weather.gateway]
    ended = sorted((each.ended, each.storm) for each in arrivals)
    row, opened = 0, float("inf")
    for at, storm in ended:
        row = row + 1 if storm else 0
        if row == BREAKER:
            opened = at + UNDER_WAY_S
            break
    good = min((each.ended for each in arrivals if each.good and each.ended > opened), default=float("inf"))
    careful = [each for each in arrivals if opened < each.at < good]
    return [
        f"{each.at - opened:.2f} s after the breaker must have opened, a POST left beside another"
        for each in careful
        if any(other is not each and other.at <= each.at < other.ended and other.at > opened for other in arrivals)
    ]


def _herd(weather: Weather) -> list[str]:
    """After a total storm the lane goes on at no more than half of its pace, evenly."""
    arrivals = sorted((each for each in weather.arrivals[weather.gateway]), key=lambda each: each.at)
    if sum(each.storm for each in arrivals) < BREAKER:
        return []
    last = max(each.ended for each in arrivals if each.storm)
    after = [each.at for each in arrivals if each.at > last][:8]
    even_s = PERIOD_S / COUNTS[weather.gateway]
    gaps = [later - earlier for earlier, later in pairwise(after)]
    return [f"{gap:.2f} s between two POSTs right after the storm" for gap in gaps if gap < 1.5 * even_s]


def _other_lane(weather: Weather) -> list[str]:
    """The lane that nobody refused goes on at its pace."""
    other = next(gateway for gateway in COUNTS if gateway != weather.gateway)
    at = sorted(each.at for each in weather.arrivals[other])
    slow = 1.1 * len(at) * PERIOD_S / COUNTS[other] + 10.0
    return [f"{other} took {at[-1] - at[0]:.0f} s for {len(at)} submits"] if at[-1] - at[0] > slow else []


def _retries(weather: Weather, figures: Counter[str]) -> int:
    """How many submits asked again for what was asked for before."""
    for arrivals in weather.arrivals.values():
        figures["requests"] += len(arrivals)
        figures["retries"] += len(arrivals) - len({each.body for each in arrivals})
    figures["refusals"] += sum(each.storm for each in weather.arrivals[weather.gateway])
    return sum(each.storm for each in weather.arrivals[weather.gateway])


def _live(sort: str, dice: random.Random, figures: Counter[str]) -> list[str]:
    begins = wiring.REHEARSAL_EPOCH_S + dice.uniform(3.0, 40.0)
    weather = Weather(dice.choice(tuple(COUNTS)), begins, begins + dice.choice((5.0, 30.0, 120.0, 400.0)))
    weather.retry_after = dice.choice(RETRY_AFTER)
    if sort == "storm":
        # Long, and nobody says for how long: the breaker must find out.
        weather.retry_after = dice.choice((None, "-1", "0", "1", "soon"))
        weather.ends = begins + dice.choice((30.0, 120.0, 400.0))
    elif sort == "brown-out":
        weather.gateway, weather.status, weather.share = "dashscope", 503, dice.choice((0.3, 0.6, 1.0))
        weather.ends = begins + dice.choice((20.0, 60.0))
    elif sort == "restarts":
        weather.ends = begins + dice.choice((0.0, 5.0))
    with tempfile.TemporaryDirectory(dir=_SHARED if _SHARED.is_dir() else None) as place:
        life = _Life(Path(place), dice, weather)
        limit = 0
        for _ in range(dice.randrange(2, 5) if sort == "restarts" else 0):
            if dice.random() < 0.5:
                limit += dice.randrange(5, 40)
                life.process(limit=limit)
            else:
                life.process(dies_after=dice.randrange(4, 120))
            figures["restarts"] += 1
        result = life.process()
        assert result is not None
        figures["lives"] += 1
        _retries(weather, figures)
        found = _windows(weather)
        allowed = (0, 4) if sort == "brown-out" else (0, 5) if sort == "restarts" else (0,)
        if result.exit_code not in allowed:
            found.append(f"exit code {result.exit_code}: {result.status['faults']}")
        found += [str(each) for each in inspect.verify(life.folder)]
        book = open_world(life.folder / "world.jsonl").bill()["gateways"]
        assert isinstance(book, dict)
        found += [f"{name} accepted {kept['accepted']}" for name, kept in book.items() if kept["accepted"] > TASKS]
        if sort != "restarts":
            found += _other_lane(weather)
            figures["storms met"] += sum(each.storm for each in weather.arrivals[weather.gateway]) >= BREAKER
            if weather.share == 1.0:
                found += _probes(weather) + _herd(weather)
        return [f"{sort}, {weather.gateway}, Retry-After {weather.retry_after!r}: {each}" for each in found]


def campaign(size: str, seed: int) -> Report:
    """So many lives of each sort, each with weather of its own."""
    figures: Counter[str] = Counter()
    found: list[str] = []
    for number in range(LIVES[size]):
        for sort in ("storm", "hostile", "brown-out", "restarts"):
            dice = random.Random(f"{seed}/{number}/{sort}/{figures['lives']}")
            found += [f"seed {seed}, life {figures['lives']}: {each}" for each in _live(sort, dice, figures)]
    if figures["retries"] > RETRIES_SHARE * figures["requests"]:
        found.append(f"seed {seed}: {figures['retries']} of {figures['requests']} requests were retries")
    lives = LIVES[size]
    floors = {
        "storms met": lives,
        "restarts": 2 * lives,
        "refusals": 5 * lives,
        "requests": 4 * 2 * TASKS * lives * 0.9,
    }
    found += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("storms", dict(figures), tuple(found))
