"""What is seen while a run is alive: golden lines, and no escape byte where nobody can draw."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cli import display
from pipeline.cli.display import Kind, Lines, Panel, choose, panel_rows, plain_line
from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Again, Unheard
from pipeline.engine.messages import Phase, StoredAccount
from pipeline.runtime.progress import Pace, View, status_of
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import Fault, FaultKind

LANE = LaneView(held=2, in_flight=4, unanswered=1, submits=19, rate_limited=0, cooling_until=None, parked=None)
VIEW = View(
    state="running",
    total=24,
    counts={Phase.DONE: 15, Phase.RUNNING: 3, Phase.FETCHING: 1, Phase.HELD: 2, Phase.FAILED: 1},
    images=15,
    money={"USD": StoredAccount("USD", 1_000_000, 390_000, 160_000, 0, 0)},
    lanes={"mulerouter/qwen-image-max": LANE},
    rates={"mulerouter/qwen-image-max": "60/min"},
    faults={},
    now=100.0,
    elapsed_s=4.0,
    eta_s=3.0,
    last_fault=None,
)
LIMITED = replace(LANE, cooling_until=101.2)
GONE = replace(LANE, cooling_until=126.0, unreachable=True)
LOSING = replace(LANE, cooling_until=101.2, losing=True)
PARKED = replace(LANE, parked=Fault(FaultKind.UNAUTHORIZED, "Invalid \x1b[31mtoken"))


def test_a_plain_line_says_everything_in_order() -> None:
    """Done, active, failed, money, time left."""
    assert plain_line(VIEW) == "15/24 done, 4 active, 1 failed, 0.39 USD spent, 0.16 USD held, about 3 s left"


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(VIEW, state="draining"), "draining: 15/24 done"),
        (replace(VIEW, counts={Phase.IN_DOUBT: 2}), "0/24 done, 0 active, 0 failed, 2 in doubt"),
        (replace(VIEW, lanes={"a/b": LIMITED}), "a/b: told to wait, 1.2 s more"),
        (replace(VIEW, lanes={"a/b": GONE}), "a/b: the gateway cannot be reached, tried again in 26 s"),
        (replace(VIEW, lanes={"a/b": LOSING}), "a/b: answers were lost, tried again in 1.2 s"),
        (replace(VIEW, lanes={"a/b": PARKED}), "a/b: parked: Invalid [31mtoken"),
        (replace(VIEW, money={"USD": StoredAccount("USD", 9, 1, 0, 0, 2)}), "0.000003 USD spent"),
    ],
)
def test_a_plain_line_says_why_it_is_slow_and_what_is_open(view: View, words: str) -> None:
    """Waits, parked lanes, doubts, overage and draining are said in words."""
    assert words in plain_line(view)


def test_the_rows_of_the_panel() -> None:
    """The golden rows: tasks, money settled, held and left, lanes with rate and what is in flight."""
    assert panel_rows(VIEW) == [
        ("tasks", "done 15   active 4   waiting 4   failed 1"),
        ("money", "spent 0.39 USD   held 0.16 USD   left 0.45 USD of 1.00 USD"),
        ("lane", "mulerouter/qwen-image-max   60/min   4 in flight"),
    ]


def test_the_panel_shows_waits_doubts_faults_and_missing_limits() -> None:
    """What slows or threatens a run is on the panel, cleaned."""
    fault = Fault(FaultKind.RATE_LIMITED, "slow\x1b[2J down")
    money = {"USD": StoredAccount("USD", UNLIMITED, 0, 0, 75_000, 0)}
    view = replace(VIEW, lanes={"a/b": LIMITED}, rates={}, money=money, last_fault=fault, state="draining")
    assert panel_rows(view)[1:] == [
        ("money", "spent 0.00 USD   held 0.00 USD   in doubt 0.075 USD   no limit"),
        ("lane", "a/b   4 in flight   told to wait, 1.2 s more"),
        ("fault", "rate_limited: slow[2J down"),
        ("state", "draining"),
    ]


def test_many_lanes_are_counted_not_listed() -> None:
    """The panel keeps its height."""
    view = replace(VIEW, lanes={f"g/{number}": LANE for number in range(30)})
    assert panel_rows(view)[-1] == ("", "and 22 more")


@pytest.mark.parametrize(
    ("kind", "quiet", "is_terminal", "term", "chosen"),
    [
        (Kind.AUTO, False, True, "xterm", Kind.LIVE),
        (Kind.AUTO, False, True, "dumb", Kind.PLAIN),
        (Kind.AUTO, False, False, "xterm", Kind.PLAIN),
        (Kind.PLAIN, False, True, "xterm", Kind.PLAIN),
        (Kind.LIVE, False, False, "xterm", Kind.LIVE),
        (Kind.LIVE, True, True, "xterm", Kind.NONE),
        (Kind.NONE, False, True, "xterm", Kind.NONE),
    ],
)
def test_which_display_is_chosen(kind: Kind, quiet: bool, is_terminal: bool, term: str, chosen: Kind) -> None:  # noqa: FBT001
    """Live only where it can be drawn, plain lines elsewhere, nothing when quiet."""
    assert choose(kind, quiet=quiet, is_terminal=is_terminal, environment={"TERM": term}) is chosen


def test_plain_lines_come_every_few_seconds_and_when_the_state_changes() -> None:
    """A log of a long run stays short, and a drain is seen at once."""
    now, written = [0.0], list[str]()
    lines = Lines(write=written.append, clock=lambda: now[0], wall=lambda: "15:07:36")
    for second in range(12):
        now[0] = float(second)
        lines.show(VIEW)
    assert len(written) == 2
    assert written[0].startswith("15:07:36 15/24 done, ")
    lines.show(replace(VIEW, state="draining"))
    assert len(written) == 3
    lines.show(replace(VIEW, state="complete"))
    assert len(written) == 3
    assert "\x1b" not in "".join(written)
    assert "\r" not in "".join(written)


def _drawn(*, colour: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, no_color=not colour, color_system="standard")
    now = [0.0]
    panel = Panel("runs/mugs", console=console, clock=lambda: now[0])
    panel.show(VIEW)
    now[0] = 0.05
    panel.show(replace(VIEW, total=99))
    panel.close()
    return stream.getvalue()


def test_the_live_panel_fits_80_columns_and_ends_with_the_last_state() -> None:
    """The panel is drawn, throttled, and its last picture is the truth."""
    text = _drawn(colour=False)
    assert "runs/mugs" in text
    assert "16/99" in text
    assert "left 0.45 USD of 1.00 USD" in text
    assert text.count("16/24") == 1


def test_the_live_panel_has_no_colour_when_none_is_wanted() -> None:
    """NO_COLOR: words alone carry the meaning."""
    assert "\x1b[3" not in _drawn(colour=False)


def test_a_display_that_never_drew_closes_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """A run that had nothing to do leaves no panel behind."""
    for kind in (Kind.LIVE, Kind.PLAIN, Kind.NONE):
        display.open_display(kind, "x").close()
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


UNHEARD = {"a/b": Unheard(1, 40.0, 700.0)}


def test_operations_that_the_gateway_does_not_know_are_said_at_once() -> None:
    """How many, since when and until when; a line of its own as soon as there is one, without waiting for the next."""
    words = "a/b: 1 operation unknown to the gateway for 1 min, in doubt again in 10 min unless it answers"
    view = replace(VIEW, eta_s=None, unheard=UNHEARD)
    assert plain_line(view).endswith(words)
    assert ("unknown", words) in panel_rows(view)
    told: list[str] = []
    lines = Lines(told.append, clock=lambda: 7.0, wall=lambda: "12:00:00")
    for each in (VIEW, view, view, VIEW):
        lines.show(each)
    assert [line.endswith(words) for line in told] == [True]


def test_a_few_that_take_long_make_no_estimate_grow() -> None:
    """An estimate stands while tasks end; when none has for longer than it promised, nobody knows."""
    pace = Pace()
    assert pace.eta_s(ended=0, fresh=0, left=10, elapsed_s=5.0) is None
    assert pace.eta_s(ended=9, fresh=9, left=1, elapsed_s=90.0) == 10.0
    assert pace.eta_s(ended=9, fresh=9, left=1, elapsed_s=140.0) is not None
    assert pace.eta_s(ended=9, fresh=9, left=1, elapsed_s=151.0) is None
    assert pace.eta_s(ended=10, fresh=10, left=0, elapsed_s=152.0) == 0.0


def test_a_wait_before_a_second_purchase_is_said_at_once() -> None:
    """`on_doubt: resubmit`: how many go again, and when; told without waiting for the next line."""
    view = replace(VIEW, eta_s=None, counts={Phase.IN_DOUBT: 3}, again=Again(3, 148.0, 150.0))
    said = "3 tasks in doubt are sent again, the first in 48 s (on_doubt: resubmit)"
    assert plain_line(view).endswith(said)
    assert ("again", said) in panel_rows(view)
    assert "1 task in doubt is sent again, in 0 s" in plain_line(replace(view, again=Again(1, 90.0, 90.0)))
    told: list[str] = []
    lines = Lines(told.append, clock=lambda: 7.0, wall=lambda: "12:00:00")
    for each in (VIEW, view, view, VIEW):
        lines.show(each)
    assert [line.endswith(said) for line in told] == [True]
    assert status_of(view, in_doubt=[], folder="x")["sent_again"] == {"tasks": 3, "in_s": 48, "last_in_s": 50}
    assert status_of(VIEW, in_doubt=[], folder="x")["sent_again"] is None
