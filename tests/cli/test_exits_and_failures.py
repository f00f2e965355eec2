"""Exit codes and the words that come with them."""

from __future__ import annotations

import json

import click
import pytest

from pipeline.cli import exits, failures
from pipeline.cli.exits import Exit
from pipeline.errors import (
    Bug,
    JournalNewer,
    Mistake,
    Place,
    PlanChanged,
    PlanError,
    RunLocked,
    RunNotFound,
    SecretMissing,
    SpecError,
    StorageFailed,
)

MISTAKE = Mistake(Place("mugs.yaml", 4, 3, "  colour: [red]"), "unknown key colour", "did you mean color?")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError((MISTAKE,)), 2),
        (PlanError((MISTAKE,)), 2),
        (SecretMissing("no key for mulerouter: MULEROUTER_API_KEY"), 2),
        (PlanChanged("the spec changed"), 2),
        (JournalNewer("upgrade"), 2),
        (RunNotFound("no run"), 2),
        (click.UsageError("no"), 2),
        (click.BadParameter("no"), 2),
        (RunLocked("in use"), 75),
        (StorageFailed("disk full"), 70),
        (Bug("story"), 1),
        (ZeroDivisionError("division"), 1),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (ExceptionGroup("one", [StorageFailed("disk full")]), 70),
        (ExceptionGroup("two", [StorageFailed("disk full"), ValueError("x")]), 1),
    ],
)
def test_every_sort_of_error_has_its_exit_code(error: BaseException, code: int) -> None:
    """Scripts can tell errors apart by the number alone."""
    assert int(failures.explain(error).code) == code


def test_a_spec_mistake_is_shown_with_its_line_caret_and_remedy() -> None:
    """The golden text of a spec's mistake."""
    assert failures.render(failures.explain(SpecError((MISTAKE,)))) == (
        "mugs.yaml:4:3: error: unknown key colour; did you mean color?\n"
        "    colour: [red]\n"
        "    ^\n"
        "1 error; nothing was sent"
    )


def test_a_missing_key_says_how_to_go_on_without_one() -> None:
    """Sentence, cause and remedy of a missing key."""
    assert failures.render(failures.explain(SecretMissing("no key for mulerouter: MULEROUTER_API_KEY"))) == (
        "error: no key for mulerouter: MULEROUTER_API_KEY\n"
        "  nothing was sent, nothing was charged; a rehearsal needs no key: --simulate"
    )


def test_our_own_mistake_says_that_resuming_is_safe() -> None:
    """A bug is one line of cause and one of remedy, with no traceback."""
    assert failures.render(failures.explain(ValueError("first\nsecond"))) == (
        "error: an unexpected error, which is our own mistake: ValueError: first\n"
        "  resuming is safe: run the same command again; PIPELINE_DEBUG=1 shows where it comes from"
    )


def test_mistakes_stand_one_by_one_in_the_json_error() -> None:
    """Editors can jump to each mistake without parsing words."""
    found = json.loads(json.dumps(failures.as_json(failures.explain(SpecError((MISTAKE, MISTAKE))))))
    assert found["error"]["kind"] == "SpecError"
    assert found["error"]["exit_code"] == 2
    assert found["error"]["mistakes"][0] == {
        "file": "mugs.yaml",
        "line": 4,
        "column": 3,
        "what": "unknown key colour",
        "remedy": "did you mean color?",
    }
    assert len(found["error"]["mistakes"]) == 2


def test_escape_sequences_in_a_message_never_reach_the_terminal() -> None:
    """A spec or gateway cannot move the cursor through an error message."""
    text = failures.render(failures.explain(RunNotFound("no \x1b[2Jrun\x9b31m \u202eevil")))
    assert text == "error: no [2Jrun31m evil"


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], Exit.COMPLETE),
        ([Exit.COMPLETE, Exit.FAILED_TASKS], Exit.FAILED_TASKS),
        ([Exit.FAILED_TASKS, Exit.BUDGET_REACHED], Exit.BUDGET_REACHED),
        ([Exit.BUDGET_REACHED, Exit.IN_DOUBT], Exit.IN_DOUBT),
        ([Exit.IN_DOUBT, Exit.PARKED], Exit.PARKED),
        ([Exit.PARKED, Exit.STOPPED], Exit.STOPPED),
        ([Exit.STOPPED, Exit.RUN_LOCKED], Exit.RUN_LOCKED),
        ([Exit.RUN_LOCKED, Exit.STORAGE_FAILED], Exit.STORAGE_FAILED),
    ],
)
def test_of_several_endings_the_first_of_the_promised_order_wins(codes: list[Exit], code: Exit) -> None:
    """70, 75, 130, 6, 5, 3, 4: the order of the interface."""
    assert exits.worst(codes) is code
    assert exits.worst(reversed(codes)) is code


def test_every_code_has_a_meaning() -> None:
    """No code is undocumented."""
    assert set(exits.MEANINGS) == set(Exit)
