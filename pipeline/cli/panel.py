"""The live panel's lines at any width: bar, tasks, pictures, money, lanes, what it waits for, the last fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.cli import words
from pipeline.cli.standing import STATES
from pipeline.engine.phases import Phase
from pipeline.engine.stored import StoredAccount
from pipeline.values.money import UNLIMITED, format_money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.engine.lanes import LaneView
    from pipeline.engine.machine import Again, Unheard
    from pipeline.runtime.progress import View

#: How many lanes the panel names at most; the others are counted.
LANES_SHOWN: Final = 8
#: What surrounds the lanes: frame, bar, tasks, pictures, money, waits, fault, state, and the prompt below (lines).
_ELSE: Final = 12
#: A label and its gap; a lane's name is cut to no less than this; a gap between two cells (characters).
LABEL: Final = 8
_NAME_LEAST: Final = 22
_GAP: Final = "   "
#: A long text has this many lines at most.
_TEXT_LINES: Final = 2
#: Labels of what needs a person's eye; they are red as well.
_ALARMS: Final = frozenset({"fault", "parked", "disk", "budget"})
#: Phases in which something of the task is at the gateway or on its way from it.
_ACTIVE: Final = (Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the panel; a line that goes on has an empty label."""

    label: str
    text: str
    alarm: bool = False


def cells(text: str) -> int:
    """Columns that a text takes on a terminal; a wide letter takes two."""
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """A text of at most `width` columns; what is left out stands as `...`."""
    from rich.cells import set_cell_size

    if cells(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 3)).rstrip() + "..."[: max(0, width)]


