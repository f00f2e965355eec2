"""What is seen while a run is alive: a live panel on a terminal, a plain line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.cli import words
from pipeline.cli.output import say
from pipeline.cli.statement import STATES
from pipeline.engine.messages import Phase, StoredAccount
from pipeline.values.money import UNLIMITED, format_money

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from pipeline.engine.lanes import LaneView
    from pipeline.engine.machine import Again, Unheard
    from pipeline.runtime.progress import View

#: Seconds between two plain lines, and between two pictures of the panel.
PLAIN_EVERY_S: Final = 5.0
LIVE_EVERY_S: Final = 0.1
#: How many lanes the panel names; the others are counted.
_LANES_SHOWN: Final = 8

#: States in which nothing moves any more.
ENDS: Final = frozenset(STATES) - {"running"}
#: Phases in which something of the task is at the gateway or on its way from it.
_ACTIVE: Final = (Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING)


class Kind(StrEnum):
    """The sorts of display."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    NONE = "none"


class Display(Protocol):
    """Listens to a run. `close` leaves the terminal as it was."""

    def show(self, view: View) -> None:
        """Take note of how the run stands; may be called far more often than anything is drawn."""
        ...

    def close(self) -> None:
        """Stop drawing."""
        ...


def choose(kind: Kind, *, quiet: bool, is_terminal: bool, environment: Mapping[str, str]) -> Kind:
    """Which display `auto` means: live on a terminal that can move its cursor, plain lines everywhere else."""
    if quiet:
        return Kind.NONE
    if kind is not Kind.AUTO:
        return kind
    return Kind.LIVE if is_terminal and environment.get("TERM") != "dumb" else Kind.PLAIN


def open_display(kind: Kind, title: str) -> Display:
    """A display of this kind, on stderr."""
    match kind:
        case Kind.LIVE:
            return Panel(title)
        case Kind.NONE:
            return Nothing()
        case _:
            return Lines()


