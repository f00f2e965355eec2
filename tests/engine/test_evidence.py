"""What a gateway's own books do to doubts: when they are asked, what is believed, and what never is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.engine import late
from pipeline.engine.facts import Accepted, DoubtLifted, DoubtReleased, Fact, Held, LateFound, TaskMoved, WrittenOff
from pipeline.engine.messages import Listed, Look, SlotNear, SubmitAnswered, TimeCame, VerdictGiven
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.terms import OnDoubt
from pipeline.values.evidence import ListedOperation, Listing
from pipeline.values.reply import FaultKind, Pending, Unknown
from pipeline.values.task import Task
from tests.engine.worlds import LANE, TERMS, Ring, fault, policy, ring, task

LOST = Unknown(fault(FaultKind.UNKNOWN, "silence"))
LISTING = replace(TERMS, lists=True)
#: A look at this time can prove absence: the quiet period of 120 s and the lag of 300 s are over.
LATE = 420.0
WALL = 1_700_000_000.0


def wall(at: float) -> int:
    """The gateway's clock, in microseconds."""
    return round((WALL + at) * 1e6)


def doubts(*tasks: Task, on_doubt: OnDoubt = OnDoubt.HOLD) -> Ring:
    """A known operation `known`, of task 9, then each of these tasks in doubt; all sent at 0."""
    state = ring(policy(on_doubt, terms=LISTING), tasks=[replace(task(9), prompt="known"), *tasks])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, Pending("known")))
    for number in range(2, len(tasks) + 2):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(number, LOST))
    return state


def operation(name: str, prompt: str | None = "a fox", n: int | None = 1, seed: int | None = None) -> ListedOperation:
    """One line of a listing."""
    return ListedOperation(name, wall(1.0), prompt, n, seed)


KNOWN = operation("known", "known")


def listing(
    at: float, *operations: ListedOperation, complete: bool = True, exclusive: bool = True, reach_s: float = 4000.0
) -> Listing:
    """A listing taken at this time."""
    return Listing(wall(at), wall(at - reach_s), wall(at + 300), complete, exclusive, operations)


def answer(state: Ring, first: Listing, second: Listing | None = None, *, at: float = LATE) -> list[Fact]:
    """The look that is due at `at` is answered half a minute later."""
    state.machine.state.lane(LANE).look_at = at
    if second is None:
        second = replace(first, taken_at=first.taken_at + 30_000_000)
    return state.tell(Listed("mule", "pro", first, second), at + 30.0)[0]


# --- when ---


def test_a_gateway_that_lists_is_asked_after_the_quiet_period_and_once_the_lag_is_over() -> None:
    """First at 120 s, to find; then at 420 s, to disprove; then with growing pauses, while a doubt remains."""
    state = ring(policy(terms=LISTING), tasks=[task(0)])
    state.tell(SlotNear(LANE))
    _, commands = state.tell(SubmitAnswered(1, LOST), 5.0)
    assert commands == [Look("mule", "pro", 125.0, 125.0 + 240.0)]
    assert not state.machine.idle()
    nothing = listing(125.0)
    _, commands = state.tell(Listed("mule", "pro", nothing, nothing), 160.0)
    assert commands == [Look("mule", "pro", 425.0, 425.0 + 240.0)]
    assert not state.machine.idle()
    _, commands = state.tell(Listed("mule", "pro", nothing, nothing), 460.0)
    assert isinstance(commands[0], Look)
    assert 460.0 + 240.0 <= commands[0].at <= 460.0 + 360.0
    assert state.machine.idle()


def test_a_gateway_that_does_not_list_is_not_asked() -> None:
    """Its doubts are for people."""
    state = ring(tasks=[task(0)])
    state.tell(SlotNear(LANE))
    assert state.tell(SubmitAnswered(1, LOST))[1] == []
    assert state.machine.idle()


# --- E1 ---


def test_an_unknown_operation_that_repeats_one_request_is_that_request() -> None:
    """Found: the doubt is a hold again, and the operation is followed."""
    state = doubts(task(0))
    facts = answer(state, listing(120.0, KNOWN, operation("x")), at=120.0)
    assert [type(each) for each in facts] == [DoubtLifted, Accepted, TaskMoved]
    assert facts[1] == Accepted(2, "x")


