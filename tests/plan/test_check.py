"""Checks: every task against its card, every fault told once with its place, and the sums of a plan."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import Place, PlanError
from pipeline.plan.check import check
from pipeline.plan.make import make_plan
from pipeline.spec.job import DerivedSeed, FixedSeed, Inputs, LaneLimits, Override
from pipeline.values.money import UNLIMITED, Money
from tests.plan.jobs import CARDS, Memory, job, matrix, plan_of

EDIT = "mulerouter/qwen-image-edit-max"
PICTURES = Memory(
    {"t.csv": "id,photo,size\na,cup.png,512x512\nb,chelsea.png,512x512\n"},
    {
        "cup.png": b"png 512x512",
        "chelsea.png": b"png 451x300",
        "tall.png": b"png 512x4000",
        "vector.svg": b"svg 512x512",
        "heavy.png": b"png 512x512" + b"." * 10_000_000,
    },
)
INLINE = "data:image/png;base64," + base64.b64encode(b"png 512x512").decode()


def found(**keys: Any) -> str:
    """What a check of a plan says."""
    with pytest.raises(PlanError) as caught:
        check(plan_of(PICTURES, **keys))
    return str(caught.value)


@pytest.mark.parametrize(
    ("keys", "what", "remedy"),
    [
        ({"prompt": "x" * 801}, "at most 800 characters", "801 characters"),
        ({"negative_prompt": "x" * 501}, "at most 500 characters", "501 characters"),
        ({"size": "1024x1024"}, "qwen-image-max has no size 1024x1024", "1664x928, 1472x1104, 1328x1328"),
        ({"size": "1328*1328"}, "WIDTHxHEIGHT", ""),
        ({"n": 2}, "makes 1 per call", "use samples"),
        ({"n": 7, "model": EDIT, "images": ("cup.png",)}, "makes 1 to 6 per call", ""),
        ({"n": "{{ n }}", "matrix": matrix(n=["two"])}, "n is not a whole number", "two"),
        ({"seed": FixedSeed(2**31)}, "takes seeds from 0 to 2147483647", "2147483648"),
        ({"seed": FixedSeed(-1)}, "takes seeds from 0", "-1"),
        ({"params": {"prompt_extended": True}}, "no parameter 'prompt_extended'", "did you mean 'prompt_extend'?"),
        ({"params": {"prompt_extend": "yes"}}, "must be a boolean", "yes"),
        ({"params": {"prompt_extend": 1}}, "must be a boolean", ""),
        ({"model": "mulerouter/qwen-image-mix"}, "no model 'qwen-image-mix'", "did you mean 'qwen-image-max'?"),
        ({"model": "mulerooter/qwen-image-max"}, "unknown gateway 'mulerooter'", "mulerouter/qwen-image-max"),
        ({"model": "qwen-image-max"}, "GATEWAY/MODEL", "did you mean 'mulerouter/qwen-image-max'?"),
        ({"model": EDIT}, "edits pictures and is given none", "add images"),
        ({"images": ("cup.png",)}, "from text alone", "take an edit model"),
        ({"model": EDIT, "images": ("cup.png",) * 4}, "takes 1 to 3 pictures", "4 are given"),
        (
            {"model": EDIT, "images": ("chelsea.png",)},
            "'chelsea.png' is 451x300 pixels",
            "3072 pixels a side: scale it up",
        ),
        ({"model": EDIT, "images": ("tall.png",)}, "'tall.png' is 512x4000 pixels", "384 to 3072"),
        ({"model": EDIT, "images": ("vector.svg",)}, "is image/svg", "jpeg, png, bmp"),
        ({"model": EDIT, "images": ("heavy.png",)}, "has 10000011 bytes", "at most 10000000"),
        ({"model": EDIT, "images": ("gone.png",)}, "'gone.png': there is no such file", ""),
        ({"model": EDIT, "images": ("ftp://x/a.png",)}, "only http, https and data URIs", ""),
        ({"model": EDIT, "images": ("https://u:p@x.org/a.png",)}, "cannot carry a user name", ""),
        ({"model": EDIT, "images": ("https:///a.png",)}, "it is no URL", ""),
        ({"model": EDIT, "images": ("data:image/png;base64,@@",)}, "base64 is broken", ""),
        ({"model": EDIT, "images": ("data:image/png;base64,AAAA",)}, "it is no picture", ""),
        ({"model": EDIT, "images": ("cup.png",), "size": "511x512"}, "has no size 511x512", "512 to 2048"),
        ({"output_path": "../{{ sample }}"}, "has a part '..'", ""),
        ({"output_path": "/tmp/x"}, "is absolute", ""),
        ({"output_path": "a//b"}, "has a part ''", ""),
        ({"output_path": "x" * 201}, "longer than 200", ""),
        ({"output_path": "same", "samples": 2}, "different pictures would have one name", "{{ sample }}"),
        (
            {"output_path": "S{{ a }}", "matrix": matrix(a=["a", "A"]), "prompt": "{{ a }}"},
            "would have one name",
            "",
        ),
        ({"overrides": (Override("a == 'x' and a == 'y'", {"n": 1}),), "matrix": matrix(a=["x", "y"])}, "no task", ""),
        ({"budget": (Money(1, "CNY"),)}, "billed in USD, and the budget is in CNY", "pin a rate"),
    ],
)
def test_refused(keys: dict[str, Any], what: str, remedy: str) -> None:
    """What a model does not take is an error of the plan that says what is supported."""
    told = found(**keys)
    assert what in told
    assert remedy in told


def test_one_fault_of_many_tasks_is_told_once() -> None:
    """A fault of a hundred tasks is one mistake, with a count and the first examples."""
    made = plan_of(matrix=matrix(a=[f"v{i}" for i in range(100)]), prompt="{{ a }} " + "x" * 800)
    with pytest.raises(PlanError) as caught:
        check(made)
    (mistake,) = caught.value.mistakes
    assert "a v0: 803 characters" in mistake.what
    assert "and 97 more" in mistake.what


def test_all_faults_of_a_task_are_told() -> None:
    """Faults of several fields come in one report."""
    told = found(model=EDIT, images=("chelsea.png", "gone.png"), size="1x1", n=9, prompt="x" * 900)
    assert "gone.png" in told
    told = found(model=EDIT, images=("chelsea.png",), size="1x1", n=9, prompt="x" * 900, params={"x": 1})
    assert all(part in told for part in ("451x300", "size 1x1", "1 to 6", "800 characters", "no parameter 'x'"))


def test_fault_stands_at_the_override_that_caused_it() -> None:
    """The place is where the value was written."""
    places = {"size": Place("s.yaml", 3, 7), "overrides[0].set.size": Place("s.yaml", 9, 20)}
    made = job(
        matrix=matrix(a=["x", "y"]),
        size="1328x1328",
        overrides=(Override({"a": "y"}, {"size": "1x1"}),),
        positions=places,
    )
    with pytest.raises(PlanError) as caught:
        check(make_plan(made, CARDS, Memory()))
    assert [mistake.place.line for mistake in caught.value.mistakes] == [9]


def test_row_label_names_the_bad_row() -> None:
    """A picture that only one row names is told with that row."""
    told = found(model=EDIT, images=("{{ row.photo }}",), inputs=Inputs("t.csv", "id"), size="{{ row.size }}")
    assert "row b" in told
    assert "row a" not in told


def test_summary_sums() -> None:
    """Counts, images, money, time at the rate and the doubt of a crash are exact."""
    made = plan_of(
        PICTURES,
        matrix=matrix(model=["mulerouter/qwen-image-edit-max", "mulerouter/qwen-image-edit-plus"]),
        model="{{ model }}",
        images=("cup.png",),
        n=2,
        samples=5,
        size="512x512",
        limits={"mulerouter": LaneLimits((30, 60.0), 7, None), EDIT: LaneLimits(None, None, 2)},
    )
    summary = check(made)
    assert (summary.tasks, summary.images, summary.duplicates) == (10, 20, 0)
    assert summary.by_gateway == {"mulerouter": 10}
    assert summary.by_model == {EDIT: 5, "mulerouter/qwen-image-edit-plus": 5}
    assert summary.worst_micros == {"USD": 10 * 75_000 + 10 * 30_000}
    assert summary.fits
    assert summary.lanes[EDIT].seconds == 10.0
    assert summary.lanes[EDIT].doubt_micros == 2 * 2 * 75_000
    assert summary.doubt_micros == {"USD": 2 * 2 * 75_000 + 4 * 2 * 30_000}
    assert summary.first_prompt == "a mug"
    assert summary.disk_bytes == int(20 * 512 * 512 * 1.5)
    assert {name: (lane.rate_count, lane.in_flight, lane.unanswered) for name, lane in made.lanes.items()} == {
        EDIT: (30, 7, 2),
        "mulerouter/qwen-image-edit-plus": (30, 7, 4),
    }


def test_duplicates_are_bought_once() -> None:
    """Tasks with one identity are counted apart, and cost once."""
    summary = check(plan_of(matrix=matrix(a=["x", "y", "z"]), seed=FixedSeed(1), prompt="always the same"))
    assert (summary.tasks, summary.duplicates, summary.worst_micros) == (1, 2, {"USD": 75_000})


def test_duplicates_may_share_a_path() -> None:
    """One picture under one name is no collision."""
    assert check(plan_of(matrix=matrix(a=["x", "y"]), seed=FixedSeed(1), output_path="p")).duplicates == 1


@pytest.mark.parametrize(
    ("budget", "caps", "fits"),
    [
        (None, None, False),
        ((), {"USD": UNLIMITED}, True),
        ((Money(75_000, "USD"),), {"USD": 75_000}, True),
        ((Money(74_999, "USD"),), {"USD": 74_999}, False),
    ],
)
def test_budget_is_compared(budget: tuple[Money, ...] | None, caps: dict[str, int] | None, fits: bool) -> None:  # noqa: FBT001
    """Over budget is said and flagged, and is no error."""
    summary = check(plan_of(budget=budget))
    assert summary.caps == caps
    assert summary.fits is fits
    assert summary.over_micros == ({"USD": 1} if caps == {"USD": 74_999} else {})


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("{{ a }}", "red"),
        ("{{ a }}/{{ sample }}", "red/0"),
        ("a:b?c", "a_b_c"),
        ("con", "_con"),
        ("x/NUL.txt", "x/_NUL.txt"),
        ("name. ", "name_"),
        (".hidden", "_hidden"),
        ("a\\b", "a_b"),
        ("caf\u0065\u0301", "caf\u00e9"),
        ("a\u202eb", "a_b"),
    ],
)
def test_paths_are_made_safe(written: str, path: str) -> None:
    """A name is one that every file system takes."""
    assert plan_of(matrix=matrix(a=["red"]), output_path=written).task(0).path == path


def test_indexed_names_collide_too() -> None:
    """`a` with two pictures has the name `a-1`, which nothing else may have."""
    told = found(
        model=EDIT,
        images=("cup.png",),
        matrix=matrix(a=["p", "p-1"]),
        prompt="{{ a }}",
        overrides=(Override({"a": "p"}, {"n": 2}),),
        output_path="{{ a }}",
    )
    assert "p-1" in told


def test_pictures_from_everywhere() -> None:
    """Files, URLs and data URIs are inputs; a data URI's bytes are had by their digest, and stay out of the task."""
    made = plan_of(PICTURES, model=EDIT, images=("cup.png", INLINE, "https://x.org/a.png?key=1"))
    task = made.task(0)
    local, inline, url = task.inputs
    assert local.uri == "cup.png"  # type: ignore[union-attr]
    assert inline.uri == f"data:image/png;sha256={inline.picture.sha256}"  # type: ignore[union-attr]
    assert url.url == "https://x.org/a.png?key=1"  # type: ignore[union-attr]
    fresh = plan_of(PICTURES, model=EDIT, images=(INLINE,))
    assert fresh.inline_bytes(inline.picture.sha256) == b"png 512x512"  # type: ignore[union-attr]
    assert fresh.inline_bytes("0" * 64) is None