class Nothing:
    """Shows nothing."""

    def show(self, view: View) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Lines:
    """One plain line every few seconds of real time, without colour or cursor movements."""

    def __init__(
        self,
        write: Callable[[str], object] = say,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        self._write, self._clock, self._wall = write, clock, wall
        self._last = clock()
        self._state = ""
        self._unheard: object = None
        self._again = 0

    def show(self, view: View) -> None:
        """A line when the state changed, or when the last one is old; how a run ended is for the last words to say."""
        if view.state in ENDS:
            return
        now = self._clock()
        unheard = {name: found.operations for name, found in view.unheard.items()}
        again = 0 if view.again is None else view.again.tasks
        changed = (bool(self._state) and view.state != self._state) or (unheard and unheard != self._unheard)
        changed = changed or again > self._again
        self._state, self._unheard, self._again = view.state, unheard, again
        if changed or now - self._last >= PLAIN_EVERY_S:
            self._last = now
            self._write(f"{self._wall()} {plain_line(view)}")

    def close(self) -> None:
        """Nothing is left to do."""


class Panel:
    """A panel that rich keeps drawing in place; colour says nothing that words do not say too."""

    def __init__(self, title: str, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console as RichConsole

        self._title, self._clock = title, clock
        self._console = console if console is not None else RichConsole(file=sys.stderr, highlight=False)
        self._live: Live | None = None
        self._last = float("-inf")
        self._view: View | None = None

    def show(self, view: View) -> None:
        """Draw, unless the last picture is younger than a tenth of a second."""
        self._view = view
        now = self._clock()
        if now - self._last < LIVE_EVERY_S:
            return
        self._last = now
        self._draw(view)

    def _draw(self, view: View) -> None:
        if self._live is None:
            from rich.live import Live as RichLive

            # Only our own draws: a second thread would draw while the run writes to the terminal.
            self._live = RichLive(console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(panel(view, self._title), refresh=True)

    def close(self) -> None:
        """Draw the last state and give the cursor back."""
        if self._live is not None:
            if self._view is not None:
                self._draw(self._view)
            self._live.stop()
            self._live = None


def plain_line(view: View) -> str:
    """`15/24 done, 4 active, 0 failed, 0.39 USD spent, 0.16 USD held, about 3 s left`."""
    parts = [f"{_count(view, Phase.DONE):,}/{view.total:,} done", f"{_active(view):,} active"]
    parts.append(f"{_count(view, Phase.FAILED, Phase.SHORT, Phase.SKIPPED):,} failed")
    doubts = _count(view, Phase.IN_DOUBT)
    parts += [f"{doubts:,} in doubt"] if doubts else []
    for account in view.money.values():
        parts.append(f"{format_money(account.spent + account.overage, account.currency)} spent")
        parts += [f"{format_money(account.held, account.currency)} held"] if account.held else []
    parts += [f"{lane}: {why}" for lane, found in view.lanes.items() if (why := waits(found, view.now))]
    parts += [f"{lane}: {unheard_words(found, view.now)}" for lane, found in view.unheard.items()]
    parts += [again_words(view.again, view.now)] if view.again is not None else []
    if view.eta_s is not None:
        parts.append(f"about {words.duration(view.eta_s)} left")
    lead = "" if view.state == "running" else f"{view.state.replace('_', ' ')}: "
    return words.clean(lead + ", ".join(parts))


def panel(view: View, title: str) -> RenderableType:
    """The live panel, as something that rich can draw at any width."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel as Frame
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    ended = _count(view, Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED)
    bar = Table.grid(expand=True, padding=(0, 2))
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    bar.add_row(ProgressBar(total=max(view.total, 1), completed=ended), Text(_head(view, ended)))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for name, text in panel_rows(view):
        grid.add_row(Text(name), Text(text, style="red" if name in ("fault", "parked") else ""))
    return Frame(Group(bar, grid), title=Text(words.clean(title)), title_align="left", box=box.ROUNDED)


def _head(view: View, ended: int) -> str:
    percent = 100 * ended // view.total if view.total else 100
    left = "" if view.eta_s is None or ended >= view.total else f", {words.duration(view.eta_s)} left"
    return f"{ended:,}/{view.total:,}  {percent}%   {words.duration(view.elapsed_s)}{left}"


def panel_rows(view: View) -> list[tuple[str, str]]:
    """The panel's lines as label and text: tasks, money, lanes, the last fault."""
    waiting = max(0, view.total - sum(view.counts.values())) + _count(view, Phase.WAITING, Phase.HELD)
    tasks = {
        "done": _count(view, Phase.DONE),
        "active": _active(view),
        "waiting": waiting,
        "in doubt": _count(view, Phase.IN_DOUBT),
        "short": _count(view, Phase.SHORT),
        "skipped": _count(view, Phase.SKIPPED),
        "failed": _count(view, Phase.FAILED),
    }
    always = ("done", "active", "waiting", "failed")
    rows = [("tasks", "   ".join(f"{name} {number:,}" for name, number in tasks.items() if number or name in always))]
    rows += [("money", account_line(account)) for account in view.money.values()]
    lanes = list(view.lanes.items())
    rows += [
        ("lane", lane_line(name, found, view.rates.get(name, ""), view.now)) for name, found in lanes[:_LANES_SHOWN]
    ]
    if len(lanes) > _LANES_SHOWN:
        rows.append(("", f"and {len(lanes) - _LANES_SHOWN:,} more"))
    rows += [
        ("unknown", f"{words.clean(lane)}: {unheard_words(found, view.now)}") for lane, found in view.unheard.items()
    ]
    rows += [("again", again_words(view.again, view.now))] if view.again is not None else []
    if view.last_fault is not None:
        rows.append(("fault", words.short(f"{view.last_fault.kind}: {view.last_fault.message}", 160)))
    if view.state != "running":
        rows.append(("state", words.clean(view.state.replace("_", " "))))
    return rows


def account_line(account: StoredAccount) -> str:
    """`spent 0.39 USD   held 0.16 USD   left 0.45 USD of 1.00 USD`."""
    spent = account.spent + account.overage
    parts = [f"spent {format_money(spent, account.currency)}", f"held {format_money(account.held, account.currency)}"]
    parts += [f"in doubt {format_money(account.doubt, account.currency)}"] if account.doubt else []
    if account.cap >= UNLIMITED:
        parts.append("no limit")
    else:
        left = max(0, account.cap - spent - account.held - account.doubt)
        parts.append(f"left {format_money(left, account.currency)} of {format_money(account.cap, account.currency)}")
    return "   ".join(parts)


def lane_line(name: str, lane: LaneView, rate: str, now: float) -> str:
    """`mulerouter/qwen-image-max   60/min   4 in flight   cooling 1.2 s`."""
    parts = [name, rate, f"{lane.in_flight:,} in flight", waits(lane, now)]
    return words.clean("   ".join(part for part in parts if part))


def waits(lane: LaneView, now: float) -> str:
    """Why a lane submits nothing just now; empty when it may."""
    if lane.parked is not None:
        return f"parked: {words.short(lane.parked.message, 80)}"
    if lane.cooling_until is not None and lane.cooling_until > now:
        left = words.duration(lane.cooling_until - now)
        if lane.unreachable:
            return f"the gateway cannot be reached, tried again in {left}"
        return f"answers were lost, tried again in {left}" if lane.losing else f"told to wait, {left} more"
    return ""


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


def _count(view: View, *phases: Phase) -> int:
    return sum(view.counts.get(phase, 0) for phase in phases)


def _active(view: View) -> int:
    return _count(view, *_ACTIVE)
