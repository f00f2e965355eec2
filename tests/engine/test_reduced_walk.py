"""T1, the large walk: what its reductions leave out is not missed, no order breaks an invariant, seeded bugs are found.

The merge-size walks (three tasks of three tries) are `python -m tests.chaos model --size merge`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pipeline.engine import answers, decide, ledger, outcome
from pipeline.engine.facts import DoubtReleased, Fact, Held, Released, TaskMoved
from pipeline.engine.messages import TimeCame
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.state import LiveAttempt, LiveTask, State
from pipeline.engine.stored import StoredAccount
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import Fault
from tests.engine.model import Violation
from tests.engine.reduced import EVERYTHING, Limits, Walk
from tests.engine.test_model_check import MUTANTS, Patch
from tests.engine.worlds import EACH, LANE

FEW = frozenset({"accept", "silence", "ends", "found", "absent"})
#: {name: limits, the least number of worlds that must be seen}
SMALL = {
    "hold": (Limits(tasks=(1,), crashes=3, cap=EACH), 300),
    "hold, 429s and closed doors": (Limits(tasks=(1,), crashes=1, unsent=1, busy=1, cap=EACH), 250),
    "hold, two pictures, a lag": (Limits(tasks=(2,), crashes=2, cap=2 * EACH, release_lag_s=60.0), 300),
    "hold, paused twice": (Limits(tasks=(1,), crashes=2, cap=EACH, pauses=2), 300),
    "hold, its lane paused, 429s": (Limits(tasks=(1, 1), posts=1, busy=1, cap=EACH, pauses=1, pause=LANE), 300),
    "write_off": (Limits(OnDoubt.WRITE_OFF, tasks=(1,), crashes=3), 150),
    "resubmit": (Limits(OnDoubt.RESUBMIT, tasks=(1,), posts=2, crashes=0, cap=2 * EACH), 100),
    "two tasks": (Limits(tasks=(1, 1), posts=2, cap=2 * EACH), 2000),
    "two tasks and money for one": (Limits(tasks=(1, 1), posts=1, crashes=2, cap=EACH), 150),
}
SAME = {
    "hold": Limits(tasks=(1,)),
    "write_off": Limits(OnDoubt.WRITE_OFF, tasks=(1,), posts=2),
    "resubmit": Limits(OnDoubt.RESUBMIT, tasks=(1,), posts=2, happens=FEW | {"fails", "billed"}),
    "two tasks and money for one": Limits(tasks=(1, 1), posts=1, cap=EACH, happens=FEW),
    "paused": Limits(tasks=(1,), posts=2, happens=FEW, pauses=1),
}


@pytest.mark.slow
@pytest.mark.parametrize(("limits", "least"), SMALL.values(), ids=SMALL)
def test_no_order_of_a_small_job_breaks_an_invariant(limits: Limits, least: int) -> None:
    """I1, I2, I3, I5, I6, I7 and I9 in every world within the limits; every kind of step was taken."""
    walk = Walk(limits)
    walk.walk()
    assert walk.states >= least
    unseen = EVERYTHING - set(walk.taken)
    assert not limits.pauses or {"pause", "continue"} <= set(walk.taken)
    assert unseen <= ({"found", "absent", "billed"} if limits.on_doubt is OnDoubt.WRITE_OFF else set())


@pytest.mark.slow
@pytest.mark.parametrize("limits", SAME.values(), ids=SAME)
def test_what_the_reductions_leave_out_is_not_missed(limits: Limits) -> None:
    """With commits and sends as steps of their own the same durable states are reached, no more and no fewer."""
    reduced, single = Walk(limits), Walk(replace(limits, explicit=True))
    reduced.walk()
    single.walk()
    assert single.states > 2 * reduced.states
    assert reduced.tables == single.tables


def _hold_after_submit(patch: pytest.MonkeyPatch) -> None:
    def hold(state: State, live: LiveTask) -> Iterator[Fact]:
        yield TaskMoved(live.task.number, Phase.HELD)
        yield Held(state.next_attempt, live.task.number, len(live.attempts) + 1, 0, "USD")

    patch.setattr(decide, "_hold", hold)


def _cap_checked_before(patch: pytest.MonkeyPatch) -> None:
    # The check looks at what is spent, and not at what is held by then.
    patch.setattr(ledger, "free", lambda account: account.cap - account.spent)


def _settled_twice(patch: pytest.MonkeyPatch) -> None:
    def settle(account: StoredAccount, amount: int, overage: int) -> StoredAccount:
        return replace(account, spent=account.spent + 2 * amount + overage, overage=account.overage + overage)

    patch.setattr(ledger, "settle", settle)


def _unknown_to_a_poll_means_failed(patch: pytest.MonkeyPatch) -> None:
    kept = outcome.doubted

    def doubted(
        state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, now: float, *, vanished: bool = False
    ) -> Iterator[Fact]:
        yield from kept(state, live, attempt, fault, now, vanished=vanished)
        if vanished:
            yield DoubtReleased(attempt.number, attempt.open, "404")

    patch.setattr(answers, "doubted", doubted)


def _doubt_released_by_time(patch: pytest.MonkeyPatch) -> None:
    kept = decide._time_came

    def came(state: State, observation: TimeCame, now: float) -> Iterator[Fact]:
        yield from kept(state, observation, now)
        for attempt in list(state.attempts.values()):
            if attempt.state is AttemptState.DOUBT and attempt.task == observation.task:
                yield DoubtReleased(attempt.number, attempt.open, "it is old")

    patch.setattr(decide, "_time_came", came)


def _released_on_timeout(patch: pytest.MonkeyPatch) -> None:
    def doubted(
        _state: State, live: LiveTask, attempt: LiveAttempt, fault: Fault, _now: float, *, vanished: bool = False
    ) -> Iterator[Fact]:
        yield Released(attempt.number, attempt.open, fault, counts=True)
        yield from outcome.close(live, fault, again=not vanished)

    patch.setattr(answers, "doubted", doubted)


ONE = Limits(tasks=(1,), cap=EACH)
FOUND: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Limits, str]] = {
    "hold after submit": (_hold_after_submit, ONE, "I1"),
    "cap checked at the wrong time": (_cap_checked_before, Limits(tasks=(1, 1), posts=1, cap=EACH), "I1"),
    "settle twice": (_settled_twice, ONE, "I1|held"),
    "a poll's 404 means failed": (_unknown_to_a_poll_means_failed, ONE, "I7|I1|without a doubt"),
    "doubt released by time": (_doubt_released_by_time, Limits(OnDoubt.RESUBMIT, tasks=(1,), posts=2), "I7|I1"),
    "hold released on timeout": (_released_on_timeout, ONE, "I7|I1"),
}


@pytest.mark.parametrize(("mutate", "limits", "invariant"), FOUND.values(), ids=FOUND)
def test_the_walk_finds_a_seeded_bug(
    mutate: Patch, limits: Limits, invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mutant breaks its invariant within fifteen steps, and the trace says how."""
    mutate(monkeypatch)
    with pytest.raises(Violation, match=invariant) as found:
        Walk(limits).walk()
    assert str(found.value).count(" > ") <= 15


@pytest.mark.parametrize("name", [name for name in MUTANTS if "before the commit" not in name])
def test_the_walk_finds_what_single_steps_find(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutants of test_model_check.py; the one about commits needs steps that this walk takes at once."""
    mutate, bounds, _ = MUTANTS[name]
    mutate(monkeypatch)
    with pytest.raises(Violation) as found:
        Walk(Limits(bounds.on_doubt, bounds.tasks, posts=2, cap=bounds.cap)).walk()
    assert str(found.value).count(" > ") <= 15
