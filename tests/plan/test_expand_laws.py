"""Laws of expansion: what no spec can break."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.plan.check import check
from pipeline.plan.expand import Plan
from pipeline.spec.job import DerivedSeed, FixedSeed, Inputs, ListAxis, Matrix, Override
from tests.plan.jobs import Memory, axes, matrix, plan_of

EDIT = "mulerouter/qwen-image-edit-max"
MEMORY = Memory({"t.csv": "id,kind\na,cup\nb,pot\nc,cup\n"}, {"p.png": b"png 512x512", "q.png": b"png 600x600"})
VALUES = [f"v{index}" for index in range(5)]
LISTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4).map(lambda n: VALUES[:n]), min_size=1, max_size=4)


def rules(lists: dict[str, list[str]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rules that name existing values."""
    one = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in lists.items()})
    return st.lists(one.filter(bool), max_size=3)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Keys of jobs with a matrix, exclusions, additions, overrides of samples, with and without rows."""
    lists = draw(LISTS)
    keys: dict[str, Any] = {
        "prompt": "".join(f"{{{{ {name} }}}} " for name in lists),
        "samples": draw(st.integers(1, 3)),
        "order": draw(st.sampled_from(["written", "even"])),
    }
    first = next(iter(lists))
    exclude = [rule for rule in draw(rules(lists)) if rule.get(first) != lists[first][0]]
    exclude = [rule for rule in exclude if first in rule]  # so that one value of the first axis always stays
    include = [dict.fromkeys(lists, "new")] if draw(st.booleans()) else []
    keys["matrix"] = Matrix(axes(**lists), tuple(exclude), tuple(include))
    keys["overrides"] = tuple(Override(rule, {"samples": draw(st.integers(1, 3))}) for rule in draw(rules(lists)))
    if draw(st.booleans()):
        keys["inputs"] = Inputs("t.csv", "id")
        keys["prompt"] += "{{ row.id }}"
        if draw(st.booleans()):
            keys["overrides"] += (Override({"row.kind": "pot"}, {"samples": 2}),)
    return keys


def by_hand(keys: dict[str, Any]) -> list[tuple[str | None, tuple[str, ...], int]]:
    """The combinations as a reader of the law would list them."""
    shape: Matrix = keys["matrix"]
    combos: list[dict[str, str]] = [{}]
    for axis in shape.axes:
        assert isinstance(axis, ListAxis)
        combos = [{**combo, axis.name: str(value)} for combo in combos for value in axis.values]
    found = []
    rows = [("a", "cup"), ("b", "pot"), ("c", "cup")] if "inputs" in keys else [(None, "")]
    for row, kind in rows:
        kept = [c for c in combos if not any(all(c[k] == v for k, v in rule.items()) for rule in shape.exclude)]
        for combo in [*kept, *shape.include]:
            samples = keys["samples"]
            for override in keys["overrides"]:
                seen = {**combo, "row.kind": kind}
                if all(seen[name] == value for name, value in override.when.items()):
                    samples = override.set["samples"]
            found += [(row, tuple(combo.values()), sample) for sample in range(samples)]
    return found  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(jobs())
def test_grid_is_what_a_reader_lists_law(keys: dict[str, Any]) -> None:
    """Count and order are those of nested loops, `even` is a permutation of them, task(i) is the i-th iterated."""
    plan = plan_of(MEMORY, **keys)
    shown = [(task.row_id, tuple(task.axes.values()), task.sample) for task in plan.tasks()]
    expected = by_hand(keys)
    assert len(plan) == len(expected)
    if keys["order"] == "even":
        assert sorted(map(str, shown)) == sorted(map(str, expected))
    else:
        assert shown == expected
    assert [plan.task(number) for number in reversed(range(len(plan)))] == list(plan.tasks())[::-1]
    assert [task.number for task in plan.tasks(start=1)] == list(range(1, len(plan)))


@settings(max_examples=30, deadline=None)
@given(jobs())
def test_ids_are_unique_across_distinct_combinations_law(keys: dict[str, Any]) -> None:
    """Two tasks that ask for different things never have one id."""
    tasks = list(plan_of(MEMORY, **keys).tasks())
    assert len({task.id for task in tasks}) == len({(task.prompt, task.sample) for task in tasks})


@settings(max_examples=30, deadline=None)
@given(jobs(), st.sampled_from(["value", "axis order", "row", "name"]))
def test_growing_keeps_ids_and_seeds_law(keys: dict[str, Any], change: str) -> None:
    """Adding a value, turning axes round, dropping rules or renaming the job moves no other task's id or seed."""
    before = {task.id: task.seed for task in plan_of(MEMORY, **keys).tasks()}
    shape: Matrix = keys["matrix"]
    match change:
        case "value":
            first, *rest = shape.axes
            grown = axes(**{first.name: (*first.values, "more")}) + tuple(rest)  # type: ignore[union-attr]
            keys["matrix"] = Matrix(grown, shape.exclude, shape.include)
        case "axis order":
            keys["matrix"] = Matrix(shape.axes[::-1], shape.exclude, shape.include)
        case "row":
            keys["matrix"] = Matrix(shape.axes, (), shape.include)
        case _:
            keys["name"] = "other"
    after = {task.id: task.seed for task in plan_of(MEMORY, **keys).tasks()}
    assert before.items() <= after.items()


