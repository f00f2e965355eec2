"""What a run looks like from outside while it is alive: one view, made now and then, never stored."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.engine.facts import BudgetReached
from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Again, Unheard
from pipeline.engine.phases import Phase
from pipeline.engine.state import Pause
from pipeline.engine.stored import StoredAccount
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import Fault, FaultKind

#: So long an estimate is kept up although nothing ends (seconds).
PATIENCE_S: Final = 60.0
#: Rates are measured over this long at most, from one look a second (seconds).
WINDOW_S: Final = 60.0
LOOK_EVERY_S: Final = 1.0


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
    #: When it happened, by the clock of `now`; None when nobody remembers.
    last_fault_at: float | None = None
    #: {lane: operations that the gateway does not know}
    unheard: Mapping[str, Unheard] = field(default_factory=dict)
    #: Tasks in doubt that wait to be bought again; None when none does.
    again: Again | None = None
    #: {lane, None for all of them: the pause that somebody asked for}
    paused: Mapping[str | None, Pause] = field(default_factory=dict)
    #: {lane: submits a period of its own rate, counted over the last minute}
    speeds: Mapping[str, float] = field(default_factory=dict)
    #: {lane: permitted submits a second}
    permitted_per_s: Mapping[str, float] = field(default_factory=dict)
    #: {lane: operations it may have at the gateway at once}
    seats: Mapping[str, int] = field(default_factory=dict)
    #: {lane: calls that may wait for their answer at once}
    calls: Mapping[str, int] = field(default_factory=dict)
    #: Pictures stored within the last minute; None while nobody can say.
    images_per_min: float | None = None
    #: Tasks that had ended before this process began: cached work, which costs no time any more.
    before: int = 0
    #: Why the disk takes nothing new; None when it does.
    disk: str | None = None
    #: The next task's hold does not fit under a cap.
    budget: BudgetReached | None = None
    #: {gateway: {vendor's unit: micro-units billed since this process began}}, of units that no cap is in.
    billed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


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
                "rate_share": round(lane.share, 3),
                "rate_limited": lane.rate_limited,
                "in_flight": lane.in_flight,
                "in_flight_max": view.seats.get(name),
                "speed": round(view.speeds.get(name, 0.0), 3),
                "cooling_s": round(max(0.0, (lane.cooling_until or view.now) - view.now), 1),
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
        "paused": [
            {"lane": lane, "why": pause.why, "for_s": round(view.now - pause.since)}
            for lane, pause in view.paused.items()
        ],
        "images_per_min": None if view.images_per_min is None else round(view.images_per_min, 1),
        "before": view.before,
        "elapsed_s": round(view.elapsed_s, 3),
        "left_s": None if view.eta_s is None else round(view.eta_s, 1),
    }


@dataclass(frozen=True, slots=True)
class _Look:
    """What was counted at one moment."""

    at: float
    images: int
    submits: Mapping[str, int]


class Tempo:
    """How fast a run goes: submits of each lane and pictures, counted over the last minute."""

    def __init__(self) -> None:
        #: One look a second; the oldest is a minute old.
        self._looks: deque[_Look] = deque()

    def note(self, now: float, images: int, submits: Mapping[str, int]) -> None:
        """Take note of what is counted by now."""
        if not self._looks or now - self._looks[-1].at >= LOOK_EVERY_S:
            self._looks.append(_Look(now, images, dict(submits)))
            while len(self._looks) > 2 and self._looks[1].at <= now - WINDOW_S:
                self._looks.popleft()

    def images_per_min(self, now: float, images: int) -> float | None:
        """Pictures a minute; None in the first seconds, when any figure would be a guess."""
        if not self._looks or now - self._looks[0].at < 5 * LOOK_EVERY_S:
            return None
        first = self._looks[0]
        return max(0, images - first.images) * 60.0 / (now - first.at)

    def speed(self, lane: str, submits: int, now: float, period_s: float) -> float:
        """Submits of a lane for each `period_s`: never more than were sent, while less than a period has passed."""
        if not self._looks:
            return 0.0
        first = self._looks[0]
        sent = max(0, submits - first.submits.get(lane, 0))
        return sent * period_s / max(now - first.at, min(period_s, WINDOW_S), LOOK_EVERY_S)


class Pace:
    """How long a run takes yet, from what ended so far; silent when nothing has ended for longer than that."""

    def __init__(self) -> None:
        self._ended = -1
        self._at = self._left_s = 0.0

    def eta_s(self, *, ended: int, fresh: int, left: int, elapsed_s: float) -> float | None:
        """Seconds left: of `fresh` tasks ended in `elapsed_s`, with `left` to go; None when nobody can say.

        Tasks that had ended before are in neither: cached work takes no time.
        """
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
