"""A review rejects pictures: their tasks are bought once more, under the budget, and nothing of before is lost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import feather

from pipeline.cli.main import cli
from pipeline.errors import RunError
from pipeline.runtime import inspect, rejections
from tests.stories.jobs import PRICE, bill, faults, rehearse, spec

HEAD = "\ufefftask_id;image_index;rating;reject;note;prompt\r\n"


def _rows(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = feather.read_table(folder / "run" / "images.arrow").to_pylist()
    return rows


def _review(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "review.csv"
    lines = [f"{row['task_id']};{row['image_index']};;yes;'=no;\r\n" for row in rows]
    path.write_text(HEAD + "".join(lines), encoding="utf-8")
    return path


def _retry(folder: Path, *options: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, ["retry", str(folder / "run"), "--rejected", str(folder / "review.csv"), *options])
    return found.exit_code, found.stdout


def _look(folder: Path) -> rejections.Rejections:
    return rejections.look(folder / "run", rejections.read_review_file(folder / "review.csv"))


@pytest.mark.slow
def test_rejected_tasks_are_bought_once_more(tmp_path: Path) -> None:
    """Two of six: two more calls on the vendor's own bill, eight rows, the old ones superseded, everything verified."""
    rehearse(spec(tmp_path))
    before = _rows(tmp_path)
    _review(tmp_path, before[1:3])
    code, answer = _retry(tmp_path, "--json")
    assert (code, json.loads(answer)["retried"]) == (0, 2)
    assert bill(tmp_path) == (8, 8 * PRICE)
    after = _rows(tmp_path)
    assert len(after) == 8
    superseded = {(row["task_id"], row["image_index"]) for row in after if row["superseded"]}
    assert superseded == {(row["task_id"], 0) for row in before[1:3]}
    known = {row["path"]: row["sha256"] for row in after}
    assert all(known[row["path"]] == row["sha256"] for row in before)
    assert Counter(row["task_id"] for row in after if not row["superseded"]) == dict.fromkeys(
        (row["task_id"] for row in before), 1
    )
    assert inspect.verify(tmp_path / "run") == []
    assert _retry(tmp_path, "--json")[0] == 0  # the same file once more
    assert bill(tmp_path) == (8, 8 * PRICE)
    assert inspect.status(tmp_path / "run")["state"] == "complete"


@pytest.mark.slow
def test_the_budget_holds(tmp_path: Path) -> None:
    """What does not fit is not sent; the end says budget_reached."""
    rehearse(spec(tmp_path, budget="0.50 USD"))
    _review(tmp_path, _rows(tmp_path))
    assert _retry(tmp_path, "-q")[0] == 3
    assert bill(tmp_path) == (6, 6 * PRICE)
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.slow
def test_a_refused_call_is_a_failed_task_with_its_old_picture(tmp_path: Path) -> None:
    """Nobody is told that a rejected picture is what was asked for."""
    path = spec(tmp_path)
    rehearse(path)
    _review(tmp_path, _rows(tmp_path)[:1])
    found = _look(tmp_path)
    assert (len(found.tasks), found.cost_micros, found.seeded) == (1, {"USD": PRICE}, 1)
    rejections.send_again(tmp_path / "run", found)
    result = rehearse(path, faults=faults(tmp_path, "moderated: 1.0\n"))
    assert (result.state, result.status["tasks"]) == ("failed_tasks", {"done": 5, "failed": 1, "total": 6})
    assert len(_rows(tmp_path)) == 6
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.slow
def test_what_is_rejected_as_a_whole_task_goes_again_once(tmp_path: Path) -> None:
    """Without an index nobody knows which pictures were meant: the same file says nothing about the new ones."""
    path = spec(tmp_path)
    rehearse(path)
    task = _rows(tmp_path)[0]["task_id"]
    (tmp_path / "review.csv").write_text(f"task_id,reject\n{task},yes\n")
    found = _look(tmp_path)
    rejections.send_again(tmp_path / "run", found)
    with pytest.raises(RunError, match="changed meanwhile"):
        rejections.send_again(tmp_path / "run", found)  # two people who looked at the same time
    rehearse(path)
    assert bill(tmp_path) == (7, 7 * PRICE)
    again = _look(tmp_path)
    assert (again.tasks, again.left) == ((), {"sent again before": 1})


@pytest.mark.slow
def test_a_task_with_a_call_in_doubt_is_not_bought_a_third_time(tmp_path: Path) -> None:
    """Its second call brought the rejected picture, and the first may still be billed: that is settled first."""
    rehearse(spec(tmp_path, more="on_doubt: resubmit\n"), faults=faults(tmp_path, "cut_after: 0.3\n"))
    doubts = {doubt["task_id"] for doubt in inspect.doubts(tmp_path / "run")}
    rows = [row for row in _rows(tmp_path) if row["task_id"] in doubts]
    assert rows
    _review(tmp_path, rows)
    found = _look(tmp_path)
    why = "not settled yet: a call of it is in doubt, or a rest of its money is still held"
    assert (found.tasks, found.left) == ((), {why: len(rows)})


@pytest.mark.slow
def test_money_of_a_real_run_is_agreed_to_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 1 USD nobody's silence is a yes: exit code 2, and nothing is booked."""
    rehearse(spec(tmp_path, more="samples: 3\n"))
    _review(tmp_path, _rows(tmp_path))
    # The folder of a rehearsal, taken for a real one: nothing else about it matters here.
    real = replace(inspect.origin(tmp_path / "run"), simulate=False)
    monkeypatch.setattr(inspect, "origin", lambda _: real)
    assert _retry(tmp_path)[0] == 2
    assert inspect.status(tmp_path / "run")["tasks"] == {"done": 18, "total": 18}


REFUSED = {
    "no review": ("a,b\n1,2\n", "a review has the columns"),
    "an odd word": (f"task_id,reject\n{'a' * 64},maybe\n", "reject is yes or empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_no_review_is_refused(name: str, tmp_path: Path) -> None:
    """With its line, before anything is looked at."""
    text, words = REFUSED[name]
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(Exception, match=words):
        rejections.read_review_file(tmp_path / "review.csv")


def test_a_review_is_read_in_the_codes_of_spreadsheets(tmp_path: Path) -> None:
    """UTF-16 with its mark, and the old Western code with letters that are no UTF-8."""
    text = f"task_id\timage_index\treject\tnote\n{'a' * 64}\t0\tyes\tsch\u00f6n\n"
    for code in ("utf-16", "cp1252", "utf-8-sig"):
        (tmp_path / "review.csv").write_text(text, encoding=code)
        assert rejections.read_review_file(tmp_path / "review.csv").tasks == {"a" * 64}
