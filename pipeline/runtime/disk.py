"""Room on the disk while a run is alive: asked now and then, told when it ends and when it is back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from pipeline.runtime.clock import Clock
from pipeline.store.room import Refusals

#: The disk is looked at this often at most (seconds), and a picture takes about so many bytes of it.
ROOM_EVERY_S: Final = 1.0
PICTURE_BYTES: Final = 4 * 1024 * 1024


class DiskWatch:
    """Whether the disk has room. It belongs to one loop."""

    def __init__(
        self,
        room: Callable[[int], str | None],
        under_way: Callable[[], int],
        clock: Clock,
        told: Callable[[str | None], None],
    ) -> None:
        """`room`: why nothing new may be bought, given the bytes that are under way; None when the disk has room.
        `under_way`: pictures that may come. `told` hears when the disk is full, and when not any more.
        """
        self._room = room
        self._under_way = under_way
        self._clock = clock
        self._told = told
        self._asked = -math.inf
        self._refusals = Refusals()
        #: Why the disk is full, as told last.
        self.full: str | None = None
        self._filled = asyncio.Event()

    def look(self) -> None:
        """Ask, at most once a second of real time: asking costs a call to the system."""
        now = time.monotonic()
        if now - self._asked >= ROOM_EVERY_S:
            self._asked = now
            full = self._room(self._under_way() * PICTURE_BYTES)
            if full is None and self._refusals.distrusted(self._clock.now()):
                return  # It says that it has room and refused a picture all the same: a quota.
            self._is(full)

    def refused(self, why: str) -> None:
        """A picture found no room."""
        self._is(why)
        self._refusals.refused(self._clock.now())

    def kept(self) -> None:
        """A picture found room."""
        self._refusals.kept()

    async def watch(self) -> None:
        """While the disk is full, see now and then whether there is room again."""
        while True:
            await self._filled.wait()
            await self._clock.until(self._clock.now() + ROOM_EVERY_S)
            self.look()

    def _is(self, full: str | None) -> None:
        news = (full is None) is not (self.full is None)
        self.full = full
        if full is None:
            self._filled.clear()
        else:
            self._filled.set()
        if news:
            self._told(full)
