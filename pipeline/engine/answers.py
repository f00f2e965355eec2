"""Decisions about answers: what a submit or a poll came to mean, for money and for the task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import assert_never

from pipeline.engine.facts import (
    KNOWN_ALREADY,
    Accepted,
    DoubtLifted,
    DoubtReleased,
    Fact,
    LaneCooled,
    LinksRenewed,
    PictureLost,
    Released,
    RestReleased,
    Settled,
)
from pipeline.engine.lanes import LIMITED_S, UNREACHABLE_S, Lane
from pipeline.engine.outcome import close, doubted, ended_unbilled, park, park_gateway, proceed, settled, unhold
from pipeline.engine.pace import STORM
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.retry import (
    AFTER,
    COOLING_MAX_S,
    GONE_ANSWERS_MIN,
    GONE_GRACE_S,
    RENEWAL_PATIENCE_S,
    STUCK_S,
    After,
    asked_s,
    backoff_s,
    wait_s,
)
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.engine.stored import PENDING
from pipeline.errors import Bug
from pipeline.values.reply import (
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    StillRunning,
    Unknown,
    Unsent,
)


def submit_answered(state: State, number: int, reply: Reply, now: float) -> Iterator[Fact]:
    """Decide on the answer to a POST, told by the wire or, at recovery, by the black box."""
    attempt = state.attempts.get(number)
    if attempt is not None and attempt.doubtful:
        yield from _evidence(state, state.tasks[attempt.task], attempt, reply, now)
    elif attempt is not None and attempt.state is AttemptState.SUBMITTING:
        yield from _answer(state, state.tasks[attempt.task], attempt, reply, now)
    elif not state.recovering:
        # The black box may repeat what is committed already; the wire answers a POST once.
        raise Bug(f"attempt {number} was answered although it is {attempt.state if attempt else 'over'}: {reply}")


def _answer(state: State, live: LiveTask, attempt: LiveAttempt, reply: Reply, now: float) -> Iterator[Fact]:
    lane = state.lane_of(attempt)
    match reply:
        case Pending(operation, replayed=True) if (first := _repeated(state, live, attempt, operation)) is not None:
            again = Fault(FaultKind.NOT_SENT, f"the gateway repeated its answer to attempt {first.number}")
            yield Released(attempt.number, attempt.open, again, counts=False)
            yield from _repeat_found(live, first, operation)
        case Pending(operation):
            if (live.task.gateway, operation) in state.operations:
                twice = Fault(FaultKind.MALFORMED, f"the gateway gave an operation id twice: {operation}")
                yield from doubted(state, live, attempt, twice, now)
            else:
                yield Accepted(attempt.number, operation)
                yield from proceed(live, Phase.RUNNING)
        case Ready():
            yield from settled(state, live, attempt, reply)
        case Refused(fault):
            counts = AFTER[fault.kind] in {After.AGAIN, After.GIVE_UP}
            yield Released(attempt.number, attempt.open, fault, counts)
            if AFTER[fault.kind] is After.COOL:
                yield from _cool(lane, now + _cooling_s(state, lane, attempt, fault), fault)
                if lane.only_limited(now) and not lane.running:
                    yield from park(state, [lane], _pointless(fault))
            elif AFTER[fault.kind] is After.AGAIN and (lane.storms or attempt.number == lane.probe):
                tries = max(0, lane.pace.refusals - STORM)
                yield from _cool(lane, now + wait_s(fault, state.seed, attempt.number, tries), fault)
            yield from ended_unbilled(state, live, attempt, fault, now)
        case Unsent(fault):
            yield Released(attempt.number, attempt.open, fault, counts=False)
            yield from _cool(lane, now + backoff_s(state.seed, attempt.number, lane.unsent_streak - 1), fault)
            if lane.unsent_since is not None and now - lane.unsent_since >= UNREACHABLE_S:
                words = f"gateway unreachable: {fault.message}; check the network and the address, then run again"
                yield from park(state, [lane], Fault(FaultKind.TRANSIENT, words))
            yield from close(live, fault, again=True)
        case Unknown(fault, repeats=True) if (first := live.doubted_before(attempt.number)) is not None:
            known = replace(fault, message=_known(first))
            yield Released(attempt.number, attempt.open, known, counts=False)
            yield from close(live, known)
        case Unknown(fault):
            yield from doubted(state, live, attempt, fault, now)
            if lane.breaker_trips(attempt.number):
                yield LaneCooled(lane.name, now + lane.breaker_pause_s(state.seed, attempt.number), fault, probe=True)
        case _:
            assert_never(reply)


def _repeated(state: State, live: LiveTask, attempt: LiveAttempt, operation: str) -> LiveAttempt | None:
    """The attempt that an answer with `replayed` repeats the answer to; None when there is none, so it is this one's.

    By its operation where that is known, else the first attempt in doubt, whose tag the POST had.
    """
    others = [other for other in live.attempts.values() if other.number != attempt.number]
    if (live.task.gateway, operation) in state.operations:
        return next((other for other in others if other.operation == operation), None)
    doubts = (other for other in others if other.state is AttemptState.DOUBT)
    return min(doubts, key=lambda each: each.number, default=None)


def _known(first: LiveAttempt) -> str:
    return f"{KNOWN_ALREADY}, from attempt {first.number}: this one bought nothing, and that one stays in doubt"


def _repeat_found(live: LiveTask, first: LiveAttempt, operation: str) -> Iterator[Fact]:
    """The attempt in doubt has turned out to be this operation, unless that was found out already."""
    if first.state is AttemptState.DOUBT:
        yield from found(live, first, operation, "the gateway repeated its answer")
    else:
        yield from close(live, Fault(FaultKind.LOST, "its operation had ended"))


def _pointless(fault: Fault) -> Fault:
    words = (
        f"the gateway has answered nothing but 429 for {LIMITED_S / 60:.0f} minutes ({fault.message}); lower "
        "`limits.rate` or ask the vendor for a higher limit, then run again"
    )
    return Fault(FaultKind.RATE_LIMITED, words, fault.code, fault.status, request_id=fault.request_id)


def _cooling_s(state: State, lane: Lane, attempt: LiveAttempt, fault: Fault) -> float:
    """Seconds after a 429: what it asks for; while the breaker is open, no less than our own backoff."""
    # The first wait is no shorter than what lies between two submits of a slow lane.
    first_s = min(COOLING_MAX_S, max(1.0, lane.terms.slot_s))
    ours = backoff_s(state.seed, attempt.number, lane.rate_limited_streak - 1, first_s=first_s)
    asked = asked_s(fault)
    return ours if asked is None else max(asked, ours) if lane.breaker else asked


def _cool(lane: Lane, until: float, fault: Fault) -> Iterator[Fact]:
    if lane.storms:
        yield LaneCooled(lane.name, max(until, lane.cooling_until), fault, probe=True)
    elif until > lane.cooling_until:
        yield LaneCooled(lane.name, until, fault)


def _evidence(state: State, live: LiveTask, attempt: LiveAttempt, reply: Reply, now: float) -> Iterator[Fact]:
    """E0: an answer that was written down before the process died."""
    match reply:
        case Unknown(repeats=True) if (first := live.doubted_before(attempt.number)) is not None:
            yield DoubtReleased(attempt.number, attempt.open, _known(first))
        case Unknown():
            return
        case Pending(operation, replayed=True) if (first := _repeated(state, live, attempt, operation)) is not None:
            words = f"the gateway repeated its answer to attempt {first.number}"
            yield DoubtReleased(attempt.number, attempt.open, words)
            yield from _repeat_found(live, first, operation)
        case Pending(operation):
            # An accepted operation that vanished has its own id in `operations`.
            if operation == attempt.operation or (live.task.gateway, operation) not in state.operations:
                yield from found(live, attempt, operation, "its answer was found")
        case Ready():
            yield from _lifted(live, attempt, "its answer was found")
            yield from settled(state, live, attempt, reply)
        case Refused(fault) | Unsent(fault):
            yield DoubtReleased(attempt.number, attempt.open, "its answer was found: " + fault.message)
            yield from ended_unbilled(state, live, attempt, fault, now)
        case _:
            assert_never(reply)


def found(live: LiveTask, attempt: LiveAttempt, operation: str, why: str) -> Iterator[Fact]:
    """An attempt in doubt turns out to be this operation: follow it."""
    yield from _lifted(live, attempt, why)
    yield Accepted(attempt.number, operation)
    yield from proceed(live, Phase.RUNNING)


def _lifted(live: LiveTask, attempt: LiveAttempt, why: str) -> Iterator[Fact]:
    for other in list(live.attempts.values()):
        if other.state is AttemptState.RESERVED:
            # The second try that `on_doubt: resubmit` prepared is not needed any more.
            yield from unhold(live, other, why)
    yield DoubtLifted(attempt.number, attempt.open, why)


def poll_answered(state: State, number: int, reply: PollReply, now: float) -> Iterator[Fact]:
    """Decide on the answer to a poll. An answer that comes after its operation's end says nothing."""
    attempt = state.attempts.get(number)
    if attempt is None:
        return
    live = state.tasks[attempt.task]
    if isinstance(reply, PollBroken) and reply.fault.kind is FaultKind.UNAUTHORIZED:
        yield from park_gateway(state, live.task.gateway, reply.fault)
    if attempt.state is AttemptState.ACCEPTED:
        yield from _operation(state, live, attempt, reply, now)
    elif attempt.state is AttemptState.SETTLED and attempt.renewing:
        yield from _renewed(state, live, attempt, reply, now)


