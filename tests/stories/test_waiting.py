"""Stories of attempts in doubt that wait although their task has ended: the run says 5, not 0 and not 4."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

import pipeline
from pipeline.runtime import inspect
from pipeline.runtime.audience import Audience
from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.runtime.prepare import Options
from pipeline.runtime.progress import View
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


def test_the_wait_before_a_second_purchase_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run under `resubmit` that waits out the quiet period says how many tasks it will buy again, and when."""
    path = spec(tmp_path, more="on_doubt: resubmit\n")
    # Listeners are spared in real time, of which a rehearsal has next to none.
    monkeypatch.setattr("pipeline.runtime.audience.TELL_EVERY_S", 0.0)
    views: list[View] = []
    options = Options(simulate=True, run_dir=tmp_path / "run", faults=faults(tmp_path, "cut_after: {first: 1}\n"))
    pipeline.run_sync(pipeline.plan(pipeline.load(path)), options, views.append)
    waits = [view for view in views if view.again is not None]
    assert waits
    assert all(view.again is not None and view.again.tasks == 1 for view in waits)
    assert all(view.again is not None and 0 < view.again.last - view.now <= 240 for view in waits)


def test_whoever_looks_is_told_although_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run beats: a wait of minutes is no silence."""
    monkeypatch.setattr("pipeline.runtime.audience.TELL_EVERY_S", 0.0)
    told: list[float] = []

    async def work(clock: VirtualClock) -> None:
        audience = Audience(lambda _: None, lambda: told.append(clock.now()), failed=_fails)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(audience.beat(clock), 10.5)

    run_virtual(work)
    assert len(told) == 10


def _fails(error: BaseException) -> None:
    raise error
