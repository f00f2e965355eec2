"""Which tasks changed since when, kept while somebody watches a living run, and never for long."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pipeline.engine.facts import Fact

#: Tasks and attempts that are remembered at most; whoever is further behind reads everything anew.
REMEMBERED: Final = 50_000
#: Nothing is kept for watchers that have not asked for so long (seconds of real time).
FORGET_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What changed after a cursor, oldest first. `more`: there is more than was asked for."""

    tasks: tuple[int, ...]
    attempts: tuple[int, ...]
    cursor: str
    more: bool


class Changes:
    """A log of changed tasks, by the facts that are durable. A cursor is only good for the process that gave it."""

    def __init__(self, epoch: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._epoch = epoch
        self._clock = clock
        self._count = 0
        #: Changes up to this one are not known any more.
        self._floor = 0
        #: {(is it an attempt, its number): its last change}, in the order of changes.
        self._last: OrderedDict[tuple[bool, int], int] = OrderedDict()
        self._asked = -math.inf
        self._watched = False

    def note(self, facts: Iterable[Fact]) -> None:
        """These facts are durable. Costs next to nothing while nobody watches."""
        if self._clock() - self._asked >= FORGET_S:
            self._forget()
            return
        for fact in facts:
            task, attempt = getattr(fact, "task", None), getattr(fact, "attempt", None)
            if isinstance(task, int):
                self._mark(attempt=False, number=task)
            elif isinstance(attempt, int):
                self._mark(attempt=True, number=attempt)

    def _forget(self) -> None:
        # Cursors that were given out before are worth nothing now.
        if self._watched:
            self._last.clear()
            self._count += 1
            self._floor, self._watched = self._count, False

    def _mark(self, *, attempt: bool, number: int) -> None:
        self._count += 1
        self._last[attempt, number] = self._count
        self._last.move_to_end((attempt, number))
        if len(self._last) > REMEMBERED:
            _, self._floor = self._last.popitem(last=False)

    def since(self, cursor: object, most: int) -> Batch | None:
        """What changed after a cursor; without one, only where to go on from. None: that is not known any more."""
        if self._clock() - self._asked >= FORGET_S:
            self._forget()
        self._asked, self._watched = self._clock(), True
        if cursor is None:
            return Batch((), (), self._cursor(self._count), more=False)
        epoch, _, text = str(cursor).partition(".")
        if epoch != self._epoch or not text.isdecimal() or not self._floor <= int(text) <= self._count:
            return None
        after = int(text)
        found = []
        for key, at in reversed(self._last.items()):
            if at <= after:
                break
            found.append((key, at))
        picked = list(islice(reversed(found), most))
        reached = picked[-1][1] if len(picked) < len(found) else self._count
        return Batch(
            tuple(number for (attempt, number), _ in picked if not attempt),
            tuple(number for (attempt, number), _ in picked if attempt),
            self._cursor(reached),
            more=len(picked) < len(found),
        )

    def _cursor(self, count: int) -> str:
        return f"{self._epoch}.{count}"
