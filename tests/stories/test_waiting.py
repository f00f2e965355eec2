"""Stories of attempts in doubt that wait although their task has ended: the run says 5, not 0 and not 4."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pipeline.runtime import inspect
from tests.stories.jobs import PRICE, bill, faults, money, rehearse, spec


def test_a_doubt_that_waits_beside_a_second_try_is_told(tmp_path: Path) -> None:
    """Bought again under `resubmit`, and all pictures are there: the first try's money still waits for a verdict."""
    path = spec(tmp_path, more="on_doubt: resubmit\n")
    result = rehearse(path, faults=faults(tmp_path, "cut_after: {first: 1}\n"))
    assert (result.state, result.exit_code, result.status["images"]) == ("in_doubt", 5, 6)
    assert (money(result)["settled_micros"], money(result)["doubt_micros"]) == (6 * PRICE, PRICE)
    assert bill(tmp_path) == (7, 7 * PRICE)
    assert inspect.status(tmp_path / "run")["state"] == "in_doubt"
    assert inspect.resolve(tmp_path / "run", attempt=None, verdict="billed", why="the console says so") == 1
    again = rehearse(path)
    assert (again.state, again.exit_code) == ("complete", 0)
    assert money(again)["settled_micros"] == 7 * PRICE


def test_a_short_task_whose_first_try_is_in_doubt_is_told(tmp_path: Path) -> None:
    """The second try gave fewer pictures than asked for: the task is short, and its doubt waits all the same."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: story\nmodel: mulerouter/qwen-image-edit-max\nimages: [mug.png]\nprompt: a mug\nn: 3\n"
        "budget: 2 USD\non_doubt: resubmit\n"
    )
    Image.new("RGB", (400, 400), "teal").save(tmp_path / "mug.png")
    plan = faults(tmp_path, "cut_after: {first: 1}\nfewer: {first: 2}\n")
    result = rehearse(path, faults=plan)
    assert result.status["tasks"] == {"short": 1, "total": 1}
    assert (result.state, result.exit_code) == ("in_doubt", 5)
