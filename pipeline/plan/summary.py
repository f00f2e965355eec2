"""The sums of a plan: what is asked of each lane, what it may cost at most, and how long it may take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.plan.expand import Plan
from pipeline.plan.lanes import Lane
from pipeline.plan.proof import doubt_words, evidence_of
from pipeline.values.money import UNLIMITED
from pipeline.values.task import Task


@dataclass(frozen=True, slots=True)
class LaneSummary:
    """What one gateway and model is asked for. *Units* - micros: of `unit`; each_*: per task; seconds at the rate."""

    lane: str
    tasks: int
    images: int
    unit: str
    each_min_micros: int
    each_max_micros: int
    total_micros: int
    rate: int
    rate_period_s: float
    in_flight: int
    unanswered: int
    #: The most that one crash can leave in doubt.
    doubt_micros: int
    price_source: str
    #: The least time that the submits take at the permitted rate, and with operations of typical length.
    seconds: float
    typical_s: float
    #: What can say what became of a doubt besides a person: listing, meter; and the same in words.
    evidence: tuple[str, ...] = ()
    doubt_ends: str = ""
    #: Where the rate is from: how sure the card is of it, or `limits` of the spec.
    rate_basis: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A checked plan in figures. Duplicates are bought once, so they are counted apart and cost nothing.

    *Units* - worst_micros, over_micros, doubt_micros: {unit: micro-units}; seconds: of the slowest lane.
    """

    tasks: int
    images: int
    duplicates: int
    by_step: Mapping[str, int]
    by_gateway: Mapping[str, int]
    by_model: Mapping[str, int]
    worst_micros: Mapping[str, int]
    #: {unit: cap}; None when the spec has no budget.
    caps: Mapping[str, int] | None
    #: By how much the worst case passes each cap; empty when it fits.
    over_micros: Mapping[str, int]
    doubt_micros: Mapping[str, int]
    lanes: Mapping[str, LaneSummary]
    seconds: float
    first_prompt: str
    disk_bytes: int
    #: What a reader should know before paying: sentences.
    notes: tuple[str, ...] = ()
    #: {task number: the earlier one that buys the same}; of these, only the earlier one is bought.
    repeats: Mapping[int, int] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether a budget is written and the worst case fits under it."""
        return self.caps is not None and not self.over_micros


@dataclass(slots=True)
class Sums:
    """What is asked of one lane so far. *Units* - total, least, most: micro-units of `unit`."""

    tasks: int = 0
    images: int = 0
    total: int = 0
    least: int = UNLIMITED
    most: int = 0
    unit: str = ""
    source: str = ""


def count(sums: dict[str, Sums], task: Task, sign: int) -> None:
    """Add a task to its lane's sums, or take it out with a sign of -1. *Shape* - sums: {lane: its sums}."""
    lane = f"{task.gateway}/{task.model}"
    found = sums.get(lane)
    if found is None:
        found = sums[lane] = Sums(unit=task.price.currency, source=task.price.source)
    hold = task.price.hold(task.n)
    found.tasks += sign
    found.images += sign * task.n
    found.total += sign * hold
    found.least = min(found.least, hold)
    found.most = max(found.most, hold)


def summarise(plan: Plan, sums: Mapping[str, Sums], duplicates: int, first_prompt: str, disk_bytes: int) -> Summary:
    """The sums of a plan whose tasks are all counted."""
    lanes = {name: _lane_summary(name, found, plan.lanes[name], plan) for name, found in sums.items()}
    worst: dict[str, int] = {}
    doubt: dict[str, int] = {}
    by_gateway: dict[str, int] = {}
    for lane in lanes.values():
        worst[lane.unit] = worst.get(lane.unit, 0) + lane.total_micros
        doubt[lane.unit] = doubt.get(lane.unit, 0) + lane.doubt_micros
        gateway = lane.lane.partition("/")[0]
        by_gateway[gateway] = by_gateway.get(gateway, 0) + lane.tasks
    caps = plan.caps or {}
    tasks = sum(lane.tasks for lane in lanes.values())
    return Summary(
        tasks=tasks,
        images=sum(lane.images for lane in lanes.values()),
        duplicates=duplicates,
        by_step={"image": tasks},
        by_gateway=by_gateway,
        by_model={lane.lane: lane.tasks for lane in lanes.values()},
        worst_micros=worst,
        caps=plan.caps,
        over_micros={unit: total - caps[unit] for unit, total in worst.items() if total > caps.get(unit, UNLIMITED)},
        doubt_micros=doubt,
        lanes=lanes,
        seconds=max((lane.seconds for lane in lanes.values()), default=0.0),
        first_prompt=first_prompt,
        disk_bytes=disk_bytes,
        notes=tuple(_notes(plan)),
    )


def _notes(plan: Plan) -> Iterator[str]:
    if plan.left_out:
        are = "1 task is" if plan.left_out == 1 else f"{plan.left_out:,} tasks are"
        yield f"{are} left out: {plan.job.exclude_from} rejects what they made"
    for name in plan.job.dedicated:
        card = plan.cards[name]
        if not card.lists_operations and not card.tells_balance:
            yield f"`dedicated: [{name}]` changes nothing: {card.title} has no list and no meter that prove anything"
    for written, lane in plan.aliases.items():
        yield f"{written} is another name of {lane}, and is asked for as that"


def _lane_summary(name: str, found: Sums, lane: Lane, plan: Plan) -> LaneSummary:
    asked = plan.cards[name.partition("/")[0]], lane.card, plan.job.dedicated
    seconds = found.tasks * lane.rate_period_s / lane.rate_count
    # A synchronous call is in flight as long as it is unanswered.
    at_once = min(lane.in_flight, lane.unanswered) if lane.card.synchronous else lane.in_flight
    waves = -(-found.tasks // at_once)
    return LaneSummary(
        lane=name,
        tasks=found.tasks,
        images=found.images,
        unit=found.unit,
        each_min_micros=found.least,
        each_max_micros=found.most,
        total_micros=found.total,
        rate=lane.rate_count,
        rate_period_s=lane.rate_period_s,
        in_flight=lane.in_flight,
        unanswered=lane.unanswered,
        doubt_micros=min(lane.unanswered, found.tasks) * found.most,
        price_source=found.source,
        seconds=seconds,
        typical_s=max(seconds, waves * lane.card.typical_s),
        evidence=evidence_of(*asked),
        rate_basis=lane.rate_basis,
        doubt_ends=doubt_words(*asked, plan.job.on_doubt, min(lane.unanswered, found.tasks)),
    )
