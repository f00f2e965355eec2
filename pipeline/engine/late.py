"""Bills that come late: an attempt that had ended as not billed, or was written off, was made after all.

It is booked in full, above its hold where that is gone; its pictures are collected.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.engine.facts import Fact, LateBilled, LateFound, RestReleased
from pipeline.engine.lanes import Lane
from pipeline.engine.outcome import close, park, proceed, unhold
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.errors import RunError
from pipeline.values.reply import Fault, FaultKind


def listable(state: State, lane: Lane, number: int) -> bool:
    """Whether a listing may show that an attempt which ended was made after all."""
    attempt = state.attempts[number]
    ended = attempt.freed if attempt.state is AttemptState.VOID else attempt.state is AttemptState.WRITTEN_OFF
    return ended and not attempt.operation and state.lane_of(attempt) is lane


def open_to_evidence(attempt: LiveAttempt) -> bool:
    """Whether an attempt that ended may turn out to be billed: its POST was sent, and nothing is known as billed."""
    match attempt.state:
        case AttemptState.VOID:
            return attempt.sent is not None or attempt.submitted_at is not None
        case AttemptState.WRITTEN_OFF:
            return True
        case AttemptState.SETTLED:
            return not attempt.images and not attempt.settled
        case _:
            return False


def found(state: State, attempt: LiveAttempt, operation: str, why: str) -> Iterator[Fact]:
    """It is this operation: follow it. What it costs is booked when its end is known."""
    live = state.tasks[attempt.task]
    freed = attempt.state is AttemptState.VOID
    for other in list(live.attempts.values()):
        if other.state is AttemptState.RESERVED:
            yield from unhold(live, other, why)
    yield LateFound(attempt.number, operation, why)
    yield from proceed(live, Phase.RUNNING)
    if freed:
        yield from _alarm(state, live, attempt)


def billed(state: State, attempt: LiveAttempt, why: str) -> Iterator[Fact]:
    """It was billed, and nobody knows its operation. *Raises* RunError when it is booked as spent already."""
    if attempt.state is AttemptState.WRITTEN_OFF:
        raise RunError(f"attempt {attempt.number} is booked as spent already; name its operation to get its pictures")
    live = state.tasks[attempt.task]
    freed = attempt.state is AttemptState.VOID
    if attempt.open:
        yield RestReleased(attempt.number, attempt.open)
    yield LateBilled(attempt.number, attempt.hold, why)
    if freed:
        yield from _alarm(state, live, attempt)
    yield from close(live, Fault(FaultKind.LOST, f"billed, and its pictures cannot be had: {why}"))


def _alarm(state: State, live: LiveTask, attempt: LiveAttempt) -> Iterator[Fact]:
    why = (
        f"attempt {attempt.number} was billed after it had been taken as not billed: "
        "compare the gateway's bill with `pipeline status`, then run again"
    )
    yield from park(state, [state.lane(live.task.lane)], Fault(FaultKind.UNKNOWN, why))
