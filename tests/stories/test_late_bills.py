"""Evidence that comes late: what a person had declared not billed was billed after all."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import feather

from pipeline.errors import RunError
from pipeline.runtime import inspect
from pipeline.store.journal import Journal
from pipeline.transport.memory import open_world
from tests.stories.jobs import bill, money, rehearse, spec


def bought_twice(folder: Path) -> tuple[Path, int, str]:
    """A job whose doubt was declared not billed, wrongly, and bought again: spec, attempt, and the lost operation."""
    faults = folder / "faults.yaml"
    faults.write_text('cut_after: {prompt: "teal mug on a desk"}\n')
    path = spec(folder)
    assert rehearse(path, faults=faults).exit_code == 5
    attempt = int(str(inspect.doubts(folder / "run")[0]["attempt"]))
    known = {row["operation_id"] for row in feather.read_table(folder / "run" / "tasks.arrow").to_pylist()}
    book = open_world(folder / "run" / "world.jsonl").bill(operations=True)["operations"]
    assert isinstance(book, list)
    (lost,) = {str(each["id"]) for each in book} - known
    assert inspect.resolve(folder / "run", attempt=attempt, verdict="not_billed", why="not in the list") == 1
    assert rehearse(path).exit_code == 0
    assert bill(folder) == (7, 525_000)
    return path, attempt, lost


def test_an_ended_attempt_is_resolved_by_its_operation(tmp_path: Path) -> None:
    """The books say what the vendor bills again, as overage; the picture that was paid for is kept beside the other."""
    path, attempt, lost = bought_twice(tmp_path)
    folder = tmp_path / "run"
    assert inspect.resolve(folder, attempt=attempt, verdict="billed", operation=lost, why="the bill") == 1
    final = rehearse(path)
    assert final.exit_code == 0
    assert final.status["images"] == 7
    assert money(final)["settled_micros"] == 525_000
    assert inspect.verify(folder) == []
    journal = Journal.open_read_only(folder / "state.db")
    assert [entry.why for entry in journal.money_entries() if entry.kind == "overage" and entry.why] == ["the bill"]
    journal.close(clean=False)


def test_an_ended_attempt_is_resolved_as_billed(tmp_path: Path) -> None:
    """Without an operation the sum is booked; saying it twice is refused."""
    path, attempt, _ = bought_twice(tmp_path)
    folder = tmp_path / "run"
    assert inspect.resolve(folder, attempt=attempt, verdict="billed", why="the bill") == 1
    with pytest.raises(RunError, match="booked as spent already"):
        inspect.resolve(folder, attempt=attempt, verdict="billed", why="again")
    with pytest.raises(RunError, match="is not in doubt"):
        inspect.resolve(folder, attempt=attempt, verdict="not_billed", why="hope")
    final = rehearse(path)
    assert (final.exit_code, money(final)["settled_micros"], final.status["images"]) == (0, 525_000, 6)
    assert inspect.verify(folder) == []


def test_an_attempt_that_is_settled_cannot_be_resolved(tmp_path: Path) -> None:
    """What is billed is billed; and an attempt that never was is nobody's."""
    path = spec(tmp_path)
    assert rehearse(path).exit_code == 0
    for attempt in (1, 99):
        with pytest.raises(RunError, match="is not in doubt"):
            inspect.resolve(tmp_path / "run", attempt=attempt, verdict="billed", operation="op", why="why")
