"""Who is told of a run: its story, of all that became durable, and whoever looks at it, now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from pipeline.engine.facts import Fact
from pipeline.runtime.clock import Clock

#: Listeners are told at most this often (seconds of real time).
TELL_EVERY_S: Final = 0.2
#: And so often at least, although nothing happens (seconds).
BEAT_S: Final = 1.0


class Audience:
    """The story gets every fact once, in order; the listener is called whenever something changed. It is one loop's."""

    def __init__(
        self,
        story: Callable[[list[Fact]], None],
        listener: Callable[[], None] | None,
        failed: Callable[[BaseException], None],
    ) -> None:
        """`failed` is told of what the story raised: a run that cannot be written down stops.

        `listener` raises nothing: who shows a run sees to that, and knows whose mistake it was.
        """
        self._story = story
        self._listener = listener
        self._failed = failed
        #: Facts that are durable and not in the run's story yet.
        self._news: list[Fact] = []
        self._listened = 0.0
        #: No turn of the loop comes any more: what is said now is written at once.
        self._closed = False

    def say(self, facts: list[Fact]) -> None:
        """Into the story, at once for all that one commit made durable: before anything that follows from it is done,
        since what `react` commands begins in the next turn of the loop.
        """
        if self._closed:
            self._story(facts)
            return
        if not self._news:
            asyncio.get_running_loop().call_soon(self._write)
        self._news += facts

    def close(self) -> None:
        """Write what is not written yet."""
        self._closed = True
        self._write()

    def _write(self) -> None:
        facts, self._news = self._news, []
        try:
            if facts:
                self._story(facts)
        except BaseException as problem:  # noqa: BLE001 - a callback's exception would be lost otherwise
            self._failed(problem)

    def show(self) -> None:
        """Let whoever looks see how things stand, unless that was a moment ago."""
        now = time.monotonic()
        if self._listener is not None and now - self._listened >= TELL_EVERY_S:
            self._listened = now
            self._listener()

    async def beat(self, clock: Clock) -> None:
        """Nothing happens for a while: whoever looks sees all the same what is waited for, and for how long."""
        while True:
            await clock.until(clock.now() + BEAT_S)
            self.show()
