"""What is said of a run while it is alive."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engine.messages import (
    Phase,
)
from pipeline.runtime.driver import Driver
from pipeline.runtime.history import doubts_of
from pipeline.runtime.progress import ENDED, View, status_of
from pipeline.runtime.session import Session

Listener = Callable[[View], None]


def view_of(session: Session, driver: Driver, state: str) -> View:
    """What a display is told."""
    now = session.clock.now()
    counts = session.machine.counts()
    total = session.total()
    ended = sum(counts.get(phase, 0) for phase in ENDED)
    fresh = ended - sum(session.before.values())
    elapsed = now - session.started
    unheard = session.machine.unheard()
    # Of doubts, and of what the gateway does not know, nobody can say when they end.
    endless = counts.get(Phase.IN_DOUBT, 0) + sum(found.operations for found in unheard.values())
    left = max(0, total - ended - endless)
    return View(
        state=state,
        total=total,
        counts=counts,
        images=session.machine.images(),
        money=session.machine.accounts(),
        lanes=session.machine.lane_views(),
        rates={name: lane.rate_text for name, lane in session.lanes.items()},
        faults=session.machine.faults(),
        now=now,
        elapsed_s=elapsed,
        eta_s=session.pace.eta_s(ended=ended, fresh=fresh, left=left, elapsed_s=elapsed),
        last_fault=driver.last_fault,
        unheard=unheard,
        again=session.machine.again(),
    )


def status_now(session: Session, driver: Driver, state: str) -> dict[str, object]:
    """`status --json` of a living run."""
    return status_of(
        view_of(session, driver, state), in_doubt=doubts_of(session.machine.doubts()), folder=str(session.place)
    )
