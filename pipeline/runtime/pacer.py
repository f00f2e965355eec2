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
#: Added to the window: the gateway counts arrivals, and a request may travel faster than the one before it (seconds).
_MARGIN_S: Final = 0.005


class Pacer:
    """Hands out slots in the order in which they were asked for. One pacer per lane; it belongs to one loop.

    A bucket that starts full sends twice the limit in its first window, and a bare AsyncLimiter lets newcomers
    overtake: so its bucket holds one, a FIFO lock stands around it, and the last `count` stamps bound every window.
    """

    def __init__(self, count: int, period_s: float) -> None:
        if count < 1 or not (math.isfinite(period_s) and period_s > 0):
            raise ValueError(f"a pace needs a count of 1 or more in a positive period: {count} in {period_s} s")
        self.count = count
        self.period_s = period_s
        #: Seconds between slots when nothing else bounds them.
        self.spacing_s = _TIGHTER * period_s / count
        # A touch faster than the spacing, which was waited for already: rounding must not make it wait for nothing.
        self._limiter = AsyncLimiter(1, 0.99 * self.spacing_s)
        self._turn = asyncio.Lock()
        #: Loop times of the last slots, oldest first.
        self._stamps: deque[float] = deque(maxlen=count)
        self._full = False
        self._waiting = 0

    async def slot(self) -> None:
        """Take the next slot; returns when it has come. A cancelled wait gives its slot to the next in the row."""
        with self._in_the_row():
            async with self._turn:
                loop = asyncio.get_running_loop()
                # The window is awaited before the limiter: after `acquire` nothing waits, so no cancellation can fall
                # between taking a slot and stamping it.
                while (due := self._due(loop.time())) > loop.time():
                    await until(due)
                await self._limiter.acquire()
                self._stamps.append(loop.time())

    async def near(self, lead_s: float = 0.05) -> None:
        """Return when the slot that a newcomer would get is at most `lead_s` away. Takes nothing."""
        loop = asyncio.get_running_loop()
        while (soon := self._due(loop.time(), self._waiting) - lead_s) > loop.time():
            await until(soon)

    def stamps(self) -> tuple[float, ...]:
        """Seconds ago of the last slots, oldest first, `count` at most: `restore` takes them back."""
        now = asyncio.get_running_loop().time()
        return tuple(now - stamp for stamp in self._stamps)

    def restore(self, seconds_ago: Iterable[float]) -> None:
        """Go on as if these slots had been taken, each so many seconds ago; what lies in the future counts as now."""
        now = asyncio.get_running_loop().time()
        self._stamps.extend(sorted(now - max(0.0, ago) for ago in seconds_ago))

    def assume_full(self) -> None:
        """Go on as if the window before the first slot had been full, as late as it can: nothing is known of it."""
        self._full = True

    def _due(self, now: float, ahead: int = 0) -> float:
        """When the slot after the `ahead` next ones may be taken, by the loop's clock."""
        if self._full:
            self._full = False
            # As late as slots can have come: they were never closer than the spacing.
            self._stamps.extend(now - index * self.spacing_s for index in reversed(range(self.count)))
        planned = list(self._stamps)
        for _ in range(ahead + 1):
            due = now
            if planned:
                due = max(due, planned[-1] + self.spacing_s)
            if len(planned) >= self.count:
                due = max(due, planned[-self.count] + self.period_s + _MARGIN_S)
            planned.append(due)
        return planned[-1]

    @contextmanager
    def _in_the_row(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
