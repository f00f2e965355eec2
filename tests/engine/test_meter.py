"""What the key's own meter does to doubts (E4): it proves sums, in the gateway's unit, of a key that is ours alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.engine.evidence import METER_LAG_S, SETTLED_LAG_S
from pipeline.engine.facts import BY_METER, DoubtReleased, Fact, Permitted, TaskMoved, WrittenOff
from pipeline.engine.messages import (
    BalanceTold,
    Listed,
    Look,
    PollAnswered,
    SlotNear,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
)
from pipeline.engine.phases import Phase
from pipeline.engine.terms import OnDoubt
from pipeline.values.evidence import Listing
from pipeline.values.reply import FaultKind, Pending, Ready, Unknown
from pipeline.values.task import Price, Task
from tests.engine.worlds import EACH, LANE, TERMS, Ring, fault, policy, ring, task

LOST = Unknown(fault(FaultKind.UNKNOWN, "silence"))
METERING = replace(TERMS, meters=True)
#: The quiet period of 120 s is over, and what was bought must have been made and billed.
SOON, LATE = 120.0, 120.0 + METER_LAG_S
#: Credits at a gateway, dollars under the cap: 1.5 credits are 22,059 micro-dollars, rounded up.
CREDIT = Price("USD", 22_059, 0, "credit", 1_500_000, "a table of this test")
NOTHING = Listing(0, 0, 0, complete=False, exclusive=True, operations=())


def quiet(count: int = 2, *, on_doubt: OnDoubt = OnDoubt.HOLD, tasks: Sequence[Task] = ()) -> Ring:
    """So many tasks in doubt, and nothing else."""
    wanted = tasks or [task(number) for number in range(count)]
    state = ring(policy(on_doubt, terms=METERING), caps={"USD": 10**7}, tasks=wanted)
    for number in range(1, len(wanted) + 1):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(number, LOST))
    return state


def read(state: Ring, used: int, at: float = LATE, unit: str = "USD", **words: Any) -> list[Fact]:
    """The meter has grown by so much since the beginning, says the look that was due at `at`."""
    state.machine.state.lane(LANE).look_at = at
    said = {"dedicated": True, "quiescent": True, "grain": 1, **words}
    return state.tell(BalanceTold("mule", unit, 5000, 5000 + used, **said), at + 31.0)[0]


def released(facts: list[Fact]) -> list[int]:
    """The attempts whose money is free."""
    return [each.attempt for each in facts if isinstance(each, DoubtReleased)]


def booked(facts: list[Fact]) -> list[int]:
    """The attempts whose money is spent."""
    return [each.attempt for each in facts if isinstance(each, WrittenOff)]


# --- when ---


def test_a_meter_is_read_after_the_quiet_period_and_when_all_must_be_billed() -> None:
    """Also where nothing can be listed; the run waits for the later reading, and not for a third one."""
    state = ring(policy(terms=METERING), tasks=[task(0)])
    state.tell(SlotNear(LANE))
    _, commands = state.tell(SubmitAnswered(1, LOST), 5.0)
    assert commands == [Look("mule", "pro", 125.0, 125.0 + 240.0)]
    _, commands = state.tell(Listed("mule", "pro", NOTHING, NOTHING), 160.0)
    assert [each.at for each in commands if isinstance(each, Look)] == [125.0 + METER_LAG_S]
    assert not state.machine.idle()
    state.tell(Listed("mule", "pro", NOTHING, NOTHING), 160.0 + METER_LAG_S)
    assert state.machine.idle()


def test_a_reading_while_something_is_under_way_is_not_the_last() -> None:
    """It says nothing, so the run reads again once its own books stand still."""
    state = ring(policy(terms=METERING), tasks=[task(0), task(1)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(2, Pending("op-2")))
    lane = state.machine.state.lane(LANE)
    lane.look_at = LATE
    state.tell(Listed("mule", "pro", NOTHING, NOTHING), LATE + 31)
    assert not state.machine.state.attempts[1].weighed
    state.tell(PollAnswered(2, Ready(("a",), 1)), LATE + 31)
    lane.look_at = LATE + 60
    state.tell(Listed("mule", "pro", NOTHING, NOTHING), LATE + 91)
    assert not state.machine.state.attempts[1].weighed, "what is settled may not be on the meter yet"
    lane.look_at = LATE + 331
    state.tell(Listed("mule", "pro", NOTHING, NOTHING), LATE + 362)
    assert state.machine.state.attempts[1].weighed


def test_a_key_that_others_use_is_not_asked() -> None:
    """Then the lane's terms do not meter, and a doubt is for people."""
    state = ring(tasks=[task(0)])
    state.tell(SlotNear(LANE))
    assert state.tell(SubmitAnswered(1, LOST))[1] == []
    assert state.machine.idle()