def test_lone_template_yields_a_list_of_pictures() -> None:
    """A typed list in a row is the list of pictures."""
    memory = Memory({"t.jsonl": '{"p": ["cup.png", "cup.png"]}\n{"p": "cup.png"}\n{"p": [1]}\n'}, PICTURES.pictures)
    made = plan_of(memory, model=EDIT, images="{{ row.p }}", inputs=Inputs("t.jsonl"))
    assert [len(made.task(number).inputs) for number in (0, 1)] == [2, 1]
    with pytest.raises(PlanError, match="named by text"):
        made.task(2)


def test_each_picture_is_looked_at_once() -> None:
    """A picture that a thousand tasks share is read once."""
    memory = Memory({}, PICTURES.pictures)
    check(plan_of(memory, model=EDIT, images=("cup.png",), samples=100, budget=()))
    assert memory.looked_at == ["cup.png"]


def test_overrides_last_match_wins() -> None:
    """Settings lie over each other in order; parameters one by one."""
    made = plan_of(
        matrix=matrix(a=["x", "y"]),
        params={"prompt_extend": True},
        overrides=(
            Override({"a": ["x", "y"]}, {"prompt": "first {{ a }}", "params": {"safety_filter": False}}),
            Override("a == 'y'", {"prompt": "second {{ a }}", "seed": 5, "size": "1328x1328", "negative_prompt": "no"}),
        ),
    )
    x, y = made.tasks()
    assert (x.prompt, x.size, x.negative_prompt) == ("first x", None, None)
    assert (y.prompt, y.size, y.negative_prompt, y.seed) == ("second y", "1328x1328", "no", 5)
    assert x.params == y.params == {"prompt_extend": True, "safety_filter": False}


