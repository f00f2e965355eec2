"""Cards: the shipped ones are whole, and a wrong one is refused by file and key."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pipeline.errors import CardError
from pipeline.plan.catalog import read_card
from tests.plan.jobs import CARD, SCHEMAS


def card() -> dict[str, Any]:
    """The shipped card, parsed."""
    loaded: dict[str, Any] = json.loads((SCHEMAS / "mulerouter.json").read_text())
    return loaded


def test_shipped_card_has_its_schema() -> None:
    """The shipped card is what its JSON Schema says, and the schema is one."""
    schema = json.loads((SCHEMAS / "card.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(card())


@pytest.mark.parametrize(
    ("model", "price", "operations"),
    [
        ("qwen-image-max", "0.075", ("image.generate",)),
        ("qwen-image-edit-max", "0.075", ("image.edit",)),
        ("qwen-image-edit-plus", "0.03", ("image.edit",)),
    ],
)
def test_documented_figures(model: str, price: str, operations: tuple[str, ...]) -> None:
    """Prices are the vendor's, and every choice of ours is marked as ours."""
    found = CARD.models[model]
    assert (found.price_per_image, found.price_unit, found.operations) == (price, "USD", operations)
    assert (found.rate.value, found.rate_period_s, found.rate.certainty) == (60, 60, "ours")
    assert (found.in_flight.value, found.unanswered.value) == (20, 4)
    assert (found.prompt_max, found.negative_prompt_max, found.seed_max) == (800, 500, 2147483647)


def test_the_not_billed_table_is_sourced() -> None:
    """Each answer that releases money says where that is known from and when it was read, and none is a 5xx."""
    assert {row.status for row in CARD.not_billed} == {400, 401, 402, 403, 404, 405, 422, 429, 451}
    assert all(row.source and row.date and row.certainty != "ours" for row in CARD.not_billed)


def spoil(path: str, value: Any) -> dict[str, Any]:
    """The card with one key set; `...` removes it."""
    whole = card()
    *parents, last = path.split("/")
    inner = whole
    for name in parents:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return whole


FAILED = {"value": None, "certainty": "unknown", "source": "x", "date": "y"}
ROW = {
    "status": 400,
    "code": None,
    "body": "error",
    "kind": "rejected",
    "certainty": "documented",
    "source": "x",
    "date": "y",
}
MAX = "models/qwen-image-max"


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("name", ..., "name: is missing"),
        ("base_url", "http://x", "base_url: must begin with https"),
        ("titel", "x", "titel: unknown key; did you mean 'title'?"),
        (f"{MAX}/price/per_image", 0.075, "models.qwen-image-max.price.per_image: must be decimal text"),
        (f"{MAX}/price/per_image", "0.0750001", "finer than a millionth"),
        (f"{MAX}/price/unit", "EUR", "unknown value 'EUR'"),
        (f"{MAX}/prompt_max", 0, "must be a whole number from 1"),
        (f"{MAX}/prompt_max", True, "must be a whole number from 1"),
        (f"{MAX}/n/max", 0, "models.qwen-image-max.n.max"),
        (f"{MAX}/operations", ["image.draw"], "unknown value 'image.draw'"),
        (f"{MAX}/operations", ["image.edit"], "is needed for image.edit"),
        (f"{MAX}/rate/value", 0, "must be above zero"),
        (f"{MAX}/rate/certainty", "sure", "unknown value 'sure'"),
        (f"{MAX}/rate/source", "", "must be text"),
        (f"{MAX}/size/choices", [], "side_min and side_max, or area_max, are needed"),
        (f"{MAX}/parameters/prompt_extend/kind", "bool", "unknown value 'bool'"),
        (f"{MAX}/submit_timeout_s", 0, "must be a number of seconds"),
        ("lists_operations", 1, "lists_operations: must be true or false"),
        ("failed_billed", False, "failed_billed: must be an object"),
        ("failed_billed", {**FAILED, "value": 0}, "failed_billed.value: must be true, false, or null"),
        ("failed_billed", {**FAILED, "certainty": "sure"}, "failed_billed.certainty: unknown value 'sure'"),
        ("failed_billed", {**FAILED, "why": "x"}, "failed_billed.why: unknown key"),
        ("uploads_max", 100, "uploads_max: must be an object"),
        ("not_billed", {}, "not_billed: must be a list of objects"),
        ("not_billed", [{"status": 400}], "not_billed.0.code: is missing"),
        ("not_billed", [{**ROW, "status": 503}], "not_billed.0.status: must be a client error"),
        ("not_billed", [{**ROW, "status": 202}], "not_billed.0.status: must be a whole number from 400"),
        ("not_billed", [ROW, {**ROW, "kind": "fine"}], "not_billed.1.kind: unknown value 'fine'"),
        ("not_billed", [{**ROW, "source": ""}], "not_billed.0.source: must be text"),
        ("rates", {"evolink-credit": 0.0147}, "rates.evolink-credit: must be text"),
        ("models", {}, "must name a model"),
        ("models", [], "models: must be an object"),
    ],
)
def test_wrong_cards(path: str, value: Any, key: str) -> None:
    """A wrong card is refused, naming file and key."""
    with pytest.raises(CardError) as caught:
        read_card(json.dumps(spoil(path, value)), "some.json")
    assert str(caught.value).startswith("some.json: ")
    assert key in str(caught.value)


def test_only_a_vendor_that_says_so_releases_money_after_a_5xx() -> None:
    """A row for a 5xx needs the vendor's word that calls which end in an error are not billed."""
    spoilt = spoil("not_billed", [{**ROW, "status": 503}])
    made = read_card({**spoilt, "errors_unbilled": "the vendor's page, Billing"}, "some.json")
    assert (made.errors_unbilled, made.not_billed[0].status) == ("the vendor's page, Billing", 503)
    with pytest.raises(CardError, match="errors_unbilled: must be text"):
        read_card({**spoilt, "errors_unbilled": ""}, "some.json")
    assert CARD.errors_unbilled == ""


def test_text_and_tree_are_one() -> None:
    """A card may come as text or parsed."""
    assert read_card(card()) == CARD
    with pytest.raises(CardError, match="not JSON"):
        read_card("{")
