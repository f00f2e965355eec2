"""What is seen while a run is alive: golden lines, and no escape byte where nobody can draw."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipeline.cli import display, panel
from pipeline.cli.display import Kind, Lines, Panel, Picture, choose, plain_line
from pipeline.engine import ledger
from pipeline.engine.facts import BudgetReached
from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Again, Unheard
from pipeline.engine.phases import Phase
from pipeline.engine.state import Pause
from pipeline.engine.stored import StoredAccount
from pipeline.runtime.progress import Pace, Tempo, View, money_of, status_of
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
    speeds={"mulerouter/qwen-image-max": 42.0},
    seats={"mulerouter/qwen-image-max": 8},
    images_per_min=18.0,
)
LIMITED = replace(LANE, cooling_until=101.2)
GONE = replace(LANE, cooling_until=126.0, unreachable=True)
LOSING = replace(LANE, cooling_until=101.2, losing=True)
BEHIND = replace(LANE, behind=True)
PARKED = replace(LANE, parked=Fault(FaultKind.UNAUTHORIZED, "Invalid \x1b[31mtoken"))


def test_a_plain_line_says_everything_in_order() -> None:
    """Done, active, failed, money, time left."""
    assert plain_line(VIEW) == "15/24 done, 4 active, 1 failed, 0.39 USD spent, 0.16 USD held, about 3 s left"


def test_a_rehearsal_says_whose_time_is_left() -> None:
    """Two hours of the real job pass in minutes: nobody shall wait for them."""
    assert plain_line(VIEW, rehearsal=True).endswith("about 3 s left of the real job's time")


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (replace(VIEW, state="draining"), "draining: 15/24 done"),
        (replace(VIEW, counts={Phase.IN_DOUBT: 2}), "0/24 done, 0 active, 0 failed, 2 in doubt"),
        (replace(VIEW, lanes={"a/b": LIMITED}), "a/b: told to wait (429), 1.2 s more"),
        (replace(VIEW, lanes={"a/b": GONE}), "a/b: the gateway cannot be reached, tried again in 26 s"),
        (replace(VIEW, lanes={"a/b": LOSING}), "a/b: answers were lost, tried again in 1.2 s"),
        (replace(VIEW, lanes={"a/b": PARKED}), "a/b: parked: Invalid [31mtoken"),
        (replace(VIEW, lanes={"a/b": BEHIND}), "a/b: waits until more of what was bought is downloaded"),
        (replace(VIEW, money={"USD": StoredAccount("USD", 9, 3, 0, 0, 2)}), "0.000003 USD spent"),
    ],
)
def test_a_plain_line_says_why_it_is_slow_and_what_is_open(view: View, words: str) -> None:
    """Waits, parked lanes, doubts, overage and draining are said in words."""
    assert words in plain_line(view)


def test_what_was_billed_above_a_hold_is_counted_once() -> None:
    """It is spent like the rest: the panel, the plain line and `status` name the same sum."""
    account = ledger.settle(ledger.hold(ledger.open_account("USD", 1_000_000), 100_000), 100_000, 50_000)
    assert panel.account_parts(account) == ["spent 0.15 USD", "held 0.00 USD", "left 0.85 USD of 1.00 USD"]
    assert "0.15 USD spent" in plain_line(replace(VIEW, money={"USD": account}))
    assert money_of(account)["settled_micros"] == 150_000


def _rows(view: View, width: int = 76, height: int = 24) -> list[tuple[str, str]]:
    return [(row.label, row.text) for row in panel.rows(view, width, height)]


def test_the_rows_of_the_panel() -> None:
    """The golden rows: tasks, pictures, money spent, held and left, lanes with rate and what is in flight."""
    assert _rows(VIEW) == [
        ("tasks", "done 15   active 4   waiting 4   failed 1"),
        ("images", "15   18 per minute"),
        ("money", "spent 0.39 USD   held 0.16 USD   left 0.45 USD of 1.00 USD"),
        ("lane", "mulerouter/qwen-image-max   42 of 60/min   4 of 8 in flight"),
    ]


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        (LANE, "a/b   42 of 60/min   4 of 8 in flight"),
        (replace(LANE, in_flight=8), "a/b   42 of 60/min   8 of 8 in flight, full"),
        (LIMITED, "a/b   42 of 60/min   429: waits 1.2 s"),
        (GONE, "a/b   42 of 60/min   unreachable: tries in 26 s"),
        (LOSING, "a/b   42 of 60/min   answers lost: tries in 1.2 s"),
        (PARKED, "a/b   42 of 60/min   parked"),
        (replace(LANE, share=0.5), "a/b   42 of 60/min at 50%   4 of 8 in flight"),
        (BEHIND, "a/b   42 of 60/min   waits for downloads"),
        (replace(LIMITED, behind=True), "a/b   42 of 60/min   429: waits 1.2 s"),
        (replace(LANE, probing=True), "a/b   42 of 60/min   4 of 8 in flight, one at a time"),
    ],
)
def test_each_lane_says_its_rate_against_its_permission_and_why_it_waits(lane: LaneView, said: str) -> None:
    """On one line, so that the panel keeps its height whatever a lane waits for."""
    view = replace(VIEW, lanes={"a/b": lane}, rates={"a/b": "60/min"}, speeds={"a/b": 42.0}, seats={"a/b": 8})
    assert dict(_rows(view))["lane"] == said


READY = replace(LANE, in_flight=0, unanswered=0)


@pytest.mark.parametrize(
    ("lane", "around", "said"),
    [
        (READY, {}, "waits for its rate"),
        (replace(READY, in_flight=3), {}, "3 in flight, waits for its rate"),
        (replace(READY, held=0), {}, "0 of 8 in flight"),
        (replace(READY, unanswered=1, in_flight=1), {}, "1 of 8 in flight"),
        (replace(READY, in_flight=8), {}, "8 of 8 in flight, full"),
        (READY, {"paused": {None: Pause("", 95.0)}}, "0 of 8 in flight"),
        (READY, {"paused": {"a/b": Pause("", 95.0)}}, "0 of 8 in flight"),
        (READY, {"disk": "the disk has 3 MB free"}, "0 of 8 in flight"),
        (READY, {"state": "draining"}, "0 of 8 in flight"),
    ],
)
def test_a_lane_that_only_its_rate_keeps_says_so(lane: LaneView, around: dict[str, Any], said: str) -> None:
    """Calls are ready and seats are free: without a word of it, a slow permission looks like a run that hangs."""
    view = replace(VIEW, lanes={"a/b": lane}, rates={"a/b": "2/min"}, speeds={"a/b": 2.0}, seats={"a/b": 8}, **around)
    assert dict(_rows(view))["lane"] == f"a/b   2 of 2/min   {said}"


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        (replace(LANE, unanswered=4), "4 in flight, 4 unanswered at most"),
        (replace(LANE, unanswered=3), "4 of 8 in flight"),
        (replace(LANE, unanswered=4, held=0), "4 of 8 in flight"),
        (replace(LANE, unanswered=4, in_flight=8), "8 of 8 in flight, full"),
    ],
)
def test_a_lane_that_waits_for_answers_does_not_look_as_if_it_had_room(lane: LaneView, said: str) -> None:
    """Of what a crash could leave in doubt there are only so many; `4 of 8` would ask why the other four stand idle."""
    view = replace(VIEW, lanes={"a/b": lane}, rates={"a/b": "60/min"}, speeds={"a/b": 42.0}, seats={"a/b": 8})
    assert dict(_rows(replace(view, calls={"a/b": 4})))["lane"] == f"a/b   42 of 60/min   {said}"


def test_what_keeps_more_than_one_call_has_a_line_of_its_own() -> None:
    """Disk, budget and a parked lane's words, cleaned."""
    view = replace(
        VIEW,
        lanes={"a/b": PARKED},
        disk="the disk has 3 MB free",
        budget=BudgetReached("USD", 75_000, 20_000),
        before=7,
        billed={"evolink": {"evolink-credit": 12_000_000}},
        paused={None: Pause("lunch\x1b[2J", 40.0), "g/h": Pause("", 95.0)},
    )
    rows = dict(_rows(view))
    assert rows["disk"] == "nothing new is bought: the disk has 3 MB free"
    assert rows["budget"] == "no room for the next task: 0.075 USD wanted, 0.02 USD free"
    assert rows["parked"] == "a/b: Invalid [31mtoken"
    assert rows["tasks"].endswith("(7 ended before)")
    assert ("paused", "every lane, for 1 min: lunch[2J") in _rows(view)
    assert ("paused", "g/h, for 5 s") in _rows(view)
    assert rows["bill"] == "evolink   12.00 evolink-credit since the start"
    line = plain_line(view)
    assert "the disk takes nothing new: the disk has 3 MB free" in line
    assert "the budget has no room for the next task: 0.075 USD wanted, 0.02 USD free" in line
    assert "paused: every lane, for 1 min: lunch[2J" in line


