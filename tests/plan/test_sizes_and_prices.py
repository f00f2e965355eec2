"""Sizes, URLs, aliases, parameters beside the identity, price rules and regions, on cards that have them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import PlanError
from pipeline.plan.check import check
from pipeline.plan.expand import Plan
from pipeline.plan.make import make_plan
from pipeline.plan.price import in_region
from pipeline.values.card import Figure, GatewayCard, Parameter, PriceRule, Region, SizeRule
from pipeline.values.money import Money
from pipeline.values.task import Task
from tests.plan.jobs import CARDS, Memory, job

GATEWAY = CARDS["mulerouter"]
EDIT = GATEWAY.models["qwen-image-edit-max"]
#: As Evolink's 3.0 models (schemas/gateways/evolink.json).
FREE = SizeRule((), 15, None, "auto", "here", 262_144, 4_194_304, 16.0, words=("auto", "16:9"))
HOOK = Parameter("callback_url", "url", None, 2048, (), None, None, "Where the end is told.", "here", identity=False)
QUALITY = Parameter("quality", "string", None, None, ("1K", "2K"), None, None, "How large.", "here")


def card(**changes: Any) -> GatewayCard:
    """The gateway with one model, changed."""
    model = replace(EDIT, **changes)
    return replace(GATEWAY, models={model.name: model})


def planned(gateway: GatewayCard, **keys: Any) -> Plan:
    """A plan of the one model."""
    start: dict[str, Any] = {"model": "mulerouter/qwen-image-edit-max", "images": ("https://a.example/a.png",)}
    return make_plan(job(**{**start, **keys}), {gateway.name: gateway}, Memory())


def made(gateway: GatewayCard, **keys: Any) -> Task:
    """Its one task, checked."""
    plan = planned(gateway, **keys)
    check(plan)
    return plan.task(0)


@pytest.mark.parametrize("size", ["auto", "16:9", "512x512", "2048x2048", "4096x1024", "256x1024", "2048x128"])
def test_a_size_by_area_ratio_or_word_is_taken_as_it_is(size: str) -> None:
    """Whatever fits goes into the task verbatim."""
    assert made(card(size=FREE), size=size).size == size


@pytest.mark.parametrize("size", ["511x512", "2049x2048", "8192x256", "14x20000", "4:3", "9:16"])
def test_any_other_size_is_refused_with_all_that_is_supported(size: str) -> None:
    """Area, ratio, sides and words stand in the message."""
    with pytest.raises(PlanError) as caught:
        made(card(size=FREE), size=size)
    told = str(caught.value)
    assert f"has no size {size}" in told
    for part in ("262144 to 4194304", "16 times", "auto, 16:9"):
        assert part in told


def test_a_word_where_the_model_has_none_is_refused() -> None:
    """A ratio is a size at some models only."""
    with pytest.raises(PlanError, match="has no size 16:9; each side may have 512 to 2048"):
        made(card(), size="16:9")


def test_a_size_with_several_pictures_is_refused_where_the_vendor_refuses_it() -> None:
    """*Source* - Evolink's page of qwen-image-edit-plus: size only when n is 1."""
    assert EDIT.size is not None
    gateway = card(size=replace(EDIT.size, only_with_one=True))
    assert made(gateway, size="512x512").n == 1
    assert made(gateway, n=3).size is None
    with pytest.raises(PlanError, match=r"takes a size only when a call makes one picture \(n is 3\); leave size out"):
        made(gateway, size="512x512", n=3)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://hooks.example.com/x", "must begin with https"),
        ("https:///x", "name a host"),
        ("https://me:pw@hooks.example.com/", "no user name"),
        ("https://127.0.0.1/x", "not public"),
        ("https://[::1]/x", "not public"),
        ("https://10.1.2.3/x", "not public"),
        ("https://192.168.0.1:8443/x", "not public"),
        ("https://169.254.169.254/latest", "not public"),
        ("https://localhost/x", "not public"),
        ("https://2130706433/x", "not public"),
        ("https://0x7f.1/x", "not public"),
        ("https://intranet/", "not public"),
        ("https://intranet./", "not public"),
        ("https://printer.local/", "not public"),
        ("https://vault.internal./", "not public"),
        ("https://nas.home.arpa/", "not public"),
        ("https://a.LOCALHOST/", "not public"),
        ("https://[64:ff9b::a00:1]/", "not public"),
        ("https://[2002:a00:1::]/", "not public"),
        ("https://[::ffff:10.0.0.1]/", "not public"),
        ("https://[fe80::1%25eth0]/", "not public"),
        ("https://192.0.0.8/", "not public"),
        ("https://192.88.99.1/", "not public"),
        ("https://198.18.0.1/", "not public"),
        ("https://224.0.0.1/", "not public"),
        ("https://h..example/", "not public"),
        ("https://h_.example%41/", "not public"),
        ("https://h.example/" + "x" * 2048, "too long"),
        ("https://h.example/a b", "not a URL"),
        ("https://h.example:99999/", "not a URL"),
    ],
)
def test_a_callback_that_the_vendor_refuses_is_refused_in_the_plan(url: str, wrong: str) -> None:
    """*Source* - Evolink's pages: https, at most 2048 characters, no private address. The value is not repeated."""
    with pytest.raises(PlanError, match=wrong) as caught:
        made(card(parameters={"callback_url": HOOK}), params={"callback_url": url})
    assert "pw@" not in str(caught.value.mistakes[0].what)


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.com/x", "https://8.8.8.8:8443/x", "https://[2606:4700::1111]/", "https://local.example/"],
)
def test_a_public_callback_is_taken(url: str) -> None:
    """Names are not looked up: what has a dot and is reserved for nobody may be public."""
    assert made(card(parameters={"callback_url": HOOK}), params={"callback_url": url}).params["callback_url"] == url


