"""Turns: so many at once, and of those that wait, the most urgent first."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Like a semaphore whose queue is ordered by urgency, then by arrival. It belongs to one loop."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._arrivals = 0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def take(self, urgency: float) -> AsyncIterator[None]:
        """Hold a turn; the smaller `urgency` is, the sooner it comes. A cancelled wait gives its turn to the next."""
        await self._wait(urgency)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, urgency: float) -> None:
        if self._free:
            self._free -= 1
            return
        self._arrivals += 1
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (urgency, self._arrivals, turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on()
            turn.cancel()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
