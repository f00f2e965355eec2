"""Policy: what an observation means for a run, as facts. Reads the state, never writes it.

A generator: each fact is evolved before the next is asked for, so the state read after a `yield` contains it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from pipeline.engine import answers, evidence, late, ledger, meter
from pipeline.engine.facts import (
    BudgetReached,
    CapSet,
    Continued,
    DiskNoted,
    Draining,
    DrainNoted,
    Fact,
    Held,
    LaneParked,
    Paused,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.hear import EARLY_S
from pipeline.engine.messages import (
    BalanceTold,
    CapAsked,
    ContinueAsked,
    DiskTold,
    DrainAsked,
    Fetched,
    FetchFailed,
    Listed,
    Observation,
    Offered,
    PauseAsked,
    PollAnswered,
    Resumed,
    RetryAsked,
    SlotNear,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
)
from pipeline.engine.outcome import close, doubt_policy, doubted, proceed, release_held
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.retry import FETCH_PATIENCE_S, FETCH_TRIES_MAX, RENEWALS_MAX, RENEWS
from pipeline.engine.state import LiveAttempt, LivePicture, LiveTask, State
from pipeline.engine.stored import PENDING
from pipeline.engine.terms import OnDoubt
from pipeline.errors import Bug, RunError
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.task import Task


def decide(state: State, observation: Observation, now: float) -> Iterator[Fact]:
    """The facts that follow from an observation. Total over observations."""
    match observation:
        case Offered(task):
            yield from _offered(state, task)
        case SlotNear(lane):
            yield from _slot_near(state, lane, now)
        case SubmitAnswered(attempt, reply):
            yield from answers.submit_answered(state, attempt, reply, now)
        case PollAnswered(attempt, reply):
            yield from answers.poll_answered(state, attempt, reply, now)
        case Fetched():
            yield from _fetched(state, observation)
        case FetchFailed():
            yield from _fetch_failed(state, observation, now)
        case TimeCame():
            yield from _time_came(state, observation, now)
        case DrainAsked(why):
            yield from _drain(state, why)
        case PauseAsked(lane, why):
            yield from _pause(state, lane, why)
        case ContinueAsked(lane, why):
            if lane in state.paused or (lane is None and state.paused):
                yield Continued(lane, why)
        case CapAsked(currency, cap, why):
            yield CapSet(currency, cap, why)
        case RetryAsked(task, rejected):
            yield from _retry(state, task, rejected=rejected)
        case VerdictGiven():
            yield from _verdict(state, observation)
        case Resumed():
            yield from _resumed(state, now)
        case DiskTold(fault):
            yield from _disk(state, fault)
        case Listed():
            yield from evidence.listed(state, observation, now)
        case BalanceTold():
            yield from meter.balance_told(state, observation, now)
        case _:
            assert_never(observation)
    yield from _hold_ready(state)


# --- buying -------------------------------------------------------------------------------------------------------


def _offered(state: State, task: Task) -> Iterator[Fact]:
    if task.lane not in state.policy.lanes:
        raise Bug(f"task {task.number} is for a lane without terms: {task.lane}")
    parked = state.lane(task.lane).parked
    if state.draining:
        yield Draining()
    elif parked is not None:
        yield LaneParked(task.lane, parked)
    elif state.disk is None and not state.pauses(task.lane):
        refusal = _unaffordable(state, task)
        if refusal is not None:
            yield refusal
        else:
            yield TaskAdmitted(task)
            yield from _hold(state, state.tasks[task.number])


def _unaffordable(state: State, task: Task) -> BudgetReached | None:
    account = state.account(task.price.currency)
    wanted = task.price.hold(task.n)
    if ledger.fits(account, wanted):
        return None
    return BudgetReached(account.currency, wanted, max(0, ledger.free(account)))


def _hold(state: State, live: LiveTask) -> Iterator[Fact]:
    task = live.task
    yield TaskMoved(task.number, Phase.HELD)
    amount = task.price.hold(task.n)
    yield Held(state.next_attempt, task.number, len(live.attempts) + 1, amount, task.price.currency)


def _hold_ready(state: State) -> Iterator[Fact]:
    """Hold money again for tasks that wait for nothing else, oldest first, until it no longer fits.

    A task below zero has left the spec: what it bought is collected, and nothing more is bought for it.
    """
    if state.draining or state.recovering or state.disk is not None or None in state.paused:
        return
    for currency in list(state.ready):
        for number in [number for number in state.ready[currency] if number >= 0]:
            if currency in state.blocked:
                break
            live = state.tasks[number]
            if state.pauses(live.task.lane):
                continue
            refusal = _unaffordable(state, live.task)
            yield from (_hold(state, live) if refusal is None else (refusal,))


def _slot_near(state: State, name: str, now: float) -> Iterator[Fact]:
    lane = state.lane(name)
    if state.may_submit(lane, now):
        attempt = state.attempts[lane.first()]
        yield Permitted(attempt.number)
        yield TaskMoved(attempt.task, Phase.SUBMITTING)


def _drain(state: State, why: str) -> Iterator[Fact]:
    if not state.draining:
        if why:
            yield DrainNoted(why)
        yield Draining()
        for lane in list(state.lanes.values()):
            yield from release_held(state, lane, "the run was asked to stop")


def _pause(state: State, name: str | None, why: str) -> Iterator[Fact]:
    """Nothing new on a lane, or on all: what is held there is free again, and held anew when it is continued."""
    if state.draining or name in state.paused:
        return
    yield Paused(name, why)
    for lane in list(state.lanes.values()):
        if name is None or lane.name == name:
            yield from release_held(state, lane, f"paused: {why}")


def _disk(state: State, fault: Fault | None) -> Iterator[Fact]:
    """A full disk takes no more answers: what is held is free again, and held anew once there is room."""
    if (fault is None) is not (state.disk is None):
        yield DiskNoted(fault)
        if fault is not None:
            for lane in list(state.lanes.values()):
                yield from release_held(state, lane, fault.message)


# --- pictures -----------------------------------------------------------------------------------------------------


def _fetched(state: State, observation: Fetched) -> Iterator[Fact]:
    attempt, picture = _picture(state, observation.attempt, observation.index)
    if attempt is None or picture is None or picture.state != PENDING:
        raise Bug(f"a picture came that nobody asked for: {observation}")
    yield PictureStored(attempt.number, picture.index, observation.artifact)
    if not attempt.pending:
        yield from close(state.tasks[attempt.task], Fault(FaultKind.LOST, "a picture was lost"))


def _fetch_failed(state: State, observation: FetchFailed, now: float) -> Iterator[Fact]:
    attempt, picture = _picture(state, observation.attempt, observation.index)
    if attempt is None or picture is None or picture.state != PENDING:
        return
    if state.disk is None and not fetchable(attempt, picture, observation.fault, now):
        fault = _lost(picture, observation.fault)
        yield PictureLost(attempt.number, picture.index, fault)
        if not attempt.pending:
            yield from close(state.tasks[attempt.task], Fault(FaultKind.LOST, fault.message, fault.code, fault.status))


def fetchable(attempt: LiveAttempt, picture: LivePicture, fault: Fault, now: float) -> bool:
    """Whether a picture may still be had after this failure: by the same link, or by a fresh one."""
    if fault.kind not in RENEWS and picture.tries < FETCH_TRIES_MAX:
        return True
    if renewable(attempt, picture, fault):
        return True
    # A host that is away, or that cannot be reached, may come back: a count alone would be over within a minute.
    since = picture.broken_since
    return fault.kind is FaultKind.TRANSIENT and since is not None and now - since < FETCH_PATIENCE_S


def renewable(attempt: LiveAttempt, picture: LivePicture, fault: Fault) -> bool:
    """Whether a fresh link is asked for now.

    Only an operation can be asked; a link that merely fails, or may not be asked, is renewed once.
    """
    if fault.kind not in RENEWS and picture.tries != FETCH_TRIES_MAX:
        return False
    return bool(attempt.operation) and picture.renewals <= (RENEWALS_MAX if fault.kind is FaultKind.EXPIRED else 1)


def _lost(picture: LivePicture, fault: Fault) -> Fault:
    """Paid and not to be had, said loudly."""
    asked = f" and {picture.renewals - 1} fresh links" if picture.renewals > 1 else ""
    words = f"a paid picture cannot be had after {picture.tries} downloads{asked}: {fault.message}"
    return Fault(fault.kind, words[:500], fault.code, fault.status, request_id=fault.request_id)


def _picture(state: State, number: int, index: int) -> tuple[LiveAttempt | None, LivePicture | None]:
    attempt = state.attempts.get(number)
    return attempt, attempt.pictures.get(index) if attempt else None


# --- time ---------------------------------------------------------------------------------------------------------


def _time_came(state: State, observation: TimeCame, now: float) -> Iterator[Fact]:
    # A lane needs nothing: the driver asks `lane_ready` again. A WAITING task was put among the ready ones by `hear`.
    live = None if observation.task is None else state.tasks.get(observation.task)
    if live is not None and live.phase is Phase.IN_DOUBT and came(live.due, now) and live.task.number in state.timers:
        yield TaskMoved(live.task.number, Phase.WAITING)
    number = observation.attempt
    if number is not None and number in state.rests and came(state.attempts[number].rest_at, now):
        yield RestReleased(number, state.attempts[number].open)


def came(due: float | None, now: float) -> bool:
    """Whether a time that was set has come."""
    return due is not None and now >= due - EARLY_S


# --- what people say ----------------------------------------------------------------------------------------------


def _retry(state: State, number: int, *, rejected: bool) -> Iterator[Fact]:
    live = state.tasks.get(number)
    if live is None:
        raise Bug(f"task {number} is to be sent again and was not loaded")
    # An operation that was found after its task had ended may still bring the pictures: it is followed first.
    if not live.live and (live.phase in {Phase.FAILED, Phase.SHORT} or (rejected and live.phase is Phase.DONE)):
        yield TaskMoved(number, Phase.WAITING)


def _verdict(state: State, verdict: VerdictGiven) -> Iterator[Fact]:
    attempt = state.attempts.get(verdict.attempt)
    if attempt is None or not (attempt.doubtful or late.open_to_evidence(attempt)):
        raise RunError(f"attempt {verdict.attempt} is not in doubt")
    live = state.tasks[attempt.task]
    if verdict.operation:
        known = (live.task.gateway, verdict.operation) in state.operations
        if known and verdict.operation != attempt.operation:
            raise RunError(f"another attempt has this operation: {verdict.operation}")
        if attempt.doubtful:
            yield from answers.found(live, attempt, verdict.operation, verdict.why)
        else:
            yield from late.found(state, attempt, verdict.operation, verdict.why)
    elif verdict.verdict not in {"billed", "not_billed"}:
        raise RunError(f"a verdict is billed, not_billed or an operation id: {verdict.verdict}")
    elif not attempt.doubtful:
        if verdict.verdict == "not_billed":
            raise RunError(f"attempt {verdict.attempt} is not in doubt")
        yield from late.billed(state, attempt, verdict.why)
    elif verdict.verdict == "billed":
        yield WrittenOff(attempt.number, attempt.open, verdict.why)
        yield from close(live, Fault(FaultKind.LOST, f"billed, and its pictures cannot be had: {verdict.why}"))
    else:
        yield from evidence.not_billed(state, attempt, verdict.why)


# --- recovery -----------------------------------------------------------------------------------------------------


def _resumed(state: State, now: float) -> Iterator[Fact]:
    """Money first: what was provably not sent is free, what may have been sent is in doubt."""
    recovered = Fault(FaultKind.NOT_SENT, "found at recovery")
    unknown = Fault(FaultKind.UNKNOWN, "the process ended before an answer was written down")
    for live in list(state.tasks.values()):
        for attempt in list(live.attempts.values()):
            match attempt.state:
                case AttemptState.RESERVED:
                    yield Released(attempt.number, attempt.open, recovered, counts=False)
                case AttemptState.SUBMITTING:
                    yield from doubted(state, live, attempt, unknown, now)
                case AttemptState.DOUBT | AttemptState.VANISHED if state.policy.on_doubt is OnDoubt.WRITE_OFF:
                    yield from doubt_policy(state, live, attempt, unknown, now)
                case AttemptState.ACCEPTED:
                    yield from proceed(live, Phase.RUNNING)
                case AttemptState.SETTLED if attempt.pending:
                    yield from proceed(live, Phase.FETCHING)
                case _:
                    pass
        yield from _picked_up(live)
        if live.phase is Phase.WAITING and live.doubts and state.policy.on_doubt is OnDoubt.HOLD:
            # It was to be bought again under `resubmit`, and the user has changed that since.
            yield TaskMoved(live.task.number, Phase.IN_DOUBT, unknown)


def _picked_up(live: LiveTask) -> Iterator[Fact]:
    """A task in the middle of something that none of its attempts does any more."""
    if live.live:
        return
    match live.phase:
        case Phase.HELD:
            yield TaskMoved(live.task.number, Phase.WAITING)
        case Phase.SUBMITTING | Phase.RUNNING | Phase.FETCHING:
            yield from close(live, Fault(FaultKind.LOST, "no picture could be had"))
        case _:
            pass