def test_a_prompt_of_half_a_character_is_refused() -> None:
    """A lone surrogate cannot be sent, and says so instead of breaking."""
    memory = Memory({"t.jsonl": '{"p": "a \\ud800"}\n'})
    with pytest.raises(PlanError, match="half of a character"):
        plan_of(memory, prompt="{{ row.p }}", inputs=Inputs("t.jsonl")).task(0)


def test_model_without_seed_has_none() -> None:
    """A model that takes no seed gets none, and a fixed one is refused."""
    card = CARDS["mulerouter"]
    blind = replace(card, models={"m": replace(card.models["qwen-image-max"], name="m", seed_max=None)})
    task = make_plan(job(model="mulerouter/m"), {"mulerouter": blind}, Memory()).task(0)
    assert task.seed is None
    with pytest.raises(PlanError, match="takes no seed"):
        make_plan(job(model="mulerouter/m", seed=FixedSeed(1)), {"mulerouter": blind}, Memory()).task(0)


def test_always_sent_parameters_are_in_the_task() -> None:
    """What an adapter always sends is a parameter of the task and in its id; what the spec writes wins."""
    card = CARDS["mulerouter"]
    model = card.models["qwen-image-max"]
    mark = replace(model.parameters["safety_filter"], name="watermark", always=False)
    always = replace(model, parameters={**model.parameters, "watermark": mark})
    cards = {"mulerouter": replace(card, models={model.name: always})}
    plain, sent = plan_of().task(0), make_plan(job(), cards, Memory()).task(0)
    assert sent.params == {"watermark": False}
    assert sent.id != plain.id
    assert sent.seed == plain.seed
    assert make_plan(job(params={"watermark": True}), cards, Memory()).task(0).params == {"watermark": True}


