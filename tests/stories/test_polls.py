"""Polls in whole runs: what is asked of a gateway once it is known how long its model takes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import pace
from pipeline.runtime import wiring
from pipeline.transport.memory import MemoryDoor
from pipeline.values.wire import Request
from tests.stories.jobs import bill, faults, rehearse, spec

#: Slow enough for the first to have ended while most are still to come.
MORE = "samples: 4\nlimits: {mulerouter: {rate: 6/min}}\n"
TASKS = 24


def rehearsed(folder: Path, monkeypatch: pytest.MonkeyPatch, weather: str) -> tuple[float, float]:
    """(polls a task, simulated seconds) of a job of 24 tasks."""
    asked: Counter[str] = Counter()

    class Counting(MemoryDoor):
        def __init__(self, door: MemoryDoor) -> None:
            self.__dict__.update(door.__dict__)

        async def _exchange(self, request: Request, *given: Any) -> Any:
            asked[request.method] += 1
            return await super()._exchange(request, *given)

    usual = wiring.door
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(wiring, "door", lambda *given: Counting(usual(*given)))  # type: ignore[arg-type]  # a rehearsal's
        result = rehearse(spec(folder, budget="none", more=MORE), faults=faults(folder, weather))
    assert result.exit_code == 0
    assert bill(folder)[0] == TASKS
    assert result.simulated_s is not None
    return asked["GET"] / TASKS, result.simulated_s


@pytest.mark.slow
@pytest.mark.parametrize("generation_s", ["[20, 40]"])
def test_polls_fall_and_nothing_takes_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation_s: str
) -> None:
    """With what was learnt, at least a third fewer polls than without, and the job is over at the same time."""
    weather = f"generation_s: {generation_s}\n"
    learnt = rehearsed(tmp_path / "learnt", monkeypatch, weather)
    monkeypatch.setattr(pace, "TIMES_MIN", 10**9)
    card = rehearsed(tmp_path / "card", monkeypatch, weather)
    assert learnt[0] < card[0] * 0.67
    assert learnt[1] <= card[1] + 3.0
