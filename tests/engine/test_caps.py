"""The cap, to the micro-unit: what a hold may take, when it is looked at, and what a bill above it leads to."""

from __future__ import annotations

import pytest

from pipeline.engine.facts import BudgetReached, Held, LaneParked, Settled
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    CapAsked,
    Offered,
    PollAnswered,
    Resumed,
    SlotNear,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
)
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import FaultKind, OperationFailed, Pending, Ready, Refused, Unknown
from tests.engine.folding import fold
from tests.engine.worlds import EACH, LANE, Ring, fault, policy, ring, running, submitting, task


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_hold_is_refused_when_one_micro_unit_is_missing(n: int) -> None:
    """All of a task's pictures at their highest price, or no hold."""
    exact, short = ring(caps={"USD": n * EACH}), ring(caps={"USD": n * EACH - 1})
    assert any(isinstance(fact, Held) and fact.amount == n * EACH for fact in exact.tell(Offered(task(0, n=n)))[0])
    assert short.tell(Offered(task(0, n=n)))[0] == [BudgetReached("USD", n * EACH, n * EACH - 1)]


def test_a_second_try_asks_for_money_like_the_first() -> None:
    """What came free when a try failed may be gone by the time of the next one."""
    state = ring(caps={"USD": 2 * EACH}, tasks=[task(0, n=2)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, Refused(fault(FaultKind.TRANSIENT))))
    state.tell(CapAsked("USD", EACH, "lowered"))
    facts, _ = state.tell(TimeCame(task=0), 1000.0)
    assert facts == [BudgetReached("USD", 2 * EACH, EACH)]


def test_a_bill_above_the_hold_is_booked_in_full_and_stops_the_lane() -> None:
    """Our price was wrong: nobody buys on."""
    state = running(n=1)
    facts, _ = state.tell(PollAnswered(1, Ready(("a",), 3)))
    settled = next(fact for fact in facts if isinstance(fact, Settled))
    assert (settled.amount, settled.overage) == (EACH, 2 * EACH)
    assert any(isinstance(fact, LaneParked) for fact in facts)
    assert state.machine.accounts()["USD"].spent == 3 * EACH


def test_the_dearer_of_links_and_count_is_what_was_billed() -> None:
    """A gateway that counts two pictures and delivers one bills two."""
    state = ring(caps={"USD": 1000}, tasks=[task(0, n=2)])
    state.tell(SlotNear(LANE))
    state.tell(SubmitAnswered(1, Pending("op-1")))
    state.tell(PollAnswered(1, Ready(("a",), 2)))
    assert state.machine.accounts()["USD"].spent == 2 * EACH


def test_a_write_off_is_spent() -> None:
    """What nobody knows counts as billed, to the last micro-unit."""
    state = submitting(policy(OnDoubt.WRITE_OFF))
    state.tell(SubmitAnswered(1, Unknown(fault(FaultKind.UNKNOWN))))
    account = state.machine.accounts()["USD"]
    assert (account.spent, account.held, account.doubt) == (EACH, 0, 0)


def test_a_task_is_bought_again_once_although_its_first_try_turned_out_to_be_billed() -> None:
    """`resubmit`: a doubt booked as billed and a second doubt are two purchases; a third needs a person."""
    state = submitting(policy(OnDoubt.RESUBMIT))
    silence = Unknown(fault(FaultKind.UNKNOWN))
    state.tell(SubmitAnswered(1, silence))
    state.tell(TimeCame(task=0), 1000.0)
    state.tell(SlotNear(LANE), 1000.0)
    state.tell(VerdictGiven(1, "billed", "the invoice"), 1000.0)
    state.tell(SubmitAnswered(2, silence), 1000.0)
    facts, _ = state.tell(TimeCame(task=0), 5000.0)
    assert not any(isinstance(fact, Held) for fact in facts)
    assert state.machine.idle()


def test_a_restart_buys_no_third_time_what_was_billed_without_pictures() -> None:
    """The second try under `resubmit` failed and was billed: a crash is no reason to buy once more (I14)."""
    state = submitting(policy(OnDoubt.RESUBMIT))
    state.tell(SubmitAnswered(1, Unknown(fault(FaultKind.UNKNOWN))))
    state.tell(TimeCame(task=0), 1000.0)
    state.tell(SlotNear(LANE), 1000.0)
    state.tell(SubmitAnswered(2, Pending("op-2")), 1000.0)
    state.tell(PollAnswered(2, OperationFailed(fault(FaultKind.TRANSIENT), billed=True)), 1000.0)
    again = Ring(Machine.restore(policy(OnDoubt.RESUBMIT), fold(state.facts).snapshot()))
    again.tell(Resumed(), 2000.0)
    facts, _ = again.tell(TimeCame(task=0), 1e6)
    assert not any(isinstance(fact, Held) for fact in facts)
    assert again.machine.doubts()[0].attempt == 1
