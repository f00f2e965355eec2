"""Deadlines and cancellations against answers that come in the same tick, in every order."""

from __future__ import annotations

import asyncio
import math
import os
import random

import pytest

from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.transport.deadline import in_time

RACES = 10_000


async def answer(came: asyncio.Future[str], steps: int) -> str:
    """Reads an answer that comes in one piece and needs a few more turns to be understood."""
    found = await came
    for _ in range(steps):
        await asyncio.sleep(0)
    return found


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("order", ["answer first", "deadline first"])
def test_an_answer_in_the_tick_of_the_deadline_is_taken(order: str, steps: int) -> None:
    """Whichever timer fires first, what has arrived wins."""

    async def work(_: VirtualClock) -> str:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        due = 10.0 if order == "answer first" else math.nextafter(10.0, 11.0)
        loop.call_at(due, came.set_result, "paid")
        return await in_time(answer(came, steps), 10.0)

    assert run_virtual(work) == "paid"


def test_what_does_not_come_in_time_is_given_up() -> None:
    """The deadline holds, and the work is called off."""
    ended: list[str] = []

    async def silent() -> str:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never
        finally:
            ended.append("called off")

    async def work(clock: VirtualClock) -> float:
        begun = clock.now()
        with pytest.raises(TimeoutError):
            await in_time(silent(), 3.0)
        return clock.now() - begun

    assert run_virtual(work) == pytest.approx(3.0)
    assert ended == ["called off"]


def test_what_the_work_raises_goes_through() -> None:
    """Its own errors, at once."""

    async def breaks() -> str:
        raise ValueError("torn")

    async def work(_: VirtualClock) -> None:
        with pytest.raises(ValueError, match="torn"):
            await in_time(breaks(), 3.0)

    run_virtual(work)


def test_no_race_loses_an_answer_that_was_here() -> None:
    """Ten thousand races of answer, deadline and cancellation around one instant: what came first is taken."""
    seed = int(os.environ.get("PIPELINE_SEED", "1"))
    print(f"PIPELINE_SEED={seed}")
    dice = random.Random(seed)

    async def race() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        task = loop.create_task(in_time(answer(came, dice.randrange(4)), dice.choice([1.0, 1.0, 2.0])))
        here = False

        def comes() -> None:
            nonlocal here
            here = not came.cancelled()
            if here:
                came.set_result("paid")

        offset = dice.choice([0.0, 0.0, 1e-3, -1e-3])
        loop.call_later(1.0 + offset, comes)
        if dice.random() < 0.6:
            loop.call_later(1.0 + dice.choice([0.0, 1e-3, -1e-3]), task.cancel)
        await asyncio.wait({task})
        taken = not task.cancelled() and task.exception() is None
        await asyncio.sleep(3.0)
        return here, taken

    async def work(_: VirtualClock) -> tuple[int, int]:
        lost = taken = 0
        for _number in range(RACES):
            was_here, was_taken = await race()
            lost += was_here and not was_taken
            taken += was_taken
        return lost, taken

    lost, taken = run_virtual(work)
    assert lost == 0
    assert RACES // 4 < taken < RACES, "the races went both ways"
