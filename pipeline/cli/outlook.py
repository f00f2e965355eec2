"""What `plan` says: a plan's tasks, money, time and risk as values, then as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.cli import words
from pipeline.values.money import UNLIMITED, format_money

#: {unit: micro-units}
Amounts: TypeAlias = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LaneOutlook:
    """What one gateway and model is asked for. *Units* - total_micros: of `unit`; each_*: per task."""

    lane: str
    tasks: int
    images: int
    unit: str
    each_min_micros: int
    each_max_micros: int
    total_micros: int
    #: Requests in `rate_period_s` seconds.
    rate: int
    rate_period_s: float
    #: POSTs whose fate a crash can leave open, and their worst price.
    unanswered: int
    doubt_micros: int
    price_source: str = ""

    @property
    def seconds(self) -> float:
        """The least time this lane's submits take at the permitted rate."""
        return self.tasks * self.rate_period_s / self.rate


@dataclass(frozen=True, slots=True)
class Against:
    """The plan against what the run folder has. `money` is what the new tasks cost at worst."""

    owned: int
    new: int
    changed: int
    dropped: int
    money: Amounts


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that `plan` reports. *Units* - caps and sums: micro-units; time_s: seconds at the permitted rates."""

    job: str
    spec: str
    #: `3 color x 2 scene`, or empty.
    shape: str
    tasks: int
    images: int
    lanes: tuple[LaneOutlook, ...]
    #: {unit: cap}; () means `budget: none`, None means that no budget was written.
    caps: Amounts | None
    time_s: float
    against: Against | None
    folder: str
    first_prompt: str

    @property
    def worst(self) -> dict[str, int]:
        """{unit: what the whole job costs at most}"""
        sums: dict[str, int] = {}
        for lane in self.lanes:
            sums[lane.unit] = sums.get(lane.unit, 0) + lane.total_micros
        return sums

    @property
    def doubt(self) -> dict[str, int]:
        """{unit: what one crash can leave in doubt at most}"""
        sums: dict[str, int] = {}
        for lane in self.lanes:
            sums[lane.unit] = sums.get(lane.unit, 0) + lane.doubt_micros
        return sums

    @property
    def over(self) -> dict[str, int]:
        """{unit: by how much the worst case passes the cap}; empty when the budget fits or has no limit."""
        caps = self.caps or {}
        return {unit: sum_ - caps[unit] for unit, sum_ in self.worst.items() if unit in caps and sum_ > caps[unit]}

    @property
    def slowest(self) -> LaneOutlook | None:
        """The lane that the whole job waits for."""
        return max(self.lanes, key=lambda lane: lane.seconds, default=None)


def render(outlook: Outlook) -> str:
    """The page that `plan` prints, at most 100 characters wide unless names are long."""
    parts = [_title(outlook), _prices(outlook), _budget(outlook), _time(outlook), _risk(outlook)]
    parts.append(_against(outlook))
    if outlook.first_prompt:
        parts.append(f'first prompt: "{words.short(outlook.first_prompt, 120)}"')
    parts.append(f"nothing was sent, nothing was charged.   next:  {_next(outlook)}")
    return "\n".join(part for part in parts if part)


def _title(outlook: Outlook) -> str:
    images = "" if outlook.images == outlook.tasks else f", {words.count(outlook.images, 'image')}"
    shape = f" = {outlook.shape}" if outlook.shape else ""
    return words.clean(f"{outlook.job}: {words.count(outlook.tasks, 'task')}{images}{shape}")


def _prices(outlook: Outlook) -> str:
    rows = [("model", "tasks", "images", "each", "total")]
    rows += [
        (lane.lane, f"{lane.tasks:,}", f"{lane.images:,}", _each(lane), format_money(lane.total_micros, lane.unit))
        for lane in outlook.lanes
    ]
    rows.append(("all", f"{outlook.tasks:,}", f"{outlook.images:,}", "", words.money(outlook.worst)))
    sources = dict.fromkeys(f"price: {words.clean(lane.price_source)}" for lane in outlook.lanes if lane.price_source)
    return "\n".join([words.table(rows, right=frozenset({1, 2, 3, 4})), *(f"  {source}" for source in sources)])


def _each(lane: LaneOutlook) -> str:
    if lane.each_min_micros == lane.each_max_micros:
        return format_money(lane.each_max_micros, lane.unit)
    return f"{format_money(lane.each_min_micros, lane.unit)} to {format_money(lane.each_max_micros, lane.unit)}"


def _budget(outlook: Outlook) -> str:
    worst = words.money(outlook.worst)
    if outlook.caps is None:
        return f"worst case {worst}; no budget is written: a paid run needs one, such as budget: {worst}"
    if not outlook.caps:
        return f"worst case {worst}; budget none: nothing limits this job"
    caps = words.money({unit: cap for unit, cap in outlook.caps.items() if cap < UNLIMITED}) or "no limit"
    if outlook.over:
        return (
            f"worst case {worst}   budget {caps}: OVER BUDGET by {words.money(outlook.over)}; "
            "a run stops at the budget, with what was paid for collected"
        )
    return f"worst case {worst}   budget {caps}: fits"


def _time(outlook: Outlook) -> str:
    slowest = outlook.slowest
    if slowest is None:
        return ""
    pace = f"{slowest.lane} allows {slowest.rate:,} per {words.duration(slowest.rate_period_s)}"
    return words.clean(f"time about {words.duration(outlook.time_s)} at the permitted rates ({pace})")


def _risk(outlook: Outlook) -> str:
    if not any(outlook.doubt.values()):
        return ""
    posts = sum(lane.unanswered for lane in outlook.lanes)
    calls = words.count(posts, "unanswered call")
    return f"a crash can leave {calls} in doubt, {words.money(outlook.doubt)} at most"


def _against(outlook: Outlook) -> str:
    found = outlook.against
    if found is None:
        return "run folder: none yet, everything is new"
    changes = f"{found.owned:,} owned, {found.new:,} new, {found.changed:,} changed, {found.dropped:,} dropped"
    more = "nothing more to pay" if not any(found.money.values()) else f"{words.money(found.money)} more at most"
    return words.clean(f"run folder {outlook.folder}: {changes}; {more}")


def _next(outlook: Outlook) -> str:
    return words.clean(f"pipeline run {outlook.spec} --simulate")


def as_json(outlook: Outlook) -> dict[str, object]:
    """The same for scripts; amounts in micro-units by unit."""
    found = outlook.against
    return {
        "job": outlook.job,
        "spec": outlook.spec,
        "tasks": outlook.tasks,
        "images": outlook.images,
        "lanes": {
            lane.lane: {
                "tasks": lane.tasks,
                "images": lane.images,
                "unit": lane.unit,
                "total_micros": lane.total_micros,
                "each_min_micros": lane.each_min_micros,
                "each_max_micros": lane.each_max_micros,
                "rate": lane.rate,
                "rate_period_s": lane.rate_period_s,
                "seconds": lane.seconds,
                "unanswered": lane.unanswered,
                "doubt_micros": lane.doubt_micros,
                "price_source": lane.price_source,
            }
            for lane in outlook.lanes
        },
        "worst_micros": outlook.worst,
        "limit_micros": None if outlook.caps is None else dict(outlook.caps),
        "over_micros": outlook.over,
        "fits": not outlook.over,
        "seconds": outlook.time_s,
        "doubt_micros": outlook.doubt,
        "folder": outlook.folder,
        "against": None
        if found is None
        else {
            "owned": found.owned,
            "new": found.new,
            "changed": found.changed,
            "dropped": found.dropped,
            "new_micros": dict(found.money),
        },
        "first_prompt": outlook.first_prompt,
    }
