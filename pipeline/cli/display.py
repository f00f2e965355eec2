"""What is seen while a run is alive: a live panel on a terminal, a plain line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from pipeline.cli import words
from pipeline.cli.output import say
from pipeline.cli.panel import (
    LABEL,
    active,
    again_words,
    bar,
    budget_words,
    cells,
    count,
    cut,
    head,
    paused_words,
    rows,
    unheard_words,
)
from pipeline.cli.standing import STATES
from pipeline.engine.phases import Phase
from pipeline.values.money import format_money

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.text import Text

    from pipeline.engine.lanes import LaneView
    from pipeline.runtime.progress import View

#: Seconds between two plain lines, and between two pictures of the panel.
PLAIN_EVERY_S: Final = 5.0
LIVE_EVERY_S: Final = 0.1
#: A bar shorter than this says nothing (columns).
_BAR_LEAST: Final = 10

#: States in which nothing moves any more.
ENDS: Final = frozenset(STATES) - {"running"}


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
    """Live on a terminal that can move its cursor, plain lines everywhere else, unless plain or none is wanted.

    Off a terminal nothing can be drawn in place: `live` is plain there too, unless FORCE_COLOR says what reads it.
    """
    if quiet:
        return Kind.NONE
    if kind not in (Kind.AUTO, Kind.LIVE):
        return kind
    forced = kind is Kind.LIVE and bool(environment.get("FORCE_COLOR"))
    drawn = (is_terminal or forced) and environment.get("TERM") not in ("dumb", "unknown")
    return Kind.LIVE if drawn else Kind.PLAIN


#: What a rehearsal's panel says beside its name: its clock is not the one on the wall.
_REHEARSAL: Final = "(rehearsal, in the real job's time)"


def open_display(kind: Kind, title: str, *, rehearsal: bool = False) -> Display:
    """A display of this kind, on stderr."""
    match kind:
        case Kind.LIVE:
            return Panel(f"{title} {_REHEARSAL}" if rehearsal else title)
        case Kind.NONE:
            return Nothing()
        case _:
            return Lines(rehearsal=rehearsal)


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
        *,
        rehearsal: bool = False,
    ) -> None:
        self._write, self._clock, self._wall, self._rehearsal = write, clock, wall, rehearsal
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
            self._write(f"{self._wall()} {plain_line(view, rehearsal=self._rehearsal)}")

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

    def _draw(self, view: View, *, ends: bool = False) -> None:
        if self._live is None:
            from rich.live import Live as RichLive

            # Only our own draws: a second thread would draw while the run writes to the terminal.
            self._live = RichLive(console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
        self._live.update(Picture(view, self._title, echo_room=not ends), refresh=True)

    def close(self) -> None:
        """Draw the last state and give the cursor back."""
        if self._live is not None:
            if self._view is not None:
                self._draw(self._view, ends=True)
            self._live.stop()
            self._live = None


def plain_line(view: View, *, rehearsal: bool = False) -> str:
    """`15/24 done, 4 active, 0 failed, 0.39 USD spent, 0.16 USD held, about 3 s left`.

    A rehearsal's time is virtual: it says whose time that is, or people would wait for it.
    """
    parts = [f"{count(view, Phase.DONE):,}/{view.total:,} done", f"{active(view):,} active"]
    parts.append(f"{count(view, Phase.FAILED, Phase.SHORT, Phase.SKIPPED):,} failed")
    doubts = count(view, Phase.IN_DOUBT)
    parts += [f"{doubts:,} in doubt"] if doubts else []
    for account in view.money.values():
        parts.append(f"{format_money(account.spent, account.currency)} spent")
        parts += [f"{format_money(account.held, account.currency)} held"] if account.held else []
    parts += [f"{lane}: {why}" for lane, found in view.lanes.items() if (why := waits(found, view.now))]
    parts += [f"{lane}: {unheard_words(found, view.now)}" for lane, found in view.unheard.items()]
    parts += [f"paused: {text}" for text in paused_words(view)]
    parts += [f"the disk takes nothing new: {view.disk}"] if view.disk is not None else []
    parts += [f"the budget has {budget_words(view)}"] if view.budget is not None else []
    parts += [again_words(view.again, view.now)] if view.again is not None else []
    if view.eta_s is not None:
        parts.append(f"about {words.duration(view.eta_s)} left" + (" of the real job's time" if rehearsal else ""))
    lead = "" if view.state == "running" else f"{view.state.replace('_', ' ')}: "
    return words.clean(lead + ", ".join(parts))


@dataclass(frozen=True, slots=True)
class Picture:
    """The live panel, as something that rich can draw at any width."""

    view: View
    title: str
    #: An empty line below the frame: what is typed, such as the `^C` that a terminal echoes, lands there. Behind the
    #: frame's last corner it would wrap, and each draw after it would begin one line too low.
    echo_room: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines of exactly the terminal's width, and never more of them than it has."""
        from rich import box
        from rich.panel import Panel as Frame
        from rich.text import Text

        inside = max(1, options.max_width - 4)
        height = options.height or console.size.height
        text = self._first(inside, ascii_only=options.ascii_only)
        for row in rows(self.view, inside, height)[: max(1, height - 4 - self.echo_room)]:
            text.append(f"\n{row.label:<{LABEL}}", style="bold red" if row.alarm else "bold")
            text.append(row.text)
        title = Text(cut(words.clean(self.title), max(1, inside - 2)))
        text.no_wrap, text.overflow = True, "crop"
        yield Frame(text, title=title, title_align="left", box=box.ROUNDED, width=options.max_width)
        if self.echo_room:
            yield Text("")

    def _first(self, inside: int, *, ascii_only: bool) -> Text:
        """The bar with the figures beside it, or below it where there is no room for both."""
        from rich.text import Text

        figures = head(self.view)
        wide = inside - cells(figures) - 2
        done, open_part = bar(self.view, wide if wide >= _BAR_LEAST else inside, ascii_only=ascii_only)
        text = Text()
        text.append(done, style="green")
        text.append(open_part)
        text.append(f"  {figures}" if wide >= _BAR_LEAST else f"\n{cut(figures, inside)}")
        return text


def waits(lane: LaneView, now: float) -> str:
    """Why a lane submits nothing just now; empty when it may."""
    if lane.parked is not None:
        return f"parked: {words.short(lane.parked.message, 80)}"
    if lane.cooling_until is not None and lane.cooling_until > now:
        left = words.duration(lane.cooling_until - now)
        if lane.unreachable:
            return f"the gateway cannot be reached, tried again in {left}"
        return f"answers were lost, tried again in {left}" if lane.losing else f"told to wait (429), {left} more"
    return "waits until more of what was bought is downloaded" if lane.behind else ""
