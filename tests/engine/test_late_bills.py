"""Bills that come late: what had ended as not billed, or was written off, and was made after all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.engine.evolve import evolve
from pipeline.engine.facts import LaneParked, LateBilled, LateFound, Settled, TaskMoved
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    DrainAsked,
    Fetch,
    Fetched,
    Poll,
    PollAnswered,
    Resumed,
    RetryAsked,
    SubmitAnswered,
    VerdictGiven,
)
from pipeline.engine.phases import Phase
from pipeline.engine.terms import OnDoubt
from pipeline.errors import Bug, RunError
from pipeline.values.money import Money
from pipeline.values.reply import (
    FaultKind,
    Gone,
    OperationFailed,
    PollReply,
    Ready,
    Refused,
    Unknown,
)
from tests.engine.folding import fold
from tests.engine.worlds import TERMS, Ring, artifact, fault, policy, ring, running, submitting, task

K = FaultKind
REJECTED = fault(K.REJECTED, "no")
FOUND = VerdictGiven(1, "billed", "the vendor's book", "op-9")
BILLED = VerdictGiven(1, "billed", "the vendor's book")


def remembered(was: Ring, rules: OnDoubt = OnDoubt.HOLD) -> Ring:
    """A new process that was asked about attempt 1, whose task is over."""
    folded = fold(was.facts).snapshot(asked=[0])
    stored = tuple(
        replace(each, attempts=tuple(replace(known, submitted_at=1) for known in each.attempts))
        for each in folded.tasks
    )
    machine = Machine.restore(policy(rules), replace(folded, tasks=()))
    machine.step(Resumed(), 0.0)
    for each in stored:
        machine.remember(each)
    return Ring(machine)


def void(n: int = 1) -> Ring:
    """Attempt 1 was refused, as something that is not billed."""
    state = submitting(n=n)
    state.tell(SubmitAnswered(1, Refused(REJECTED)))
    return remembered(state)


def written_off(n: int = 1) -> Ring:
    """Attempt 1 was written off without knowing."""
    state = submitting(policy(OnDoubt.WRITE_OFF), n=n)
    state.tell(SubmitAnswered(1, Unknown(fault(K.UNKNOWN))))
    return remembered(state)


def nothing_billed(n: int = 1) -> Ring:
    """The operation of attempt 1 failed, for nothing."""
    state = running(n=n)
    state.tell(PollAnswered(1, OperationFailed(REJECTED, billed=False)))
    return remembered(state)


ENDS = {"VOID": void, "WRITTEN_OFF": written_off, "SETTLED": nothing_billed}


@pytest.mark.parametrize(
    ("name", "spent", "overage"), [("VOID", 200, 200), ("WRITTEN_OFF", 200, 0), ("SETTLED", 200, 200)]
)
def test_an_ended_attempt_that_is_found_is_booked_and_its_pictures_are_collected(
    name: str, spent: int, overage: int
) -> None:
    """What it costs beyond what is settled for it is overage; the task becomes done."""
    state = ENDS[name](n=2)
    facts, commands = state.tell(FOUND, 5.0)
    assert facts[0] == LateFound(1, "op-9", "the vendor's book")
    assert commands == [Poll(1, 0, "op-9", 5.0)]
    facts, commands = state.tell(PollAnswered(1, Ready(("a", "b"), 2)), 6.0)
    assert [type(each) for each in facts] == [Settled]
    assert [type(each) for each in commands] == [Fetch, Fetch]
    state.tell(Fetched(1, 0, artifact("a")), 7.0)
    assert state.tell(Fetched(1, 1, artifact("b")), 7.0)[0][-1] == TaskMoved(0, Phase.DONE)
    account = state.machine.accounts()["USD"]
    assert (account.spent, account.overage, account.held, account.doubt) == (spent, overage, 0, 0)
    assert state.machine.counts() == {Phase.DONE: 1}


@pytest.mark.parametrize(("name", "alarm"), [("VOID", True), ("WRITTEN_OFF", False), ("SETTLED", False)])
def test_money_that_was_taken_as_free_and_was_not_parks_its_lane(name: str, alarm: bool) -> None:  # noqa: FBT001
    """Whatever told us that it was not billed is wrong: nothing more is bought there before somebody has looked."""
    for said in (FOUND, *([] if name == "WRITTEN_OFF" else [BILLED])):
        parked = [each for each in ENDS[name]().tell(said)[0] if isinstance(each, LaneParked)]
        assert [("run again" in each.fault.message) for each in parked] == ([True] if alarm else [])


@pytest.mark.parametrize("name", ["VOID", "SETTLED"])
def test_an_ended_attempt_that_was_billed_without_an_operation_is_booked_whole(name: str) -> None:
    """The hold as overage: free money shrinks by it, and the task stays failed."""
    state = ENDS[name](n=2)
    assert state.tell(BILLED)[0][0] == LateBilled(1, 200, "the vendor's book")
    account = state.machine.accounts()["USD"]
    assert (account.spent, account.overage) == (200, 200)
    assert state.machine.counts() == {Phase.FAILED: 1}


def test_what_is_written_off_is_not_booked_twice() -> None:
    """It is spent already; only an operation adds something."""
    with pytest.raises(RunError, match="booked as spent already"):
        written_off().tell(BILLED)


@pytest.mark.parametrize("name", ENDS)
def test_an_ended_attempt_cannot_be_declared_not_billed(name: str) -> None:
    """That is what it says already, or what must not be said: written-off money never comes back."""
    with pytest.raises(RunError, match="not in doubt"):
        ENDS[name]().tell(VerdictGiven(1, "not_billed", "hope"))


def test_an_attempt_that_never_left_cannot_be_billed() -> None:
    """It was released before its permit: no POST, no bill."""
    state = ring(tasks=[task(0)])
    state.tell(DrainAsked())
    with pytest.raises(RunError, match="not in doubt"):
        state.tell(BILLED)


@pytest.mark.parametrize(
    ("reply", "overage"),
    [
        (OperationFailed(REJECTED, billed=False), 0),
        (OperationFailed(REJECTED, billed=True), 200),
        (OperationFailed(REJECTED, billed=None), 200),
    ],
)
def test_a_late_operation_without_pictures_is_booked_when_it_may_have_been_billed(
    reply: PollReply, overage: int
) -> None:
    """There is no hold to put in doubt, so the worst case is booked at once."""
    late = void(n=2)
    late.tell(FOUND)
    facts, _ = late.tell(PollAnswered(1, reply), 1.0)
    assert isinstance(facts[0], Settled)
    assert facts[0].overage == overage
    assert late.machine.accounts()["USD"].spent == overage


def test_a_late_operation_that_the_gateway_does_not_know_changes_nothing() -> None:
    """After the grace it is over again, and may be found again."""
    state = void()
    state.tell(FOUND)
    for at in (0.0, 200.0, 400.0, 500.0, 600.0):
        facts, _ = state.tell(PollAnswered(1, Gone(fault(K.UNKNOWN, "who?"))), at)
    assert [type(each) for each in facts] == [Settled]
    assert state.machine.accounts()["USD"].spent == 0
    assert state.machine.idle()


def test_an_operation_that_another_attempt_has_is_refused() -> None:
    """One operation pays for one attempt."""
    state = void()
    state.machine.state.operations.add(("mule", "op-9"))
    with pytest.raises(RunError, match="another attempt has this operation"):
        state.tell(FOUND)


def test_a_person_cannot_bill_again_what_is_billed() -> None:
    """Its pictures are still on their way; a second bill is none."""
    state = running()
    state.tell(PollAnswered(1, Ready(("a",), 1)))
    with pytest.raises(RunError, match="not in doubt"):
        state.tell(BILLED)


def test_a_person_cannot_bill_again_what_the_gateway_charged_without_a_picture() -> None:
    """No picture came, and a sum was named and booked: that is its bill."""
    state = running()
    state.tell(PollAnswered(1, Ready((), 0, charged=Money(70, "USD"))))
    assert state.machine.accounts()["USD"].spent == 70
    with pytest.raises(RunError, match="not in doubt"):
        remembered(state).tell(BILLED)


def test_a_late_bill_takes_the_place_of_a_rest_that_is_still_held() -> None:
    """Nothing came, and its hold waits for a late bill: once that is said, nothing stays aside for it."""
    state = running(policy(terms=replace(TERMS, release_lag_s=60.0)))
    state.tell(PollAnswered(1, Ready((), 0)), 1.0)
    assert state.machine.accounts()["USD"].held == 100
    state.tell(BILLED, 2.0)
    account = state.machine.accounts()["USD"]
    assert (account.spent, account.held, account.doubt) == (100, 0, 0)


def test_a_picture_that_was_billed_takes_no_late_evidence() -> None:
    """Any other money event in an end state is a Bug."""
    state = running()
    state.tell(PollAnswered(1, Ready(("a",), 1)))
    before = dict(state.machine.accounts())
    for fact in (LateFound(1, "op-9", "why"), LateBilled(1, 100, "why")):
        with pytest.raises(Bug, match="billed already"):
            evolve(state.machine.state, fact, 0.0)
    assert state.machine.accounts() == before


def test_a_late_bill_survives_a_crash_before_its_end_is_known() -> None:
    """It is followed by the next process, and booked once."""
    state = void()
    started = submitting()
    started.tell(SubmitAnswered(1, Refused(REJECTED)))
    facts = [*started.facts, *state.tell(FOUND)[0]]
    again = Ring(Machine.restore(policy(), fold(facts).snapshot()))
    again.tell(Resumed())
    assert again.machine.resume_commands(0.0) == [Poll(1, 0, "op-9", 0.0)]
    again.tell(PollAnswered(1, Ready(("a",), 1)), 1.0)
    assert again.machine.accounts()["USD"].spent == 100


def test_an_attempt_found_late_leaves_the_one_that_replaced_it_alone() -> None:
    """Two are followed; the task is done with either."""
    state = submitting()
    state.tell(SubmitAnswered(1, Refused(fault(K.TRANSIENT))))
    state.machine.step(VerdictGiven(1, "billed", "the book", "op-9"), 0.0)
    state.machine.check()
    assert state.machine.counts() == {Phase.RUNNING: 1}
    state.tell(PollAnswered(1, Ready(("a",), 1)))
    assert state.tell(Fetched(1, 0, artifact()))[0][-1] == TaskMoved(0, Phase.DONE)


@pytest.mark.parametrize("rejected", [False, True])
def test_a_task_whose_operation_is_followed_late_is_not_bought_again(rejected: bool) -> None:  # noqa: FBT001
    """What was found may bring the pictures; only once it has ended without them may the task be sent again."""
    before = submitting(policy(OnDoubt.WRITE_OFF))
    before.tell(SubmitAnswered(1, Unknown(fault(K.UNKNOWN))))
    found = [*before.facts, *written_off().tell(FOUND)[0]]
    after = Ring(Machine.restore(policy(OnDoubt.WRITE_OFF), fold(found).snapshot()))
    after.tell(Resumed())
    assert after.tell(RetryAsked(0, rejected=rejected))[0] == []
    ended = [*found, *after.tell(PollAnswered(1, OperationFailed(REJECTED, billed=False)))[0]]
    last = Machine.restore(policy(OnDoubt.WRITE_OFF), fold(ended).snapshot(asked=[0]))
    assert Ring(last).tell(RetryAsked(0, rejected=rejected))[0][0] == TaskMoved(0, Phase.WAITING)
