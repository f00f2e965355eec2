"""What may follow what: the phases of a task and the states of an attempt, as data; an empty cell is a Bug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.engine.facts import (
    Accepted,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Fact,
    Held,
    LateBilled,
    LateFound,
    LinksRenewed,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    WrittenOff,
)
from pipeline.engine.phases import AttemptState, Phase
from pipeline.errors import Bug

#: {phase: the phases that may follow it}. IN_DOUBT can be left only by evidence or by `on_doubt: resubmit`.
PHASES: Final[Mapping[Phase, frozenset[Phase]]] = {
    # An attempt in doubt may be found again while its task waits for another try: hence RUNNING and FETCHING.
    # IN_DOUBT when a user took `resubmit` back.
    Phase.WAITING: frozenset({Phase.HELD, Phase.RUNNING, Phase.FETCHING, Phase.IN_DOUBT, Phase.SKIPPED}),
    Phase.HELD: frozenset({Phase.WAITING, Phase.SUBMITTING}),
    # SHORT: a short task that was sent again and was refused, or written off, is what it was before.
    Phase.SUBMITTING: frozenset(
        {Phase.WAITING, Phase.RUNNING, Phase.FETCHING, Phase.SHORT, Phase.FAILED, Phase.IN_DOUBT}
    ),
    Phase.RUNNING: frozenset({Phase.WAITING, Phase.FETCHING, Phase.SHORT, Phase.FAILED, Phase.IN_DOUBT}),
    Phase.FETCHING: frozenset({Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.IN_DOUBT, Phase.WAITING}),
    Phase.IN_DOUBT: frozenset({Phase.WAITING, Phase.RUNNING, Phase.FETCHING, Phase.SHORT, Phase.FAILED}),
    # A review rejected its pictures, and a user sends it again.
    Phase.DONE: frozenset({Phase.WAITING}),
    # A user may send them again; an old doubt that is found may complete a short task.
    Phase.SHORT: frozenset({Phase.WAITING, Phase.DONE}),
    # One that had been taken as not billed, or was written off, may turn out to have been made after all.
    Phase.FAILED: frozenset({Phase.WAITING, Phase.SHORT, Phase.DONE}),
    Phase.SKIPPED: frozenset(),
}

#: Phases in which nothing more is bought for a task unless somebody asks.
ENDED: Final = frozenset({Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED})

_S = AttemptState

#: {(state, fact): the next state}; None is the state before the first fact. The rows are those of
#: docs/reliability.md: of the end states, SETTLED takes late evidence only when nothing was billed (`next_state` is not
#: told).
ATTEMPTS: Final[Mapping[tuple[AttemptState | None, type], AttemptState]] = {
    (None, Held): _S.RESERVED,
    (_S.RESERVED, Permitted): _S.SUBMITTING,
    (_S.RESERVED, Released): _S.VOID,
    (_S.SUBMITTING, Released): _S.VOID,
    (_S.SUBMITTING, Accepted): _S.ACCEPTED,
    (_S.SUBMITTING, Settled): _S.SETTLED,
    (_S.SUBMITTING, Doubted): _S.DOUBT,
    (_S.ACCEPTED, Settled): _S.SETTLED,
    (_S.ACCEPTED, Doubted): _S.DOUBT,
    # Lifting leads back to SUBMITTING: Accepted or Settled follows in the same step.
    (_S.DOUBT, DoubtLifted): _S.SUBMITTING,
    (_S.DOUBT, DoubtReleased): _S.VOID,
    (_S.DOUBT, WrittenOff): _S.WRITTEN_OFF,
    (_S.VANISHED, DoubtLifted): _S.SUBMITTING,
    (_S.VANISHED, DoubtReleased): _S.VOID,
    (_S.VANISHED, WrittenOff): _S.WRITTEN_OFF,
    (_S.SETTLED, RestReleased): _S.SETTLED,
    (_S.SETTLED, LinksRenewed): _S.SETTLED,
    (_S.SETTLED, PictureStored): _S.SETTLED,
    (_S.SETTLED, PictureLost): _S.SETTLED,
    (_S.SETTLED, LateFound): _S.ACCEPTED,
    (_S.SETTLED, LateBilled): _S.WRITTEN_OFF,
    (_S.VOID, LateFound): _S.ACCEPTED,
    (_S.VOID, LateBilled): _S.WRITTEN_OFF,
    (_S.WRITTEN_OFF, LateFound): _S.ACCEPTED,
}

#: States whose open money stands under `held`; a settled attempt keeps its rest there until the release lag is over.
HOLDING: Final = frozenset({_S.RESERVED, _S.SUBMITTING, _S.ACCEPTED, _S.SETTLED})
#: States whose open money stands under `doubt`.
DOUBTFUL: Final = frozenset({_S.DOUBT, _S.VANISHED})
#: States in which an attempt may have used up one of `retry.attempts`.
COUNTED: Final = frozenset({_S.VOID, _S.SETTLED})
#: States in which a POST of this attempt may be, or may have been, at the gateway without a known end.
EXPOSED: Final = frozenset({_S.SUBMITTING, _S.ACCEPTED, _S.DOUBT, _S.VANISHED})


def next_phase(task: int, was: Phase, phase: Phase, story: Iterable[str]) -> Phase:
    """The phase a task moves to. *Raises* Bug with the task's story when the table has no such move."""
    if phase not in PHASES[was]:
        raise Bug(f"task {task} cannot move from {was} to {phase}; its story: {', '.join(story)}")
    return phase


def next_state(attempt: int, was: AttemptState | None, fact: Fact, story: Iterable[str]) -> AttemptState:
    """The state an attempt is in after a fact. *Raises* Bug with the task's story when the table has no such row."""
    state = ATTEMPTS.get((was, type(fact)))
    if state is None:
        raise Bug(f"attempt {attempt} cannot take {fact} in state {was}; its task's story: {', '.join(story)}")
    if isinstance(fact, Doubted) and fact.vanished:
        return _S.VANISHED
    return state