def test_resubmitting_does_not_wait_for_the_meter() -> None:
    """Who buys again at his own risk waits out the quiet period, not the hour."""
    state = quiet(1, on_doubt=OnDoubt.RESUBMIT)
    assert TaskMoved(0, Phase.WAITING) in state.tell(TimeCame(task=0), 120.0)[0]


# --- what it proves ---


def test_a_meter_that_shows_nothing_frees_every_doubt() -> None:
    """What was not counted was not billed; the tasks are bought again."""
    state = quiet(2)
    assert released(read(state, 0)) == [1, 2]
    assert state.machine.counts() == {Phase.HELD: 2}
    assert state.machine.accounts()["USD"].doubt == 0


def test_a_meter_that_shows_nothing_yet_frees_nothing() -> None:
    """What was accepted may still be being made."""
    assert read(quiet(2), 0, SOON) == []
    assert read(quiet(2), 0, LATE - 1) == []


def test_a_meter_that_shows_some_posts_so_many_and_buys_none_again() -> None:
    """The sum is exact, which of them it was nobody knows."""
    state = quiet(3)
    facts = read(state, 2 * EACH)
    assert (booked(facts), released(facts)) == ([1, 2], [3])
    assert state.machine.counts() == {Phase.FAILED: 3}
    assert state.machine.accounts()["USD"].spent == 2 * EACH


def test_a_meter_that_shows_all_is_believed_at_once() -> None:
    """Nothing more can come."""
    assert booked(read(quiet(2), 2 * EACH, SOON)) == [1, 2]
    assert read(quiet(2), 2 * EACH, SOON - 1) == []
    assert read(quiet(2), EACH, SOON) == []


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (0, {"dedicated": False}),
        (0, {"quiescent": False}),
        (0, {"grain": 50}),
        (0, {"unit": "CNY"}),
        (50, {}),
        (400, {}),
        (-100, {}),
    ],
    ids=["shared", "moving", "too coarse", "another unit", "half a price", "more than all", "less than settled"],
)
def test_what_a_meter_cannot_say_is_left_in_doubt(used: int, words: dict[str, Any]) -> None:
    """One condition less, and no money moves."""
    assert read(quiet(3), used, **words) == []