def test_the_panel_shows_doubts_faults_and_missing_limits() -> None:
    """What slows or threatens a run is on the panel, cleaned, and a fault says how old it is."""
    fault = Fault(FaultKind.RATE_LIMITED, "slow\x1b[2J down")
    money = {"USD": StoredAccount("USD", UNLIMITED, 0, 0, 75_000, 0)}
    view = replace(
        VIEW, lanes={"a/b": LANE}, rates={}, money=money, last_fault=fault, last_fault_at=58.0, state="draining"
    )
    assert _rows(view)[2:] == [
        ("money", "spent 0.00 USD   held 0.00 USD   in doubt 0.075 USD   no limit"),
        ("lane", "a/b   4 in flight"),
        ("fault", "rate_limited: slow[2J down (42 s ago)"),
        ("state", "draining"),
    ]
    assert dict(_rows(replace(view, state="failed_tasks")))["state"] == "done, with failed tasks"
    assert "fault" not in dict(_rows(replace(view, state="complete")))


def test_many_lanes_are_counted_not_listed_and_parked_ones_are_named_first() -> None:
    """The panel keeps its height, and hides nothing that stands still."""
    lanes = {f"g/{number}": PARKED if number == 29 else LANE for number in range(30)}
    rows = _rows(replace(VIEW, lanes=lanes))
    assert ("", "and 22 more") in rows
    assert any(text.startswith("g/29") for label, text in rows if label == "lane")
    assert len(_rows(replace(VIEW, lanes={f"g/{number}": LANE for number in range(30)}), height=16)) == 8