@pytest.mark.parametrize(("most", "fits"), [(30, True), (29, False)])
def test_the_longest_callback_is_the_cards(most: int, fits: bool) -> None:  # noqa: FBT001 - a row of the table
    """Not a number of this program."""
    gateway = card(parameters={"callback_url": replace(HOOK, maximum=most)})
    url = "https://hooks.example.com/1234"
    assert len(url) == 30
    if fits:
        assert made(gateway, params={"callback_url": url}).params["callback_url"] == url
    else:
        with pytest.raises(PlanError, match="too long; it is a public https URL of at most 29 characters"):
            made(gateway, params={"callback_url": url})


def test_a_callback_is_sent_and_is_no_part_of_what_is_bought() -> None:
    """The same picture, told to another address, is not bought again; nor does its derived seed move."""
    gateway = card(parameters={"callback_url": HOOK, "quality": QUALITY})
    one, other = (
        made(gateway, params={"callback_url": f"https://{name}.example/x", "quality": "1K"}) for name in ("a", "b")
    )
    plain, dearer = made(gateway, params={"quality": "1K"}), made(gateway, params={"quality": "2K"})
    assert one.params["callback_url"] == "https://a.example/x"
    assert one.id == other.id == plain.id != dearer.id
    assert one.seed == plain.seed


def test_another_name_of_a_model_is_that_model() -> None:
    """Same lane, same ids, same price and limits; and the plan says so."""
    gateway = card(aliases=("qwen-image-edit-max-2026-01-16",), price_per_image=None)
    name = "mulerouter/qwen-image-edit-max-2026-01-16"
    prices = {name: Money(75_000, "USD")}
    plan = planned(gateway, model=name, prices=prices)
    assert plan.task(0).id == planned(gateway, prices=prices).task(0).id
    assert plan.task(0).model == "qwen-image-edit-max"
    assert list(plan.lanes) == ["mulerouter/qwen-image-edit-max"]
    assert check(plan).notes == (f"{name} is another name of mulerouter/qwen-image-edit-max, and is asked for as that",)


RULES = (PriceRule({"quality": "2K"}, None, "4.59", "here"), PriceRule({}, 1_048_576, "4.00", "here"))


