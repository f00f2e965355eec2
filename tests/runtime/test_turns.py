"""Turns: never more than allowed, the most urgent first, none lost by a cancellation."""

from __future__ import annotations

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.runtime.turns import Turns


async def serve(turns: Turns, urgencies: list[float], cancelled: set[int]) -> tuple[list[int], int]:
    """Ask for a turn per urgency, in order; answers who was served, and how many held one at once at most."""
    served: list[int] = []
    holding = most = 0

    async def one(number: int, urgency: float) -> None:
        nonlocal holding, most
        async with turns.take(urgency):
            holding += 1
            most = max(most, holding)
            served.append(number)
            try:
                await asyncio.sleep(1.0)
            finally:
                holding -= 1

    tasks = []
    for number, urgency in enumerate(urgencies):
        tasks.append(asyncio.create_task(one(number, urgency)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in cancelled:
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return served, most


def test_the_link_that_expires_first_is_served_first() -> None:
    """Of those that wait, the smallest comes next; what never expires comes last, in the order of asking."""

    async def work(_: VirtualClock) -> list[int]:
        return (await serve(Turns(1), [math.inf, math.inf, 30.0, 10.0, math.inf, 20.0], set()))[0]

    assert run_virtual(work) == [0, 3, 5, 2, 1, 4]


@settings(deadline=None, max_examples=60)
@given(
    at_once=some.integers(1, 4),
    urgencies=some.lists(some.floats(0, 100), min_size=1, max_size=12),
    picks=some.sets(some.integers(0, 11)),
)
def test_no_turn_is_lost_whoever_is_called_off(at_once: int, urgencies: list[float], picks: set[int]) -> None:
    """Whoever is not called off is served, never more than allowed at once, and all turns are free in the end."""
    cancelled = {pick for pick in picks if pick < len(urgencies)}

    async def work(_: VirtualClock) -> tuple[list[int], int, list[int]]:
        turns = Turns(at_once)
        served, most = await serve(turns, urgencies, cancelled)
        again, _all = await serve(turns, [0.0] * at_once, set())
        return served, most, again

    served, most, again = run_virtual(work)
    assert set(served) >= set(range(len(urgencies))) - cancelled
    assert most <= at_once
    assert len(again) == at_once