@pytest.mark.parametrize(
    "strange",
    [operation("x", prompt="a hen"), operation("x", n=2), replace(operation("x"), submitted_at=wall(1000.0))],
    ids=["prompt", "number", "time"],
)
def test_an_operation_that_differs_is_nobodys(strange: ListedOperation) -> None:
    """It is unexplained then, and nothing is disproved."""
    state = doubts(task(0))
    assert answer(state, listing(LATE, KNOWN, strange)) == []


def test_an_operation_that_fits_two_different_doubts_is_nobodys() -> None:
    """The gateway repeats the prompt alone, and two sizes were asked for."""
    state = doubts(task(0), replace(task(1), size="1x1"))
    assert answer(state, listing(LATE, KNOWN, operation("x"))) == []


def test_two_operations_of_two_equal_requests_are_one_each() -> None:
    """Interchangeable: the earlier one is the earlier one's; a third would make all of them doubtful."""
    found = [operation("x"), operation("y")]
    facts = answer(doubts(task(0), task(1)), listing(120.0, KNOWN, *found), at=120.0)
    assert [each for each in facts if isinstance(each, Accepted)] == [Accepted(2, "x"), Accepted(3, "y")]
    assert answer(doubts(task(0), task(1)), listing(LATE, KNOWN, *found, operation("z"))) == []


def test_a_named_seed_outweighs_one_that_was_left_open() -> None:
    """Where we name no seed the gateway chooses one: its choice tells nothing, the very seed tells all."""
    state = doubts(replace(task(0), seed=None), replace(task(1), seed=7))
    assert Accepted(3, "x") in answer(state, listing(100.0, KNOWN, operation("x", seed=7)), at=100.0)
    state = doubts(replace(task(0), seed=None), replace(task(1), seed=7))
    facts = answer(state, listing(120.0, KNOWN, operation("x", seed=7), operation("y", seed=8)), at=120.0)
    assert {each for each in facts if isinstance(each, Accepted)} == {Accepted(3, "x"), Accepted(2, "y")}


def test_time_alone_identifies_nothing() -> None:
    """A task of the same minute may be another's: a stranger's, or one of ours that was mistaken before."""
    bare = operation("x", prompt=None, n=None)
    assert answer(doubts(task(0)), listing(LATE, KNOWN, bare)) == []


