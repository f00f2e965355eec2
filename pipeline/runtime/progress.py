"""What a run looks like from outside while it is alive: one view, made now and then, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine.lanes import LaneView
from pipeline.engine.messages import Phase, StoredAccount
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import Fault, FaultKind

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


def status_of(view: View, *, in_doubt: list[dict[str, object]], folder: str) -> dict[str, object]:
    """The object of `status --json` (interface.md)."""
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
        "elapsed_s": round(view.elapsed_s, 3),
    }


def money_of(account: StoredAccount) -> dict[str, int | None]:
    """One currency of `status --json`; an unlimited cap is null."""
    return {
        "limit_micros": None if account.cap >= UNLIMITED else account.cap,
        "settled_micros": account.spent,
        "held_micros": account.held,
        "doubt_micros": account.doubt,
    }
