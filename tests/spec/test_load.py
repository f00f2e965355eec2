"""A spec's text becomes the job it describes, part by part."""

from __future__ import annotations

import pytest

from pipeline.spec.job import (
    DerivedSeed,
    FilesAxis,
    FixedSeed,
    Inputs,
    JobSpec,
    LaneLimits,
    LinesAxis,
    ListAxis,
    ListedSeeds,
    Matrix,
    Override,
    RangeAxis,
    Seed,
    ZipGroup,
)
from pipeline.values.money import Money
from tests.spec.specs import EVERYTHING, HEAD, MINIMAL, TYPICAL, load


def _meaning(job: JobSpec) -> dict[str, object]:
    """A job without its text and places."""
    unread = {"file", "text", "positions", "key_positions"}
    return {name: getattr(job, name) for name in JobSpec.__slots__ if name not in unread}


def test_the_minimal_example_loads() -> None:
    """What is not written has its default."""
    job = load(MINIMAL)
    expected = JobSpec(
        name="mugs",
        model="mulerouter/qwen-image-max",
        prompt="Studio photo of a {{ color }} mug {{ scene }}",
        matrix=Matrix((ListAxis("color", ("red", "teal", "black")), ListAxis("scene", ("on a desk", "in a sink")))),
        samples=2,
        budget=(Money(2_000_000, "USD"),),
    )
    assert _meaning(job) == _meaning(expected)
    assert (job.file, job.text) == ("spec.yaml", MINIMAL)


def test_the_typical_example_loads() -> None:
    """Each part of the example arrives typed."""
    expected = JobSpec(
        name="product-backgrounds",
        inputs=Inputs("products.csv", "sku", 'row.category != "hidden"'),
        matrix=Matrix(
            (
                ListAxis(
                    "background",
                    (
                        {"id": "oak", "text": "a warm oak table next to a window"},
                        {"id": "marble", "text": "white marble under soft light"},
                    ),
                ),
                ListAxis("size", ("1024x1024", "1280x720")),
            ),
            ({"background": "marble", "size": "1280x720"},),
            ({"background": {"id": "studio", "text": "a plain grey sweep"}, "size": "1024x1024"},),
        ),
        overrides=(Override({"row.category": "jewellery"}, {"samples": 3}),),
        model="mulerouter/qwen-image-edit-max",
        images=("{{ row.photo }}", "refs/style.png"),
        prompt="Put the product of Image 1 on {{ background.text }}, lit like Image 2.",
        negative_prompt="blurry, low quality",
        size="{{ size }}",
        n=2,
        params={"prompt_extend": False},
        budget=(Money(90_000_000, "USD"),),
        limits={"mulerouter": LaneLimits((60, 60.0), 20, 4)},
        output_path="{{ row.sku }}/{{ background.id }}-{{ size }}-{{ sample }}",
    )
    assert _meaning(load(TYPICAL)) == _meaning(expected)


def test_every_key_arrives() -> None:
    """Axes of all kinds keep their order; decimals keep their text."""
    job = load(EVERYTHING)
    assert job.matrix == Matrix(
        (
            RangeAxis("steps_left", "0.50", "1.50", "0.25"),
            LinesAxis("room", "rooms.txt"),
            FilesAxis("photo", "photos/*.jpg"),
            ListAxis("light", ({"id": "warm", "text": "warm light"}, "dusk")),
            ZipGroup((ListAxis("lens", ("24mm", "50mm")), ListAxis("distance", ("1 m", "2 m")))),
        ),
        ({"room": ["hall", "cellar"]},),
        ({"light": {"id": "cold", "text": "cold light"}},),
    )
    assert job.overrides[0].when == "row.price > 100"
    assert job.budget == (Money(90_000_000, "USD"), Money(5_000_000_000, "1min-credit"))
    assert job.rates == {"CNY": Money(140_000, "USD")}
    assert job.prices == {"1min/qwen-image-edit-plus": Money(105_000_000, "1min-credit")}
    assert job.limits == {"mulerouter": LaneLimits((10, 1.0), 20, 4)}
    assert (job.attempts_max, job.on_doubt, job.order) == (4, "write_off", "even")
    assert (job.description, job.params) == ("each key once", {"prompt_extend": False, "style": ["a", 1, 0.5]})