def test_an_operation_that_a_post_under_way_may_be_waits_for_its_answer() -> None:
    """It may be that one's own."""
    state = ring(policy(terms=LISTING), tasks=[task(0), task(1)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    state.tell(SlotNear(LANE), 100.0)
    one = operation("x")
    assert answer(state, listing(120.0, one), at=120.0) == []


# --- E2 ---


def test_two_whole_listings_without_it_disprove_a_doubt() -> None:
    """The money is free, and the task is bought again."""
    state = doubts(task(0))
    facts = answer(state, listing(LATE, KNOWN))
    assert facts[:2] == [DoubtReleased(2, 100, "two complete listings do not show it"), TaskMoved(0, Phase.WAITING)]
    assert isinstance(facts[3], Held)


WHOLE = listing(LATE, KNOWN)


@pytest.mark.parametrize(
    ("first", "second", "at"),
    [
        (WHOLE, listing(LATE + 29, KNOWN), LATE),
        (replace(WHOLE, complete=False), None, LATE),
        (WHOLE, listing(LATE + 30, KNOWN, complete=False), LATE),
        (replace(WHOLE, exclusive=False), None, LATE),
        (listing(LATE), None, LATE),
        (WHOLE, listing(LATE + 30), LATE),
        (listing(LATE, KNOWN, reach_s=500), None, LATE),
        (replace(WHOLE, until=wall(200.0)), None, LATE),
        (listing(LATE, KNOWN, operation("x", prompt="a stranger's")), None, LATE),
        (WHOLE, None, LATE - 1),
    ],
    ids=[
        "too close together",
        "incomplete",
        "incomplete the second time",
        "shared",
        "a known one is missing",
        "a known one is missing the second time",
        "begins too late",
        "ends too early",
        "something unexplained",
        "before the lag is over",
    ],
)
def test_what_falls_short_of_a_proof_releases_nothing(first: Listing, second: Listing | None, at: float) -> None:
    """One condition less, and the money stays in doubt."""
    assert answer(doubts(task(0)), first, second, at=at) == []


def test_a_list_of_nothing_proves_nothing() -> None:
    """Without one operation of ours it may be another account's."""
    state = ring(policy(terms=LISTING), tasks=[task(0)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    assert answer(state, listing(LATE)) == []


def test_a_list_that_lacks_one_of_ours_proves_nothing() -> None:
    """It shows another one, and it may lack more."""
    state = doubts(task(0))
    state.machine.state.operations.add(("mule", "other"))
    assert answer(state, listing(LATE, operation("other", "other"))) == []


def test_a_listing_that_nobody_asked_for_disproves_nothing() -> None:
    """Nobody knows when it was taken."""
    state = doubts(task(0))
    state.machine.state.lane(LANE).look_at = None
    first, second = listing(LATE, KNOWN), listing(LATE + 30, KNOWN)
    assert state.tell(Listed("mule", "pro", first, second), LATE + 30)[0] == []


# --- after a proof, and without one ---


def test_what_a_listing_shows_after_its_doubt_was_released_is_a_late_bill() -> None:
    """Booked, collected, and the lane is parked: what proved its absence is not to be trusted."""
    state = doubts(task(0), replace(task(1), prompt="a hen"))
    state.machine.state.lane(LANE).look_at = LATE
    assert answer(state, WHOLE)[0] == DoubtReleased(2, 100, "two complete listings do not show it")
    facts = answer(state, listing(LATE + 60, KNOWN, operation("x")), at=LATE + 60)
    assert LateFound(2, "x", "the gateway lists it") in facts
    assert state.machine.lane_views()[LANE].parked is not None


def test_an_operation_is_not_taken_for_an_attempt_that_has_one_of_its_own() -> None:
    """Written off when its gateway forgot it: another operation that repeats its request is somebody else's."""
    state = doubts(task(0), on_doubt=OnDoubt.WRITE_OFF)
    attempt = state.machine.state.attempts[1]
    attempt.state = AttemptState.WRITTEN_OFF
    lane = state.machine.state.lane(LANE)
    assert not late.listable(state.machine.state, lane, 1)
    attempt.operation = ""
    assert late.listable(state.machine.state, lane, 1)


def test_a_task_with_a_second_doubt_is_not_bought_again_because_the_first_is_lifted() -> None:
    """What is disproved is free; the other call may still be billed, and `hold` asks for no third."""
    state = ring(policy(OnDoubt.RESUBMIT), tasks=[task(0)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    state.tell(TimeCame(0), 200.0)
    state.tell(SlotNear(LANE), 200.0)
    state.tell(SubmitAnswered(2, LOST), 201.0)
    assert state.machine.accounts()["USD"].doubt == 200
    facts, _ = state.tell(VerdictGiven(1, "not_billed", "the invoice"), 202.0)
    assert facts == [DoubtReleased(1, 100, "the invoice")]
    assert state.machine.counts() == {Phase.IN_DOUBT: 1}


def test_resubmitting_waits_for_a_look_that_found_nothing() -> None:
    """Where a gateway lists, time alone does not buy again."""
    state = doubts(task(0), on_doubt=OnDoubt.RESUBMIT)
    assert state.machine.counts()[Phase.IN_DOUBT] == 1
    assert answer(state, listing(120.0, KNOWN, complete=False), at=120.0) == []
    facts = answer(state, listing(LATE, KNOWN, complete=False))
    assert facts[0] == TaskMoved(0, Phase.WAITING)
    assert state.machine.accounts()["USD"].doubt == 100


def test_what_the_gateway_has_forgotten_is_written_off() -> None:
    """A day later nothing can be found any more; the money is spent, never freed."""
    state = doubts(task(0))
    facts = answer(state, listing(86_400.0, KNOWN, complete=False), at=86_400.0)
    assert isinstance(facts[0], WrittenOff)
    assert state.machine.accounts()["USD"].spent == 100
