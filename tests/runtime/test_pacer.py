"""The pacer in virtual time: spacing, the window, order, resuming."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.terms import LaneTerms
from pipeline.runtime import wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop, run_virtual
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.wiring import RunLane
from pipeline.store.journal import Journal
from tests.benchmarks.counting import most_in_a_window

EPOCH_S = 1_767_225_600.0


async def take(pacer: Pacer, count: int) -> list[float]:
    """When so many slots came, asked for at once."""
    came: list[float] = []

    async def one() -> None:
        await pacer.slot()
        came.append(asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    return came


def gaps(stamps: list[float]) -> list[float]:
    """Seconds between neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]


@pytest.mark.parametrize(("count", "period_s"), [(1, 1.0), (60, 60.0), (50, 1.0), (7, 3600.0), (2, 0.5)])
def test_slots_are_even_from_the_first_on_and_fill_the_rate(count: int, period_s: float) -> None:
    """No burst at the start, no window above the count, and at least 98 % of what the gateway allows."""
    many = count * 4 + 1

    async def work(_clock: VirtualClock) -> list[float]:
        return await take(Pacer(count, period_s), many)

    came = run_virtual(work, start=EPOCH_S)
    assert came[0] == EPOCH_S
    assert most_in_a_window(came, period_s) <= count
    assert min(gaps(came)) >= 0.96 * period_s / count
    assert came[-1] - came[0] <= (many - 1) * period_s / count * 1.03 + 0.03


def test_a_late_start_is_caught_up_but_never_above_the_window() -> None:
    """After a pause nothing is saved up: slots are even again at once."""

    async def work(_clock: VirtualClock) -> list[float]:
        pacer = Pacer(10, 1.0)
        early = await take(pacer, 3)
        await asyncio.sleep(100.0)
        return early + await take(pacer, 30)

    came = run_virtual(work)
    assert most_in_a_window(came, 1.0) <= 10
    assert min(gaps(came)) >= 0.096


def test_whoever_asks_first_is_served_first() -> None:
    """A newcomer never overtakes."""
    order = []

    async def one(pacer: Pacer, number: int) -> None:
        await asyncio.sleep(number * 0.001)
        await pacer.slot()
        order.append(number)

    async def work(_clock: VirtualClock) -> None:
        pacer = Pacer(10, 1.0)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(one(pacer, number))

    run_virtual(work)
    assert order == list(range(50))


def test_a_cancelled_wait_loses_no_slot() -> None:
    """The next in the row moves up."""

    async def work(clock: VirtualClock) -> list[float]:
        pacer = Pacer(1, 1.0)
        await pacer.slot()
        doomed = [asyncio.ensure_future(pacer.slot()) for _ in range(5)]
        kept = asyncio.ensure_future(take(pacer, 2))
        await clock.until(0.5)
        for task in doomed:
            task.cancel()
        return await kept

    assert run_virtual(work) == pytest.approx([1.03, 2.06], abs=0.002)


def test_near_returns_shortly_before_a_newcomers_slot() -> None:
    """With nobody waiting it is the next slot; behind others it is theirs and one more. It takes nothing."""

    async def work(clock: VirtualClock) -> list[float]:
        pacer = Pacer(1, 1.0)
        seen = []
        await pacer.near(0.05)
        seen.append(clock.now())
        await pacer.slot()
        await pacer.near(0.05)
        seen.append(clock.now())
        await pacer.slot()
        seen.append(clock.now())
        others = asyncio.ensure_future(take(pacer, 2))
        await asyncio.sleep(0)
        await pacer.near(0.05)
        seen.append(clock.now())
        await others
        return seen

    assert run_virtual(work) == pytest.approx([0.0, 0.98, 1.03, 1.03 * 4 - 0.05], abs=0.006)


@pytest.mark.parametrize(("expected", "near", "third"), [(0, False, 0.214), (2, False, 0.194), (0, True, 0.194)])
def test_what_a_wanted_slot_was_late_is_caught_up(expected: int, near: bool, third: float) -> None:  # noqa: FBT001
    """Wanted is a slot that is near, or for which permission is being committed; what nobody wanted is lost."""

    async def work(clock: VirtualClock) -> float:
        pacer = Pacer(10, 1.0)
        pacer.expected = expected
        await pacer.slot()
        if near:
            await pacer.near(1.0)
        await clock.until(0.117)  # 0.02 s more than a gap
        await pacer.slot()
        await pacer.slot()
        return clock.now()

    assert run_virtual(work) == pytest.approx(third, abs=0.001)