def test_a_synchronous_model_is_forecast_by_the_calls_that_may_wait_at_once() -> None:
    """A call is in flight as long as it is unanswered: 12 calls of 30 s, 3 at once, take 2 minutes."""
    gateway = CARDS["mulerouter"]
    model = replace(gateway.models["qwen-image-max"], synchronous=True, typical_s=30.0)
    cards = {"mulerouter": replace(gateway, models={model.name: model})}
    limits = {"mulerouter": LaneLimits(rate=(600, 60.0), in_flight=20, unanswered=3)}
    plan = make_plan(job(samples=12, seed=DerivedSeed(1), limits=limits), cards, Memory())
    assert check(plan).lanes["mulerouter/qwen-image-max"].typical_s == 120.0


@pytest.mark.parametrize(
    ("limits", "basis"),
    [
        ({}, "ours"),
        ({"mulerouter": LaneLimits(in_flight=1)}, "ours"),
        ({"mulerouter": LaneLimits(rate=(1, 60.0))}, "limits"),
        ({"mulerouter/qwen-image-max": LaneLimits(rate=(1, 60.0))}, "limits"),
    ],
)
def test_a_rate_is_the_cards_or_the_specs(limits: dict[str, LaneLimits], basis: str) -> None:
    """As sure as the card is of it, unless the spec says another."""
    (lane,) = check(plan_of(PICTURES, limits=limits)).lanes.values()
    assert lane.rate_basis == basis
