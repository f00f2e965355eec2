"""Stories of an edited spec: a death at any place of the change, and the edit taken back, lose and lock out nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime import inspect
from pipeline.store.journal import Journal
from tests.stories.jobs import bill, failing, faults, money, rehearse, spec

FIRST, EDITED, OTHER = "[red, teal, black]", "[gold, pink, red]", "[gold]"
PLACES = ["plan.marked", "plan.kept", "plan.noted", "recover.begun"]


def edited(path: Path, colors: str) -> Path:
    """The same spec with other colours, as they stand in the place of whatever stood there."""
    lines = [f"  color: {colors}" if line.startswith("  color:") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    return path


def numbers(folder: Path) -> dict[str, int]:
    """{id: place} of every task that the store takes for one of the spec's."""
    journal = Journal.open_read_only(folder / "state.db")
    try:
        return {row.task_id: row.task.number for row in journal.task_rows() if row.in_spec}
    finally:
        journal.close(clean=False)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("edit", [EDITED, OTHER])
def test_a_death_while_an_edit_is_noted_and_the_edit_taken_back_finish_the_first_job(
    tmp_path: Path, where: str, edit: str
) -> None:
    """What is owned stays in the spec, what is not is bought, and every number is as if there had been no edit."""
    path = spec(tmp_path)
    assert rehearse(path, limit=3).exit_code == 0
    edited(path, edit)
    with failing(where, RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        rehearse(path)
    result = rehearse(edited(path, FIRST))
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, money(result)["settled_micros"])
    assert sorted(numbers(tmp_path / "run").values()) == list(range(6))
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.parametrize("where", PLACES)
def test_a_death_while_an_edit_is_noted_is_made_good_by_the_same_command(tmp_path: Path, where: str) -> None:
    """The edited job is finished, the pictures of the first one are kept, and the folder holds the spec as run."""
    path = spec(tmp_path)
    assert rehearse(path).exit_code == 0
    edited(path, EDITED)
    with failing(where, RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        rehearse(path)
    assert inspect.verify(tmp_path / "run") == []
    result = rehearse(path)
    assert (result.exit_code, bill(tmp_path)[0]) == (0, 10)
    assert sorted(numbers(tmp_path / "run").values()) == list(range(6))
    assert inspect.verify(tmp_path / "run") == []


def test_two_edits_that_died_between_store_and_file_leave_a_spec_that_the_store_knows(tmp_path: Path) -> None:
    """The file is brought up to the store before the store goes on to the next edit."""
    path = spec(tmp_path)
    assert rehearse(path).exit_code == 0
    for colors in (EDITED, OTHER):
        edited(path, colors)
        with failing("plan.kept", RuntimeError("as a kill would")), pytest.raises(RuntimeError):
            rehearse(path)
        assert inspect.verify(tmp_path / "run") == []


@pytest.mark.parametrize("where", ["submit.permitted", "submit.sending", "told.done"])
def test_what_the_spec_dropped_before_it_was_sent_is_not_bought(tmp_path: Path, where: str) -> None:
    """Held and waiting tasks of the old spec are no wish any more; taken back, they are bought, and nothing twice."""
    path = spec(tmp_path)
    with failing(where, RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        rehearse(path)
    sent = bill(tmp_path)[0]
    result = rehearse(edited(path, OTHER))
    assert bill(tmp_path)[0] == sent + 2
    assert money(result)["held_micros"] == 0
    assert result.status["images"] == sent + 2
    again = rehearse(path)
    assert (again.exit_code, bill(tmp_path)[0]) == (result.exit_code, sent + 2)
    assert set(again.status["tasks"]) <= {"done", "in_doubt", "total"}  # type: ignore[call-overload]  # an object
    back = rehearse(edited(path, FIRST))
    doubts = len(back.status["in_doubt"])  # type: ignore[arg-type]  # a list
    assert bill(tmp_path)[0] == 8 - doubts + sent * bool(doubts)
    assert inspect.verify(tmp_path / "run") == []


def test_a_dropped_task_that_fails_for_the_moment_is_not_bought_again(tmp_path: Path) -> None:
    """It was accepted before the edit and failed after it: another try would buy what nobody wants."""
    path = spec(tmp_path)
    wrong = faults(tmp_path, "failed: {first: 2}\n")
    with failing("poll.answered", RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        rehearse(path, faults=wrong, limit=2)
    accepted = bill(tmp_path)[0]
    result = rehearse(edited(path, OTHER), faults=wrong)
    assert result.exit_code == 0
    assert bill(tmp_path)[0] == accepted + 2