def test_a_meter_is_not_believed_while_a_post_is_out() -> None:
    """What is billed for it would be taken for a doubt's."""
    state = ring(policy(terms=METERING), tasks=[task(0), task(1)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    assert isinstance(state.tell(SlotNear(LANE))[0][0], Permitted)
    assert read(state, 0) == []


def test_a_meter_is_not_believed_while_a_bill_may_still_come() -> None:
    """The rest of a settled hold waits for it."""
    state = ring(policy(terms=replace(METERING, release_lag_s=60.0)), tasks=[task(0), task(1, n=2)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(2, Ready(("a",), 1)))
    assert state.machine.state.rests == {2}
    assert read(state, EACH) == []


def test_a_meter_is_not_believed_before_it_shows_what_is_settled() -> None:
    """A doubt that was billed would stand in the place of a settled call that is not on the meter yet."""
    state = ring(policy(terms=METERING), tasks=[task(0), task(1)])
    for reply in (LOST, Pending("op-2")):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(int(reply is not LOST) + 1, reply))
    state.tell(PollAnswered(2, Ready(("a",), 1)), LATE - 10)
    assert read(state, EACH, LATE) == []
    assert released(read(state, EACH, LATE - 10 + SETTLED_LAG_S)) == [1]


# --- the gateway's own unit ---


def in_credits(*numbers: int) -> Ring:
    """Doubts that are billed in credits and paid from dollars, for so many pictures each."""
    return quiet(tasks=[task(place, n=n, price=CREDIT) for place, n in enumerate(numbers)])


def test_the_sum_is_compared_in_the_gateways_unit_and_booked_in_the_caps() -> None:
    """1.5 credits are one of the two; the dollars of its hold are spent, the others free, exactly."""
    state = in_credits(1, 1)
    facts = read(state, 1_500_000, unit="credit", grain=100)
    assert (booked(facts), released(facts)) == ([1], [2])
    account = state.machine.accounts()["USD"]
    assert (account.spent, account.doubt, account.held) == (22_059, 0, 0)


def test_what_is_settled_is_taken_off_in_the_gateways_unit() -> None:
    """The meter shows it too."""
    state = ring(policy(terms=METERING), caps={"USD": 10**7}, tasks=[task(number, price=CREDIT) for number in range(2)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, LOST))
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(2, Ready(("a",), 1)))
    assert released(read(state, 1_500_000, unit="credit", grain=100)) == [1]


def test_what_a_call_costs_besides_counts() -> None:
    """Input pictures are billed once a call."""
    dear = replace(CREDIT, per_call=2_700, native_per_call=183_600)
    state = quiet(tasks=[task(0, price=dear), task(1, price=CREDIT)])
    facts = read(state, 1_683_600, unit="credit", grain=100)
    assert (booked(facts), released(facts)) == ([1], [2])


def test_different_holds_are_told_apart_by_their_sum() -> None:
    """3 credits of {1.5, 4.5, 4.5} cannot be any; 4.5 are one of the dear ones; 6 the cheap one and a dear one."""
    assert read(in_credits(1, 3, 3), 3_000_000, unit="credit") == []
    facts = read(in_credits(1, 3, 3), 4_500_000, unit="credit")
    assert (booked(facts), released(facts)) == ([2], [1, 3])
    facts = read(in_credits(1, 3, 3), 6_000_000, unit="credit")
    assert (booked(facts), released(facts)) == ([1, 2], [3])


def test_a_sum_with_two_explanations_explains_nothing() -> None:
    """3 credits of {1.5, 1.5, 3}: the two cheap ones or the dear one."""
    assert read(in_credits(1, 1, 2), 3_000_000, unit="credit") == []


def test_a_pool_with_too_many_explanations_is_left_alone() -> None:
    """Trying them all would take for ever."""
    many = [task(n, n=1, price=replace(CREDIT, native_per_image=1_000_000 + 7 * n)) for n in range(20)]
    lanes = replace(METERING, in_flight_max=40, unanswered_max=40)
    state = ring(policy(terms=lanes), caps={"USD": 10**7}, tasks=many)
    for number in range(1, 21):
        state.machine.state.lane(LANE).cooling_until = 0.0
        state.machine.state.lane(LANE).breaker = 0
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(number, LOST))
    assert read(state, 1_000_000, unit="credit") == []
    assert len(released(read(state, 0, unit="credit"))) == 20


# --- after ---


def test_what_the_meter_has_shown_is_known_and_a_guess_is_not() -> None:
    """The next remainder is compared with it; money booked by guess may or may not be in the meter."""
    state = quiet(1)
    assert booked(read(state, EACH)) == [1]
    assert state.facts[-2].why.startswith(BY_METER)  # type: ignore[union-attr]  # a WrittenOff
    assert state.machine.state.billed["mule", "USD"] == EACH
    assert not state.machine.state.guessed["mule"]
    guessed = quiet(2)
    guessed.tell(VerdictGiven(1, "billed", "it may be"))
    assert read(guessed, EACH) == []
    assert released(read(guessed, 0)) == [2], "nothing at all was billed, neither that one nor this"


def test_a_late_bill_makes_the_sums_unsure() -> None:
    """What had been booked, and what the meter has of it, cannot be told apart in this process any more."""
    state = quiet(2)
    state.tell(VerdictGiven(1, "billed", "it may be"))
    state.machine.state.unsure.add("mule")
    assert read(state, 0) == []
