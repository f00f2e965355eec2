"""How a run ended: its manifest, the marks in its store, and what everybody is told."""

from __future__ import annotations

import json
import time

from pipeline.engine.lifecycle import ENDED
from pipeline.engine.phases import Phase
from pipeline.failpoints import reach
from pipeline.runtime import prepare, wiring
from pipeline.runtime.alive import Teller, status_now
from pipeline.runtime.driver import Driver
from pipeline.runtime.history import EXITS, Result, failures_of, parked_of, state_of
from pipeline.runtime.inspect import doubts_in, keep_status
from pipeline.runtime.remains import out_of
from pipeline.runtime.said import said_of
from pipeline.runtime.session import Session


def conclude(session: Session, driver: Driver, tell: Teller, begun: float) -> Result:
    """Write the manifest, mark how it ended, and say so."""
    parked = parked_of(session.machine.lane_views(), driver.full, _room_wanted(session), session.plan.cards)
    state = state_of(
        draining=driver.draining,
        # A lane that is parked keeps nothing back when nothing waits: why it is, is told all the same.
        parked=driver.full is not None or (bool(parked) and driver.left_over()),
        doubts=len(session.machine.doubts()),
        budget=session.machine.budget_blocked() is not None,
        counts=session.machine.counts(),
    )
    journal = session.it.journal
    unbought = session.machine.budget_blocked() is not None
    told = {
        "faults": journal.undone(),
        "failures": failures_of(journal.failures()),
        "parked": parked,
        "in_doubt": doubts_in(journal),
        "said": said_of(journal),
        # A pause ends with the process.
        "paused": [],
        "out": out_of(journal, session.plan.cards, alive=False),
        "unsent": _unsent(session) if unbought else 0,
    }
    status = {**status_now(session, driver, state), **told}
    if driver.left:
        tell(state)
        # In a hurry: the store says "running" still, so that whoever looks next brings the manifest up to date.
        return _result(session, tell, state, status, begun)
    from pipeline.manifest.table import write_manifest  # noqa: PLC0415 - Arrow takes 0.3 s to import

    write_manifest(session.it.folder.path, journal)
    marks = {
        "state": state,
        "ended_at": str(session.clock.wall_micros()),
        "parked": json.dumps(parked),
        "unsent": str(told["unsent"]),
    }
    # Where a gateway's books may still tell, the same command reads them again.
    if state in ("complete", "failed_tasks", "in_doubt") and not unbought and not session.machine.may_learn():
        marks["finished_plan"] = wiring.finish_mark(session.plan, session.options, session.caps)
    reach("finish.marking")
    journal.set_meta(marks)
    reach("finish.marked")
    if marks.get("finished_plan"):
        keep_status(session.it.folder.path, journal)
    session.clean = True
    if state == "complete":
        session.it.blackbox.clear()
        session.room.clear()
        reach("finish.cleared")
    tell(state)
    return _result(session, tell, state, status, begun)


def _result(session: Session, tell: Teller, state: str, status: dict[str, object], begun: float) -> Result:
    session.notes += tell.notes()
    took = session.clock.now() - session.started
    # A rehearsal that had nothing to do says nothing of how long the real job takes.
    simulated = took if session.options.simulate and took > 0 else None
    return Result(state, EXITS[state], session.place, status, time.monotonic() - begun, simulated, tuple(session.notes))


def _unsent(session: Session) -> int:
    """Tasks that were never sent, or are to be sent again."""
    counts = session.machine.counts()
    begun = sum(count for phase, count in counts.items() if phase not in (Phase.WAITING, Phase.HELD))
    return max(0, session.total() - begun)


def _room_wanted(session: Session) -> int:
    """Bytes of the pictures that are still to come, by what their sizes usually take."""
    counts, total = session.machine.counts(), session.total()
    left = max(0, total - sum(counts.get(phase, 0) for phase in ENDED))
    return prepare.summary(session.plan).disk_bytes * left // max(1, len(session.plan))