def _operation(state: State, live: LiveTask, attempt: LiveAttempt, reply: PollReply, now: float) -> Iterator[Fact]:
    match reply:
        case Ready():
            yield from settled(state, live, attempt, reply)
        case OperationFailed(fault, False):
            counts = AFTER[fault.kind] not in {After.PARK, After.PARK_LANE}
            yield Settled(attempt.number, 0, 0, 0, (), None, fault, fault.request_id, counts)
            if attempt.open:
                yield RestReleased(attempt.number, attempt.open)
            yield from ended_unbilled(state, live, attempt, fault, now)
        case OperationFailed(fault, billed) if billed or attempt.late:
            # Without a hold there is nothing to put in doubt: one that may be billed is booked.
            rest = max(0, attempt.hold - attempt.settled - attempt.open)
            images = live.task.n
            yield Settled(attempt.number, images, attempt.open, rest, (), None, fault, fault.request_id)
            yield from close(live, fault)
        case OperationFailed(fault):
            yield from doubted(state, live, attempt, fault, now)
        case Gone(fault):
            if attempt.gone < GONE_ANSWERS_MIN or _since(attempt.gone_since, now) < GONE_GRACE_S:
                return
            if attempt.late:
                yield Settled(attempt.number, 0, 0, 0, (), None, fault, fault.request_id)
                yield from close(live, fault)
            else:
                yield from doubted(state, live, attempt, fault, now, vanished=True)
        case StillRunning() | PollBroken():
            if _since(attempt.since, now) >= STUCK_S:
                stuck = Fault(FaultKind.TIMEOUT, f"stuck: operation {attempt.operation} has no end after a day")
                yield from park(state, [state.lane_of(attempt)], stuck)


