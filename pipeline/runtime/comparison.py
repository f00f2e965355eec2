"""How a plan stands to a run folder: what is bought already, what is new and why, and what that costs at most."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.engine.phases import Phase
from pipeline.plan.expand import Plan
from pipeline.runtime.difference import LOOKED_AT, Label, label_of, why_new
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.values.folder import STORE
from pipeline.values.task import Task


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
    known = _Known(ids=set(journal.task_ids()))
    for row in journal.task_rows():
        if row.in_spec:
            known.labels.add(label_of(row))
        if row.phase in (Phase.FAILED, Phase.SKIPPED):
            known.failed.add(bytes.fromhex(row.task_id))
        elif row.phase != Phase.DONE:
            known.unfinished.add(bytes.fromhex(row.task_id))
    fresh: list[Task] = []
    found = _compare(made, known, wanted, fresh)
    if not explain:
        return found
    gone = {each.currency: each.spent + each.held + each.doubt for each in journal.accounts()}
    why = why_new(fresh, journal.task_rows(), journal.plan(), made.digest) if fresh else {}
    return replace(found, why=why, looked_at=len(fresh), gone_micros=gone)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a folder has: ids of its tasks, of those that failed, and what those of the spec are called."""

    ids: set[bytes] = field(default_factory=set)
    failed: set[bytes] = field(default_factory=set)
    unfinished: set[bytes] = field(default_factory=set)
    labels: set[Label] = field(default_factory=set)


def _compare(made: Plan, known: _Known, wanted: Container[int] | None, fresh: list[Task] | None = None) -> Comparison:
    owned = new = changed = failed = done = 0
    micros: dict[str, int] = {}
    seen: set[bytes] = set()
    for task in made.tasks():
        key = bytes.fromhex(task.id)
        if key in seen:
            continue
        seen.add(key)
        if key in known.ids:
            failed += key in known.failed
            owned += key not in known.failed
            done += key not in known.failed and key not in known.unfinished
            continue
        if wanted is not None and task.number not in wanted:
            continue
        new += 1
        changed += label_of(task) in known.labels
        micros[task.price.currency] = micros.get(task.price.currency, 0) + task.price.hold(task.n)
        if fresh is not None and new <= LOOKED_AT:
            fresh.append(task)
    return Comparison(owned, new, changed, len(known.ids) - owned - failed, micros, failed, done)
