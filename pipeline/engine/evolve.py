"""Bookkeeping: a fact changes the state. Total, dull, no policy."""

from __future__ import annotations

import math
from typing import TypeAlias, assert_never

from pipeline.engine import ledger, lifecycle
from pipeline.engine.facts import (
    BY_METER,
    Accepted,
    BudgetReached,
    CapSet,
    Continued,
    DiskNoted,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Draining,
    DrainNoted,
    Fact,
    Held,
    LaneCooled,
    LaneParked,
    LateBilled,
    LateFound,
    LinksRenewed,
    Paused,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.state import LiveAttempt, LivePicture, LiveTask, Pause, State
from pipeline.engine.stored import LOST, PENDING, STORED
from pipeline.errors import Bug
from pipeline.values.reply import why_of

#: Facts about one attempt that is known already.
_OF_ATTEMPT: TypeAlias = (
    Permitted
    | Accepted
    | Released
    | Doubted
    | DoubtLifted
    | DoubtReleased
    | WrittenOff
    | Settled
    | LateFound
    | LateBilled
    | RestReleased
    | LinksRenewed
    | PictureStored
    | PictureLost
)


def evolve(state: State, fact: Fact, now: float) -> None:
    """Change the state by one fact. *Raises* Bug for a fact that cannot follow, before anything is changed."""
    match fact:
        case CapSet(currency, cap):
            known = state.accounts.get(currency)
            state.accounts[currency] = ledger.set_cap(known, cap) if known else ledger.open_account(currency, cap)
            state.blocked.pop(currency, None)
        case TaskAdmitted(task):
            if task.number in state.tasks:
                raise Bug(f"task {task.number} was admitted twice")
            state.tasks[task.number] = LiveTask(task, Phase.WAITING)
            state.counts[Phase.WAITING] += 1
            state.story(task.number).append("admitted")
        case Held():
            _held(state, fact)
        case TaskMoved():
            _moved(state, fact)
        case BudgetReached(currency):
            state.blocked[currency] = fact
        case LaneCooled(name, until, _, probe):
            lane = state.lane(name)
            lane.cooling_until = max(lane.cooling_until, until)
            if probe:
                lane.breaker += 1
                lane.lost = lane.pace.refusals == 0
                lane.probe = None
                lane.pace.cut(now)
                lane.doubted_at.clear()
                lane.doubtful.clear()
        case LaneParked(name):
            _parked(state, name, fact)
        case Draining():
            state.draining = True
        case Paused(paused, why):
            state.paused[paused] = Pause(why, now)
        case Continued(None):
            state.paused.clear()
        case Continued(str(name)):
            del state.paused[name]
        case DrainNoted():
            pass  # Draining follows.
        case DiskNoted(fault):
            state.disk = fault
        case _:
            _attempted(state, fact, now)


def _held(state: State, fact: Held) -> None:
    live = state.tasks[fact.task]
    story = state.story(fact.task)
    if fact.attempt < state.next_attempt:
        raise Bug(f"attempt number {fact.attempt} was given out already; the task's story: {', '.join(story)}")
    attempt = LiveAttempt(
        fact.attempt,
        fact.task,
        fact.ordinal,
        lifecycle.next_state(fact.attempt, None, fact, story),
        fact.currency,
        fact.amount,
        hold=fact.amount,
    )
    state.accounts[fact.currency] = ledger.hold(state.account(fact.currency), fact.amount)
    live.attempts[fact.attempt] = state.attempts[fact.attempt] = attempt
    state.next_attempt = fact.attempt + 1
    lane = state.lane(live.task.lane)
    (lane.again if fact.ordinal > 1 else lane.fresh).append(fact.attempt)
    story.append(f"{fact.attempt} held")


def _moved(state: State, fact: TaskMoved) -> None:
    live = state.tasks[fact.task]
    story = state.story(fact.task)
    was, live.phase = live.phase, lifecycle.next_phase(fact.task, live.phase, fact.phase, story)
    story.append(str(fact.phase))
    state.counts[was] -= 1
    state.counts[fact.phase] += 1
    live.due = fact.until
    state.timers.pop(fact.task, None)
    queue = state.ready.setdefault(live.task.price.currency, {})
    queue.pop(fact.task, None)
    parked = state.lane(live.task.lane).parked is not None
    if fact.until is not None and not parked:
        state.timers[fact.task] = None
    elif fact.phase is Phase.WAITING and not parked:
        queue[fact.task] = None
    if fact.phase is Phase.WAITING and was in lifecycle.ENDED:
        for attempt in live.attempts.values():
            attempt.counts = False  # A user asked for it: the allowance of attempts begins anew.
            attempt.superseded = attempt.superseded or was is Phase.DONE
    if fact.phase in lifecycle.ENDED and fact.fault is not None:
        state.faults[fact.fault.kind] += 1
    if live.phase in lifecycle.ENDED:
        state.ended.add(live.task.number)


def _parked(state: State, name: str, fact: LaneParked) -> None:
    state.lane(name).parked = fact.fault
    for queue in (*state.ready.values(), state.timers):
        for number in [number for number in queue if state.tasks[number].task.lane == name]:
            del queue[number]


def _attempted(state: State, fact: Fact, now: float) -> None:
    assert isinstance(fact, _OF_ATTEMPT)
    attempt = state.attempts.get(fact.attempt)
    if attempt is None:
        raise Bug(f"a fact about an attempt that is over or was never made: {fact}")
    live = state.tasks[attempt.task]
    story = state.story(attempt.task)
    was = attempt.state
    becomes = lifecycle.next_state(attempt.number, was, fact, story)
    waiting = attempt.waiting
    _money(state, live, attempt, fact, now)
    attempt.state = becomes
    story.append(f"{attempt.number} {type(fact).__name__}")
    match fact:
        case Accepted(_, operation):
            attempt.began = now
            _known(state, live, attempt, operation, now)
        case LateFound(_, operation):
            # It says so once more when it ends.
            attempt.counts = True
            attempt.asked, attempt.gone, attempt.gone_since, attempt.pictures = False, 0, None, {}
            _known(state, live, attempt, operation, now)
        case Released(counts=counts):
            attempt.counts, attempt.why = counts, fact.fault.message
        case Settled():
            terms = state.lane(live.task.lane).terms
            attempt.pictures = {index: LivePicture(index, PENDING, link) for index, link in enumerate(fact.links)}
            attempt.images = fact.images
            attempt.rest_at = now + terms.release_lag_s
            attempt.links_until = now + terms.links_live_s
            attempt.counts = fact.counts and fact.fault is not None and not fact.images
        case LinksRenewed(_, links):
            attempt.renewing = False
            attempt.links_until = now + state.lane(live.task.lane).terms.links_live_s
            state.lane(live.task.lane).expiring.pop(attempt.number, None)
            for picture, link in zip(attempt.pictures.values(), links, strict=False):
                picture.link = link
                picture.tries = 0
        case PictureStored(_, index):
            attempt.pictures[index].state = STORED
            state.images += 1
        case PictureLost(_, index):
            attempt.pictures.setdefault(index, LivePicture(index, LOST, "")).state = LOST
        case Permitted():
            attempt.sent = now
            lane = state.lane(live.task.lane)
            lane.submits += 1
            lane.pace.permitted(again=attempt.ordinal > 1)
        case DoubtReleased():
            attempt.freed = True
        case Doubted(fault=fault):
            attempt.why = why_of(fault)
            attempt.quiet_at = now + state.lane(live.task.lane).terms.quiet_s
            attempt.looked = attempt.weighed = False
        case DoubtLifted() | WrittenOff() | LateBilled() | RestReleased():
            pass
        case _:
            assert_never(fact)
    state.lane(live.task.lane).backlog += attempt.waiting - waiting
    _place(state, live, attempt, was)
    if live.phase in lifecycle.ENDED:
        state.ended.add(live.task.number)


def _known(state: State, live: LiveTask, attempt: LiveAttempt, operation: str, now: float) -> None:
    """An attempt is this operation."""
    attempt.operation = operation
    attempt.since = now
    state.operations.add((live.task.gateway, operation))
    lane = state.lane(live.task.lane)
    if lane.terms.lists and attempt.sent is not None:
        lane.remember(operation, attempt.sent)


def _money(state: State, live: LiveTask, attempt: LiveAttempt, fact: Fact, now: float) -> None:
    """Move the money of a fact. Whole holds move whole: an amount that differs from what is open is a Bug."""
    account = state.account(attempt.currency)
    gateway, price = live.task.gateway, live.task.price
    books = (gateway, price.native_unit)
    match fact:
        case Settled(_, _, amount, overage):
            if amount > attempt.open:
                raise Bug(f"settled above the hold of {attempt.open}: {fact}")
            account = ledger.settle(account, amount, overage)
            attempt.open -= amount
            attempt.settled += amount + overage
            state.billed[books] += price.native_cost(fact.images)
            state.lane(live.task.lane).billed_at = now
        case LateFound():
            _late(attempt, fact)
            state.unsure.add(gateway)
            return
        case LateBilled(_, amount):
            _late(attempt, fact)
            if attempt.open:
                raise Bug(f"attempt {attempt.number} has {attempt.open} open, which must be released first: {fact}")
            account = ledger.settle(account, 0, amount)
            attempt.settled += amount
            state.unsure.add(gateway)
        case Doubted(_, amount) | DoubtLifted(_, amount):
            _whole(attempt, fact, amount)
            account = (ledger.doubt if isinstance(fact, Doubted) else ledger.lift)(account, amount)
        case Released(_, amount) | RestReleased(_, amount) | DoubtReleased(_, amount) | WrittenOff(_, amount):
            _whole(attempt, fact, amount)
            attempt.open = 0
            match fact:
                case WrittenOff():
                    account = ledger.write_off(account, amount)
                    attempt.settled += amount
                    if fact.why.startswith(BY_METER):
                        state.billed[books] += price.native_cost(live.task.n)
                    else:
                        state.guessed[gateway] += 1
                case DoubtReleased():
                    account = ledger.release_doubt(account, amount)
                case _:
                    account = ledger.release(account, amount)
            if amount and not isinstance(fact, WrittenOff):
                state.blocked.pop(attempt.currency, None)
        case _:
            return
    state.accounts[attempt.currency] = account


def _late(attempt: LiveAttempt, fact: Fact) -> None:
    if attempt.state is AttemptState.SETTLED and (attempt.images or attempt.settled):
        raise Bug(f"attempt {attempt.number} is billed already: {fact}")


def _whole(attempt: LiveAttempt, fact: Fact, amount: int) -> None:
    if amount != attempt.open:
        raise Bug(f"attempt {attempt.number} has {attempt.open} open, not what moves: {fact}")


def _place(state: State, live: LiveTask, attempt: LiveAttempt, was: AttemptState) -> None:
    """Keep the queues and sets in step with the state of an attempt."""
    lane = state.lane(live.task.lane)
    number = attempt.number
    if was is not attempt.state:
        match was:
            case AttemptState.RESERVED:
                lane.drop_held(number)
            case AttemptState.SUBMITTING:
                lane.unanswered.discard(number)
            case AttemptState.ACCEPTED:
                lane.running.discard(number)
                state.stuck.discard(number)
            case _:
                pass
        match attempt.state:
            case AttemptState.SUBMITTING:
                lane.unanswered.add(number)
                if lane.breaker and was is AttemptState.RESERVED:
                    lane.probe = number
            case AttemptState.ACCEPTED:
                lane.running.add(number)
            case _:
                pass
    settled = attempt.state is AttemptState.SETTLED
    (state.fetching.add if settled and attempt.pending else state.fetching.discard)(number)
    (state.rests.add if settled and attempt.open else state.rests.discard)(number)
    (lane.suspects.add if state.suspect(attempt) else lane.suspects.discard)(number)
    (lane.pooled.add if state.metered(attempt) else lane.pooled.discard)(number)
    if number not in state.fetching:
        lane.expiring.pop(number, None)
    elif attempt.links_until < math.inf:
        lane.expiring.setdefault(number, attempt.links_until)
    if number not in state.fetching and attempt.state is not AttemptState.ACCEPTED:
        state.stuck.discard(number)


def forget(state: State) -> None:
    """Drop the tasks that are over: only their counts are kept, so memory does not grow with the run.

    At the end of a step and not within it: what is being decided may still look at them.
    """
    while state.ended:
        live = state.tasks[state.ended.pop()]
        if live.over:
            for attempt in live.attempts:
                del state.attempts[attempt]
            del state.tasks[live.task.number]
            state.stories.pop(live.task.number, None)
