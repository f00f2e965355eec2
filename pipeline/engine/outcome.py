"""What several decisions share: where a task goes when an attempt ended, what doubt leads to, what parks a lane.

These are generators, and each fact is evolved before the next is asked for: the state read after a `yield` already
contains what was yielded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from pipeline.engine import lifecycle
from pipeline.engine.facts import (
    Doubted,
    Fact,
    LaneParked,
    PictureLost,
    Released,
    RestReleased,
    Settled,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.lanes import Lane
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.retry import AFTER, After, wait_s
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.engine.terms import OnDoubt
from pipeline.values.money import format_money
from pipeline.values.reply import Fault, FaultKind, Ready

_ORDER = (Phase.WAITING, Phase.HELD, Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING)


def proceed(live: LiveTask, phase: Phase) -> Iterator[Fact]:
    """Move a task forward to RUNNING or FETCHING; a task that another attempt brought further stays where it is."""
    if live.phase is Phase.IN_DOUBT or (
        live.phase not in lifecycle.ENDED and _ORDER.index(live.phase) < _ORDER.index(phase)
    ):
        yield TaskMoved(live.task.number, phase)


def close(live: LiveTask, fault: Fault, *, again: bool = False, until: float | None = None) -> Iterator[Fact]:
    """Say where a task stands now that one of its attempts ended; nothing while another attempt is alive.

    Nor for a task that waits to be bought again: its old doubt, when resolved, does not end it.

    `again`: buy it once more, after `until`. For a task that ends in doubt `until` is the end of its quiet period.
    """
    if live.live or live.phase in {Phase.WAITING, Phase.HELD}:
        return
    number, wanted = live.task.number, live.task.n
    stored = max((attempt.stored for attempt in live.attempts.values() if not attempt.superseded), default=0)
    if stored >= wanted:
        move = TaskMoved(number, Phase.DONE)
    elif again and live.phase not in lifecycle.ENDED:
        move = TaskMoved(number, Phase.WAITING, until=until)
    elif stored and not (live.doubts and live.phase is Phase.SUBMITTING):
        # A short task that was sent again and whose answer was lost is in doubt, as any other would be.
        move = TaskMoved(number, Phase.SHORT, Fault(FaultKind.SHORT, f"{stored} of {wanted} pictures: {fault.message}"))
    elif live.doubts:
        move = TaskMoved(number, Phase.IN_DOUBT, fault, until)
    else:
        move = TaskMoved(number, Phase.FAILED, fault)
    if move.phase is not live.phase and (
        live.phase not in lifecycle.ENDED
        or move.phase is Phase.DONE
        or (live.phase is Phase.FAILED and move.phase is Phase.SHORT)
    ):
        yield move


def doubted(
    state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, now: float, *, vanished: bool = False
) -> Iterator[Fact]:
    """The whole hold becomes doubt; what the task does then is the user's policy."""
    yield Doubted(attempt.number, attempt.open, fault, vanished)
    yield from doubt_policy(state, live, attempt, fault, now)


def doubt_policy(state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, now: float) -> Iterator[Fact]:
    """What `on_doubt` says about an attempt that is in doubt."""
    match state.policy.on_doubt:
        case OnDoubt.HOLD:
            yield from close(live, fault)
        case OnDoubt.WRITE_OFF:
            yield WrittenOff(attempt.number, attempt.open, "on_doubt: write_off")
            told = f"counted as spent (on_doubt: write_off): {fault.message}"
            yield from close(live, replace(fault, message=told[:500]))
        case OnDoubt.RESUBMIT:
            # Where the gateway lists, a look comes first (`evidence`).
            waits = state.resubmits(live) and not any(map(state.suspect, live.attempts.values()))
            yield from close(live, fault, until=now + state.lane_of(attempt).terms.quiet_s if waits else None)
        case policy:
            assert_never(policy)


