"""What a run looks like from outside while it is alive: one view, made now and then, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Again, Unheard
from pipeline.engine.messages import Phase, StoredAccount
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import Fault, FaultKind

#: So long an estimate is kept up although nothing ends (seconds).
PATIENCE_S = 60.0
#: Phases in which a task needs nothing more.
ENDED = (Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED)


@dataclass(frozen=True, slots=True)
class View:
    """A run at one moment. *Units* - elapsed_s, eta_s: seconds of the run's own clock."""

    state: str
    total: int
    #: {phase: tasks of the store}
    counts: Mapping[Phase, int]
    images: int
    money: Mapping[str, StoredAccount]
    lanes: Mapping[str, LaneView]
    #: {lane: permitted rate, such as 60/min}
    rates: Mapping[str, str]
    faults: Mapping[FaultKind, int]
    now: float
    elapsed_s: float
    eta_s: float | None
    last_fault: Fault | None
    #: {lane: operations that the gateway does not know}
    unheard: Mapping[str, Unheard] = field(default_factory=dict)
    #: Tasks in doubt that wait to be bought again; None when none does.
    again: Again | None = None


def status_of(view: View, *, in_doubt: list[dict[str, object]], folder: str) -> dict[str, object]:
    """The object of `status --json`."""
    counts = {phase.value: count for phase, count in view.counts.items() if count}
    return {
        "state": view.state,
        "run": folder,
        "tasks": {**counts, "total": view.total},
        "images": view.images,
        "money": {name: money_of(account) for name, account in view.money.items()},
        "in_doubt": in_doubt,
        "faults": {kind.value: count for kind, count in view.faults.items() if count},
        "gateways": {
            name: {
                "rate": view.rates.get(name, ""),
                "submits": lane.submits,
                "rate_limited": lane.rate_limited,
                "in_flight": lane.in_flight,
                "parked": lane.parked.message if lane.parked is not None else None,
            }
            for name, lane in view.lanes.items()
        },
        "unknown_operations": {
            name: {
                "operations": found.operations,
                "for_s": round(view.now - found.since),
                "doubt_in_s": round(max(0.0, found.until - view.now)),
            }
            for name, found in view.unheard.items()
        },
        "sent_again": None
        if view.again is None
        else {
            "tasks": view.again.tasks,
            "in_s": round(max(0.0, view.again.first - view.now)),
            "last_in_s": round(max(0.0, view.again.last - view.now)),
        },
        "elapsed_s": round(view.elapsed_s, 3),
    }


class Pace:
    """How long a run takes yet, from what ended so far; silent when nothing has ended for longer than that."""

    def __init__(self) -> None:
        self._ended = -1
        self._at = self._left_s = 0.0

    def eta_s(self, *, ended: int, fresh: int, left: int, elapsed_s: float) -> float | None:
        """Seconds left: of `fresh` tasks ended in `elapsed_s`, with `left` to go; None when nobody can say."""
        if not fresh or elapsed_s <= 0:
            return None
        guess = left * elapsed_s / fresh
        if ended != self._ended:
            self._ended, self._at, self._left_s = ended, elapsed_s, guess
        # A few that take much longer than the others would make the guess grow with every second.
        return guess if elapsed_s - self._at <= max(self._left_s, PATIENCE_S) else None


def money_of(account: StoredAccount) -> dict[str, int | None]:
    """One currency of `status --json`; an unlimited cap is null."""
    return {
        "limit_micros": None if account.cap >= UNLIMITED else account.cap,
        "settled_micros": account.spent,
        "held_micros": account.held,
        "doubt_micros": account.doubt,
    }
