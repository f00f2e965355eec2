"""Why a task of an edited spec is new: by its own place before, and by what its place has that none had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.runtime.difference import changed, why_new
from pipeline.values.rows import NotedPlan
from pipeline.values.task import Task, UrlInput
from tests.report.rows import of_task, task

OLD = task(0, row_id="mug", axes={"color": "red"}, sample=0, params={"prompt_extend": True})
#: {what is edited: (the task after it, what is said)}.
EDITS: dict[str, tuple[Task, str]] = {
    "prompt": (replace(OLD, prompt="another", seed=9), "prompt changed"),
    "negative": (replace(OLD, negative_prompt="blurry"), "negative prompt changed"),
    "size": (replace(OLD, size="1024x1024"), "size changed"),
    "count": (replace(OLD, n=2), "n changed"),
    "model": (replace(OLD, model="qwen-image-plus"), "model changed"),
    "gateway": (replace(OLD, gateway="dashscope", model="qwen"), "gateway and model changed"),
    "parameter": (replace(OLD, params={"prompt_extend": False}), "prompt_extend changed"),
    "null": (replace(OLD, params={"prompt_extend": True, "watermark": None}), "watermark changed"),
    "input": (replace(OLD, inputs=(UrlInput("https://example.org/a.png"),)), "input pictures changed"),
    "seed": (replace(OLD, seed=9), "seed changed"),
    "three": (replace(OLD, prompt="x", size=None, params={}), "prompt, size and prompt_extend changed"),
    "nothing": (replace(OLD, id="ff" * 32), "sent in another way by this version"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named_by_what_is_sent_differently(name: str) -> None:
    """A derived seed follows from the rest, and is no reason of its own."""
    new, said = EDITS[name]
    assert changed(OLD, new) == said
    assert why_new([new], [of_task(OLD)], None, "new") == {said: 1}


PLACES: dict[str, tuple[Task, str]] = {
    "row": (replace(OLD, row_id="cup"), "new row"),
    "value": (replace(OLD, axes={"color": "teal"}), "new value of color"),
    "axis": (replace(OLD, axes={"color": "red", "scene": "desk"}), "new axis scene"),
    "axis gone": (replace(OLD, axes={}), "an axis was taken away"),
    "sample": (replace(OLD, sample=1), "one sample more"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_new_place_is_named_by_what_none_had(name: str) -> None:
    """Rows before axes, axes before samples."""
    new, said = PLACES[name]
    assert why_new([new], [of_task(OLD)], None, "new") == {said: 1}


def test_a_combination_that_was_excluded_before_is_new() -> None:
    """Each of its values was there."""
    other = replace(OLD, row_id="cup", axes={"color": "teal"})
    assert why_new([replace(OLD, axes={"color": "teal"})], [of_task(OLD), of_task(other)], None, "new") == {
        "new combination": 1
    }


def test_what_the_spec_had_dropped_already_is_no_comparison() -> None:
    """An edit is compared with the spec as it was run last."""
    older = of_task(replace(OLD, prompt="older"), in_spec=False)
    assert why_new([replace(OLD, size="1x1")], [of_task(OLD), older], None, "new") == {"size changed": 1}


def noted(digest: str, total: int) -> NotedPlan:
    """The plan that a folder worked on last."""
    return NotedPlan(digest, "spec", "", "mugs", total)


def test_a_plan_that_was_not_finished_is_no_edit() -> None:
    """The same plan has tasks that were not begun; of an edited one nobody can tell those from new ones."""
    fresh = [replace(OLD, row_id="cup"), replace(OLD, prompt="another")]
    assert why_new(fresh, [of_task(OLD)], noted("same", 9), "same") == {"not begun yet": 2}
    assert why_new(fresh, [of_task(OLD)], noted("old", 9), "new") == {
        "new row, or not begun before": 1,
        "prompt changed": 1,
    }


def test_the_commonest_reason_comes_first() -> None:
    """Each with its number."""
    fresh = [replace(OLD, row_id=str(number)) for number in range(3)]
    assert list(why_new([replace(OLD, n=2), *fresh], [of_task(OLD)], None, "new").items()) == [
        ("new row", 3),
        ("n changed", 1),
    ]
