"""What `plan` says: a checked plan's figures against its budget and its run folder, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipeline.cli import words
from pipeline.values.money import UNLIMITED, format_money

if TYPE_CHECKING:
    from pipeline.cli.forecast import Forecast
    from pipeline.plan.summary import LaneSummary, Summary
    from pipeline.runtime.comparison import Comparison


@dataclass(frozen=True, slots=True)
class Outlook:
    """All that `plan` reports."""

    job: str
    #: The spec's path as it was given.
    spec: str
    #: `3 color x 2 scene`, or empty.
    shape: str
    summary: Summary
    #: Against the run folder; None when there is none yet.
    against: Comparison | None
    folder: str
    #: The command that follows, with the options that were given.
    next: str
    #: What the cards say against what this plan does.
    warnings: tuple[str, ...] = ()
    #: {currency: what the cap in force leaves}, None where nothing limits the job or there is no run folder yet.
    left_micros: Mapping[str, int] | None = None
    #: How a rehearsal of all of it ended, when one was asked for.
    forecast: Forecast | None = None


def render(outlook: Outlook) -> str:
    """The page that `plan` prints, at most 100 characters wide unless names are long."""
    parts = [_title(outlook), _prices(outlook), _budget(outlook), _time(outlook), _forecast(outlook), _risk(outlook)]
    parts += [words.clean(f"warning: {warning}") for warning in outlook.warnings]
    parts += [f"note: {words.clean(note)}" for note in outlook.summary.notes]
    parts.append(_against(outlook))
    if outlook.summary.first_prompt:
        parts.append(f'first prompt: "{words.short(outlook.summary.first_prompt, 120)}"')
    parts.append(f"nothing was sent, nothing was charged.   next:  {words.clean(outlook.next)}")
    return "\n".join(part for part in parts if part)


def _title(outlook: Outlook) -> str:
    found = outlook.summary
    images = "" if found.images == found.tasks else f", {words.count(found.images, 'image')}"
    shape = f" = {outlook.shape}" if outlook.shape else ""
    twice = f" ({words.count(found.duplicates, 'duplicate')} left out: bought once)" if found.duplicates else ""
    return words.clean(f"{outlook.job}: {words.count(found.tasks, 'task')}{images}{shape}{twice}")


def _prices(outlook: Outlook) -> str:
    found = outlook.summary
    rows = [("model", "tasks", "images", "each", "total")]
    rows += [
        (lane.lane, f"{lane.tasks:,}", f"{lane.images:,}", _each(lane), format_money(lane.total_micros, lane.unit))
        for lane in found.lanes.values()
    ]
    rows.append(("all", f"{found.tasks:,}", f"{found.images:,}", "", words.money(found.worst_micros)))
    sources = dict.fromkeys(lane.price_source for lane in found.lanes.values() if lane.price_source)
    lines = [f"  price: {words.short(source, 160)}" for source in sources]
    return "\n".join([words.table(rows, right=frozenset({1, 2, 3, 4})), *lines])


def _each(lane: LaneSummary) -> str:
    most = format_money(lane.each_max_micros, lane.unit)
    if lane.each_min_micros == lane.each_max_micros:
        return most
    return f"{format_money(lane.each_min_micros, lane.unit)} to {most}"


def _budget(outlook: Outlook) -> str:
    found = outlook.summary
    worst = words.money(found.worst_micros)
    if found.caps is None:
        return f"worst case {worst}; no budget is written: a paid run needs one, such as budget: {worst}"
    caps = words.money({unit: cap for unit, cap in found.caps.items() if cap < UNLIMITED})
    if all(cap >= UNLIMITED for cap in found.caps.values()):
        return f"worst case {worst}; budget none: nothing limits this job"
    if found.over_micros:
        return (
            f"worst case {worst}   budget {caps}: OVER BUDGET by {words.money(found.over_micros)}; "
            "a run stops at the budget, with what was paid for collected"
        )
    return f"worst case {worst}   budget {caps}: fits"


#: {where a rate is from: how it is said}.
_OURS = "our choice: the vendor's limit is not known"
_BASES = {"ours": _OURS, "unknown": _OURS, "limits": "by your limits"}


def _time(outlook: Outlook) -> str:
    lanes = outlook.summary.lanes.values()
    slowest = max(lanes, key=lambda lane: lane.seconds, default=None)
    if slowest is None:
        return ""
    basis = _BASES.get(slowest.rate_basis, slowest.rate_basis)
    pace = f"{slowest.lane}: {slowest.rate:,} per {words.duration(slowest.rate_period_s)}{basis and f', {basis}'}"
    time = f"time about {words.duration(outlook.summary.seconds)} at the rates in use ({pace})"
    usual = max(lane.typical_s for lane in lanes)
    longer = f"; {words.duration(usual)} with operations of the usual length" if usual > outlook.summary.seconds else ""
    return words.clean(f"{time}{longer}; disk about {_megabytes(outlook.summary.disk_bytes)}")


def _forecast(outlook: Outlook) -> str:
    if outlook.forecast is None:
        return ""
    from pipeline.cli.forecast import render as said

    return said(outlook.forecast)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{max(1, round(size_bytes / 1e6))} MB"


def _risk(outlook: Outlook) -> str:
    doubt = {unit: micros for unit, micros in outlook.summary.doubt_micros.items() if micros}
    if not doubt:
        return ""
    posts = sum(min(lane.unanswered, lane.tasks) for lane in outlook.summary.lanes.values())
    line = f"a crash can leave {words.count(posts, 'unanswered call')} in doubt, {words.money(doubt)} at most"
    ends: dict[str, list[str]] = {}
    for lane in outlook.summary.lanes.values():
        if lane.doubt_ends:
            ends.setdefault(lane.doubt_ends, []).append(lane.lane)
    return "\n".join([line, *(words.clean(f"  a doubt at {', '.join(lanes)}: {how}") for how, lanes in ends.items())])


def _against(outlook: Outlook) -> str:
    found = outlook.against
    if found is None:
        return "run folder: none yet, everything is new"
    failed = f"{found.failed:,} failed, " if found.failed else ""
    changes = f"{found.owned:,} owned, {failed}{found.new:,} new, {found.changed:,} changed, {found.dropped:,} dropped"
    more = f"{words.money(found.new_micros)} more at most" if any(found.new_micros.values()) else "nothing more to pay"
    return "\n".join(
        words.clean(line) for line in [f"run folder {outlook.folder}: {changes}; {more}", *_again(outlook, found)]
    )


def _again(outlook: Outlook, found: Comparison) -> list[str]:
    """What a second run means: what is there already, what is left for the rest, and why it is not there."""
    lines = []
    if found.done:
        planned = found.owned + found.failed + found.new
        nothing = words.money(dict.fromkeys(outlook.summary.worst_micros, 0))
        whole = f": {nothing} more" if found.done == planned else ""
        lines.append(f"  {found.done:,} of {planned:,} done already{whole}")
    left = outlook.left_micros
    if found.new and left is not None:
        beyond = any(micros > left.get(unit, 0) for unit, micros in found.new_micros.items())
        has = {unit: max(0, left.get(unit, 0)) for unit in found.new_micros}
        verdict = "a run stops there" if beyond else "the rest fits"
        lines.append(f"  {words.money(found.gone_micros)} gone so far, the budget leaves {words.money(has)}: {verdict}")
    if found.why:
        first = f" (the first {found.looked_at:,} of them)" if found.looked_at < found.new else ""
        lines.append(f"  why new{first}: {', '.join(f'{count:,} {why}' for why, count in found.why.items())}")
    return lines


def as_json(outlook: Outlook) -> dict[str, object]:
    """The same for scripts; amounts in micro-units by unit, times in seconds."""
    found = outlook.summary
    return {
        "job": outlook.job,
        "spec": outlook.spec,
        "tasks": found.tasks,
        "images": found.images,
        "duplicates": found.duplicates,
        "by_step": dict(found.by_step),
        "by_gateway": dict(found.by_gateway),
        "by_model": dict(found.by_model),
        "lanes": {name: asdict(lane) for name, lane in found.lanes.items()},
        "worst_micros": dict(found.worst_micros),
        "limit_micros": _limits(found),
        "over_micros": dict(found.over_micros),
        "fits": found.fits,
        "seconds": found.seconds,
        "doubt_micros": dict(found.doubt_micros),
        "warnings": list(outlook.warnings),
        "disk_bytes": found.disk_bytes,
        "folder": outlook.folder,
        "against": None if outlook.against is None else asdict(outlook.against),
        "first_prompt": found.first_prompt,
        "notes": list(found.notes),
        "forecast": None if outlook.forecast is None else asdict(outlook.forecast),
    }


def _limits(found: Summary) -> dict[str, int | None] | None:
    """Caps by unit; null for no limit; None when no budget is written."""
    if found.caps is None:
        return None
    return {unit: None if cap >= UNLIMITED else cap for unit, cap in found.caps.items()}
