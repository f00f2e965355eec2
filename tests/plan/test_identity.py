"""Identity: golden ids and seeds. A change here means that people buy again what they own."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.plan import identity
from pipeline.spec.job import DerivedSeed, FixedSeed, ListedSeeds
from pipeline.values.digest import digest
from pipeline.values.task import input_identity
from tests.plan.jobs import Memory, plan_of

EDIT = "mulerouter/qwen-image-edit-max"
MEMORY = Memory({}, {"cup.png": b"png 512x512", "copy.png": b"png 512x512"})


@pytest.mark.parametrize(
    ("keys", "task_id", "seed"),
    [
        ({}, "feadf73c1653ba913780f7f67efa6bc46b93db54a0cd0bbf6f8eee6eaf565f80", 819842901),
        (
            {"prompt": "a red mug", "negative_prompt": "blurry", "size": "1328x1328"},
            "eea68023ce65a48a601e2c928b230e33b48576cbe53ac6b56d94e4c0c09cae8f",
            1055040292,
        ),
        (
            {"params": {"prompt_extend": False}},
            "b83bc8292cbb494cc9309e6bca3ada3f6f40059ab13363d9219a08b8d95d5334",
            1458401161,
        ),
        ({"seed": FixedSeed(42)}, "15e5381851ab967cbaaf585c896e2d6fb507915e3a050669ad31042e3a35cf51", 42),
        ({"seed": DerivedSeed(42)}, "4d83b366f34ff2718c2c33c0da9226309f180a642bb415c64dc3720077b35935", 371188839),
        (
            {"model": EDIT, "images": ("cup.png",), "n": 2},
            "6b29f4cac1ac66a3d7e2179d9aa59453c7cffb06a5be626af861fc3cb715e0b1",
            157514335,
        ),
        (
            {"model": EDIT, "images": ("https://example.org/a.png",)},
            "84c25934031fd201b6da21eafa251e6721800a0925903443293110c9399b5267",
            1645942291,
        ),
        (
            {"prompt": "Ein Teekessel, g\u00fcnstig \U0001f600"},
            "47aed09ac32be762fca6e6936461762aba22be38bc13c742c76b47b3933769c5",
            1997853858,
        ),
    ],
)
def test_golden(keys: dict[str, Any], task_id: str, seed: int) -> None:
    """These tasks have had these ids and seeds since the first version."""
    task = plan_of(MEMORY, **keys).task(0)
    assert (task.id, task.seed) == (task_id, seed)


@pytest.mark.parametrize(
    "keys", [{}, {"prompt": 'qu"ote \\ \n \u20ac \U0001f600 \x01 \x7f', "negative_prompt": "\u00e9"}]
)
def test_id_is_the_digest_of_canonical_json(keys: dict[str, Any]) -> None:
    """The JSON that is written by hand for speed is the canonical one."""
    task = plan_of(
        MEMORY,
        model=EDIT,
        images=("cup.png", "https://x.org/?a=\u00fc"),
        size="512x512",
        n=2,
        params={"b": 1, "a": [1.5]},
        **keys,
    ).task(0)
    assert task.id == digest(
        {
            "operation": task.operation,
            "version": identity.OPERATION_VERSION,
            "gateway": task.gateway,
            "model": task.model,
            "prompt": task.prompt,
            "negative_prompt": task.negative_prompt,
            "params": dict(task.params),
            "size": task.size,
            "n": task.n,
            "seed_rule": {"derive": 0},
            "seed": task.seed,
            "sample": task.sample,
            "inputs": [input_identity(source) for source in task.inputs],
        }
    )
    asked = digest(
        {
            "root": 0,
            "operation": task.operation,
            "prompt": task.prompt,
            "negative_prompt": task.negative_prompt,
            "inputs": [input_identity(source) for source in task.inputs],
            "params": dict(task.params),
            "size": task.size,
            "n": task.n,
            "sample": task.sample,
        }
    )
    assert task.seed == int(asked[:8], 16) & 0x7FFFFFFF


def test_file_names_are_not_identity() -> None:
    """The same picture under another name is the same task; other bytes are not."""
    one, two = (plan_of(MEMORY, model=EDIT, images=(name,)).task(0) for name in ("cup.png", "copy.png"))
    other = plan_of(Memory({}, {"cup.png": b"png 512x513"}), model=EDIT, images=("cup.png",)).task(0)
    assert one.id == two.id
    assert one.id != other.id


def test_seeds_are_shared_across_models() -> None:
    """A derived seed knows nothing of gateway and model."""
    one, two = (
        plan_of(MEMORY, model=model, images=("cup.png",)).task(0) for model in (EDIT, EDIT.replace("max", "plus"))
    )
    assert one.seed == two.seed
    assert one.id != two.id


def test_listed_seeds_are_an_axis() -> None:
    """`seed: [1, 2]` is short for an axis `seed` and a template."""
    listed = [(task.id, task.seed, task.axes) for task in plan_of(seed=ListedSeeds((1, 2))).tasks()]
    fixed = [plan_of(seed=FixedSeed(seed)).task(0).id for seed in (1, 2)]
    assert [entry[0] for entry in listed] == fixed
    assert [entry[1:] for entry in listed] == [(1, {"seed": "1"}), (2, {"seed": "2"})]


def test_samples_have_their_own_seeds() -> None:
    """Each sample is a task of its own, and a larger number keeps the smaller one's tasks."""
    three, two = (list(plan_of(samples=samples).tasks()) for samples in (3, 2))
    assert len({task.seed for task in three}) == 3
    assert [task.id for task in three[:2]] == [task.id for task in two]


def test_root_moves_every_seed() -> None:
    """Another root is another set of seeds."""
    assert plan_of(seed=DerivedSeed(1)).task(0).seed != plan_of().task(0).seed
