"""Stories of a person's verdicts that name an operation: what cannot be one is refused before anything is booked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.runtime import inspect
from pipeline.store.journal import Journal
from tests.stories.jobs import PRICE, faults, money, rehearse, spec

ASSETS = Path(__file__).parents[2] / "specs" / "assets"
ONEMIN = """\
version: 1
name: whole
model: 1min/qwen-image-edit-plus
images: [astronaut.png]
prompt: In falling snow.
prices: {1min/qwen-image-edit-plus: 100 1min-credit}
budget: 500 1min-credit
"""


def test_where_the_answer_holds_the_pictures_no_operation_can_be_named(tmp_path: Path) -> None:
    """It could never be asked for: booked, it would stop every later run here; the doubt takes another word."""
    shutil.copy(ASSETS / "astronaut.png", tmp_path)
    path = tmp_path / "whole.yaml"
    path.write_text(ONEMIN)
    assert rehearse(path, faults=faults(tmp_path, "cut_after: {first: 1}\n")).exit_code == 5
    with pytest.raises(RunError, match="say --billed or --not-billed"):
        inspect.resolve(tmp_path / "run", attempt=1, verdict="", why="the console", operation="abc")
    assert rehearse(path).exit_code == 5
    assert inspect.resolve(tmp_path / "run", attempt=1, verdict="not_billed", why="the console") == 1
    assert rehearse(path).exit_code == 0


def test_an_id_that_no_gateway_writes_is_refused_and_a_copied_one_is_trimmed(tmp_path: Path) -> None:
    """A slip of the clipboard costs no ten minutes of asking, and no line of the ledger."""
    path = spec(tmp_path)
    first = rehearse(path, faults=faults(tmp_path, "cut_after: {first: 1}\n"))
    assert (first.exit_code, money(first)["doubt_micros"]) == (5, PRICE)
    run = tmp_path / "run"
    for slip in ("   ", "a\nb: c", "two words", "\x1b[31mred", "a\u202eb", "x" * 300):
        with pytest.raises(RunError, match="no id of an operation"):
            inspect.resolve(run, attempt=1, verdict="", why="the console", operation=slip)
    assert inspect.resolve(run, attempt=1, verdict="", why="the console", operation=" op-7\n") == 1
    journal = Journal.open_read_only(run / "state.db")
    stored = journal.task_of_attempt(1)
    journal.close(clean=True)
    assert stored is not None
    assert [each.operation for each in stored.attempts] == ["op-7"]
