"""T2: random lives of the machine beside a ledger of a few lines; counts which cells of the table of attempts were hit.

The laws are those of tests/engine/test_money_laws.py: crash, clock jumps, changed caps, verdicts, evidence that comes
late, bills above the hold.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from pipeline.engine import lifecycle
from pipeline.engine.facts import Fact
from pipeline.engine.phases import AttemptState
from tests.chaos.report import Report
from tests.engine.test_money_laws import LIMITS, World

#: {size: (runs, steps of a run)}.
SIZES: Final = {"small": (60, 30), "merge": (2000, 60)}
#: A run of hypothesis explores better when it is not too long; each has its own seed.
_RUNS_AT_ONCE: Final = 250


def lives(seed: int, runs: int, steps: int) -> tuple[Counter[str], int, str]:
    """(how often each cell was hit, steps taken, the violation or nothing)."""
    hit: Counter[str] = Counter()
    taken = 0
    plain = lifecycle.next_state

    def next_state(attempt: int, was: AttemptState | None, fact: Fact, story: Iterable[str]) -> AttemptState:
        becomes = plain(attempt, was, fact, story)
        hit[_cell(was, type(fact))] += 1
        return becomes

    class Watched(World):
        """Counts its steps."""

        def teardown(self) -> None:
            nonlocal taken
            taken += len(getattr(self, "facts", ()))
            super().teardown()

    limits = settings(
        LIMITS, max_examples=runs, stateful_step_count=steps, derandomize=False, phases=[Phase.generate, Phase.shrink]
    )
    problem = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "next_state", next_state)
        try:
            run_state_machine_as_test(hypothesis.seed(seed)(Watched), settings=limits)
        except Exception as broken:  # noqa: BLE001 - whatever it is, it is what the campaign looks for
            story = "\n".join(getattr(broken, "__notes__", ()))
            problem = f"seed {seed}: {broken!r}\n{story}"
    return hit, taken, problem


def campaign(size: str, seed: int) -> Report:
    """Lives of a size. At merge size a cell of the table that was never hit is a violation."""
    runs, steps = SIZES[size]
    parts = [
        (seed + index, min(_RUNS_AT_ONCE, runs - done)) for index, done in enumerate(range(0, runs, _RUNS_AT_ONCE))
    ]
    hit: Counter[str] = Counter()
    facts, problems = 0, []
    with ProcessPoolExecutor(int(os.environ.get("CHAOS_JOBS") or 2)) as pool:
        for cells, taken, problem in pool.map(lives, *zip(*[(own, runs, steps) for own, runs in parts], strict=True)):
            hit += cells
            facts += taken
            problems += [problem] if problem else []
    wanted = [_cell(was, fact) for was, fact in lifecycle.ATTEMPTS]
    never = [cell for cell in wanted if not hit[cell]]
    if size == "merge" and never:
        problems.append(f"seed {seed}: never hit: {', '.join(never)}")
    share = f"{len(wanted) - len(never)} of {len(wanted)}"
    figures: dict[str, int | float | str] = {"runs": runs, "steps each": steps, "facts": facts, "cells hit": share}
    if never:
        figures["never hit"] = ", ".join(never)
    return Report("machine", figures, tuple(problems))


def _cell(was: object, fact: type) -> str:
    return f"{was or '-'} + {fact.__name__}"
