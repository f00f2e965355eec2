"""Prices: exact micro-units, converted up, refused when unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import PlanError
from pipeline.plan.make import make_plan
from pipeline.values.money import UNLIMITED, Money
from pipeline.values.task import Price
from tests.plan.jobs import CARDS, Memory, job

LANE = "mulerouter/qwen-image-max"


def price(card: dict[str, Any], **keys: Any) -> Price:
    """The price of the one task of a job, with the card's price changed."""
    gateway = CARDS["mulerouter"]
    rates = card.pop("rates", {})
    model = replace(gateway.models["qwen-image-max"], **card)
    cards = {"mulerouter": replace(gateway, models={model.name: model}, rates=rates)}
    return make_plan(job(**keys), cards, Memory()).task(0).price


USD, CNY = (Money(10_000_000, "USD"),), (Money(10_000_000, "CNY"),)


@pytest.mark.parametrize(
    ("card", "keys", "expected"),
    [
        ({}, {}, ("USD", 75_000, 0, "USD", 75_000)),
        ({"price_per_call": "0.01"}, {}, ("USD", 75_000, 10_000, "USD", 75_000)),
        ({"price_per_image": "0.5", "price_unit": "CNY"}, {"budget": CNY}, ("CNY", 500_000, 0, "CNY", 500_000)),
        (
            {"price_per_image": "0.5", "price_unit": "CNY"},
            {"budget": USD, "rates": {"CNY": Money(140_001, "USD")}},
            ("USD", 70_001, 0, "CNY", 500_000),  # 70,000.5 rounded up
        ),
        (
            {
                "price_per_image": "1.5",
                "price_unit": "evolink-credit",
                "rates": {"evolink-credit": "0.01470588235294"},
            },
            {"budget": USD},
            ("USD", 22_059, 0, "evolink-credit", 1_500_000),
        ),
        (
            {"price_per_image": "0.5", "price_unit": "CNY", "rates": {"CNY": "0.2"}},
            {"budget": USD, "rates": {"CNY": Money(140_000, "USD")}},
            ("USD", 70_000, 0, "CNY", 500_000),  # a pinned rate wins
        ),
        (
            {"price_per_image": None, "price_unit": "1min-credit"},
            {"budget": (Money(10**9, "1min-credit"),), "prices": {LANE: Money(105_000_000, "1min-credit")}},
            ("1min-credit", 105_000_000, 0, "1min-credit", 105_000_000),
        ),
        ({}, {"budget": None}, ("USD", 75_000, 0, "USD", 75_000)),
        ({}, {"budget": ()}, ("USD", 75_000, 0, "USD", 75_000)),
    ],
)
def test_prices(card: dict[str, Any], keys: dict[str, Any], expected: tuple[object, ...]) -> None:
    """A price is integer micro-units of the cap that pays, rounded up per image, with the vendor's own amount."""
    found = price(dict(card), **keys)
    assert (found.currency, found.per_image, found.per_call, found.native_unit, found.native_per_image) == expected
    assert found.source


@pytest.mark.parametrize(
    ("card", "keys", "what"),
    [
        ({"price_per_image": None}, {}, f"the price of {LANE} is unknown; state it: prices"),
        ({"price_unit": "CNY"}, {}, "billed in CNY, and the budget is in USD"),
        ({"price_unit": "CNY"}, {"rates": {"CNY": Money(1, "1min-credit")}}, "billed in CNY"),
        # The vendor's own sums, and what it takes of each input picture, are in its unit.
        (
            {"price_per_image": "6", "price_per_input": "0.1836", "price_unit": "evolink-credit"},
            {"prices": {LANE: Money(60_000, "USD")}},
            f"state it in the unit of the bill: prices: {{{LANE}: <what an image costs> evolink-credit}}",
        ),
        (
            {"price_per_image": None, "price_unit": "1min-credit"},
            {"prices": {LANE: Money(60_000, "USD")}},
            f"{LANE} is billed in 1min-credit, and its price is stated in USD",
        ),
    ],
)
def test_refused(card: dict[str, Any], keys: dict[str, Any], what: str) -> None:
    """An unknown price, and a unit without cap and rate, refuse to run."""
    with pytest.raises(PlanError, match=r"price|billed") as caught:
        price(dict(card), **keys)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("written", "asked", "caps"),
    [
        (USD, None, {"USD": 10_000_000}),
        (USD, (Money(5, "USD"),), {"USD": 5}),
        (USD + CNY, (Money(5, "USD"),), {"USD": 5, "CNY": 10_000_000}),
        (None, (Money(5, "USD"),), {"USD": 5}),
        ((), (Money(5, "USD"),), {"USD": 5}),
        ((), None, {"USD": UNLIMITED}),
        (None, None, None),
    ],
)
def test_caps(written: tuple[Money, ...] | None, asked: tuple[Money, ...] | None, caps: dict[str, int] | None) -> None:
    """The command line's budget replaces the cap of its unit; no budget at all is told apart from `none`."""
    assert make_plan(job(budget=written), CARDS, Memory(), budget=asked).caps == caps
