"""Every interleaving of a small world: no order of commits, answers and crashes breaks I1, I2, I3, I6, I7 or I9.

`PIPELINE_MODEL=large` walks the larger bounds too (minutes), which `make chaos` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from pipeline.engine import answers, decide, ledger, outcome, react
from pipeline.engine.facts import BudgetReached, DoubtReleased, Fact, Held, Released, TaskMoved
from pipeline.engine.messages import Command, Submit
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import Fault
from pipeline.values.task import Task
from tests.engine.model import EVIDENCE, WORLD, Bounds, Model, Violation
from tests.engine.worlds import EACH

LOSSLESS = frozenset({"accept", "finish"})
#: {name: bounds, the least number of worlds that must be seen}
SMALL = {
    "one task, everything, one crash": (Bounds(tasks=(1,), unsent=0, posts_max=2), 3000),
    "one task of two pictures": (Bounds(tasks=(2,), unsent=1, posts_max=1), 900),
    "one task, written off": (Bounds(OnDoubt.WRITE_OFF, tasks=(1,), unsent=0, posts_max=2), 1000),
    "one task, resubmitted": (
        Bounds(OnDoubt.RESUBMIT, tasks=(1,), unsent=0, posts_max=2, world=LOSSLESS),
        2000,
    ),
    "one task, three crashes": (
        Bounds(tasks=(1,), crashes=3, unsent=0, posts_max=2, attempts_max=1, world=LOSSLESS | EVIDENCE),
        2000,
    ),
    "one task, paused": (
        Bounds(tasks=(1,), unsent=0, posts_max=1, attempts_max=1, pauses=1, world=LOSSLESS | EVIDENCE),
        1000,
    ),
    "two tasks and money for one": (
        Bounds(cap=EACH, unsent=0, attempts_max=1, posts_max=2, world=LOSSLESS | EVIDENCE | {"refuse"}),
        5000,
    ),
}
LARGE = {
    "resubmitted, everything": (Bounds(OnDoubt.RESUBMIT, tasks=(1,), unsent=0, posts_max=2), 150_000),
    "three tries, two crashes": (Bounds(tasks=(1,), crashes=2, unsent=0, attempts_max=3, posts_max=3), 30_000),
    "two tasks at once": (Bounds(crashes=0, unsent=0, posts_max=2, attempts_max=1, world=WORLD), 15_000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("bounds", "least"), SMALL.values(), ids=SMALL)
def test_no_interleaving_breaks_an_invariant(bounds: Bounds, least: int) -> None:
    """All worlds within the bounds are visited and judged; the walk is not empty."""
    model = Model(bounds)
    model.walk()
    assert model.states >= least
    wanted = bounds.world - {"again", "billed", "absent"}
    assert wanted - set(model.taken) <= EVIDENCE, "a kind of step was never taken"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("PIPELINE_MODEL") != "large", reason="minutes: PIPELINE_MODEL=large")
@pytest.mark.parametrize(("bounds", "least"), LARGE.values(), ids=LARGE)
def test_no_interleaving_of_a_larger_world_breaks_an_invariant(bounds: Bounds, least: int) -> None:
    """The same, with more of everything."""
    model = Model(bounds)
    model.walk()
    assert model.states >= least


# --- the checker can fail: seeded mutants -----------------------------------------------------------------------------

Patch = Callable[[pytest.MonkeyPatch], None]


def _release_on_unknown(patch: pytest.MonkeyPatch) -> None:
    def doubted(
        _state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, _now: float, *, vanished: bool = False
    ) -> Iterator[Fact]:
        yield Released(attempt.number, attempt.open, fault, counts=True)
        yield from outcome.close(live, fault, again=not vanished)

    patch.setattr(answers, "doubted", doubted)


def _resume_voids_submitting(patch: pytest.MonkeyPatch) -> None:
    def doubted(_state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, _now: float) -> Iterator[Fact]:
        yield Released(attempt.number, attempt.open, fault, counts=False)
        yield from outcome.close(live, fault, again=True)

    patch.setattr(decide, "doubted", doubted)


def _resume_sends_again(patch: pytest.MonkeyPatch) -> None:
    def resume(state: State, _now: float) -> Iterator[Command]:
        for attempt in state.attempts.values():
            if attempt.state is AttemptState.SUBMITTING:
                yield Submit(attempt.number, attempt.task)

    patch.setattr(decide, "doubted", lambda *_: iter(()))
    patch.setattr("pipeline.engine.machine.resume", resume)


def _cap_not_checked(patch: pytest.MonkeyPatch) -> None:
    def affordable(_state: State, _task: Task) -> BudgetReached | None:
        return None

    patch.setattr(decide, "_unaffordable", affordable)
    patch.setattr(ledger, "fits", lambda *_: True)


def _write_off_frees(patch: pytest.MonkeyPatch) -> None:
    def policy(_state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, _now: float) -> Iterator[Fact]:
        yield DoubtReleased(attempt.number, attempt.open, "an old doubt")
        yield from outcome.close(live, fault)

    patch.setattr(outcome, "doubt_policy", policy)


def _doubt_is_bought_again(patch: pytest.MonkeyPatch) -> None:
    def policy(state: State, live: LiveTask, _attempt: LiveAttempt, fault: Fault, _now: float) -> Iterator[Fact]:
        yield TaskMoved(live.task.number, Phase.IN_DOUBT, fault)
        yield TaskMoved(live.task.number, Phase.WAITING)
        yield TaskMoved(live.task.number, Phase.HELD)
        yield Held(state.next_attempt, live.task.number, len(live.attempts) + 1, EACH, "USD")

    patch.setattr(outcome, "doubt_policy", policy)


def _poll_is_not_resumed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(react, "poll", lambda *_: iter(()))


MUTANTS: dict[str, tuple[Patch, Bounds, str]] = {
    "the hold is released on an unknown answer": (_release_on_unknown, Bounds(tasks=(1,)), "I7|I1"),
    "resuming voids what was on the wire": (_resume_voids_submitting, Bounds(tasks=(1,)), "I7|I1"),
    "resuming sends again what was on the wire": (_resume_sends_again, Bounds(tasks=(1,)), "I2"),
    "the cap is not looked at": (_cap_not_checked, Bounds(cap=EACH), "I1"),
    "a write-off frees the money": (_write_off_frees, Bounds(OnDoubt.WRITE_OFF, tasks=(1,)), "I7|I1"),
    "a doubt is bought again under hold": (_doubt_is_bought_again, Bounds(tasks=(1,)), "I2"),
    "polls are forgotten": (_poll_is_not_resumed, Bounds(tasks=(1,)), "I9"),
    "the driver acts before the commit returned": (lambda _: None, Bounds(tasks=(1,), hasty=True), "I2"),
}


@pytest.mark.parametrize(("mutate", "bounds", "invariant"), MUTANTS.values(), ids=MUTANTS)
def test_the_checker_finds_a_seeded_bug(
    mutate: Patch, bounds: Bounds, invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mutant breaks its invariant within fifteen steps, and the trace says how."""
    mutate(monkeypatch)
    with pytest.raises(Violation, match=invariant) as found:
        Model(bounds).walk()
    assert str(found.value).count(" > ") <= 15