@pytest.mark.parametrize("pause_s", [0.0, 0.4, 3.0])
def test_a_resume_keeps_to_the_window_of_the_run_before(pause_s: float) -> None:
    """Stamps of both runs together never hold more than the count in a window."""

    async def work(_clock: VirtualClock) -> list[float]:
        first = Pacer(5, 1.0)
        came = await take(first, 8)
        kept = first.stamps()
        await asyncio.sleep(pause_s)
        second = Pacer(5, 1.0)
        second.restore(ago + pause_s for ago in kept)
        return came + await take(second, 8)

    came = run_virtual(work)
    assert most_in_a_window(came, 1.0) <= 5
    assert min(gaps(came)) >= 0.19


def test_stamps_from_the_future_count_as_now() -> None:
    """A wall clock that was set back does not park a lane."""

    async def work(_clock: VirtualClock) -> list[float]:
        pacer = Pacer(2, 1.0)
        pacer.restore([-500.0, 3.0])
        return await take(pacer, 1)

    assert run_virtual(work) == pytest.approx([0.485])


def test_an_unknown_past_counts_as_a_full_even_window() -> None:
    """The first slot comes after an even gap and what can have been caught up, not after a whole window."""

    async def work(_clock: VirtualClock) -> list[float]:
        pacer = Pacer(10, 1.0)
        pacer.assume_full()
        return await take(pacer, 10)

    came = run_virtual(work)
    # The latest ten slots that a pacer can have given before it died: even, but for a tenth of a window.
    past = [-max(0.0, index * 0.097 - 0.1) for index in range(10)]
    assert came[0] == pytest.approx(1.03 - (9 * 0.097 - 0.1))
    assert most_in_a_window([*sorted(past), *came], 1.0) <= 10


class OversleepingLoop(VirtualLoop):
    """Its timers fire late, by up to so much, from a seed."""

    def __init__(self, late_s: float, seed: int) -> None:
        self.late_s, self.dice = late_s, random.Random(seed)
        super().__init__(0.0)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]  # passed on as it comes
        """As every loop's, and then later."""
        return super().call_at(when + self.dice.uniform(0.0, self.late_s), callback, *args, context=context)


def in_time(pacer: Callable[[], Pacer], slots: int, late_s: float, seed: int = 0) -> list[float]:
    """When so many slots came on a loop whose timers are late."""

    async def work() -> list[float]:
        return await take(pacer(), slots)

    with asyncio.Runner(loop_factory=lambda: OversleepingLoop(late_s, seed)) as runner:
        return runner.run(work())


@pytest.mark.parametrize(
    ("count", "period_s", "late_s"), [(50, 1.0, 0.03), (600, 60.0, 0.5), (2, 60.0, 1.0), (1000, 0.25, 0.002)]
)
@pytest.mark.parametrize("seed", range(3))
def test_late_wake_ups_are_caught_up(count: int, period_s: float, late_s: float, seed: int) -> None:
    """Timers that are late, by more than the gap between two slots, cost nothing of the rate and burst no window."""
    came = in_time(lambda: Pacer(count, period_s), 4 * count + 1, late_s, seed)
    assert most_in_a_window(came, period_s) <= count
    used = (len(came) - 1) / (came[-1] - came[0]) * period_s / count
    assert used > 0.95, f"{used:.4f} used, seed {seed}"


def test_below_the_declared_pace_nothing_is_caught_up() -> None:
    """A lane that was told to go slowly keeps its distance, however late its timers are."""

    def slowed() -> Pacer:
        pacer = Pacer(10, 1.0)
        pacer.pace(0.5)
        return pacer

    assert min(gaps(in_time(slowed, 40, 0.03))) >= 0.1999


def test_a_newcomer_comes_after_what_is_permitted_and_has_not_asked_yet() -> None:
    """Permission is committed before its slot is asked for: the slot is not near for anybody else meanwhile."""

    async def near(pacer: Pacer, clock: VirtualClock) -> float:
        await pacer.near(0.05)
        return clock.now()

    async def work(clock: VirtualClock) -> float:
        pacer = Pacer(10, 1.0)
        await pacer.slot()
        pacer.expected = 1
        newcomer = asyncio.ensure_future(near(pacer, clock))
        await clock.until(0.09)
        await pacer.slot()
        pacer.expected = 0
        return await newcomer

    assert run_virtual(work) == pytest.approx(2 * 0.097 - 0.05, abs=0.001)


