"""Stories of what comes late: links that expired, doubts found after their task ended, failed tasks sent again."""

from __future__ import annotations

from pathlib import Path

from pyarrow import feather

from pipeline.errors import RunError
from pipeline.runtime import inspect
from pipeline.transport.memory import open_world
from tests.stories.jobs import PRICE, bill, faults, money, rehearse, spec

TEAL = "teal mug on a desk"


def unknown_operation(folder: Path) -> str:
    """The one operation in the vendor's book that the run does not know."""
    known = {row["operation_id"] for row in feather.read_table(folder / "run" / "tasks.arrow").to_pylist()}
    book = open_world(folder / "run" / "world.jsonl").bill(operations=True)["operations"]
    assert isinstance(book, list)
    (lost,) = {str(each["id"]) for each in book} - known
    return lost


def test_links_that_expire_are_asked_for_again(tmp_path: Path) -> None:
    """Every second answer has dead links: fresh ones are asked for, and all are fetched."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, "expired_links: {every: 2}\n"))
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, 6 * PRICE)


def test_links_that_never_live_end_in_a_loss_that_is_told(tmp_path: Path) -> None:
    """Asked for again and again, dead each time: failed loudly, paid in full, and not bought twice."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, f'expired_links: {{prompt: "{TEAL}"}}\n'))
    assert (result.state, result.exit_code) == ("failed_tasks", 4)
    failures = result.status["failures"]
    assert isinstance(failures, list)
    assert [(each["fault"], each["tasks"]) for each in failures] == [("lost", 1)]
    assert money(result)["settled_micros"] == 6 * PRICE
    assert bill(tmp_path) == (6, 6 * PRICE)


def test_a_task_that_was_written_off_is_sent_again_when_asked(tmp_path: Path) -> None:
    """`on_doubt: write_off` ends it as lost; `retry` buys it once more, with money of its own."""
    path = spec(tmp_path, more="on_doubt: write_off\n")
    result = rehearse(path, faults=faults(tmp_path, f'cut_after: {{prompt: "{TEAL}"}}\n'))
    assert (result.exit_code, money(result)["settled_micros"]) == (4, 6 * PRICE)
    assert inspect.retry(tmp_path / "run").tasks == 1
    again = rehearse(path)
    assert (again.exit_code, again.status["images"]) == (0, 6)
    assert money(again)["settled_micros"] == 7 * PRICE
    assert bill(tmp_path) == (7, 7 * PRICE)
    assert inspect.verify(tmp_path / "run") == []


def test_a_purchase_that_was_written_off_is_found_by_its_operation(tmp_path: Path) -> None:
    """Booked as spent and ended: the vendor's book names it, and its picture is collected for no further money."""
    path = spec(tmp_path, more="on_doubt: write_off\n")
    wrong = faults(tmp_path, f'cut_after: {{prompt: "{TEAL}"}}\n')
    assert rehearse(path, faults=wrong).exit_code == 4
    attempt = next(
        row for row in feather.read_table(tmp_path / "run" / "tasks.arrow").to_pylist() if row["state"] == "failed"
    )
    assert attempt["prompt"].endswith(TEAL)
    lost = unknown_operation(tmp_path)
    written_off = [number for number in range(1, 8) if _resolves(tmp_path / "run", number, lost)]
    assert len(written_off) == 1
    assert inspect.retry(tmp_path / "run") == (0, 1), "what was found is followed before it is bought again"
    final = rehearse(path, faults=wrong)
    assert (final.exit_code, final.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, money(final)["settled_micros"])
    assert inspect.verify(tmp_path / "run") == []


def _resolves(folder: Path, attempt: int, operation: str) -> bool:
    try:
        return inspect.resolve(folder, attempt=attempt, verdict="billed", operation=operation, why="the book") == 1
    except RunError:
        return False


def test_links_that_are_refused_for_a_moment_cost_no_picture(tmp_path: Path) -> None:
    """Two fresh links in a row are dead, seconds later they live: what is paid is not given up at once."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, "expired_links: {first: 3}\ngeneration_s: 1\n"))
    assert (result.exit_code, result.status["images"]) == (0, 6)
