"""What the world must do now: commands, for facts that are durable, and for news that changed nothing."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.engine.answers import poll_after_s
from pipeline.engine.decide import came, renewable
from pipeline.engine.evidence import look
from pipeline.engine.facts import (
    Accepted,
    DiskNoted,
    Doubted,
    Fact,
    LaneCooled,
    LateFound,
    LinksRenewed,
    Permitted,
    Settled,
    TaskMoved,
)
from pipeline.engine.messages import (
    Command,
    Fetch,
    FetchFailed,
    Listed,
    Observation,
    Poll,
    PollAnswered,
    Submit,
    TimeCame,
    Wake,
)
from pipeline.engine.phases import AttemptState
from pipeline.engine.retry import RENEWAL_FIRST_S, backoff_s, wait_s
from pipeline.engine.state import LiveAttempt, LivePicture, State
from pipeline.engine.stored import PENDING


def react(state: State, fact: Fact, now: float) -> Iterator[Command]:
    """The commands that a durable fact asks for. Facts of tasks that are over by now ask for nothing."""
    match fact:
        case Permitted(number):
            attempt = state.attempts[number]
            first = state.tasks[attempt.task].doubted_before(number)
            yield Submit(number, attempt.task, None if first is None else first.number)
        case Accepted(number) if number in state.attempts:
            attempt = state.attempts[number]
            lane = state.lane_of(attempt)
            yield from poll(attempt, now + lane.pace.first_poll_s(lane.terms.poll_first_s, lane.terms.poll_patience_s))
        case LateFound(number) if number in state.attempts:
            yield from poll(state.attempts[number], now)
        case Doubted(number) if number in state.attempts:
            lane = state.lane_of(state.attempts[number])
            lane.looks = 0
            yield from look(state, lane, now)
        case Settled(number) if number in state.attempts:
            attempt = state.attempts[number]
            yield from _fetch_all(state, attempt, now)
            yield from _wake_rest(state, attempt)
        case LinksRenewed(number) if number in state.attempts:
            yield from _fetch_all(state, state.attempts[number], now)
        case DiskNoted(None):
            yield from _fetch_oldest_first(state, now)
        case TaskMoved(task, _, _, float(until)):
            yield Wake(until, task=task)
        case LaneCooled(lane, until):
            yield Wake(until, lane=lane)
        case _:
            pass


def follow(state: State, observation: Observation, now: float) -> Iterator[Command]:
    """The commands that an observation asks for when it ended nothing: polls and downloads to repeat, early timers."""
    match observation:
        case PollAnswered(number, reply) if number in state.attempts:
            attempt = state.attempts[number]
            attempt.renewing = attempt.renewing and any(
                picture.state == PENDING and not picture.asked for picture in attempt.pictures.values()
            )
            if attempt.state is AttemptState.ACCEPTED or attempt.renewing:
                yield from poll(attempt, now + poll_after_s(state, attempt, reply, now))
        case FetchFailed(number, index, fault) if number in state.attempts:
            attempt = state.attempts[number]
            picture = attempt.pictures.get(index)
            if picture is None or picture.state != PENDING or picture.asked or state.disk is not None:
                return
            if renewable(attempt, picture, fault):
                attempt.renewing = True
                # A fresh link that is refused as well may only not have got around yet: what is paid is not given up
                # within seconds.
                again = picture.renewals - 2
                wait = 0.0 if again < 0 else backoff_s(state.seed, number * 64 + index, again, first_s=RENEWAL_FIRST_S)
                yield from poll(attempt, now + wait)
            else:
                yield _fetch(
                    state, attempt, picture, now + wait_s(fault, state.seed, number * 64 + index, picture.tries - 1)
                )
        case Listed(gateway, model):
            yield from look(state, state.lane(f"{gateway}/{model}"), now)
        case TimeCame(task=int(number)) if number in state.timers:
            due = state.tasks[number].due
            if due is not None and not came(due, now):
                yield Wake(due, task=number)
        case TimeCame(attempt=int(number)) if number in state.rests:
            yield from _wake_rest(state, state.attempts[number])
        case _:
            pass


def resume(state: State, now: float) -> Iterator[Command]:
    """What was going on when the last process ended: polls and downloads first, then timers."""
    for attempt in state.attempts.values():
        if attempt.state is AttemptState.ACCEPTED:
            yield from poll(attempt, now)
    yield from _fetch_oldest_first(state, now)
    for number in sorted(state.rests):
        yield from _wake_rest(state, state.attempts[number])
    for number in state.timers:
        due = state.tasks[number].due
        if due is not None:
            yield Wake(due, task=number)
    for lane in state.lanes.values():
        if lane.cooling_until > now:
            yield Wake(lane.cooling_until, lane=lane.name)
        yield from look(state, lane, now)


def poll(attempt: LiveAttempt, at: float) -> Iterator[Command]:
    """Ask how an operation stands, unless it is being asked already: one chain of polls per attempt."""
    if not attempt.asked:
        attempt.asked = True
        yield Poll(attempt.number, attempt.task, attempt.operation, at)


def _fetch_oldest_first(state: State, now: float) -> Iterator[Command]:
    waiting = (state.attempts[number] for number in state.fetching)
    for attempt in sorted(waiting, key=lambda each: (each.links_until, each.number)):
        yield from _fetch_all(state, attempt, now)


def _fetch_all(state: State, attempt: LiveAttempt, now: float) -> Iterator[Command]:
    for picture in attempt.pictures.values():
        if picture.state == PENDING and not picture.asked and state.disk is None and not attempt.renewing:
            yield _fetch(state, attempt, picture, now)


def _fetch(state: State, attempt: LiveAttempt, picture: LivePicture, at: float) -> Fetch:
    picture.asked, picture.asked_at, picture.ahead = True, at, state.backlog
    return Fetch(attempt.number, attempt.task, picture.index, picture.link, at, attempt.links_until)


def _wake_rest(state: State, attempt: LiveAttempt) -> Iterator[Command]:
    if attempt.number in state.rests and attempt.rest_at is not None:
        yield Wake(attempt.rest_at, attempt=attempt.number)
