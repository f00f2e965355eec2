"""Evidence about doubts from the key's own meter (E4): how much of what is in doubt was billed, when only we buy.

The meter counts in the gateway's own unit, whatever unit the cap has. It proves a sum and never says which attempt it
was, so the sum must have exactly one explanation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Final

from pipeline.engine.evidence import not_billed, stands_still, unbilled_at
from pipeline.engine.facts import BY_METER, DoubtReleased, Fact, WrittenOff
from pipeline.engine.messages import BalanceTold
from pipeline.engine.outcome import close
from pipeline.engine.state import LiveAttempt, State
from pipeline.values.reply import Fault, FaultKind

#: More ways than this of explaining a sum are not tried.
WAYS_MAX: Final = 100_000


def balance_told(state: State, told: BalanceTold, now: float) -> Iterator[Fact]:
    """What a key's own meter says about the sum of its doubts: none was billed, or these were."""
    pool = [
        attempt
        for _, attempt in sorted(state.attempts.items())
        if attempt.doubtful and state.tasks[attempt.task].task.gateway == told.gateway
    ]
    if not pool or not told.dedicated or not told.quiescent or told.gateway in state.unsure:
        return
    read_at = _read_at(state, told.gateway, now)
    if read_at is None or not _in_question(state, told, pool, read_at):
        return
    rest = told.used_after - told.used_before - state.billed[told.gateway, told.unit]
    # What is lost may be made and billed late: only once it must have been does a sum say that something is absent.
    late = all(unbilled_at(attempt) <= read_at for attempt in pool)
    if late and abs(rest) <= told.grain:
        for attempt in pool:
            yield from not_billed(state, attempt, f"{BY_METER} nothing beyond what is settled")
        return
    if state.guessed[told.gateway]:
        return  # The rest may be what was booked by guess.
    billed = _explained(Counter(_hold(state, attempt) for attempt in pool), rest, told.grain)
    if billed is not None and (late or sum(billed.values()) == len(pool)):
        yield from _post(state, pool, billed)


def _hold(state: State, attempt: LiveAttempt) -> int:
    """The most that an attempt can have cost, in the gateway's unit."""
    task = state.tasks[attempt.task].task
    return task.price.native_cost(task.n)


def _read_at(state: State, gateway: str, now: float) -> float | None:
    """When the reading was taken at the earliest; None when nobody asked for one, or our books did not stand still."""
    lanes = list(state.lanes_of_gateway(gateway))
    looks = [lane.look_at for lane in lanes if lane.look_at is not None and lane.look_at <= now]
    return min(looks) if looks and stands_still(state, gateway, min(looks)) else None


def _in_question(state: State, told: BalanceTold, pool: Sequence[LiveAttempt], read_at: float) -> bool:
    """Whether a meter of this unit and grain can speak of all of these, and late enough."""
    for attempt in pool:
        price = state.tasks[attempt.task].task.price
        if price.native_unit != told.unit or price.native_cost(1) <= 2 * told.grain:
            return False
        if attempt.quiet_at is None or attempt.quiet_at > read_at or not attempt.open:
            return False
    return True


def _explained(holds: Mapping[int, int], rest: int, grain: int) -> dict[int, int] | None:
    """{hold: how many of the doubts with this hold were billed}, when there is exactly one such explanation.

    `holds` is {hold: how many doubts have it}.
    """
    if rest <= grain or prod(count + 1 for count in holds.values()) > WAYS_MAX:
        return None
    ways = [
        way
        for way in product(*(range(count + 1) for count in holds.values()))
        if abs(sum(hold * count for hold, count in zip(holds, way, strict=True)) - rest) <= grain
    ]
    return dict(zip(holds, ways[0], strict=True)) if len(ways) == 1 else None


def _post(state: State, pool: Sequence[LiveAttempt], billed: Mapping[int, int]) -> Iterator[Fact]:
    """So many of the pool were billed, nobody can say which: the sum is booked, and none is bought again unasked."""
    why = f"{BY_METER} {sum(billed.values())} of {len(pool)} doubts as billed"
    left = dict(billed)
    holds = [_hold(state, attempt) for attempt in pool]
    for attempt, hold in zip(pool, holds, strict=True):
        if left[hold]:
            left[hold] -= 1
            yield WrittenOff(attempt.number, attempt.open, why)
        else:
            yield DoubtReleased(attempt.number, attempt.open, why)
    for attempt in pool:
        yield from close(state.tasks[attempt.task], Fault(FaultKind.LOST, f"{why}; `pipeline retry` buys it again"))
