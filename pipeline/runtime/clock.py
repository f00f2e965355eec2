"""Time: the real clock, and a loop whose clock jumps to its next timer, so that days pass in milliseconds."""

from __future__ import annotations

import asyncio
import math
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

from pipeline.errors import Bug

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Another word after each boot, where the system has one.
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
#: How many waiting tasks a report of a deadlock names.
_NAMED_MAX = 8


class Clock(Protocol):
    """What tells the time to a run. Nothing else reads a clock or sleeps."""

    def now(self) -> float:
        """Seconds of the running loop's clock."""
        ...

    def wall_micros(self) -> int:
        """Microseconds since 1970, UTC."""
        ...

    def steady(self) -> tuple[str, int]:
        """(which clock, microseconds on it) of a clock that nobody sets and that outlives the process.

        Two readings can be compared when they name the same clock; an empty name is the same as none.
        """
        ...

    async def until(self, when: float) -> None:
        """Return once `now()` is `when` or later; at once if it is already."""
        ...


class RealClock:
    """The running loop's clock and this machine's wall clock."""

    def now(self) -> float:
        """Seconds of the running loop's clock."""
        return asyncio.get_running_loop().time()

    def wall_micros(self) -> int:
        """Microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def steady(self) -> tuple[str, int]:
        """This boot of the machine, and the time since, its sleep included."""
        try:
            boot = _BOOT.read_text().strip()
        except OSError:
            boot = ""
        return boot, time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000

    async def until(self, when: float) -> None:
        """Return once `now()` is `when` or later; at once if it is already."""
        await until(when)


class VirtualClock:
    """The clock of a `VirtualLoop`: its wall is at `wall_micros` when the loop's clock is at `origin_s`."""

    def __init__(self, wall_micros: int, origin_s: float) -> None:
        self._wall_micros = wall_micros
        self._origin_s = origin_s

    def now(self) -> float:
        """Seconds of the running loop's clock."""
        return asyncio.get_running_loop().time()

    def wall_micros(self) -> int:
        """Microseconds since 1970, UTC, in the rehearsal's own time."""
        return self._wall_micros + round((self.now() - self._origin_s) * 1e6)

    def steady(self) -> tuple[str, int]:
        """The loop's own time, which goes on from rehearsal to rehearsal."""
        return "rehearsal", round(self.now() * 1e6)

    async def until(self, when: float) -> None:
        """Return once `now()` is `when` or later; at once if it is already."""
        await until(when)


async def until(when: float) -> None:
    """Return once the running loop's clock is at `when` or later; at once if it is already."""
    loop = asyncio.get_running_loop()
    # A timer may fire a little early, by the resolution of the clock.
    while (left := when - loop.time()) > 0:  # noqa: ASYNC110 - it is the time that is waited for, not an event
        await asyncio.sleep(left)


class _JumpingSelector(selectors.DefaultSelector):
    """Asks the system what is ready and lets the loop's clock jump instead of waiting for a timer."""

    def __init__(self, jump: Callable[[float | None], bool]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0 or self._jump(timeout):
            return ready
        return super().select(None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting: when nothing is ready, its clock jumps to the next timer.

    While helper threads have work the clock stands still and the loop really waits for them, so a picture that is drawn
    in a thread takes no virtual time. When nothing can ever become ready, it raises `Bug` instead of hanging. Sockets
    are served when something arrives, but nobody waits for them: they are for being looked at, not for the run's work.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        #: Calls that were handed to threads and have not come back.
        self._outside = 0
        #: Somebody outside may still say something: with nothing else to do, that is waited for.
        self.attended = False
        super().__init__(_JumpingSelector(self._jump))
        # A timer is due when it lies before now + resolution. asyncio's nanosecond vanishes beside a large clock, and a
        # timer that is exactly due would never fire. A few steps of a float do not vanish.
        self._clock_resolution = max(1e-9, 4 * math.ulp(start + 366 * 86_400))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As every loop's, and never at this same instant: a wait that rounds to nothing would stop all time."""
        return super().call_at(max(when, math.nextafter(self._now, math.inf)), callback, *args, context=context)

    def _jump(self, timeout: float | None) -> bool:
        """Whether waiting is done with: the clock jumped. False: really wait, a thread has work. *Raises* Bug."""
        if self._outside or (timeout is None and self.attended):
            return False
        if timeout is None:
            raise Bug(self._deadlock())
        # Adding a short time to a large one can round back to where it was: the clock goes on by one step at least.
        self._now = max(self._now + timeout, math.nextafter(self._now, math.inf))
        return True

    def _deadlock(self) -> str:
        waiting = [task for task in asyncio.all_tasks(self) if not task.done()]
        names = [f"{task.get_name()} in {getattr(task.get_coro(), '__qualname__', '?')}" for task in waiting]
        more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
        return f"deadlock at {self._now:.6f} s: nothing can happen any more; waiting: " + (
            ", ".join(sorted(names)[:_NAMED_MAX]) + more or "nothing"
        )

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """As every loop's, and the clock stands still until it has come back."""
        # The count goes up only once the call was really handed over: a closed executor raises.
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _future: object) -> None:
        self._outside -= 1

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """As every loop's; it waits for a thread, so the clock stands still."""
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._outside -= 1


def run_virtual(work: Callable[[VirtualClock], Coroutine[object, object, T]], start: float = 0.0) -> T:
    """Run `work(clock)` to its end in virtual time, from `start` seconds since 1970 on; signals work as ever.

    *Raises* whatever `work` raises, and Bug when nothing can happen any more.
    """
    clock = VirtualClock(round(start * 1e6), start)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
        return runner.run(work(clock))
