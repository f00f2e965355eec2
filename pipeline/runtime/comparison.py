"""How a plan stands to a run folder: what is bought already, what is new and why, and what that costs at most."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pipeline.engine.phases import Phase
from pipeline.plan.expand import Plan
from pipeline.runtime.difference import LOOKED_AT, label_of, why_new
from pipeline.runtime.owned import distinct
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.values.folder import STORE
from pipeline.values.task import Task

_BUCKETS: Final = 256
_64_BITS: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a plan stands to a run folder. *Units* - new_micros: {currency: micro-units at most}."""

    #: Tasks of the folder that are bought, or on their way.
    owned: int
    new: int
    #: Planned tasks that are new where the folder holds one of the same row, axes and sample under another id.
    changed: int
    #: Tasks of the folder that the plan no longer has; their pictures are kept.
    dropped: int
    new_micros: Mapping[str, int] = field(default_factory=dict)
    #: Tasks of the folder that ended without a picture; `pipeline retry` sends them again.
    failed: int = 0
    #: Owned tasks whose pictures are all there.
    done: int = 0
    #: {why tasks are new: how many}, of the first so many that were looked at.
    why: Mapping[str, int] = field(default_factory=dict)
    looked_at: int = 0
    #: {currency: spent, held or in doubt so far}.
    gone_micros: Mapping[str, int] = field(default_factory=dict)


def compare(made: Plan, folder: Path) -> Comparison:
    """How a plan stands to a run folder, and why its new tasks are new; reads only."""
    if not has_store(folder):
        return _compare(made, _Known(), None)
    journal = Journal.open_read_only(folder / STORE)
    try:
        return compare_known(made, journal, explain=True)
    finally:
        journal.close(clean=False)


def compare_known(
    made: Plan, journal: Journal, wanted: Container[int] | None = None, *, explain: bool = False
) -> Comparison:
    """How a plan stands to an open store; with `explain` also why new tasks are new."""
    known = _Known()
    for row in journal.task_rows():
        known.ids.add(_mark(row.task_id))
        if row.in_spec:
            known.labels.add(hash(label_of(row)))
        if row.phase in (Phase.FAILED, Phase.SKIPPED):
            known.failed.add(_mark(row.task_id))
        elif row.phase != Phase.DONE:
            known.unfinished.add(_mark(row.task_id))
    fresh: list[Task] = []
    found = _compare(made, known, wanted, fresh)
    if not explain:
        return found
    gone = {each.currency: each.spent + each.held + each.doubt for each in journal.accounts()}
    why = why_new(fresh, journal.task_rows(), journal.plan(), made.digest) if fresh else {}
    return replace(found, why=why, looked_at=len(fresh), gone_micros=gone)


class _Marks:
    """Which of many things were there, by 64 bits of each: eight bytes of memory, where a set takes over a hundred.

    Of ten million two share their bits once in a hundred thousand jobs, and then a count that is shown is wrong by
    one: what is bought again is decided in the store, by whole ids.
    """

    __slots__ = ("_count", "_sorted", "_waiting")

    def __init__(self) -> None:
        self._waiting = [array("Q") for _ in range(_BUCKETS)]
        self._sorted = [True] * _BUCKETS
        self._count = 0

    def add(self, mark: int) -> None:
        """One thing more, told once."""
        bucket = mark % _BUCKETS
        self._waiting[bucket].append(mark & _64_BITS)
        self._sorted[bucket] = False
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __contains__(self, mark: int) -> bool:
        bucket, bits = mark % _BUCKETS, mark & _64_BITS
        marks = self._waiting[bucket]
        if not self._sorted[bucket]:
            self._waiting[bucket] = marks = array("Q", sorted(marks))
            self._sorted[bucket] = True
        place = bisect_left(marks, bits)
        return place < len(marks) and marks[place] == bits


def _mark(task_id: str) -> int:
    return int(task_id[:16], 16)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a folder has: its tasks, those that failed, those on their way, and what those of the spec are called."""

    ids: _Marks = field(default_factory=_Marks)
    failed: _Marks = field(default_factory=_Marks)
    unfinished: _Marks = field(default_factory=_Marks)
    labels: _Marks = field(default_factory=_Marks)


def _compare(made: Plan, known: _Known, wanted: Container[int] | None, fresh: list[Task] | None = None) -> Comparison:
    owned = new = changed = failed = done = 0
    micros: dict[str, int] = {}
    for task in distinct(made):
        key = _mark(task.id)
        if key in known.ids:
            failed += key in known.failed
            owned += key not in known.failed
            done += key not in known.failed and key not in known.unfinished
            continue
        if wanted is not None and task.number not in wanted:
            continue
        new += 1
        changed += hash(label_of(task)) in known.labels
        micros[task.price.currency] = micros.get(task.price.currency, 0) + task.price.hold(task.n)
        if fresh is not None and new <= LOOKED_AT:
            fresh.append(task)
    return Comparison(owned, new, changed, len(known.ids) - owned - failed, micros, failed, done)