HOSTILE = "\x1b]0;own\x07\x1b[31mred\u202egnp.exe\u2066 \u9a9d" + "\u5b57" * 90
FULL = replace(
    VIEW,
    lanes={"dashscope/qwen-image-2.0-pro-2026-04-22": LANE, "mulerouter/qwen-image-max": LIMITED, "g/p": PARKED},
    rates={"dashscope/qwen-image-2.0-pro-2026-04-22": "2/min", "mulerouter/qwen-image-max": "60/min"},
    speeds={"dashscope/qwen-image-2.0-pro-2026-04-22": 1.0, "mulerouter/qwen-image-max": 58.0},
    seats={"dashscope/qwen-image-2.0-pro-2026-04-22": 4},
    last_fault=Fault(FaultKind.MODERATED, HOSTILE),
    unheard={"a/b": Unheard(1, 40.0, 700.0)},
    again=Again(3, 148.0, 150.0),
    state="draining",
)


@pytest.mark.parametrize("width", [120, 80, 60, 40])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_panel_is_exactly_as_wide_as_the_terminal(width: int, ascii_only: bool) -> None:  # noqa: FBT001
    """At 120, 80, 60 and 40 columns, with wide letters and hostile words, every line fills the width and none wraps."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8", errors="replace")
    console = Console(file=stream, force_terminal=True, no_color=True, width=width, height=40)
    console.print(Picture(FULL, f"runs/{HOSTILE}"))
    stream.flush()
    data = stream.buffer.getvalue().decode(stream.encoding)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", data).splitlines()
    if not ascii_only:
        assert {cell_len(line) for line in lines} == {width}
    for bad in ("\x1b]", "\x07", "\u202e", "\u2066", "\x1b[31m"):
        assert bad not in data
    assert "429: waits 1.2 s" in data
    assert "1 of 2/min" in data


@pytest.mark.parametrize("height", [10, 16, 24])
def test_the_panel_is_never_higher_than_the_terminal(height: int) -> None:
    """A panel that scrolled would leave its upper lines behind with every draw."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=height)
    with console.capture() as captured:
        many = replace(FULL, lanes={f"g/{number}": LANE for number in range(30)})
        console.print(Picture(many, "x", echo_room=True), end="")
    assert len(captured.get().splitlines()) <= height


