"""The matrix: which combinations there are, in which order, and which rules are refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import PlanError
from pipeline.plan.expand import Plan
from pipeline.spec.job import (
    FilesAxis,
    FixedSeed,
    Inputs,
    LinesAxis,
    ListAxis,
    ListedSeeds,
    Matrix,
    Override,
    RangeAxis,
    ZipGroup,
)
from tests.plan.jobs import Memory, axes, matrix, plan_of

ROWS = Memory({"t.csv": "id,kind,count\na,cup,1\nb,pot,2\nc,cup,3\n"})


def shown(plan: Plan) -> list[str]:
    """Row, axes and sample of each task, in order."""
    return [
        " ".join(
            [*([task.row_id] if task.row_id else []), *task.axes.values(), *([str(task.sample)] * bool(task.sample))]
        )
        for task in plan.tasks()
    ]


AB: dict[str, Any] = {"a": ["1", "2"], "b": ["x", "y"]}
BG = [{"id": "oak", "text": "oak wood"}, {"id": "stone", "text": "grey stone"}]


@pytest.mark.parametrize(
    ("keys", "combinations"),
    [
        ({}, [""]),
        ({"samples": 2}, ["", "1"]),
        ({"matrix": matrix(**AB)}, ["1 x", "1 y", "2 x", "2 y"]),
        ({"matrix": matrix(**AB), "samples": 2}, ["1 x", "1 x 1", "1 y", "1 y 1", "2 x", "2 x 1", "2 y", "2 y 1"]),
        ({"matrix": matrix(**AB, exclude=[{"a": "2"}])}, ["1 x", "1 y"]),
        ({"matrix": matrix(**AB, exclude=[{"a": 2, "b": ["y", "x"]}])}, ["1 x", "1 y"]),
        ({"matrix": matrix(**AB, exclude=[{"a": "1", "b": "x"}, {"b": "y", "a": "2"}])}, ["1 y", "2 x"]),
        ({"matrix": matrix(bg=BG, exclude=[{"bg": "oak"}])}, ["stone"]),
        ({"matrix": matrix(bg=BG, exclude=[{"bg": {"id": "oak"}}])}, ["stone"]),
        ({"matrix": matrix(**AB, include=[{"a": "3", "b": "x"}])}, ["1 x", "1 y", "2 x", "2 y", "3 x"]),
        (
            {"matrix": matrix(**AB, exclude=[{"a": "1"}], include=[{"a": "1", "b": "x"}]), "samples": 2},
            ["2 x", "2 x 1", "2 y", "2 y 1", "1 x", "1 x 1"],
        ),
        (
            {"matrix": Matrix((*axes(a=["1", "2"]), ZipGroup(axes(b=["x", "y"], c=["p", "q"]))))},  # type: ignore[arg-type]
            ["1 x p", "1 y q", "2 x p", "2 y q"],
        ),
        (
            {"matrix": Matrix((ZipGroup(axes(b=["x", "y"], c=["p", "q"])), *axes(a=["1"])), ({"c": "p"},))},  # type: ignore[arg-type]
            ["y q 1"],
        ),
        ({"matrix": Matrix((RangeAxis("r", "0.1", "0.3", "0.1"),))}, ["0.1", "0.2", "0.3"]),
        ({"matrix": Matrix((RangeAxis("r", "3", "1", "-1"),))}, ["3", "2", "1"]),
        ({"matrix": Matrix((RangeAxis("r", "1", "6", "2"),))}, ["1", "3", "5"]),
        ({"seed": ListedSeeds((7, 8)), "matrix": matrix(a=["1"])}, ["1 7", "1 8"]),
        ({"inputs": Inputs("t.csv", "id"), "matrix": matrix(a=["1", "2"])}, ["a 1", "a 2", "b 1", "b 2", "c 1", "c 2"]),
        (
            {"inputs": Inputs("t.csv", "id"), "matrix": matrix(a=["1", "2"], exclude=[{"a": "1", "row.kind": "cup"}])},
            ["a 2", "b 1", "b 2", "c 2"],
        ),
        (
            {"inputs": Inputs("t.csv", "id"), "matrix": matrix(a=["1"], include=[{"a": "9"}])},
            ["a 1", "a 9", "b 1", "b 9", "c 1", "c 9"],
        ),
        ({"inputs": Inputs("t.csv", "id"), "samples": "{{ row.count }}"}, ["a", "b", "b 1", "c", "c 1", "c 2"]),
        (
            {"matrix": matrix(**AB), "overrides": (Override({"a": "2"}, {"samples": 2}),)},
            ["1 x", "1 y", "2 x", "2 x 1", "2 y", "2 y 1"],
        ),
        (
            {"matrix": matrix(**AB), "overrides": (Override("a == '1' and b == 'y'", {"samples": 3}),)},
            ["1 x", "1 y", "1 y 1", "1 y 2", "2 x", "2 y"],
        ),
        (
            {
                "inputs": Inputs("t.csv", "id"),
                "matrix": matrix(a=["1", "2"]),
                "overrides": (Override("row.kind == 'pot' and a == '2'", {"samples": 2}),),
            },
            ["a 1", "a 2", "b 1", "b 2", "b 2 1", "c 1", "c 2"],
        ),
        (
            {
                "matrix": matrix(a=["1"], include=[{"a": "9"}]),
                "overrides": (Override({"a": "9"}, {"samples": 2}), Override({"a": "1"}, {"samples": 3})),
            },
            ["1", "1 1", "1 2", "9", "9 1"],
        ),
    ],
)
def test_combinations(keys: dict[str, Any], combinations: list[str]) -> None:
    """Rows in source order, axes in written order, last fastest, then exclude, include, samples."""
    plan = plan_of(ROWS, **keys)
    assert shown(plan) == combinations
    assert len(plan) == len(combinations)


def test_lines_and_files() -> None:
    """One value per non-empty line, and per file in sorted order."""
    memory = Memory({"rooms.txt": "\ufeffhall\r\n\n kitchen \n", "p/b.txt": "", "p/a.txt": ""})
    plan = plan_of(memory, matrix=Matrix((LinesAxis("room", "rooms.txt"), FilesAxis("file", "p/*.txt"))))
    assert shown(plan) == ["hall p/a.txt", "hall p/b.txt", "kitchen p/a.txt", "kitchen p/b.txt"]


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"matrix": matrix(**AB, exclude=[{"a": "3"}])}, "'a' is never '3'"),
        ({"matrix": matrix(color=["teal"], exclude=[{"color": "taal"}])}, "did you mean 'teal'?"),
        ({"matrix": matrix(**AB, exclude=[{"c": "3"}])}, "there is no axis 'c'"),
        ({"matrix": matrix(**AB, exclude=[{}])}, "matches everything"),
        ({"matrix": matrix(**AB, exclude=[{"row.kind": "cup"}])}, "there is no column 'row.kind'"),
        (
            {"matrix": matrix(a=["1"], exclude=[{"row.kind": "jug"}]), "inputs": Inputs("t.csv", "id")},
            "'row.kind' is never 'jug'",
        ),
        (
            {"matrix": matrix(a=["1"], exclude=[{"row.kind": "pot", "row.id": "a"}]), "inputs": Inputs("t.csv", "id")},
            "never stand together",
        ),
        (
            {"matrix": Matrix((ZipGroup(axes(b=["x", "y"], c=["p", "q"])),), ({"b": "x", "c": "q"},))},  # type: ignore[arg-type]
            "never stand together",
        ),
        ({"matrix": matrix(**AB, exclude=[{"a": ["1", "2"]}])}, "every combination is excluded"),
        ({"matrix": matrix(**AB, include=[{"a": "1", "b": "x"}])}, "exists already"),
        ({"matrix": matrix(**AB, include=[{"a": "3"}])}, "b is missing"),
        ({"matrix": matrix(**AB, include=[{"a": "3", "b": "x", "z": 1}])}, "there is no axis 'z'"),
        ({"matrix": matrix(**AB, include=[{"a": "3", "b": "x"}] * 2)}, "added twice"),
        ({"matrix": matrix(bg=BG, include=[{"bg": {"id": "oak", "text": "other"}}])}, "that differs"),
        (
            {"matrix": Matrix((ZipGroup(axes(b=["x", "y"], c=["p"])),))},  # type: ignore[arg-type]
            "b has 2, c has 1",
        ),
        ({"matrix": matrix(a=["1", 1])}, "the value '1' stands twice"),
        ({"matrix": matrix(a=[{"text": "x"}])}, "needs an id"),
        ({"matrix": matrix(row=["1"])}, "cannot be named 'row'"),
        ({"matrix": Matrix((ListAxis("a", ("1",)), ListAxis("a", ("1",))))}, "two axes named 'a'"),
        ({"matrix": matrix(seed=[1]), "seed": ListedSeeds((1,))}, "two axes named 'seed'"),
        ({"matrix": Matrix((RangeAxis("r", "1", "3", "-1"),))}, "never ends"),
        ({"matrix": Matrix((LinesAxis("r", "gone.txt"),))}, "there is no such file"),
        ({"matrix": Matrix((FilesAxis("r", "*.gone"),))}, "no file matches"),
        ({"overrides": (Override({"a": "7"}, {"n": 1}),), "matrix": matrix(**AB)}, "'a' is never '7'"),
        ({"overrides": (Override({"a": "1"}, {"m": 1}),), "matrix": matrix(**AB)}, "cannot set 'm'"),
        ({"overrides": (Override("a == ", {"n": 1}),), "matrix": matrix(**AB)}, "not a condition"),
        ({"overrides": (Override("z == '1'", {"n": 1}),), "matrix": matrix(**AB)}, "'z' is undefined"),
        ({"samples": 2, "seed": FixedSeed(42)}, "would be identical"),
        ({"samples": 2, "seed": ListedSeeds((1, 2))}, "would be identical"),
        ({"samples": 0}, "samples is below 1"),
        ({"prompt": "{{ colour }}", "matrix": matrix(color=["red"])}, "did you mean 'color'?"),
        ({"prompt": "{{ bg.txt }}", "matrix": matrix(bg=BG)}, "did you mean 'text'?"),
        ({"prompt": "{{ color.text }}", "matrix": matrix(color=["red"])}, "are no maps"),
        ({"prompt": "{{ row.x }}"}, "there are no inputs"),
        ({"prompt": "{{ row.kin }}", "inputs": Inputs("t.csv")}, "did you mean 'kind'?"),
        ({"prompt": "{{ steps.draft.image }}"}, "'steps' is undefined"),
        ({"limits": {"mulerooter": None}}, "did you mean 'mulerouter'?"),
        ({"prices": {"mulerouter/qwen": None}}, "unknown 'mulerouter/qwen'"),
        ({"dedicated": ("mulerooter",)}, "the unknown gateway 'mulerooter'; did you mean 'mulerouter'"),
    ],
)
def test_refused(keys: dict[str, Any], what: str) -> None:
    """What cannot be meant is refused when the plan is made, with the nearest name or value."""
    with pytest.raises(PlanError) as caught:
        plan_of(ROWS, **keys)
    assert what in str(caught.value)


def test_all_faults_at_once() -> None:
    """One report holds the faults of axes, tables and templates together."""
    with pytest.raises(PlanError) as caught:
        plan_of(
            inputs=Inputs("gone.csv"),
            matrix=matrix(a=["1", "1"]),
            prompt="{% if %}",
            limits={"nobody": None},
        )
    told = str(caught.value)
    assert len(caught.value.mistakes) >= 3
    assert all(part in told for part in ("gone.csv", "stands twice", "nobody"))


def test_a_hundred_million_combinations_are_counted_at_once() -> None:
    """Counting lists nothing, under rules too, and any number can be asked for."""
    ranges = tuple(RangeAxis(name, "1", "1000", "1") for name in ("a", "b"))
    rules = ({"a": ["1", "2"], "c": "5"}, {"b": "7"})
    plan = plan_of(matrix=Matrix((*ranges, RangeAxis("c", "1", "100", "1")), rules), prompt="{{ a }} {{ b }} {{ c }}")
    assert len(plan) == (1000 * 999 * 100) - (2 * 999)
    assert plan.task(len(plan) - 1).prompt == "1000 1000 100"
    assert plan.task(0).prompt == "1 1 1"
    assert plan.task(4).prompt == "1 1 6"


def test_even_order_keeps_every_prefix_even() -> None:
    """Stopping anywhere leaves an even part of every axis, and every task comes once."""
    keys: dict[str, Any] = {
        "matrix": matrix(a=list("pqrst"), b=list("wxyz")),
        "samples": 10,
        "prompt": "{{ a }} {{ b }}",
    }
    even, written = plan_of(order="even", **keys), plan_of(**keys)
    assert {task.id for task in even.tasks()} == {task.id for task in written.tasks()}
    assert [task.number for task in even.tasks()] == list(range(200))
    for length in (20, 50, 120):
        for axis, values in (("a", 5), ("b", 4)):
            counts: dict[str, int] = {}
            for number in range(length):
                value = even.task(number).axes[axis]
                counts[value] = counts.get(value, 0) + 1
            assert len(counts) == values
            assert max(counts.values()) - min(counts.values()) <= 3


def test_rows_that_rules_cannot_tell_apart_share_a_count() -> None:
    """A rule on the id of one row of thousands costs two counts, not thousands."""
    memory = Memory({"t.csv": "id\n" + "\n".join(f"r{index}" for index in range(5000)) + "\n"})
    plan = plan_of(memory, inputs=Inputs("t.csv", "id"), matrix=matrix(a=["1", "2"], exclude=[{"row.id": "r7"}]))
    assert len(plan) == 9998
    assert len(plan._places._kinds) == 2
    assert plan.task(14).row_id == "r8"
