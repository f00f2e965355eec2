"""T1: the exhaustive walks of the real engine; tests/engine/reduced.py says what a world is and what is abstracted."""

from __future__ import annotations

import os
import resource
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from pipeline.engine.terms import OnDoubt
from tests.chaos.report import Report
from tests.engine.model import Violation
from tests.engine.reduced import Limits, Walk
from tests.engine.worlds import EACH

#: {size: {name: limits}}. Tasks x tries x crashes; the longest first, so that two lanes end together.
WALKS: Final[dict[str, dict[str, Limits]]] = {
    "small": {
        "2x2x1 hold": Limits(tasks=(1, 1), posts=2, cap=2 * EACH),
        "1x3x3 hold": Limits(tasks=(1,), crashes=3, cap=EACH),
        "1x3x1 hold, paused twice": Limits(tasks=(1,), crashes=1, cap=EACH, pauses=2),
        "1x3x3 write_off": Limits(OnDoubt.WRITE_OFF, tasks=(1,), crashes=3, cap=EACH),
        "1x2x0 resubmit": Limits(OnDoubt.RESUBMIT, tasks=(1,), posts=2, crashes=0, cap=2 * EACH),
    },
    "merge": {
        "3x3x1 hold": Limits(tasks=(1, 1, 1), cap=3 * EACH),
        "3x3x1 write_off": Limits(OnDoubt.WRITE_OFF, tasks=(1, 1, 1), cap=3 * EACH),
        "3x2x1 hold, money for two": Limits(tasks=(1, 1, 1), posts=2, cap=2 * EACH),
        "2x3x3 hold": Limits(tasks=(1, 1), crashes=3, cap=2 * EACH),
        "2x3x1 hold, 429s and closed doors": Limits(tasks=(1, 1), unsent=1, busy=1, cap=2 * EACH),
        "2x2x1 hold, 429s and pauses": Limits(tasks=(1, 1), posts=2, busy=1, cap=2 * EACH, pauses=2),
        "1x3x1 resubmit": Limits(OnDoubt.RESUBMIT, tasks=(1,), cap=3 * EACH),
        "1x2x3 resubmit": Limits(OnDoubt.RESUBMIT, tasks=(1,), posts=2, crashes=3, cap=2 * EACH),
        "2x2x1 hold, two pictures and a lag": Limits(tasks=(2, 1), posts=2, cap=3 * EACH, release_lag_s=60.0),
    },
}


def walked(name: str, limits: Limits) -> tuple[str, int, int, float, str]:
    """(name, states, steps, seconds of this process, the violation or nothing)."""
    before = _seconds()
    walk = Walk(limits)
    try:
        walk.walk()
        problem = ""
    except Violation as found:
        problem = str(found)
    return name, walk.states, walk.steps_taken, _seconds() - before, problem


def campaign(size: str, seed: int) -> Report:
    """Every walk of a size; the seed says nothing, for everything is visited."""
    walks = WALKS[size]
    with ProcessPoolExecutor(int(os.environ.get("CHAOS_JOBS") or 2)) as pool:
        done = list(pool.map(walked, walks.keys(), walks.values()))
    figures: dict[str, int | float | str] = {
        "walks": len(done),
        "states": sum(states for _, states, *_ in done),
        "steps": sum(steps for _, _, steps, *_ in done),
        "MB at most": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    for name, states, _, seconds, _ in done:
        figures[f"in {name}"] = f"{states} ({seconds:.0f} s)"
    return Report("model", figures, tuple(f"{name}: {problem}" for name, *_, problem in done if problem))


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
