"""A gateway that repeats its answer to an attempt in doubt: the doubt is that operation, and no second was bought."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.engine.facts import KNOWN_ALREADY, Accepted, DoubtLifted, Released, TaskMoved
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    Poll,
    PollAnswered,
    Resumed,
    SlotNear,
    Submit,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
)
from pipeline.engine.phases import Phase
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import FaultKind, OperationFailed, Pending, Ready, Refused, Unknown
from tests.engine.folding import fold
from tests.engine.worlds import LANE, Ring, fault, policy, submitting

RESUBMIT = policy(OnDoubt.RESUBMIT)
AGAIN = Pending("op-1", replayed=True)


def resubmitted() -> Ring:
    """Attempt 1 is in doubt, and attempt 2 of the same task is on the wire."""
    ring = submitting(RESUBMIT, n=2)
    ring.tell(SubmitAnswered(1, Unknown(fault(FaultKind.TIMEOUT))))
    ring.tell(TimeCame(task=0), 130.0)
    ring.tell(SlotNear(LANE), 130.0)
    return ring


def money(ring: Ring) -> tuple[int, int, int]:
    """Held, spent, in doubt."""
    account = ring.machine.accounts()["USD"]
    return account.held, account.spent, account.doubt


def test_a_second_try_is_sent_with_the_tag_of_the_first() -> None:
    """The command names the attempt whose tag it takes; a first try names none."""
    ring = submitting(RESUBMIT, n=2)
    assert Submit(1, 0) in ring.machine.react(ring.facts[-2], 0.0)
    ring = resubmitted()
    assert [
        command for fact in ring.facts for command in ring.machine.react(fact, 130.0) if isinstance(command, Submit)
    ][-1] == Submit(2, 0, repeats=1)


def test_a_third_try_after_a_429_still_has_the_first_ones_tag() -> None:
    """As long as the doubt stands, every try asks for the same purchase."""
    ring = resubmitted()
    ring.tell(SubmitAnswered(2, Refused(fault(FaultKind.RATE_LIMITED))), 131.0)
    _, commands = ring.tell(SlotNear(LANE), 300.0)
    assert commands == [Submit(3, 0, repeats=1)]


def test_a_repeated_answer_lifts_the_doubt_and_frees_the_second_hold() -> None:
    """One operation, one hold, no doubt; the second POST bought nothing and used up nothing."""
    ring = resubmitted()
    assert money(ring) == (200, 0, 200)
    facts, commands = ring.tell(SubmitAnswered(2, AGAIN), 131.0)
    words = "the gateway repeated its answer to attempt 1"
    assert facts == [
        Released(2, 200, fault(FaultKind.NOT_SENT, words), counts=False),
        DoubtLifted(1, 200, "the gateway repeated its answer"),
        Accepted(1, "op-1"),
        TaskMoved(0, Phase.RUNNING),
    ]
    assert commands == [Poll(1, 0, "op-1", 136.0)]
    assert money(ring) == (200, 0, 0)
    ring.tell(PollAnswered(1, Ready(("a", "b"), 2)), 140.0)
    assert money(ring) == (0, 200, 0)


def test_a_repeated_answer_after_the_operation_was_found_otherwise() -> None:
    """A person, or a listing, found it while the second POST was out: only the second hold is freed."""
    ring = resubmitted()
    ring.tell(VerdictGiven(1, "", "the vendor's page", operation="op-1"), 131.0)
    facts, _ = ring.tell(SubmitAnswered(2, AGAIN), 132.0)
    assert [type(fact) for fact in facts] == [Released]
    assert money(ring) == (200, 0, 0)


def test_a_repeated_answer_after_that_operation_failed() -> None:
    """The first attempt has ended unbilled meanwhile; so has the task, and no hold is left."""
    ring = resubmitted()
    ring.tell(VerdictGiven(1, "", "the vendor's page", operation="op-1"), 131.0)
    ring.tell(PollAnswered(1, OperationFailed(fault(FaultKind.REJECTED), billed=False)), 132.0)
    ring.tell(SubmitAnswered(2, AGAIN), 133.0)
    assert money(ring) == (0, 0, 0)
    assert ring.machine.counts() == {Phase.FAILED: 1}


def test_without_a_doubt_it_is_this_attempts_own_answer() -> None:
    """A gateway that calls a first answer a repetition is taken at its operation, with the money kept."""
    ring = submitting(policy(), n=2)
    facts, _ = ring.tell(SubmitAnswered(1, AGAIN))
    assert Accepted(1, "op-1") in facts
    assert money(ring) == (200, 0, 0)


def test_a_repetition_found_in_the_black_box_is_booked_alike() -> None:
    """The process died between the answer and its commit: the next one reads it there."""
    before = resubmitted()
    after = Ring(Machine.restore(RESUBMIT, fold(before.facts).snapshot(())))
    after.facts = list(before.facts)
    after.tell(SubmitAnswered(2, AGAIN), 500.0)
    after.tell(Resumed(), 500.0)
    assert money(after) == (200, 0, 0)
    assert after.machine.counts() == {Phase.RUNNING: 1}


@pytest.mark.parametrize("late", [False, True])
def test_a_repetition_for_an_attempt_in_doubt_itself(late: bool) -> None:  # noqa: FBT001 - a row of the table
    """Both attempts are in doubt when the answer to the second is found."""
    ring = resubmitted()
    ring.tell(SubmitAnswered(2, Unknown(fault(FaultKind.TIMEOUT))), 131.0)
    if late:
        ring.tell(VerdictGiven(1, "not_billed", "the vendor's page"), 132.0)
    ring.tell(SubmitAnswered(2, AGAIN), 133.0)
    assert money(ring) == (200, 0, 0)
    assert ring.machine.counts() == {Phase.RUNNING: 1}


KNOWN = Unknown(fault(FaultKind.UNKNOWN, "this key was used for a different request"), repeats=True)


def test_a_conflict_over_the_tag_frees_the_repeat_and_keeps_the_first_doubt() -> None:
    """The body of the repeat differs, such as by the place of an upload: it bought nothing, and one hold is enough."""
    ring = resubmitted()
    facts, commands = ring.tell(SubmitAnswered(2, KNOWN), 131.0)
    assert [type(fact) for fact in facts] == [Released, TaskMoved]
    assert isinstance(facts[0], Released)
    assert not facts[0].counts
    assert facts[0].fault.message.startswith(KNOWN_ALREADY)
    assert commands == []
    assert money(ring) == (0, 0, 200)
    assert ring.machine.counts() == {Phase.IN_DOUBT: 1}


@pytest.mark.parametrize("again", [False, True])
def test_what_the_gateway_knows_is_not_asked_for_a_third_time(again: bool) -> None:  # noqa: FBT001 - a row of the table
    """Neither in this run nor by the next process: by then the gateway may have forgotten the tag."""
    ring = resubmitted()
    ring.tell(SubmitAnswered(2, KNOWN), 131.0)
    if again:
        facts = ring.facts
        ring = Ring(Machine.restore(RESUBMIT, fold(facts).snapshot(())))
        ring.tell(Resumed(), 0.0)
    for now in (300.0, 3_000.0, 300_000.0):
        ring.tell(TimeCame(task=0), now)
        assert ring.tell(SlotNear(LANE), now) == ([], [])
    assert money(ring) == (0, 0, 200)
    ring.tell(VerdictGiven(1, "not_billed", "the vendor's page"), 300_001.0)
    assert ring.tell(SlotNear(LANE), 300_002.0)[1] == [Submit(3, 0)], "a purchase of its own, with a tag of its own"


def test_a_conflict_without_a_doubt_is_a_doubt() -> None:
    """Nothing of ours was sent with that tag: somebody else has this run folder, and nobody knows what was bought."""
    ring = submitting(policy(), n=2)
    ring.tell(SubmitAnswered(1, KNOWN))
    assert money(ring) == (0, 0, 200)


def test_a_conflict_found_in_the_black_box_is_booked_alike() -> None:
    """Before the doubt of the repeat was written, and after."""
    before = resubmitted()
    after = Ring(Machine.restore(RESUBMIT, fold(before.facts).snapshot(())))
    after.tell(SubmitAnswered(2, KNOWN), 500.0)
    after.tell(Resumed(), 500.0)
    assert money(after) == (0, 0, 200)
    before.tell(SubmitAnswered(2, Unknown(fault(FaultKind.UNKNOWN))), 131.0)
    before.tell(SubmitAnswered(2, KNOWN), 132.0)
    assert money(before) == (0, 0, 200)


def test_conflicts_do_not_open_the_breaker() -> None:
    """They are answers: what was in doubt before still is, and nothing more."""
    ring = resubmitted()
    ring.tell(SubmitAnswered(2, KNOWN), 131.0)
    lane = ring.machine.state.lane(LANE)
    assert (len(lane.doubted_at), sum(lane.doubtful)) == (1, 1)


ANSWERS = [
    KNOWN,
    AGAIN,
    Pending("op-1"),
    Pending("op-2"),
    Pending("op-2", replayed=True),
    Refused(fault(FaultKind.RATE_LIMITED)),
    Unknown(fault(FaultKind.TIMEOUT)),
]


@settings(max_examples=300, deadline=None)
@given(
    some.lists(
        some.tuples(some.sampled_from(["slot", "wake", "answer", "end"]), some.sampled_from(ANSWERS)), max_size=12
    )
)
def test_whatever_is_repeated_no_money_is_lost_or_made(steps: list[tuple[str, object]]) -> None:
    """In any order: what is put aside, spent or doubtful never passes two holds, and one operation has one attempt."""
    ring, now = resubmitted(), 131.0
    for what, answer in steps:
        now += 400.0
        match what:
            case "slot":
                ring.tell(SlotNear(LANE), now)
            case "wake":
                ring.tell(TimeCame(task=0), now)
            case "answer":
                waiting = [each.number for each in ring.machine.state.attempts.values() if each.state == "SUBMITTING"]
                if waiting:
                    ring.tell(SubmitAnswered(waiting[0], answer), now)  # type: ignore[arg-type]  # of the list above
            case _:
                followed = [each for each in ring.machine.state.attempts.values() if each.state == "ACCEPTED"]
                assert len({each.operation for each in followed}) == len(followed)
                if followed:
                    ring.tell(PollAnswered(followed[0].number, Ready(("a", "b"), 2)), now)
        assert sum(money(ring)) <= 400
