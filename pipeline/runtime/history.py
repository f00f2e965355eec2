"""How a run stands or ended, from counts and money alone: the words of `status` and the exit codes behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.machine import Doubt
from pipeline.engine.messages import Phase
from pipeline.values.rows import TaskRow

_FAILED = (Phase.FAILED, Phase.SHORT, Phase.SKIPPED)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. *Units* - seconds: real time; simulated_s: the rehearsal's own time, None for a real run."""

    state: str
    exit_code: int
    folder: Path
    status: dict[str, object]
    seconds: float
    simulated_s: float | None
    notes: tuple[str, ...] = ()


#: {state: exit code}, in the order in which the first that holds wins (interface.md).
EXITS = {"stopped": 130, "parked": 6, "in_doubt": 5, "budget_reached": 3, "failed_tasks": 4, "complete": 0}


def state_of(*, draining: bool, parked: bool, budget: bool, counts: Mapping[Phase, int]) -> str:
    """The first that holds of stopped, parked, in_doubt, budget_reached, failed_tasks, complete (interface.md)."""
    if draining:
        return "stopped"
    if parked:
        return "parked"
    if counts.get(Phase.IN_DOUBT, 0):
        return "in_doubt"
    if budget:
        return "budget_reached"
    if any(counts.get(phase, 0) for phase in _FAILED):
        return "failed_tasks"
    return "complete"


def failures_of(tasks: Iterable[TaskRow]) -> list[dict[str, object]]:
    """The `failures` list of `status --json`: per kind of fault, how many tasks and the latest gateway's words."""
    found: dict[str, tuple[int, str]] = {}
    for row in tasks:
        if row.fault and row.phase in _FAILED:
            found[row.fault] = (found.get(row.fault, (0, ""))[0] + 1, row.fault_message)
    return [{"fault": kind, "tasks": count, "message": message} for kind, (count, message) in sorted(found.items())]


def doubts_of(doubts: Iterable[Doubt]) -> list[dict[str, object]]:
    """The `in_doubt` list of `status --json`."""
    return [
        {
            "attempt": doubt.attempt,
            "task_id": doubt.task_id,
            "micros": doubt.micros,
            "currency": doubt.currency,
            "why": doubt.why,
        }
        for doubt in doubts
    ]
