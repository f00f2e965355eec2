"""Virtual time: days pass in milliseconds, threads are waited for, deadlocks are reported."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from pipeline.errors import Bug
from pipeline.runtime.clock import RealClock, VirtualClock, VirtualLoop, run_virtual

EPOCH_S = 1_767_225_600.0
DAY_S = 86_400.0


def test_thirty_days_pass_in_no_time() -> None:
    """Nothing really waits for a timer."""

    async def work(clock: VirtualClock) -> tuple[float, int]:
        for _ in range(30):
            await asyncio.sleep(DAY_S)
        return clock.now(), clock.wall_micros()

    began = time.monotonic()
    now, wall = run_virtual(work, start=EPOCH_S)
    assert time.monotonic() - began < 1.0
    assert now == pytest.approx(EPOCH_S + 30 * DAY_S, abs=1e-5)
    assert wall == pytest.approx((EPOCH_S + 30 * DAY_S) * 1e6, abs=10)


def test_timers_fall_due_in_order_and_exactly() -> None:
    """Each sleeper wakes at its own time, whatever the size of the clock."""
    woken = []

    async def sleeper(clock: VirtualClock, when: float) -> None:
        await clock.until(when)
        woken.append((when, clock.now()))

    async def work(clock: VirtualClock) -> None:
        whens = [EPOCH_S + step for step in (3.0, 0.1, 0.3, 1e-6, 2 * DAY_S, 0.2)]
        async with asyncio.TaskGroup() as group:
            for when in whens:
                group.create_task(sleeper(clock, when))
        await clock.until(EPOCH_S)

    run_virtual(work, start=EPOCH_S)
    assert [when for when, _ in woken] == sorted(when for when, _ in woken)
    assert all(0 <= now - when < 1e-5 for when, now in woken)


def test_the_clock_stands_still_while_a_thread_works() -> None:
    """A thread's work takes no virtual time, even with a timer due, and is really waited for."""
    release = threading.Event()

    async def let_go() -> None:
        await asyncio.sleep(0)
        release.set()

    async def work(clock: VirtualClock) -> float:
        async with asyncio.timeout(1e-3), asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(release.wait))
            group.create_task(let_go())
        return clock.now()

    assert run_virtual(work, start=5.0) == 5.0


def test_time_goes_on_after_a_thread_came_back_or_failed() -> None:
    """A failed call in a thread does not stop the clock for ever."""

    def fail() -> None:
        raise RuntimeError("drawn badly")

    async def work(clock: VirtualClock) -> float:
        with pytest.raises(RuntimeError, match="drawn badly"):
            await asyncio.to_thread(fail)
        await asyncio.sleep(1.0)
        return clock.now()

    assert run_virtual(work) == pytest.approx(1.0)


async def _forever() -> None:
    await asyncio.get_running_loop().create_future()


async def _queue() -> None:
    await asyncio.Queue[int]().get()


@pytest.mark.parametrize("wait", [_forever, _queue])
def test_a_deadlock_is_a_bug_that_names_who_waits(wait: Callable[[], Awaitable[None]]) -> None:
    """Nothing ready, no timer, no thread: it ends with a report instead of hanging."""

    async def work(clock: VirtualClock) -> None:
        await clock.until(3.0)
        await wait()

    with pytest.raises(Bug, match=r"deadlock at 3\.0.*work"):
        run_virtual(work)


def test_a_signal_is_heard_in_virtual_time() -> None:
    """Ctrl-C drains a rehearsal too."""

    async def work(clock: VirtualClock) -> float:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        await clock.until(10.0)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not heard.is_set():  # noqa: ASYNC110 - the clock must go on meanwhile
            await asyncio.sleep(60.0)
        return clock.now()

    assert run_virtual(work) < 10_000.0


def test_what_the_work_raises_comes_out() -> None:
    """The loop is closed, and the error is the work's own."""

    async def work(_clock: VirtualClock) -> None:
        await asyncio.sleep(1.0)
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run_virtual(work)


async def test_the_real_clock_is_the_loops_and_the_walls() -> None:
    """Both go forward, in their units."""
    clock = RealClock()
    before, wall = clock.now(), time.time_ns() // 1000
    await clock.until(before + 0.01)
    assert clock.now() >= before + 0.01
    assert 0 <= clock.wall_micros() - wall < 60_000_000


def test_a_rehearsal_that_somebody_paused_waits_for_people_in_their_time() -> None:
    """With nothing left to do an attended loop waits for a word from outside; an unattended one is a deadlock."""

    async def work(_clock: VirtualClock) -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.attended = True
        heard: asyncio.Future[str] = loop.create_future()
        asking = threading.Thread(target=lambda: loop.call_soon_threadsafe(heard.set_result, "go on"))
        asking.start()
        try:
            return await heard
        finally:
            asking.join()

    assert run_virtual(work) == "go on"