def cut_name(name: str, width: int) -> str:
    """A lane's name cut in its middle: gateway and the end of the model tell it from the others."""
    from rich.cells import chop_cells, set_cell_size

    if cells(name) <= width:
        return name
    tail = chop_cells(name[::-1], max(1, (width - 2) // 2))[0][::-1]
    return set_cell_size(name, max(0, width - 2 - cells(tail))).rstrip() + ".." + tail


def flow(parts: Sequence[str], width: int, gap: str = _GAP) -> list[str]:
    """Parts on as few lines as they fit on, never broken within one unless it alone is too wide."""
    lines: list[str] = []
    for part in (cut(part, width) for part in parts if part):
        if lines and cells(lines[-1]) + len(gap) + cells(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines


def wrap(text: str, width: int, most: int = _TEXT_LINES) -> list[str]:
    """Words on at most `most` lines; what is left over is cut."""
    lines = flow(text.split(), width, " ")
    return lines if len(lines) <= most else [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), width)]


def head(view: View) -> str:
    """`15/24  62%   4 s, 3 s left`; of tasks that ended before, only their number counts."""
    ended = count(view, Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED)
    percent = 100 * ended // view.total if view.total else 100
    left = "" if view.eta_s is None or ended >= view.total else f", {words.duration(view.eta_s)} left"
    return f"{ended:,}/{view.total:,}  {percent}%   {words.duration(view.elapsed_s)}{left}"


def bar(view: View, width: int, *, ascii_only: bool) -> tuple[str, str]:
    """The done and the open part of the bar: different signs, so that it needs no colour."""
    ended = count(view, Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED)
    full = min(width, width * ended // view.total) if view.total else width
    return ("=" if ascii_only else "━") * full, ("." if ascii_only else "·") * (width - full)


def rows(view: View, width: int, height: int = 24) -> list[Row]:
    """All lines below the bar, for a frame that is `width` columns wide inside."""
    room = max(1, width - LABEL)
    found = [*_text("tasks", flow(_tasks(view), room)), *_text("images", flow(_images(view), room))]
    for account in view.money.values():
        found += _text("money", flow(account_parts(account), room))
    for gateway, bills in view.billed.items():
        sums = [f"{format_money(micros, unit)} since the start" for unit, micros in bills.items()]
        found += _text("bill", flow([words.clean(gateway), *sums], room))
    found += _lanes(view, room, height)
    found += _waits(view, room)
    if view.last_fault is not None and view.state != "complete":
        said = f"{view.last_fault.kind}: {words.clean(view.last_fault.message)}"
        ago = "" if view.last_fault_at is None else f" ({words.duration(view.now - view.last_fault_at)} ago)"
        found += _text("fault", wrap(said + ago, room) if cells(said + ago) <= 2 * room else wrap(said, room))
    if view.state != "running":
        found += _text("state", [words.clean(STATES.get(view.state, view.state.replace("_", " ")))])
    return found


def _text(label: str, lines: Sequence[str]) -> list[Row]:
    return [Row("" if number else label, line, label in _ALARMS) for number, line in enumerate(lines)]


def _tasks(view: View) -> list[str]:
    waiting = max(0, view.total - sum(view.counts.values())) + count(view, Phase.WAITING, Phase.HELD)
    tasks = {
        "done": count(view, Phase.DONE),
        "active": active(view),
        "waiting": waiting,
        "in doubt": count(view, Phase.IN_DOUBT),
        "short": count(view, Phase.SHORT),
        "skipped": count(view, Phase.SKIPPED),
        "failed": count(view, Phase.FAILED),
    }
    always = ("done", "active", "waiting", "failed")
    said = [f"{name} {number:,}" for name, number in tasks.items() if number or name in always]
    return [*said, f"({view.before:,} ended before)"] if view.before else said


def _images(view: View) -> list[str]:
    speed = view.images_per_min
    return [f"{view.images:,}", "" if speed is None else f"{speed:,.0f} per minute" if speed >= 10 else _slow(speed)]


def _slow(per_min: float) -> str:
    return f"{per_min:.1f}".removesuffix(".0") + " per minute"


def account_parts(account: StoredAccount) -> list[str]:
    """`spent 0.39 USD`, `held 0.16 USD`, `left 0.45 USD of 1.00 USD`."""
    spent, held = (format_money(micros, account.currency) for micros in (account.spent, account.held))
    parts = [f"spent {spent}", f"held {held}"]
    parts += [f"in doubt {format_money(account.doubt, account.currency)}"] if account.doubt else []
    if account.cap >= UNLIMITED:
        return [*parts, "no limit"]
    left = max(0, account.cap - account.spent - account.held - account.doubt)
    return [*parts, f"left {format_money(left, account.currency)} of {format_money(account.cap, account.currency)}"]


def _lanes(view: View, room: int, height: int) -> list[Row]:
    shown = max(1, min(LANES_SHOWN, height - _ELSE))
    # What stands still is named before what works.
    order = sorted(view.lanes, key=lambda name: view.lanes[name].parked is None)[:shown]
    found: list[Row] = []
    for name in [name for name in view.lanes if name in order]:
        found += _text("lane", lane_lines(view, name, room))
    if len(view.lanes) > shown:
        found.append(Row("", f"and {len(view.lanes) - shown:,} more"))
    return found


def lane_lines(view: View, name: str, room: int) -> list[str]:
    """`mulerouter/qwen-image-max   42 of 60/min   8 of 8 in flight, full`: on one line where the name can be cut."""
    lane, clean = view.lanes[name], words.clean(name)
    parts = [part for part in (_speed(view, name), _stand(view, name, lane)) if part]
    beside = sum(len(_GAP) + cells(part) for part in parts)
    if room - beside >= min(_NAME_LEAST, cells(clean)):
        return [_GAP.join([cut_name(clean, room - beside), *parts])]
    return [cut_name(clean, room), *(f"  {line}" for line in flow(parts, max(1, room - 2)))]


def _speed(view: View, name: str) -> str:
    """What was sent against what is permitted: `42 of 60/min`."""
    permitted = words.clean(view.rates.get(name, ""))
    speed = view.speeds.get(name)
    if not permitted or speed is None:
        return permitted
    share = view.lanes[name].share
    slowed = f" at {share:.0%}" if share < 0.995 else ""
    sent = f"{speed:.0f}" if speed >= 10 or speed == int(speed) else f"{speed:.1f}"
    return f"{sent} of {permitted}{slowed}"


def _stand(view: View, name: str, lane: LaneView) -> str:
    """Why it waits, else what is in flight."""
    if lane.parked is not None:
        return "parked"
    if lane.cooling_until is not None and lane.cooling_until > view.now:
        left = words.duration(lane.cooling_until - view.now)
        if lane.unreachable:
            return f"unreachable: tries in {left}"
        return f"answers lost: tries in {left}" if lane.losing else f"429: waits {left}"
    if lane.behind:
        return "waits for downloads"
    seats = view.seats.get(name)
    if not seats:
        return f"{lane.in_flight:,} in flight"
    full = ", one at a time" if lane.probing else ", full" if lane.in_flight >= seats else ""
    calls = view.calls.get(name, seats)
    if not full and lane.held and calls <= lane.unanswered:
        return f"{lane.in_flight:,} in flight, {calls:,} unanswered at most"
    if not full and _only_its_rate(view, name, lane):
        return f"{lane.in_flight:,} in flight, waits for its rate" if lane.in_flight else "waits for its rate"
    return f"{lane.in_flight:,} of {seats:,} in flight{full}"


def _only_its_rate(view: View, name: str, lane: LaneView) -> bool:
    """Whether calls are ready and no answer is awaited, and no pause, end or full disk keeps them."""
    kept = view.state != "running" or view.disk is not None or None in view.paused or name in view.paused
    return lane.held > 0 and lane.unanswered == 0 and name in view.rates and not kept


def _waits(view: View, room: int) -> list[Row]:
    """What keeps more than one submit: the disk, the budget, parked lanes, what a gateway does not know."""
    found: list[Row] = []
    for text in paused_words(view):
        found += _text("paused", wrap(text, room))
    if view.disk is not None:
        found += _text("disk", wrap(f"nothing new is bought: {words.clean(view.disk)}", room))
    if view.budget is not None:
        found += _text("budget", wrap(budget_words(view), room))
    for name, lane in view.lanes.items():
        if lane.parked is not None:
            found += _text("parked", wrap(f"{words.clean(name)}: {words.clean(lane.parked.message)}", room))
    for name, unheard in view.unheard.items():
        found += _text("unknown", wrap(f"{words.clean(name)}: {unheard_words(unheard, view.now)}", room, 3))
    if view.again is not None:
        found += _text("again", wrap(again_words(view.again, view.now), room))
    return found


def paused_words(view: View) -> list[str]:
    """`every lane, for 2 min: lunch`, for each pause that somebody asked for."""
    return [
        f"{'every lane' if name is None else words.clean(name)}, for {words.duration(view.now - pause.since)}"
        + (f": {words.clean(pause.why)}" if pause.why else "")
        for name, pause in view.paused.items()
    ]


def budget_words(view: View) -> str:
    """`no room for the next task: 0.075 USD wanted, 0.02 USD free`."""
    blocked = view.budget
    if blocked is None:
        return ""
    wanted, free = (format_money(max(0, each), blocked.currency) for each in (blocked.wanted, blocked.free))
    return f"no room for the next task: {wanted} wanted, {free} free"


def unheard_words(unheard: Unheard, now: float) -> str:
    """`1 operation unknown to the gateway for 2 min, in doubt again in 8 min unless it answers`."""
    return (
        f"{words.count(unheard.operations, 'operation')} unknown to the gateway for "
        f"{words.duration(now - unheard.since)}, in doubt again in {words.duration(max(0.0, unheard.until - now))} "
        "unless it answers"
    )


def again_words(again: Again, now: float) -> str:
    """`3 tasks in doubt are sent again, the first in 48 s (on_doubt: resubmit)`."""
    if again.tasks == 1:
        who, when = "1 task in doubt is sent again", "in"
    else:
        who, when = f"{again.tasks:,} tasks in doubt are sent again", "the first in"
    return f"{who}, {when} {words.duration(max(0.0, again.first - now))} (on_doubt: resubmit)"


def count(view: View, *phases: Phase) -> int:
    """How many tasks are in these phases."""
    return sum(view.counts.get(phase, 0) for phase in phases)


def active(view: View) -> int:
    """How many tasks have something at a gateway or on its way from it."""
    return count(view, *_ACTIVE)
