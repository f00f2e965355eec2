"""The environment's base URL decides whose money a gateway takes; lanes keep their names."""

from __future__ import annotations

import pytest

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
