"""`retry.attempts` is an allowance: what counts is durable and exact, also across `retry` and edits of the spec."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.facts import Fact
from pipeline.engine.machine import Machine
from pipeline.engine.messages import PollAnswered, Resumed, RetryAsked, SlotNear, SubmitAnswered, TimeCame
from pipeline.engine.phases import Phase
from pipeline.values.reply import FaultKind, OperationFailed, Pending, Refused, Reply, Unsent
from tests.engine.folding import fold
from tests.engine.worlds import LANE, Ring, fault, policy, ring, task

K = FaultKind
AGAIN = Refused(fault(K.TRANSIENT))
REPLIES: dict[str, Reply] = {
    "again": AGAIN,
    "busy": Refused(fault(K.RATE_LIMITED)),
    "unsent": Unsent(fault(K.NOT_SENT)),
    "accepted": Pending(""),
}
#: {what a try comes to: whether it uses up one}
COUNTS = {"again": 1, "busy": 0, "unsent": 0, "accepted": 1}


def moments() -> Iterator[float]:
    """Each later than any backoff."""
    at = 0.0
    while True:
        at += 10_000.0
        yield at


def reopened(was: Ring, earlier: list[Fact], *, attempts_max: int, asked: bool = False) -> tuple[Ring, list[Fact]]:
    """The folder closed and opened again, by a spec that may allow another number."""
    facts = [*earlier, *was.facts]
    snapshot = fold(facts).snapshot(asked=[0] if asked else [])
    new = Ring(Machine.restore(policy(attempts_max=attempts_max), snapshot))
    new.tell(Resumed())
    return new, facts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(sorted(COUNTS)), st.booleans()), min_size=1, max_size=12),
)
def test_tries_are_counted_alike_with_and_without_a_restart_laws(
    attempts_max: int, tries: list[tuple[str, bool]]
) -> None:
    """A task fails exactly when its tries that count reach the allowance, wherever the process ended in between."""
    state = ring(policy(attempts_max=attempts_max), tasks=[task(0)])
    earlier: list[Fact] = []
    used = 0
    at = moments()
    for number, (name, restart) in enumerate(tries):
        if restart:
            state, earlier = reopened(state, earlier, attempts_max=attempts_max)
        now = next(at)
        state.tell(TimeCame(task=0), now)
        permit, _ = state.tell(SlotNear(LANE), now)
        if not permit:
            # A gateway out of reach, or one that answers 429 alone, has parked its lane by now.
            assert state.machine.lane_views()[LANE].parked is not None
            return
        attempt = permit[0].attempt  # type: ignore[union-attr]  # it is Permitted
        reply = REPLIES[name]
        state.tell(SubmitAnswered(attempt, Pending(f"op-{number}") if isinstance(reply, Pending) else reply), now)
        if name == "accepted":
            state.tell(PollAnswered(attempt, OperationFailed(fault(K.UPSTREAM), billed=False)), now)
        used += COUNTS[name]
        assert (state.machine.counts() == {Phase.FAILED: 1}) is (used >= attempts_max)
        if used >= attempts_max:
            return


def failed(attempts_max: int) -> Ring:
    """A task whose whole allowance is used up."""
    state = ring(policy(attempts_max=attempts_max), tasks=[task(0)])
    at = moments()
    for attempt in range(1, attempts_max + 1):
        now = next(at)
        state.tell(TimeCame(task=0), now)
        state.tell(SlotNear(LANE), now)
        state.tell(SubmitAnswered(attempt, AGAIN), now)
    assert state.machine.counts() == {Phase.FAILED: 1}
    return state


def tries_left(state: Ring) -> int:
    """How often it is tried until it fails."""
    at = moments()
    for count in range(1, 20):
        now = next(at)
        state.tell(TimeCame(task=0), now)
        attempt = state.tell(SlotNear(LANE), now)[0][0].attempt  # type: ignore[union-attr]  # it is Permitted
        state.tell(SubmitAnswered(attempt, AGAIN), now)
        if state.machine.counts() == {Phase.FAILED: 1}:
            return count
    raise AssertionError("it never fails")


def test_retry_begins_a_new_allowance_that_a_restart_does_not_shorten() -> None:
    """Asked for, tried once, restarted: the rest of the new allowance is left, no more and no less."""
    asked, earlier = reopened(failed(3), [], attempts_max=3, asked=True)
    asked.tell(RetryAsked(0))
    asked.tell(SlotNear(LANE), 1.0)
    asked.tell(SubmitAnswered(4, AGAIN), 1.0)
    again, _ = reopened(asked, earlier, attempts_max=3)
    assert tries_left(again) == 2


def test_retry_with_another_number_in_the_spec_is_exact() -> None:
    """Three tries were used up of three; five are allowed now, and retry gives five."""
    for allowed in (1, 2, 5, 7):
        asked, _ = reopened(failed(3), [], attempts_max=allowed, asked=True)
        asked.tell(RetryAsked(0))
        assert tries_left(asked) == allowed


def test_a_larger_number_in_the_spec_gives_a_waiting_task_the_difference() -> None:
    """One of two was used up; of five, four are left."""
    state = ring(policy(attempts_max=2), tasks=[task(0)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, AGAIN))
    again, _ = reopened(state, [], attempts_max=5)
    assert tries_left(again) == 4


def test_credit_that_ran_out_costs_no_try() -> None:
    """Neither as a refusal nor as an operation that failed for it: the lane is parked, the task waits."""
    for kind in (K.OUT_OF_CREDIT, K.UNAUTHORIZED, K.CLOSED):
        state = ring(policy(attempts_max=2), tasks=[task(0)])
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(1, Pending("op")))
        state.tell(PollAnswered(1, OperationFailed(fault(kind), billed=False)))
        assert state.machine.counts() == {Phase.WAITING: 1}
        again, _ = reopened(state, [], attempts_max=2)
        assert tries_left(again) == 2
