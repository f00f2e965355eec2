"""Stories of operations that their gateway does not know: a slip in a verdict, and work that vanished."""

from __future__ import annotations

from pathlib import Path

import pipeline
from pipeline.runtime import inspect
from pipeline.runtime.prepare import Options
from pipeline.runtime.progress import View, status_of
from tests.stories.jobs import PRICE, faults, money, rehearse, spec


def test_a_mistyped_operation_is_told_while_it_is_asked_for_and_is_in_doubt_again(tmp_path: Path) -> None:
    """Within ten minutes the doubt is back, and another verdict may be given; until then display and status say so."""
    path = spec(tmp_path)
    first = rehearse(path, faults=faults(tmp_path, "cut_after: {first: 1}\n"))
    assert (first.exit_code, money(first)["doubt_micros"]) == (5, PRICE)
    found = inspect.resolve(tmp_path / "run", attempt=1, verdict="", why="the console", operation="mistyped")
    assert found == 1
    views: list[View] = []
    options = Options(simulate=True, run_dir=tmp_path / "run")
    second = pipeline.run_sync(pipeline.plan(pipeline.load(path)), options, views.append)
    seen = [view for view in views if view.unheard]
    assert seen
    assert all(view.eta_s in (None, 0.0) for view in seen)
    (lane,) = seen[0].unheard
    assert (lane, seen[0].unheard[lane].operations) == ("mulerouter/qwen-image-max", 1)
    told = status_of(seen[0], in_doubt=[], folder="run")["unknown_operations"]
    assert told == {lane: {"operations": 1, "for_s": 0, "doubt_in_s": 600}}
    assert (second.exit_code, money(second)["doubt_micros"], money(second)["held_micros"]) == (5, PRICE, 0)
    assert second.simulated_s is not None
    assert second.simulated_s < 700
    assert inspect.resolve(tmp_path / "run", attempt=1, verdict="billed", why="the console, read again") == 1
    assert rehearse(path).exit_code in (0, 4)
