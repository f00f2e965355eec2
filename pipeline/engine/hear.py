"""What is remembered of an observation although it is no fact: how often polls broke, when something was last heard.

None of this is durable, and none of it moves money: a new process starts without it.
"""

from __future__ import annotations

from typing import Final, assert_never

from pipeline.engine.messages import (
    QUIET_S,
    AttemptState,
    Fetched,
    FetchFailed,
    Observation,
    Phase,
    PollAnswered,
    Resumed,
    SubmitAnswered,
    TimeCame,
)
from pipeline.engine.retry import FETCH_TRIES_MAX, RENEWAL_PATIENCE_S, STUCK_S
from pipeline.engine.state import LiveAttempt, State
from pipeline.values.reply import FaultKind, Gone, OperationFailed, PollBroken, PollReply, Ready, StillRunning

#: A timer that comes this early came in time: clocks round (seconds).
EARLY_S: Final = 0.05


def hear(state: State, observation: Observation, now: float) -> None:
    """Update the memory of a state with what was just told."""
    match observation:
        case SubmitAnswered(number, reply) if number in state.attempts:
            attempt = state.attempts[number]
            if attempt.state is AttemptState.SUBMITTING:
                state.lane_of(attempt).hear(number, reply, now)
        case PollAnswered(number, reply) if number in state.attempts:
            _polled(state, state.attempts[number], reply, now)
        case Fetched(number, index) if number in state.attempts:
            state.stuck.discard(number)
        case FetchFailed(number, index, fault) if number in state.attempts:
            _fetch_failed(state.attempts[number], index, fault.kind)
        case TimeCame(task=int(number)) if number in state.tasks:
            _time_came(state, number, now)
        case Resumed():
            _resumed(state, now)
        case _:
            pass


def _polled(state: State, attempt: LiveAttempt, reply: PollReply, now: float) -> None:
    attempt.asked = False
    attempt.since = now if attempt.since is None else attempt.since
    match reply:
        case PollBroken(fault):
            attempt.broken += 1
            attempt.broken_since = now if attempt.broken_since is None else attempt.broken_since
            renewing_in_vain = attempt.renewing and now - attempt.broken_since >= RENEWAL_PATIENCE_S
            if fault.kind is FaultKind.UNAUTHORIZED or renewing_in_vain or now - attempt.since >= STUCK_S:
                # Nobody can follow this operation in this run: it is left for the next.
                state.stuck.add(attempt.number)
            return
        case Gone():
            attempt.gone += 1
            attempt.gone_since = now if attempt.gone_since is None else attempt.gone_since
        case StillRunning() | Ready() | OperationFailed():
            attempt.gone, attempt.gone_since = 0, None
        case _:
            assert_never(reply)
    attempt.broken, attempt.broken_since = 0, None
    (state.stuck.add if now - attempt.since >= STUCK_S else state.stuck.discard)(attempt.number)
    state.lane_of(attempt).reached()


def _fetch_failed(attempt: LiveAttempt, index: int, kind: FaultKind) -> None:
    picture = attempt.pictures.get(index)
    if picture is None:
        return
    picture.asked = False
    picture.tries += 1
    if kind is FaultKind.EXPIRED or picture.tries >= FETCH_TRIES_MAX:
        picture.renewals += 1


def _time_came(state: State, number: int, now: float) -> None:
    live = state.tasks[number]
    if live.phase is not Phase.WAITING or live.due is None or now < live.due - EARLY_S:
        return
    live.due = None
    state.timers.pop(number, None)
    if state.lane(live.task.lane).parked is None:
        state.ready.setdefault(live.task.price.currency, {})[number] = None


def _resumed(state: State, now: float) -> None:
    """The clock of this process is the only one there is: grace and quiet periods begin anew."""
    state.recovering = False
    for number, live in state.tasks.items():
        if live.phase is Phase.IN_DOUBT and state.resubmits(live):
            live.due = now + QUIET_S
            state.timers[number] = None
        for attempt in live.attempts.values():
            if attempt.state is AttemptState.ACCEPTED and attempt.since is None:
                attempt.since = now
            if attempt.number in state.rests and attempt.rest_at is None:
                attempt.rest_at = now + state.lane(live.task.lane).terms.release_lag_s