def test_what_was_overslept_is_caught_up_evenly() -> None:
    """After one long sleep a tenth of a window is made up at once; then slots are as even as before."""

    class Stalls(VirtualLoop):
        def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]  # passed on as it comes
            late_s = 0.5 if 0.9 < when < 1.0 else 0.0
            return super().call_at(when + late_s, callback, *args, context=context)

    async def work() -> list[float]:
        return await take(Pacer(20, 1.0), 30)

    with asyncio.Runner(loop_factory=Stalls) as runner:
        came = runner.run(work())
    after = came.index(max(later for earlier, later in itertools.pairwise(came) if later - earlier > 0.4))
    assert gaps(came[after:])[:2] == pytest.approx([0.0, 0.0])
    assert gaps(came[after:])[2:8] == pytest.approx([0.0455, *[0.0485] * 5], abs=0.001)
    assert most_in_a_window(came, 1.0) <= 20


def test_a_request_that_left_late_counts_from_then_on() -> None:
    """A new connection takes its time: the window is kept by what left, whatever the order in which it did."""

    async def work(clock: VirtualClock) -> list[float]:
        pacer, left = Pacer(4, 1.0), []

        async def send(number: int) -> None:
            slot = await pacer.slot()
            await asyncio.sleep(0.9 if number < 3 else 0.0)
            slot.left()
            left.append(clock.now())

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(send(number))
        return sorted(left)

    left = run_virtual(work)
    assert most_in_a_window(left, 1.0) <= 4


@pytest.mark.parametrize("share", [1.0, 0.5, 0.125])
def test_a_share_of_the_pace_is_even_and_never_above_it(share: float) -> None:
    """A lane that was told to slow down is spaced accordingly, at once, and goes back to the whole pace at once."""

    async def work(_clock: VirtualClock) -> tuple[list[float], list[float]]:
        pacer = Pacer(10, 1.0)
        pacer.pace(share)
        slow = await take(pacer, 20)
        pacer.pace(1.0)
        return slow, await take(pacer, 40)

    slow, whole = run_virtual(work)
    assert (slow[-1] - slow[0]) / 19 == pytest.approx(0.1 / share, rel=0.05)
    assert most_in_a_window(slow + whole, 1.0) <= 10
    assert (whole[-1] - whole[0]) / 39 == pytest.approx(0.1, rel=0.04)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    """Never above the declared pace, and never at a standstill."""
    with pytest.raises(ValueError, match="share"):
        Pacer(10, 1.0).pace(share)


def test_asking_when_a_slot_is_near_costs_the_same_however_long_the_window() -> None:
    """A lane of 10,000 a minute pays no more for each request than one of ten."""

    async def work(_clock: VirtualClock) -> list[int]:
        costs = []
        for count in (10, 10_000):
            pacer = Pacer(count, 1.0)
            pacer.restore(index / count for index in range(count))
            calls = 0

            def trace(_frame: object, event: str, _arg: object) -> None:
                nonlocal calls
                calls += event in {"call", "c_call"}

            sys.setprofile(trace)
            for _ in range(100):
                pacer._due(1.0)
            sys.setprofile(None)
            costs.append(calls)
        return costs

    few, many = run_virtual(work)
    assert many <= few * 1.5


@pytest.mark.parametrize(("count", "period_s"), [(0, 1.0), (-1, 1.0), (1, 0.0), (1, float("nan")), (1, float("inf"))])
def test_a_pace_that_is_none_is_refused(count: int, period_s: float) -> None:
    """A count of 1 or more in a positive period."""
    with pytest.raises(ValueError, match="pace"):
        Pacer(count, period_s)


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("set_by_s", [0.0, 86_400.0, -86_400.0])
def test_a_resume_never_bursts_whatever_the_wall_clock_says(tmp_path: Path, *, clean: bool, set_by_s: float) -> None:
    """A counting server sees one window: after a clean end by kept stamps, after an unclean one by assumption."""
    lane = RunLane(LaneTerms(9, 4, 1.0, 1.0, 60.0, 0.0), 6, 60.0)
    came: list[float] = []

    async def life(clock: VirtualClock, slots: int) -> None:
        journal = Journal.open(tmp_path / "state.db", run_id="r", clock=clock.wall_micros)
        pacers = wiring.pacers({"m/x": lane}, journal, clock)
        came.extend(await take(pacers["m/x"], slots))
        wiring.keep_sends(journal, pacers, clock)
        journal.close(clean=clean)

    async def work(clock: VirtualClock) -> None:
        await life(clock, 4)
        await asyncio.sleep(3.0)
        elsewhere = VirtualClock(clock.wall_micros() + round(set_by_s * 1e6), clock.now())
        await life(elsewhere, 8)

    run_virtual(work, start=EPOCH_S)
    assert most_in_a_window(came, 60.0) <= 6
    if clean:
        assert came[4] - came[3] < 15.0, "the rest of the window is used"