def ended_unbilled(state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, now: float) -> Iterator[Fact]:
    """A definite end for which nothing was billed: again, later, elsewhere, or never, by the kind of the fault.

    The attempt is VOID or SETTLED already and its use of the allowance is counted.
    """
    after = AFTER[fault.kind]
    if after is After.COOL and attempt.counts:
        after = After.AGAIN  # Not a 429 to a POST: an operation that failed because of the gateway's own limits.
    match after:
        case After.COOL:
            yield from close(live, fault, again=True)
        case After.PARK:
            yield from park_gateway(state, live.task.gateway, fault)
            yield from close(live, fault, again=True)
        case After.PARK_LANE:
            yield from park(state, [state.lane_of(attempt)], fault)
            yield from close(live, fault, again=True)
        case After.AGAIN:
            if live.used < state.policy.attempts_max:
                until = now + wait_s(fault, state.seed, attempt.number, live.used - 1)
                yield from close(live, fault, again=True, until=until)
            else:
                yield from close(live, fault)
        case After.GIVE_UP:
            yield from close(live, fault)
        case _:
            assert_never(after)


def settled(state: State, live: LiveTask, attempt: LiveAttempt, reply: Ready) -> Iterator[Fact]:
    """Book what was billed, within the hold and above it, and go for the pictures."""
    # The gateway's count and what it delivered may differ; the higher one is what it can bill. So may the price list
    # and the sum that it names.
    billed = max(reply.billed_images, len(reply.links))
    cost = max(0, live.task.price.told_cost(billed, reply.charged) - attempt.settled)
    amount = min(cost, attempt.open)
    overage = cost - amount
    lost = Fault(FaultKind.LOST, "billed and not delivered", request_id=reply.request_id)
    nothing = Fault(FaultKind.LOST, "the operation ended without pictures", request_id=reply.request_id)
    yield Settled(
        attempt.number,
        billed,
        amount,
        overage,
        reply.links,
        reply.revised_prompt,
        None if billed else nothing,
        reply.request_id,
    )
    if billed:
        yield from proceed(live, Phase.FETCHING)
    for index in range(len(reply.links), billed):
        yield PictureLost(attempt.number, index, lost)
    lane = state.lane_of(attempt)
    if attempt.open and not lane.terms.release_lag_s:
        yield RestReleased(attempt.number, attempt.open)
    if attempt.settled > attempt.hold:
        # Our price of this model is wrong, so no hold is an upper bound any more: stop buying there. Other models of
        # the gateway have prices of their own.
        over = _above_the_hold(live, attempt, billed, amount + overage)
        yield from park(state, [lane], Fault(FaultKind.UNKNOWN, over, request_id=reply.request_id))
    if not attempt.pending:
        yield from close(live, lost if billed else nothing)


def _above_the_hold(live: LiveTask, attempt: LiveAttempt, billed: int, cost: int) -> str:
    """Why a call cost more than was put aside for it, in words and amounts."""
    sums = f"{format_money(cost, attempt.currency)} billed, {format_money(attempt.hold, attempt.currency)} put aside"
    if billed > live.task.n and cost <= live.task.price.told_cost(billed, None):
        return (
            f"it made {billed} pictures where {live.task.n} were asked for, and bills them all ({sums}); take it up "
            "with the vendor: the same command goes on buying"
        )
    return f"its price is not the card's ({sums}); correct the price (`pipeline models`), then run again"


def park_gateway(state: State, gateway: str, fault: Fault) -> Iterator[Fact]:
    """Every lane of a gateway submits nothing more in this run."""
    yield from park(state, list(state.lanes_of_gateway(gateway)), fault)


def park(state: State, lanes: list[Lane], fault: Fault) -> Iterator[Fact]:
    """These lanes submit nothing more in this run; what they held is free again."""
    for lane in lanes:
        if lane.parked is None:
            yield LaneParked(lane.name, fault)
            yield from release_held(state, lane, "the lane is parked")


def release_held(state: State, lane: Lane, why: str) -> Iterator[Fact]:
    """Every attempt of a lane that has no permit yet gives its hold back."""
    for number in (*lane.again, *lane.fresh):
        attempt = state.attempts[number]
        yield from unhold(state.tasks[attempt.task], attempt, why)


def unhold(live: LiveTask, attempt: LiveAttempt, why: str) -> Iterator[Fact]:
    """A RESERVED attempt ends: provably nothing was sent."""
    assert attempt.state is AttemptState.RESERVED
    yield Released(attempt.number, attempt.open, Fault(FaultKind.NOT_SENT, why), counts=False)
    if live.phase is Phase.HELD:
        yield TaskMoved(live.task.number, Phase.WAITING)