def test_the_bar_needs_no_colour() -> None:
    """Done and open are different signs."""
    half = replace(VIEW, counts={Phase.DONE: 12})
    assert panel.bar(half, 10, ascii_only=True) == ("=====", ".....")
    assert panel.bar(half, 10, ascii_only=False) == ("━━━━━", "·····")
    assert panel.bar(replace(VIEW, total=0, counts={}), 4, ascii_only=True) == ("====", "")


@pytest.mark.parametrize(
    ("kind", "quiet", "is_terminal", "environment", "chosen"),
    [
        (Kind.AUTO, False, True, {"TERM": "xterm"}, Kind.LIVE),
        (Kind.AUTO, False, True, {}, Kind.LIVE),
        (Kind.AUTO, False, True, {"TERM": "xterm", "NO_COLOR": "1"}, Kind.LIVE),
        (Kind.AUTO, False, True, {"TERM": "dumb"}, Kind.PLAIN),
        (Kind.AUTO, False, False, {"TERM": "xterm"}, Kind.PLAIN),
        (Kind.AUTO, False, False, {"TERM": "xterm", "FORCE_COLOR": "1"}, Kind.PLAIN),
        (Kind.PLAIN, False, True, {"TERM": "xterm"}, Kind.PLAIN),
        (Kind.LIVE, False, False, {"TERM": "xterm"}, Kind.PLAIN),
        (Kind.LIVE, False, False, {"TERM": "xterm", "FORCE_COLOR": "1"}, Kind.LIVE),
        (Kind.LIVE, False, True, {"TERM": "dumb", "FORCE_COLOR": "1"}, Kind.PLAIN),
        (Kind.LIVE, True, True, {"TERM": "xterm"}, Kind.NONE),
        (Kind.NONE, False, True, {"TERM": "xterm"}, Kind.NONE),
    ],
)
def test_which_display_is_chosen(
    kind: Kind,
    quiet: bool,  # noqa: FBT001
    is_terminal: bool,  # noqa: FBT001
    environment: dict[str, str],
    chosen: Kind,
) -> None:
    """Live only where it can be drawn, plain lines elsewhere, nothing when quiet."""
    assert choose(kind, quiet=quiet, is_terminal=is_terminal, environment=environment) is chosen


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
    assert "\x1b[2J" not in text, "no full clear: it flickers"


def test_what_a_terminal_echoes_lands_below_the_frame() -> None:
    """The cursor waits on an empty line: `^C` behind the last corner would leave half a frame behind."""
    stream = io.StringIO()
    panel = Panel("x", console=Console(file=stream, force_terminal=True, width=80, no_color=True), clock=lambda: 0.0)
    panel.show(VIEW)
    alive = stream.getvalue().rstrip(" ")
    assert alive.endswith("╯\n")
    panel.close()
    assert "╯\n\n" not in stream.getvalue().removeprefix(alive).replace("\x1b[?25h", ""), (
        "nothing is left below the end"
    )


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
    assert " ".join(text for label, text in _rows(view) if label in ("unknown", "")) == words
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
    assert ("again", said) in _rows(view, 96)
    assert "1 task in doubt is sent again, in 0 s" in plain_line(replace(view, again=Again(1, 90.0, 90.0)))
    told: list[str] = []
    lines = Lines(told.append, clock=lambda: 7.0, wall=lambda: "12:00:00")
    for each in (VIEW, view, view, VIEW):
        lines.show(each)
    assert [line.endswith(said) for line in told] == [True]
    assert status_of(view, in_doubt=[], folder="x")["sent_again"] == {"tasks": 3, "in_s": 48, "last_in_s": 50}
    assert status_of(VIEW, in_doubt=[], folder="x")["sent_again"] is None


def test_speeds_are_counted_over_the_last_minute() -> None:
    """Never more than was sent while less than a period has passed; pictures a minute only after some seconds."""
    tempo = Tempo()
    assert tempo.images_per_min(0.0, 0) is None
    for second in range(200):
        tempo.note(float(second), second // 2, {"a/b": second})
        if second == 3:
            assert tempo.images_per_min(3.0, 1) is None
            assert tempo.speed("a/b", 3, 3.0, 60.0) == 3.0
            assert tempo.speed("a/b", 3, 3.0, 1.0) == 1.0
    assert tempo.images_per_min(199.0, 99) == pytest.approx(30, abs=1)
    assert tempo.speed("a/b", 199, 199.0, 60.0) == pytest.approx(60.0)
    assert tempo.speed("new/lane", 0, 199.0, 60.0) == 0.0