@pytest.mark.parametrize(
    ("params", "size", "inputs", "per_image", "per_call"),
    [
        ({}, None, 0, 2_448_000, 0),
        ({"quality": "1K"}, "1024x1024", 1, 2_448_000, 183_600),
        ({"quality": "2K"}, "16:9", 3, 4_590_000, 550_800),
        ({}, "2048x2048", 2, 4_000_000, 367_200),
        ({"quality": "2K"}, "2048x2048", 0, 4_590_000, 0),
    ],
)
def test_the_dearest_price_that_applies_is_put_aside(
    params: dict[str, Any], size: str | None, inputs: int, per_image: int, per_call: int
) -> None:
    """*Source* - Evolink's price list for 3.0-pro: 1K 2.448, 2K 4.59, and 0.1836 once for each input picture."""
    gateway = card(
        size=FREE,
        parameters={"quality": QUALITY},
        price_per_image="2.448",
        price_unit="evolink-credit",
        price_per_input="0.1836",
        price_rules=RULES,
        operations=("image.edit", "image.generate"),
        pictures=replace(EDIT.pictures, count_min=0),  # type: ignore[type-var]  # the card has them
    )
    images = tuple(f"https://a.example/{number}.png" for number in range(inputs))
    budget = (Money(10**9, "evolink-credit"),)
    price = made(gateway, params=params, size=size, images=images, n=2, budget=budget).price
    assert (price.per_image, price.per_call) == (per_image, per_call)
    assert price.hold(2) == 2 * per_image + per_call
    assert price.cost(0) == 0
    assert "0.1836 evolink-credit for each input picture" in price.source
    assert "up to 4.59 evolink-credit an image" in price.source


REGIONS = (Region("dashscope.aliyuncs.com", "CNY", {"qwen-image-edit-max": "0.5"}, "the vendor's list"),)


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.mulerouter.ai/api/v2", ("USD", "0.075")),
        ("https://dashscope.aliyuncs.com/api/v1", ("CNY", "0.5")),
        ("https://cn-hongkong.dashscope.aliyuncs.com/api/v1", ("CNY", "0.5")),
        ("https://evil-dashscope.aliyuncs.com/api/v1", ("USD", None)),
        ("https://proxy.example/v1", ("USD", None)),
    ],
)
def test_a_base_url_in_a_region_changes_unit_and_price(base_url: str, expected: tuple[str, str | None]) -> None:
    """The longest name that ends the host wins; a host that nobody priced has no price."""
    model = in_region(replace(card(), regions=REGIONS), base_url).models["qwen-image-edit-max"]
    assert (model.price_unit, model.price_per_image) == expected


@pytest.mark.parametrize(
    ("base_url", "certainty"),
    [
        ("https://api.mulerouter.ai/api/v2", "documented"),
        ("https://dashscope.aliyuncs.com/api/v1", "inferred"),
        ("https://proxy.example/v1", "inferred"),
    ],
)
def test_limits_that_are_documented_for_one_site_are_inferred_for_another(base_url: str, certainty: str) -> None:
    """The number stays, for nobody has a better one; how sure it is does not."""
    rate = Figure(2, "documented", "the list of that site", "2026-11")
    ours = Figure(9, "ours", "our choice", "2026-11")
    model = in_region(replace(card(rate=rate, in_flight=ours), regions=REGIONS), base_url).models[EDIT.name]
    assert (model.rate.value, model.rate.certainty) == (2, certainty)
    assert model.rate.source.startswith("the list of that site")
    assert ("api.mulerouter.ai" in model.rate.source) is (certainty == "inferred")
    assert model.in_flight == ours


def test_a_price_that_is_unknown_in_a_region_has_a_remedy() -> None:
    """It is an error that says `prices:`; stated there, the plan is made."""
    gateway = in_region(replace(card(), regions=REGIONS), "https://proxy.example/v1")
    with pytest.raises(PlanError, match=r"is unknown \(.*proxy.example, a site that .* not know\); state it: prices"):
        made(gateway)
    assert made(gateway, prices={"mulerouter/qwen-image-edit-max": Money(7, "USD")}).price.per_image == 7
    yuan: dict[str, Any] = {
        "prices": {"mulerouter/qwen-image-edit-max": Money(7, "CNY")},
        "budget": (Money(10**9, "CNY"),),
    }
    assert made(gateway, **yuan).price.per_image == 7, "nobody knows what such a site bills in"


def test_a_gateway_without_regions_costs_the_same_at_every_site() -> None:
    """MuleRouter's second site takes the same money."""
    assert in_region(GATEWAY, "https://api.mulerun.com") is GATEWAY
