"""What is said of a run while it is alive."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engine.lifecycle import ENDED
from pipeline.engine.phases import Phase
from pipeline.runtime.driver import Driver
from pipeline.runtime.history import doubts_of
from pipeline.runtime.metrics import Metrics
from pipeline.runtime.progress import View, status_of
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
    lanes, images = session.machine.lane_views(), session.machine.images()
    session.tempo.note(now, images, {name: lane.submits for name, lane in lanes.items()})
    return View(
        state=state,
        total=total,
        counts=counts,
        images=images,
        money=session.machine.accounts(),
        lanes=lanes,
        rates={name: lane.rate_text for name, lane in session.lanes.items()},
        faults=session.machine.faults(),
        now=now,
        elapsed_s=elapsed,
        eta_s=session.pace.eta_s(ended=ended, fresh=fresh, left=left, elapsed_s=elapsed),
        last_fault=driver.last_fault,
        last_fault_at=driver.last_fault_at,
        unheard=unheard,
        again=session.machine.again(),
        paused=session.machine.paused(),
        speeds={
            name: session.tempo.speed(name, lanes[name].submits, now, lane.period_s)
            for name, lane in session.lanes.items()
            if name in lanes
        },
        permitted_per_s={name: lane.count / lane.period_s for name, lane in session.lanes.items()},
        seats={name: lane.terms.in_flight_max for name, lane in session.lanes.items()},
        calls={name: lane.terms.unanswered_max for name, lane in session.lanes.items()},
        images_per_min=session.tempo.images_per_min(now, images),
        before=sum(session.before.values()),
        disk=driver.full,
        budget=session.machine.budget_blocked(),
        billed=_billed(session),
    )


def _billed(session: Session) -> dict[str, dict[str, int]]:
    """What this process settled, in vendors' units that no cap is in."""
    found: dict[str, dict[str, int]] = {}
    for (gateway, unit), micros in session.machine.state.billed.items():
        if unit not in session.caps and (since := micros - session.billed_before.get((gateway, unit), 0)):
            found.setdefault(gateway, {})[unit] = since
    return found


class Teller:
    """Tells the display and the file of metrics how the run stands; makes no view for nobody, and ends no run.

    A display that breaks is left off. Where our own code breaks, the next change is told all the same.
    """

    __slots__ = ("_broke", "_bug", "_driver", "_listener", "_metrics", "_session")

    def __init__(self, session: Session, driver: Driver, listener: Listener | None, metrics: Metrics) -> None:
        """`listener` is the display, if there is one."""
        self._session = session
        self._driver = driver
        self._listener = listener
        self._metrics = metrics
        #: What the display, and what our own code raised last.
        self._broke = self._bug = ""

    def __call__(self, state: str) -> None:
        """Tell this state."""
        due = self._metrics.due() or state != "running"
        if not due and self._listener is None:
            return
        try:
            view = view_of(self._session, self._driver, state)
            self._show(view)
            if due:
                self._metrics.write(view)
        except Exception as error:  # noqa: BLE001 - what is only said of a run must not end one that holds money
            self._bug = _words(error)

    def _show(self, view: View) -> None:
        if self._listener is not None:
            try:
                self._listener(view)
            except Exception as error:  # noqa: BLE001 - nor must a terminal that went away
                self._listener, self._broke = None, _words(error)

    def notes(self) -> list[str]:
        """What went wrong with telling, for the run's last words."""
        bug = (
            f"how the run stands could not always be told, which is our own mistake: {self._bug}; the run itself and "
            "its money are not touched by it"
        )
        broke = f"the display broke and was left off: {self._broke}"
        return [*([bug] if self._bug else []), *([broke] if self._broke else [])]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def status_now(session: Session, driver: Driver, state: str) -> dict[str, object]:
    """`status --json` of a living run."""
    return status_of(
        view_of(session, driver, state), in_doubt=doubts_of(session.machine.doubts()), folder=str(session.place)
    )
