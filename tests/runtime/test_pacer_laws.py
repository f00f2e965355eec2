"""Laws of the pacer, over random arrivals, cancellations and resumes."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.runtime.pacer import Pacer

#: When somebody asks, and how long they wait before giving up.
ASKERS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 30)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.floats(0.1, 10), ASKERS, st.booleans(), st.floats(0, 2e9))
def test_no_window_holds_more_than_the_count_laws(
    count: int,
    period_s: float,
    askers: list[tuple[float, float]],
    full: bool,  # noqa: FBT001
    start: float,
) -> None:
    """Whoever comes when and gives up when: never more than the count in any period, and everyone patient is served."""
    came: list[float] = []
    gave_up = 0

    async def ask(clock: VirtualClock, pacer: Pacer, at: float, patience_s: float) -> None:
        nonlocal gave_up
        await asyncio.sleep(at)
        try:
            async with asyncio.timeout(patience_s):
                await pacer.slot()
                came.append(clock.now())
        except TimeoutError:
            gave_up += 1

    async def work(clock: VirtualClock) -> None:
        pacer = Pacer(count, period_s)
        if full:
            pacer.assume_full()
        async with asyncio.TaskGroup() as group:
            for at, patience_s in askers:
                group.create_task(ask(clock, pacer, at, patience_s))

    run_virtual(work, start=start)
    assert len(came) + gave_up == len(askers)
    assert came == sorted(came)
    for index in range(len(came) - count):
        assert came[index + count] - came[index] >= period_s
