"""What is remembered of an observation although it is no fact: how often polls broke, when something was last heard.

None of this is durable, and none of it moves money: a new process starts without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, assert_never

from pipeline.engine.evidence import absent_at, awaits_look, stands_still, unbilled_at
from pipeline.engine.lanes import Lane
from pipeline.engine.messages import (
    Fetched,
    FetchFailed,
    Listed,
    Observation,
    PollAnswered,
    Resumed,
    SubmitAnswered,
    TimeCame,
)
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.retry import FAILING_MIN, FETCH_TRIES_MAX, FETCHES_AT_ONCE, RENEWAL_PATIENCE_S, RENEWS, STUCK_S
from pipeline.engine.state import LiveAttempt, State
from pipeline.values.reply import (
    FaultKind,
    Gone,
    OperationFailed,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    StillRunning,
    Unknown,
)

#: A timer that comes this early came in time: clocks round (seconds).
EARLY_S: Final = 0.05


def hear(state: State, observation: Observation, now: float) -> None:
    """Update the memory of a state with what was just told."""
    match observation:
        case SubmitAnswered(number, reply) if number in state.attempts:
            attempt = state.attempts[number]
            if attempt.state is AttemptState.SUBMITTING:
                repeated = state.tasks[attempt.task].doubted_before(number)
                if isinstance(reply, Unknown) and reply.repeats and repeated is not None:
                    # A repeat that the gateway recognised is an answer like any other, and no further doubt.
                    reply = Refused(reply.fault)
                state.lane_of(attempt).hear(number, reply, now, sent=attempt.sent, again=attempt.ordinal > 1)
        case PollAnswered(number, reply) if number in state.attempts:
            _polled(state, state.attempts[number], reply, now)
        case Fetched(number, index) if number in state.attempts:
            state.stuck.discard(number)
            state.lane_of(state.attempts[number]).failing.clear()
            _took(state, state.attempts[number], index, now)
        case FetchFailed(number, index, fault) if number in state.attempts:
            _took(state, state.attempts[number], index, now)
            _fetch_failed(state, state.attempts[number], index, fault.kind, now)
        case Listed(gateway, model):
            _listed(state, gateway, state.lane(f"{gateway}/{model}"))
        case TimeCame(task=int(number)) if number in state.tasks:
            _time_came(state, number, now)
        case Resumed(wall):
            _resumed(state, now, wall)
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
            _timed(state, attempt, reply, now)
        case _:
            assert_never(reply)
    attempt.broken, attempt.broken_since = 0, None
    if isinstance(reply, Ready | OperationFailed):
        state.lane_of(attempt).limited_since = None
    (state.stuck.add if now - attempt.since >= STUCK_S else state.stuck.discard)(attempt.number)
    state.lane_of(attempt).reached()


def _timed(state: State, attempt: LiveAttempt, reply: PollReply, now: float) -> None:
    """Learn how long operations of a lane take: its end lies between the last two polls."""
    if isinstance(reply, Ready) and attempt.began is not None and not (attempt.renewing or attempt.broken):
        lane, took_s = state.lane_of(attempt), now - attempt.began
        # Of an end that the first poll found, nobody knows how much earlier it was.
        unseen_s = max(lane.terms.poll_every_s, took_s / 4) if attempt.ran_at is None else now - attempt.ran_at
        lane.pace.ended(took_s - min(unseen_s, took_s) / 2)
    attempt.ran_at = now


def _took(state: State, attempt: LiveAttempt, index: int, now: float) -> None:
    """Learn how long a download takes: quickly when they get slower, slowly when they get faster."""
    picture = attempt.pictures.get(index)
    if picture is not None and picture.asked:
        took = (now - picture.asked_at) / max(1, -(-picture.ahead // FETCHES_AT_ONCE))
        state.fetch_s += (took - state.fetch_s) * (0.5 if took > state.fetch_s else 0.05)


def _fetch_failed(state: State, attempt: LiveAttempt, index: int, kind: FaultKind, now: float) -> None:
    picture = attempt.pictures.get(index)
    if picture is None:
        return
    picture.asked = False
    if state.disk is not None:
        return  # Not the link's fault: it is tried again once there is room.
    picture.tries += 1
    if kind is FaultKind.TRANSIENT and picture.broken_since is None:
        picture.broken_since = now
    failing = state.lane_of(attempt).failing
    if kind is FaultKind.TRANSIENT and len(failing) < FAILING_MIN:
        failing.add((attempt.number, index))
    if kind in RENEWS or picture.tries == FETCH_TRIES_MAX:
        picture.renewals += 1


def _listed(state: State, gateway: str, lane: Lane) -> None:
    """A look was answered: it counts for those of whom it could have said the last word."""
    if lane.look_at is not None:
        lane.looked_at, lane.look_at = lane.look_at, None
        lane.looks += 1
    for number in lane.suspects:
        attempt = state.attempts[number]
        attempt.looked = attempt.looked or lane.looked_at >= absent_at(attempt)
        if number not in lane.pooled and not lane.unanswered:
            attempt.weighed = attempt.weighed or attempt.looked
    if lane.pooled and stands_still(state, gateway, lane.looked_at, but=state.stuck):
        for number in lane.pooled:
            attempt = state.attempts[number]
            attempt.weighed = attempt.weighed or lane.looked_at >= unbilled_at(attempt)


def _time_came(state: State, number: int, now: float) -> None:
    live = state.tasks[number]
    if live.phase is not Phase.WAITING or live.due is None or now < live.due - EARLY_S:
        return
    live.due = None
    state.timers.pop(number, None)
    if state.lane(live.task.lane).parked is None:
        state.ready.setdefault(live.task.price.currency, {})[number] = None


def _resumed(state: State, now: float, wall: int | None) -> None:
    """The clock of this process is the only one there is: grace and quiet periods begin anew."""
    state.recovering = False
    for lane in state.lanes.values():
        lane.billed_at = now
        _recall(lane, now, wall, state.restored_sent.pop(lane.name, {}))
    for number, live in state.tasks.items():
        lane = state.lane(live.task.lane)
        if live.phase is Phase.IN_DOUBT and state.resubmits(live) and not awaits_look(state, live):
            live.due = now + lane.terms.quiet_s
            state.timers[number] = None
        for attempt in live.attempts.values():
            attempt.sent = attempt.sent if attempt.submitted_at is None else _then(attempt.submitted_at, now, wall)
            attempt.quiet_at = now + lane.terms.quiet_s
            if attempt.pending:
                attempt.links_until = (_then(attempt.ended_at, now, wall) or now) + lane.terms.links_live_s
            if attempt.state is AttemptState.ACCEPTED and attempt.since is None:
                attempt.since = now
            if attempt.number in state.rests and attempt.rest_at is None:
                attempt.rest_at = now + lane.terms.release_lag_s
    waiting = (attempt for attempt in state.attempts.values() if attempt.number in state.fetching)
    for attempt in sorted(waiting, key=lambda each: (each.links_until, each.number)):
        if attempt.links_until < math.inf:
            state.lane_of(attempt).expiring[attempt.number] = attempt.links_until


def _recall(lane: Lane, now: float, wall: int | None, sent: Mapping[str, int]) -> None:
    if lane.terms.lists:
        for operation, at in sorted(sent.items(), key=lambda each: each[1]):
            then = _then(at, now, wall)
            if then is not None:
                lane.sent[operation] = then


def _then(at: int | None, now: float, wall: int | None) -> float | None:
    """A stored time by the driver's clock; nothing lies in the future."""
    return None if at is None or wall is None else now - max(0, wall - at) / 1e6
