"""Paid POSTs: strongly held, outside every task group, so that nothing calls them off but the end of the run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

from pipeline.runtime.clock import Clock

#: What is called off has this long to end (seconds).
LEAVE_S: Final = 1.0


class Paid:
    """The paid POSTs of a run that are unanswered. It belongs to one loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, work: Coroutine[None, None, None]) -> None:
        """Begin one."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def answered(self, ends: float, clock: Clock, left: asyncio.Event) -> None:
        """Wait for what is unanswered, until `ends` or until somebody says again that it is to end.

        What is not answered by then is called off, the one exception to the rule that a paid POST is never cancelled:
        the process would end with it anyway. It is in doubt then, at once or for the next run that finds it unanswered.
        """
        leaving = asyncio.ensure_future(left.wait())
        try:
            while self._tasks and not leaving.done() and clock.now() < ends:
                waited = ends - clock.now()
                await asyncio.wait({*self._tasks, leaving}, timeout=waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            paid = tuple(self._tasks)
            for task in paid:
                task.cancel()  # An answer that is here already is still taken.
            if paid:
                await asyncio.wait(paid, timeout=LEAVE_S)
