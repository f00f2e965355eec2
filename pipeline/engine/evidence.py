"""Evidence about doubts: when a gateway's books are asked, and what its listing (E1, E2) and time (E6) say.

What its meter says (E4) stands in `meter`. Wrongly freed money is the one mistake that cannot be mended, so absence is
believed only when nothing is unexplained.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Final

from pipeline.engine import answers, late
from pipeline.engine.facts import DoubtReleased, Fact, TaskMoved, WrittenOff
from pipeline.engine.lanes import Lane
from pipeline.engine.messages import Command, Listed, Look
from pipeline.engine.outcome import close
from pipeline.engine.phases import Phase
from pipeline.engine.resemblance import SKEW_S, Suspect, attributed
from pipeline.engine.retry import jitter
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.values.evidence import Listing
from pipeline.values.reply import Fault, FaultKind

#: An accepted operation may be missing from listings this long (seconds); absence is not believed before.
LISTING_LAG_S: Final = 300.0
#: What a lost POST bought may show on the key's meter this long after it was accepted: it has to be made first.
METER_LAG_S: Final = 3600.0
#: What a gateway told us the end of shows on the key's meter this long after (seconds).
SETTLED_LAG_S: Final = 300.0
#: Two listings that prove absence were taken at least so long after one another (seconds).
APART_S: Final = 30.0
#: What a gateway has forgotten cannot be found any more (seconds).
RETENTION_S: Final = 86_400.0
#: Looks in vain are repeated after a pause that doubles up to a limit (seconds).
LOOK_FIRST_S: Final = 60.0
LOOK_MOST_S: Final = 900.0
#: Where only the meter is read: it says nothing while anything is under way, and is wanted as soon as nothing is.
METER_MOST_S: Final = 300.0


# --- when to look -------------------------------------------------------------------------------------------------


def absent_at(attempt: LiveAttempt) -> float:
    """From when on a look can prove that a POST in doubt was not accepted: the quiet period and the lag are over."""
    return math.inf if attempt.quiet_at is None else attempt.quiet_at + LISTING_LAG_S


def unbilled_at(attempt: LiveAttempt) -> float:
    """From when on the meter can show that a POST in doubt was not billed."""
    return math.inf if attempt.quiet_at is None else attempt.quiet_at + METER_LAG_S


def stands_still(state: State, gateway: str, at: float, but: Collection[int] = ()) -> bool:
    """Whether our own books of a gateway stood still at a time: nothing out, and all that is settled on the meter.

    `but`: attempts that nobody waits for any more.
    """
    for lane in state.lanes_of_gateway(gateway):
        if lane.unanswered or not lane.running <= set(but) or at < lane.billed_at + SETTLED_LAG_S:
            return False
    return not any(state.tasks[state.attempts[number].task].task.gateway == gateway for number in state.rests)


def awaits_look(state: State, live: LiveTask) -> bool:
    """Whether a listing that could prove something is still to come for one of a task's doubts."""
    return any(state.suspect(attempt) and not attempt.looked for attempt in live.attempts.values())


def expects_look(state: State) -> bool:
    """Whether the run should wait for a look."""
    lanes = state.lanes.values()
    return any(not state.attempts[number].weighed for lane in lanes for number in (*lane.suspects, *lane.pooled))


def look(state: State, lane: Lane, now: float) -> Iterator[Command]:
    """Look after this lane's doubts at the next moment at which that may tell something; one look at a time."""
    if lane.look_at is not None or not (lane.suspects or lane.pooled):
        return
    suspects = [state.attempts[number] for number in sorted(lane.suspects | lane.pooled)]
    lag_s = [LISTING_LAG_S] * bool(lane.suspects) + [METER_LAG_S] * bool(lane.pooled)
    times = [each.quiet_at + lag for each in suspects if each.quiet_at is not None for lag in (0.0, *lag_s)]
    most = LOOK_MOST_S if lane.suspects else METER_MOST_S
    pause = min(most, LOOK_FIRST_S * 2.0 ** min(lane.looks, 16)) * (0.5 + jitter(state.seed, lane.looks))
    lane.look_at = max(now, min([at for at in times if at > lane.looked_at], default=now + pause))
    reach = max(lane.look_at - each.sent if each.sent is not None else RETENTION_S for each in suspects)
    gateway, _, model = lane.name.partition("/")
    yield Look(gateway, model, lane.look_at, reach + 2 * SKEW_S)


# --- E1, E2, E6: listings -----------------------------------------------------------------------------------------


