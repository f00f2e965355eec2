"""`retry`: which failed tasks are meant, and what sending them again means before anything is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.stored import StoredTask
from pipeline.runtime.remains import reading
from pipeline.store.journal import Journal
from pipeline.values.task import Task


@dataclass(frozen=True, slots=True)
class Meant:
    """Which of the failed and short tasks; what names nothing means all."""

    #: A FaultKind's texts.
    kinds: Collection[str] = ()
    gateways: Collection[str] = ()
    #: As a gateway calls them, or with it: `qwen-image`, `mulerouter/qwen-image`.
    models: Collection[str] = ()

    def takes(self, task: Task) -> bool:
        """Whether this task's gateway and model are meant."""
        return (not self.gateways or task.gateway in self.gateways) and (
            not self.models or task.model in self.models or task.lane in self.models
        )

    def of(self, journal: Journal) -> list[StoredTask]:
        """The tasks, by number."""
        return [stored for stored in journal.failed_tasks(set(self.kinds) or None) if self.takes(stored.task)]


@dataclass(frozen=True, slots=True)
class Prospect:
    """What sending failed tasks again means. *Units* - micro-units by currency."""

    #: {gateway/model: tasks that go again}
    lanes: Mapping[str, int]
    #: The most that it costs, and what the caps leave.
    cost_micros: Mapping[str, int]
    free_micros: Mapping[str, int]
    #: Tasks that stay, because an operation of them is followed first.
    followed: int
    #: Lanes with failed tasks at all, whatever was meant.
    failed: tuple[str, ...]

    @property
    def tasks(self) -> int:
        """How many go again."""
        return sum(self.lanes.values())


def look(folder: Path, meant: Meant) -> Prospect:
    """What it means; nothing is changed. *Raises* RunNotFound."""
    with reading(folder) as journal:
        every = journal.failed_tasks()
        found = meant.of(journal) if meant.kinds else [stored for stored in every if meant.takes(stored.task)]
        free = {each.currency: each.cap - each.spent - each.held - each.doubt for each in journal.accounts()}
    lanes: Counter[str] = Counter()
    cost: Counter[str] = Counter()
    for stored in found:
        if not stored.followed:
            lanes[stored.task.lane] += 1
            cost[stored.task.price.currency] += stored.task.price.hold(stored.task.n)
    followed = sum(stored.followed for stored in found)
    return Prospect(lanes, cost, free, followed, tuple(sorted({stored.task.lane for stored in every})))
