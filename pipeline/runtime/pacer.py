"""A lane's pace: evenly spaced from the first request on, and never more than the count in any window of the period."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from aiolimiter import AsyncLimiter

from pipeline.runtime.clock import until

#: Spacing is a little below period / count, so that late wake-ups are caught up; the window is the hard bound.
_TIGHTER: Final = 0.97
#: Added to the window: the gateway counts arrivals, and a request may travel faster than the one before it. As shares
#: of the period and in seconds: on a machine whose timers come in time, and where they come as late as that.
_MARGIN_SHARES: Final = (0.006, 0.03)
_MARGINS_S: Final = ((0.005, 0.1), (0.01, 0.25))
#: How much of the worst lateness is remembered from one slot to the next.
_REMEMBERED: Final = 0.98
#: What was overslept is caught up at once, as far as the window allows: this share of a period, and so many seconds.
_LATE_SHARE: Final = 0.1
_LATE_MAX_S: Final = 1.0


class Slot:
    """A slot that was taken. `left` moves it to when its request really left: a new connection takes its time."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        #: The loop's clock.
        self.at = at

    def left(self) -> None:
        """The request leaves now, and not before."""
        self.at = max(self.at, asyncio.get_running_loop().time())


class Pacer:
    """Hands out slots in the order in which they were asked for. One pacer per lane; it belongs to one loop.

    A bucket that starts full sends twice the limit in its first window, and a bare AsyncLimiter lets newcomers
    overtake: so its bucket holds no more than what may be caught up, a FIFO lock stands around it, slots have a
    schedule of their own, and the last `count` of them bound every window.
    """

    def __init__(self, count: int, period_s: float) -> None:
        if count < 1 or not (math.isfinite(period_s) and period_s > 0):
            raise ValueError(f"a pace needs a count of 1 or more in a positive period: {count} in {period_s} s")
        self.count = count
        self.period_s = period_s
        self._even_s = period_s / count
        self._share = 1.0
        #: Seconds between slots when nothing else bounds them.
        self.spacing_s = _TIGHTER * self._even_s
        self._margin_s, self._margin_max_s = (
            min(most, max(least, share * period_s))
            for share, (least, most) in zip(_MARGIN_SHARES, _MARGINS_S, strict=True)
        )
        #: How late timers come at worst, lately (seconds): requests and their counting are as late, now and then. The
        #: first requests are made by code that never ran and on connections that nobody made: the worst is assumed.
        self._late_s = self._margin_max_s
        self._late_max_s = min(_LATE_MAX_S, _LATE_SHARE * period_s)
        # A touch wider than the schedule, which was waited for already: rounding must not make it wait for nothing.
        burst = 2 + math.ceil(self._late_max_s / self.spacing_s)
        self._limiter = AsyncLimiter(burst, 0.99 * burst * self.spacing_s)
        self._turn = asyncio.Lock()
        #: The last slots, in the order in which they were given.
        self._slots: deque[Slot] = deque(maxlen=count)
        #: When the latest of those left that are in it no more.
        self._past = -math.inf
        #: When the last slot was to come: what was overslept is not added to the next one's time.
        self._planned = -math.inf
        #: Since when the next slot is wanted; None when nobody wants one, and then nothing is saved up.
        self._wanted: float | None = None
        self._full = False
        self._waiting = 0
        #: Slots that are about to be asked for: permission for them is being committed, or they are waited for.
        self.expected = 0

    async def slot(self) -> Slot:
        """Take the next slot; returns when it has come. A cancelled wait gives its slot to the next in the row."""
        with self._in_the_row():
            async with self._turn:
                loop = asyncio.get_running_loop()
                if self._wanted is None:
                    self._wanted = loop.time()
                # The window is awaited before the limiter: after `acquire` nothing waits, so no cancellation can fall
                # between taking a slot and stamping it.
                while (due := self._due(loop.time())) > loop.time():
                    await until(due)
                await self._limiter.acquire()
                return self._take(loop.time(), self._wanted)

    async def near(self, lead_s: float = 0.05) -> None:
        """Return when the slot that a newcomer would get is at most `lead_s` away. Takes nothing."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if self._wanted is None:
                self._wanted = now
            if (soon := self._due(now, max(self._waiting, self.expected)) - lead_s) <= now:
                return
            await until(soon)

    def pace(self, share: float) -> None:
        """Give slots at this share of the declared rate from now on, above 0 and at most 1."""
        if not 0.0 < share <= 1.0:
            raise ValueError(f"a share of a pace is above 0 and at most 1: {share}")
        if share != self._share:
            self._share = share
            # Below the declared rate nothing is caught up.
            self.spacing_s = self._even_s * (_TIGHTER if share == 1.0 else 1.0 / share)

    def stamps(self) -> tuple[float, ...]:
        """Seconds ago of the last slots, oldest first, `count` at most: `restore` takes them back."""
        now = asyncio.get_running_loop().time()
        return tuple(sorted((now - slot.at for slot in self._slots), reverse=True))

    def restore(self, seconds_ago: Iterable[float]) -> None:
        """Go on as if these slots had been taken, each so many seconds ago; what lies in the future counts as now."""
        now = asyncio.get_running_loop().time()
        self._remember(sorted(now - max(0.0, ago) for ago in seconds_ago))

    def assume_full(self) -> None:
        """Go on as if the window before the first slot had been full, as late as it can: nothing is known of it."""
        self._full = True

    def _take(self, now: float, wanted: float) -> Slot:
        """Stamp a slot. What was overslept since it was due, and wanted, is taken off the time until the next one."""
        overslept = now - max(self._next(), wanted)
        self._late_s = max(overslept, self._late_s * _REMEMBERED)
        caught_up = min(max(0.0, overslept), self._late_max_s) if self._share == 1.0 else 0.0
        self._planned = now - caught_up
        slot = self._append(now)
        if max(self._waiting, self.expected) <= 1:
            self._wanted = None
        return slot

    def _append(self, at: float) -> Slot:
        if len(self._slots) == self.count:
            self._past = max(self._past, self._slots[0].at)
        slot = Slot(at)
        self._slots.append(slot)
        return slot

    def _remember(self, stamps: list[float]) -> None:
        for stamp in stamps:
            self._append(stamp)
            self._planned = stamp

    def _next(self) -> float:
        """When the next slot may be taken: after the spacing, and when the last `count` leave room in every window."""
        due = self._planned + self.spacing_s
        if len(self._slots) == self.count:
            # Whatever order they left in: no slot comes within a window of any that is `count` or more before it.
            due = max(due, max(self._past, self._slots[0].at) + self._window_s())
        return due

    def _due(self, now: float, ahead: int = 0) -> float:
        """When the slot after the `ahead` next ones may be taken, by the loop's clock."""
        if self._full:
            self._full = False
            self._remember(self._latest(now))
        if not ahead:
            return max(now, self._next())
        empty, leaving, planned = self.count - len(self._slots), iter(self._slots), deque[float]()
        past, due, window_s = self._past, self._planned, self._window_s()
        for index in range(ahead + 1):
            due = max(now, due + self.spacing_s)
            if index >= empty:
                slot = next(leaving, None)
                past = max(past, planned.popleft() if slot is None else slot.at)
                due = max(due, past + window_s)
            planned.append(due)
        return due

    def _window_s(self) -> float:
        return self.period_s + min(self._margin_max_s, max(self._margin_s, self._late_s))

    def _latest(self, now: float) -> list[float]:
        """As late as the last `count` slots can have come, oldest first: even, but for what may be caught up."""
        return [now - max(0.0, index * self.spacing_s - self._late_max_s) for index in reversed(range(self.count))]

    @contextmanager
    def _in_the_row(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