PARAMS = st.dictionaries(
    st.text(max_size=4), st.one_of(st.booleans(), st.integers(), st.text(alphabet="ab", max_size=3))
)


@settings(max_examples=40, deadline=None)
@given(PARAMS, st.randoms(use_true_random=False))
def test_order_of_keys_changes_no_id_law(params: dict[str, Any], random: Any) -> None:
    """Permuting the keys of params changes neither id, seed nor digest."""
    names = list(params)
    random.shuffle(names)
    one, two = plan_of(params=params), plan_of(params={name: params[name] for name in names})
    assert (one.task(0).id, one.task(0).seed, one.digest) == (two.task(0).id, two.task(0).seed, two.digest)


CHANGES: dict[str, Any] = {
    "model": EDIT.replace("max", "plus"),
    "prompt": "another mug",
    "negative_prompt": "blurry",
    "images": ("q.png",),
    "size": "600x600",
    "n": 3,
    "seed": DerivedSeed(7),
    "params": {"prompt_extend": False},
}
#: What changes no id: {key: another value}.
LABELS: dict[str, Any] = {
    "name": "other",
    "description": "words",
    "output_path": "{{ sample }}-x",
    "attempts_max": 9,
    "on_doubt": "resubmit",
    "dedicated": ("mulerouter",),
    "budget": (),
    "order": "even",
}


def start(**keys: Any) -> Plan:
    """A plan of one edit."""
    return plan_of(MEMORY, **{"model": EDIT, "images": ("p.png",), "samples": 1, **keys})


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(sorted(CHANGES))), st.sets(st.sampled_from(sorted(CHANGES))))
def test_every_field_of_the_identity_counts_law(one: set[str], two: set[str]) -> None:
    """Ids and digests are the same when the same is asked, and differ when any field of the identity does."""
    first, second = (start(**{name: CHANGES[name] for name in sorted(names)}) for names in (one, two))
    assert (first.task(0).id == second.task(0).id) is (one == two)
    assert (first.digest == second.digest) is (one == two)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(sorted(LABELS))))
def test_labels_are_no_identity_law(names: set[str]) -> None:
    """Names, limits, retries, budgets, paths and order change no id."""
    assert start(**{name: LABELS[name] for name in names}).task(0).id == start().task(0).id


@settings(max_examples=25, deadline=None)
@given(jobs())
def test_summary_is_the_sum_of_its_tasks_law(keys: dict[str, Any]) -> None:
    """The worst case is what the distinct tasks' holds add up to."""
    keys["overrides"] = ()
    plan = plan_of(MEMORY, **keys)
    distinct = {task.id: task for task in plan.tasks()}
    summary = check(plan)
    assert summary.tasks == len(distinct)
    assert summary.duplicates == len(plan) - len(distinct)
    assert summary.worst_micros == {"USD": sum(task.price.hold(task.n) for task in distinct.values())}


def test_fixed_seed_is_sent_exactly() -> None:
    """`seed: 42` is 42 in every task."""
    plan = plan_of(matrix=matrix(a=["x", "y"]), prompt="{{ a }}", seed=FixedSeed(42))
    assert [task.seed for task in plan.tasks()] == [42, 42]


def test_digest_changes_with_what_files_hold() -> None:
    """A picture, a row or a line that changes changes the digest, though the spec does not."""
    keys: dict[str, Any] = {"model": EDIT, "images": ("{{ row.id }}.png",), "inputs": Inputs("t.csv", "id")}
    table = "id,kind\np,cup\n"
    first = plan_of(Memory({"t.csv": table}, {"p.png": b"png 512x512"}), **keys).digest
    assert plan_of(Memory({"t.csv": table}, {"p.png": b"png 512x512"}), **keys).digest == first
    assert plan_of(Memory({"t.csv": table}, {"p.png": b"png 512x513"}), **keys).digest != first
    assert plan_of(Memory({"t.csv": table + "\n"}, {"p.png": b"png 512x512"}), **keys).digest == first
    assert plan_of(Memory({"t.csv": table.replace("cup", "pot")}, {"p.png": b"png 512x512"}), **keys).digest != first