def listed(state: State, told: Listed, now: float) -> Iterator[Fact]:
    """What two listings say: operations that must be ours, then which doubts they disprove, then what is forgotten."""
    lane = state.lane(f"{told.gateway}/{told.model}")
    offset = told.second.taken_at / 1e6 - now
    unknown = {
        each.operation: each
        for listing in (told.first, told.second)
        for each in listing.operations
        if (told.gateway, each.operation) not in state.operations
    }
    # A POST that is out may be any of them: its own answer will say.
    blocking = [_suspect(state, number, offset) for number in sorted(lane.unanswered)]
    doubts = [_suspect(state, number, offset) for number in sorted(lane.suspects)]
    for number, operation in attributed(unknown.values(), doubts, blocking):
        del unknown[operation]
        attempt = state.attempts[number]
        yield from answers.found(state.tasks[attempt.task], attempt, operation, "the gateway lists it")
    ended = [_suspect(state, number, offset) for number in sorted(state.attempts) if late.listable(state, lane, number)]
    for number, operation in attributed(unknown.values(), ended, blocking):
        del unknown[operation]
        yield from late.found(state, state.attempts[number], operation, "the gateway lists it")
    # What ended and cost nothing may be one of ours, whichever: nothing was billed for it.
    if all(each.unbilled for each in unknown.values()) and _shows_all(state, lane, told, offset):
        for number in sorted(lane.suspects):
            attempt = state.attempts[number]
            if absent_at(attempt) <= lane.looked_at and _covers(told, attempt, lane.terms.quiet_s, offset):
                yield from not_billed(state, attempt, "two complete listings do not show it")
    for number in sorted(lane.suspects):
        yield from _unfound(state, state.attempts[number], now)


def _suspect(state: State, number: int, offset: float) -> Suspect:
    attempt = state.attempts[number]
    terms = state.lane_of(attempt).terms
    sent = None if attempt.sent is None else attempt.sent + offset
    return Suspect(number, state.tasks[attempt.task].task, sent, terms.quiet_s)


def _shows_all(state: State, lane: Lane, told: Listed, offset: float) -> bool:
    """Whether both listings are whole: they show everything of ours that they should, and something at all.

    An empty list may be another account's, another region's, or one of a window that a wrong clock chose.
    """
    first, second = told.first, told.second
    if not (first.complete and second.complete and first.exclusive and second.exclusive):
        return False
    if second.taken_at - first.taken_at < APART_S * 1e6:
        return False
    return all(_shows(state, lane, told.gateway, listing, offset) for listing in (first, second))


def _shows(state: State, lane: Lane, gateway: str, listing: Listing, offset: float) -> bool:
    shown = {each.operation for each in listing.operations}
    # What was sent just now may not be listed yet, and says nothing of what was sent long before.
    latest = min(listing.until / 1e6 - SKEW_S, listing.taken_at / 1e6 - LISTING_LAG_S)
    due = {
        operation for operation, sent in lane.sent.items() if listing.since / 1e6 + SKEW_S <= sent + offset <= latest
    }
    return due <= shown and any((gateway, operation) in state.operations for operation in shown)


def _covers(told: Listed, attempt: LiveAttempt, quiet_s: float, offset: float) -> bool:
    """Whether both windows hold every moment at which this attempt may have been accepted."""
    if attempt.sent is None:
        return False
    sent = attempt.sent + offset
    return all(
        listing.since / 1e6 <= sent - SKEW_S and sent + quiet_s + SKEW_S <= listing.until / 1e6
        for listing in (told.first, told.second)
    )


def _unfound(state: State, attempt: LiveAttempt, now: float) -> Iterator[Fact]:
    """A doubt that a look did not resolve: forgotten by the gateway (E6), or to be bought again if the user wants."""
    live = state.tasks[attempt.task]
    if attempt.looked and attempt.sent is not None and now - attempt.sent >= RETENTION_S:
        yield WrittenOff(attempt.number, attempt.open, "not found, and the gateway no longer keeps it")
        yield from close(live, Fault(FaultKind.LOST, "it may have been billed, and cannot be found any more"))
    elif live.phase is Phase.IN_DOUBT and state.resubmits(live) and not awaits_look(state, live):
        yield TaskMoved(live.task.number, Phase.WAITING)


def not_billed(state: State, attempt: LiveAttempt, why: str) -> Iterator[Fact]:
    """Evidence says that an attempt in doubt was not billed: its money is free, its task may be bought again."""
    live = state.tasks[attempt.task]
    yield DoubtReleased(attempt.number, attempt.open, why)
    if live.phase is Phase.IN_DOUBT and not live.doubts:
        yield TaskMoved(live.task.number, Phase.WAITING)