def _renewed(state: State, live: LiveTask, attempt: LiveAttempt, reply: PollReply, now: float) -> Iterator[Fact]:
    match reply:
        case Ready(links):
            yield LinksRenewed(attempt.number, links)
        case OperationFailed(fault, _):
            yield from give_up_pictures(live, attempt, fault)
        case Gone(fault):
            if attempt.gone >= GONE_ANSWERS_MIN and _since(attempt.gone_since, now) >= GONE_GRACE_S:
                yield from give_up_pictures(live, attempt, fault)
        case PollBroken(fault):
            # A broken poll is no evidence: the pictures stay paid and wanted, for the next run.
            if _since(attempt.broken_since, now) >= RENEWAL_PATIENCE_S:
                yield from park(state, [state.lane_of(attempt)], fault)
        case StillRunning():
            pass
        case _:
            assert_never(reply)


def give_up_pictures(live: LiveTask, attempt: LiveAttempt, fault: Fault) -> Iterator[Fact]:
    """The pictures that need fresh links cannot be had any more; a download in progress may still succeed."""
    for picture in list(attempt.pictures.values()):
        if picture.state == PENDING and not picture.asked:
            yield PictureLost(attempt.number, picture.index, fault)
    yield from close(live, Fault(FaultKind.LOST, fault.message, fault.code, fault.status, request_id=fault.request_id))


def _since(then: float | None, now: float) -> float:
    return 0.0 if then is None else now - then


def poll_after_s(state: State, attempt: LiveAttempt, reply: PollReply, now: float) -> float:
    """Seconds until the next poll of an operation that has no end yet."""
    terms = state.lane_of(attempt).terms
    match reply:
        case PollBroken(fault):
            asked = asked_s(fault)
            tries = attempt.broken - 1
            usual = backoff_s(state.seed, attempt.number, tries, first_s=terms.poll_every_s, most_s=60.0)
            return usual if asked is None else asked
        case Gone():
            return max(terms.poll_every_s, 60.0)
        case _:
            patient = _since(attempt.since, now) < terms.poll_patience_s
            return terms.poll_every_s * (1 if patient else 4)
