"""The environment's base URL decides whose money a gateway takes; lanes keep their names."""

from __future__ import annotations

import pytest

from pipeline.errors import CardError
from pipeline.runtime import prepare

NAME = "DASHSCOPE_HTTP_BASE_URL"


@pytest.mark.parametrize(
    ("url", "unit", "price"),
    [
        ("", "USD", "0.075"),
        ("http://127.0.0.1:8080/dashscope/api/v1", "USD", "0.075"),
        ("http://[broken", "USD", "0.075"),
        ("https://dashscope-intl.aliyuncs.com/api/v1", "USD", "0.075"),
        ("https://dashscope.aliyuncs.com/api/v1", "CNY", "0.5"),
        ("https://gateway.of-a-company.example/api/v1", "USD", None),
    ],
)
def test_the_base_url_picks_unit_and_price(url: str, unit: str, price: str | None) -> None:
    """Beijing bills in CNY, and a host that nobody priced has no price. *Source* - the vendor's price page, a copy."""
    here = prepare.cards_in({NAME: url})["dashscope"]
    model = here.models["qwen-image-max"]
    assert (model.price_unit, model.price_per_image) == (unit, price)
    assert set(here.models) == set(prepare.cards_in({})["dashscope"].models)


@pytest.mark.parametrize(
    ("url", "odd"),
    [
        ("", False),
        ("http://127.0.0.1:8080/dashscope", False),
        ("https://dashscope.aliyuncs.com/api/v1/", False),
        ("https://proxy.example/dashscope/api/v1", False),
        ("https://dashscope.aliyuncs.com", True),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1", True),
    ],
)
def test_a_plan_says_that_a_base_url_lacks_the_path_of_the_api(url: str, *, odd: bool) -> None:
    """Every call would be answered with 404; of other gateways nothing is said."""
    told = prepare.doubtful_addresses({"dashscope"}, {NAME: url})
    assert bool(told) is odd
    assert all(NAME in words and "/api/v1" in words for words in told)
    assert prepare.doubtful_addresses({"evolink"}, {NAME: url}) == []


def test_a_plan_refuses_what_a_run_would_refuse() -> None:
    """A key never goes over plain http."""
    with pytest.raises(CardError, match=f"{NAME} must be https"):
        prepare.doubtful_addresses({"dashscope"}, {NAME: "http://dashscope.aliyuncs.com/api/v1"})
