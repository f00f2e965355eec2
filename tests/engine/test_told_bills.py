"""A gateway that names the sum it took: booked where it is more than the price list says, in the unit that pays."""

from __future__ import annotations

import pytest

from pipeline.engine.facts import LaneParked, Settled
from pipeline.engine.messages import PollAnswered
from pipeline.values.money import Money
from pipeline.values.reply import Ready
from pipeline.values.task import Price
from tests.engine.worlds import EACH, running

LINKS = ("a", "b")


@pytest.mark.parametrize(
    ("charged", "spent"),
    [
        (None, 2 * EACH),
        (Money(2 * EACH, "USD"), 2 * EACH),
        (Money(2 * EACH - 1, "USD"), 2 * EACH),
        (Money(2 * EACH + 1, "USD"), 2 * EACH + 1),
        (Money(7 * EACH, "USD"), 7 * EACH),
        (Money(7 * EACH, "CNY"), 2 * EACH),
    ],
)
def test_the_dearer_of_price_list_and_named_sum_is_booked(charged: Money | None, spent: int) -> None:
    """Within the hold and above it, to the micro-unit; a unit of no use here changes nothing."""
    ring = running(n=2)
    facts, _ = ring.tell(PollAnswered(1, Ready(LINKS, 2, charged=charged)))
    (settled,) = [fact for fact in facts if isinstance(fact, Settled)]
    assert settled.amount + settled.overage == spent
    assert settled.amount <= 2 * EACH
    account = ring.machine.state.accounts["USD"]
    assert (account.spent, account.held, account.overage) == (spent, 0, max(0, spent - 2 * EACH))


@pytest.mark.parametrize(
    ("n", "charged", "words"),
    [
        (1, None, "it made 2 pictures where 1 were asked for, and bills them all (0.0002 USD billed, 0.0001 USD put"),
        (2, Money(3 * EACH, "USD"), "its price is not the card's (0.0003 USD billed, 0.0002 USD put aside); correct"),
        (1, Money(3 * EACH, "USD"), "its price is not the card's (0.0003 USD billed, 0.0001 USD put aside); correct"),
    ],
)
def test_a_bill_above_the_hold_names_its_cause(n: int, charged: Money | None, words: str) -> None:
    """More pictures at the right price are not a wrong price, and amounts are said as money."""
    facts, _ = running(n=n).tell(PollAnswered(1, Ready(LINKS, 2, charged=charged)))
    (parked,) = [fact for fact in facts if isinstance(fact, LaneParked)]
    assert parked.fault.message.startswith(words)


#: 1.5 credits an image and 0.3672 a call, at 68 credits to the dollar, rounded up.
PRICE = Price("USD", 22_059, 5_401, "evolink-credit", 1_500_000, "a list", 367_200)


@pytest.mark.parametrize(
    ("charged", "micros"),
    [
        (Money(2 * 1_500_000 + 367_200, "evolink-credit"), 49_519),
        (Money(1_500_000, "evolink-credit"), 49_519),
        (Money(3 * 1_500_000 + 367_200, "evolink-credit"), 49_519 + 22_059),
        (Money(2 * 1_500_000 + 367_200 + 1, "evolink-credit"), 49_520),
        (Money(49_519, "USD"), 49_519),
        (Money(60_000, "USD"), 60_000),
        (Money(60_000, "CNY"), 49_519),
        (None, 49_519),
    ],
)
def test_a_named_sum_is_converted_as_the_price_was_and_rounded_up(charged: Money | None, micros: int) -> None:
    """The list's own sum adds nothing to it, and what is above the list is never rounded in our favour."""
    assert PRICE.cost(2) == 49_519
    assert PRICE.told_cost(2, charged) == micros
