"""The plan's tasks in their order; those of a lane that somebody paused wait aside, by number, so that others pass."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from pipeline.values.task import Task


class Offers:
    """What is to be offered next. Memory: eight bytes for each task that waits aside."""

    def __init__(self, tasks: Iterator[Task], again: Callable[[int], Task], paused: Callable[[str], bool]) -> None:
        self._tasks = tasks
        self._again = again
        self._paused = paused
        self._aside: dict[str, array[int]] = {}
        #: {lane: how many of those aside were taken again}.
        self._taken: dict[str, int] = {}

    def next(self) -> Task | None:
        """What waited for a lane that goes on by now; otherwise the plan's next task; None when there is neither."""
        for lane, numbers in self._aside.items():
            if self._taken[lane] < len(numbers) and not self._paused(lane):
                self._taken[lane] += 1
                return self._again(numbers[self._taken[lane] - 1])
        return next(self._tasks, None)

    def put_aside(self, task: Task) -> None:
        """Its lane is paused: it comes again when the lane goes on."""
        numbers = self._aside.get(task.lane)
        if numbers is None or self._taken[task.lane] == len(numbers):
            numbers = self._aside[task.lane] = array("q")
            self._taken[task.lane] = 0
        numbers.append(task.number)

    @property
    def waits(self) -> bool:
        """Whether anything waits aside."""
        return any(self._taken[lane] < len(numbers) for lane, numbers in self._aside.items())