@pytest.mark.parametrize(
    ("written", "seed"),
    [
        ("", DerivedSeed(0)),
        ("seed: 42\n", FixedSeed(42)),
        ('seed: "{{ seed }}"\n', FixedSeed("{{ seed }}")),
        ("seed: [1, 2, 3]\n", ListedSeeds((1, 2, 3))),
        ("seed: {derive: 42}\n", DerivedSeed(42)),
    ],
)
def test_a_seed_has_four_forms(written: str, seed: Seed) -> None:
    """Left out, exact or template, listed, derived from a root."""
    assert load(HEAD + written).seed == seed


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        ("", None),
        ("budget: none\n", ()),
        ("budget: 90.00 USD\n", (Money(90_000_000, "USD"),)),
        ("budget: 0.000001 USD\n", (Money(1, "USD"),)),
        ("budget: {limits: [90 USD, 0.1 CNY]}\n", (Money(90_000_000, "USD"), Money(100_000, "CNY"))),
    ],
)
def test_a_budget_is_counted_exactly(written: str, budget: tuple[Money, ...] | None) -> None:
    """Not written and `none` are two things; amounts never pass through a float."""
    assert load(HEAD + written).budget == budget


@pytest.mark.parametrize(
    ("rate", "meant"),
    [("60/min", (60, 60.0)), ("10/s", (10, 1.0)), ("600/h", (600, 3600.0))],
)
def test_a_rate_is_requests_in_seconds(rate: str, meant: tuple[int, float]) -> None:
    """All three periods."""
    assert load(f"{HEAD}limits: {{a/b-2.0: {{rate: {rate}}}}}\n").limits["a/b-2.0"].rate == meant


@pytest.mark.parametrize(
    ("written", "images"),
    [
        ("", ()),
        ("images: []\n", ()),
        ('images: ["{{ row.a }}", b.png]\n', ("{{ row.a }}", "b.png")),
        ('images: "{{ pictures }}"\n', "{{ pictures }}"),
    ],
)
def test_images_are_a_list_or_one_template(written: str, images: tuple[str, ...] | str) -> None:
    """A lone template stays a text, so that it can yield a list."""
    assert load(HEAD + written).images == images


def test_places_know_keys_and_values() -> None:
    """Later rooms report at the line that a person wrote."""
    job = load(MINIMAL)
    assert str(job.place("matrix.color[1]")) == "spec.yaml:6:16"
    assert str(job.place("matrix.color[1].nothing.below")) == "spec.yaml:6:16"
    assert str(job.key_place("matrix.color")) == "spec.yaml:6:3"
    assert job.place("budget").text == "budget: 2.00 USD          # 12 images, 0.90 USD at most"
    assert str(job.place("seed")) == "spec.yaml:2:1"


def test_settings_lie_over_the_text() -> None:
    """New keys, old keys, items, quoted keys, texts with colons and templates."""
    job = load(
        MINIMAL,
        ("budget", "5 USD"),
        ("params.prompt_extend", "false"),
        ("matrix.color[1]", "16:9"),
        ("matrix.scene", "[here, {id: there, text: over there}]"),
        ('limits."dashscope/qwen-image-2.0".rate', "10/s"),
        ("prompt", "{{ color }}: a mug, {{ scene }}"),
        ("negative_prompt", '"007"'),
        ("samples", "3"),
    )
    assert job.budget == (Money(5_000_000, "USD"),)
    assert job.params == {"prompt_extend": False}
    assert job.matrix.axes == (
        ListAxis("color", ("red", "16:9", "black")),
        ListAxis("scene", ("here", {"id": "there", "text": "over there"})),
    )
    assert job.limits == {"dashscope/qwen-image-2.0": LaneLimits((10, 1.0))}
    assert (job.prompt, job.negative_prompt, job.samples) == ("{{ color }}: a mug, {{ scene }}", "007", 3)
    assert str(job.place("budget")) == "--set:1:8"


def test_a_setting_can_mend_the_text() -> None:
    """Settings come before the check."""
    assert load(HEAD + "budget: 5\n", ("budget", "5 USD")).budget == (Money(5_000_000, "USD"),)
