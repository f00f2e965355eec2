"""Parts of a plan to try first: lazily chosen, the same every time, and always tasks of the whole."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.plan.expand import Plan
from pipeline.plan.part import Part

SPEC = """
version: 1
name: part
model: mulerouter/qwen-image-max
matrix:
  color: [red, teal, black, white]
  scene: [desk, sink, shelf]
  light: [dawn, lamp]
  zip: [{lens: [24mm, 50mm, 85mm], distance: [near, mid, far]}]
EXCLUDE
prompt: "{{ color }} {{ scene }} {{ light }} {{ lens }} {{ distance }}"
size: 1328x1328
budget: none
"""


def plan(folder: Path, exclude: str = "", more: str = "") -> Plan:
    """The plan of a small matrix of 72 tasks."""
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("EXCLUDE", exclude) + more)
    return pipeline.plan(pipeline.load(path))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """It, once."""
    return plan(tmp_path_factory.mktemp("part"))


@given(st.integers(1, 100), st.integers(0, 1000), st.frozensets(st.integers(0, 71)))
def test_a_sample_has_as_many_tasks_as_there_are_and_none_twice_law(
    made: Plan, wanted: int, seed: int, repeats: frozenset[int]
) -> None:
    """A larger sample of the same seed holds the smaller one; what buys the same as another is not drawn."""
    found = Part(sample=wanted, sample_seed=seed).numbers(made, repeats)
    assert len(found) == min(wanted, 72 - len(repeats))
    assert not set(found) & repeats
    assert set(found) <= set(range(72))
    more = Part(sample=wanted + 5, sample_seed=seed).numbers(made, repeats)
    assert set(found) <= set(more)


def test_samples_differ_by_seed_and_are_the_same_again(made: Plan) -> None:
    """Another seed is another part."""
    drawn = {tuple(sorted(Part(sample=5, sample_seed=seed).numbers(made, ()))) for seed in (1, 1, 2, 3)}
    assert len(drawn) == 3


def values(made: Plan, numbers: Collection[int]) -> set[tuple[str, str]]:
    """Every value of an axis that these tasks have."""
    return {pair for number in numbers for pair in made.task(number).axes.items()}


@pytest.mark.parametrize(
    ("exclude", "most"),
    [
        ("", 4),
        ("  exclude: [{color: red, scene: desk}, {color: teal, light: dawn}]", 5),
        ("  exclude: [{color: black}]", 3),
    ],
)
def test_a_probe_has_every_value_of_every_axis_in_few_tasks(tmp_path: Path, exclude: str, most: int) -> None:
    """Members of a zip go together; a value that is excluded altogether is nowhere."""
    made = plan(tmp_path, exclude)
    found = Part(probe=True).numbers(made, ())
    assert values(made, found) == values(made, range(len(made)))
    assert len(found) <= most


def test_a_probe_of_a_job_without_axes_is_its_first_task(tmp_path: Path) -> None:
    """One task shows whether it works at all."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: one\nmodel: mulerouter/qwen-image-max\nprompt: a mug\nsamples: 4\nsize: 1328x1328\n"
        "budget: none\n"
    )
    assert set(Part(probe=True).numbers(pipeline.plan(pipeline.load(path)), ())) == {0}


def test_the_first_so_many_are_a_range(made: Plan) -> None:
    """No part is all of it; more than there are is all of it."""
    assert Part().numbers(made, ()) == range(72)
    assert Part(limit=5).numbers(made, ()) == range(5)
    assert Part(limit=100).numbers(made, ()) == range(72)
    assert Part().is_whole
    assert not Part(limit=100).is_whole


def test_a_small_sample_of_a_large_plan_looks_at_few_tasks(tmp_path: Path) -> None:
    """A million tasks are neither listed nor made."""
    (tmp_path / "lines.txt").write_text("".join(f"scene {number}\n" for number in range(20_000)))
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: large\nmodel: mulerouter/qwen-image-max\nmatrix: {scene: {lines: lines.txt}}\n"
        'samples: 50\nprompt: "{{ scene }}"\nsize: 1328x1328\nbudget: none\n'
    )
    made = pipeline.plan(pipeline.load(path))
    begun = time.process_time()
    assert len(Part(sample=20, sample_seed=1).numbers(made, ())) == 20
    assert time.process_time() - begun < 0.1
