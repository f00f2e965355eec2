"""Why a task of an edited spec is new: what the task of the same row, axes and sample was like before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from json import JSONEncoder
from typing import TYPE_CHECKING, Final, TypeAlias

from pipeline.values.task import Input, Task, input_identity

if TYPE_CHECKING:
    from pipeline.values.rows import NotedPlan, TaskRow

#: So many new tasks are looked at; of a larger edit the first ones speak for the others.
LOOKED_AT: Final = 1000

#: Text takes less memory than a set, and there is one for each task of a run.
Label: TypeAlias = tuple[str | None, str, int]
_AXES: Final = JSONEncoder(sort_keys=True).encode


def label_of(task: Task | TaskRow) -> Label:
    """Which place of a job a task has, whatever is sent for it."""
    return task.row_id, _AXES(dict(task.axes)), task.sample


def why_new(fresh: Sequence[Task], rows: Iterable[TaskRow], noted: NotedPlan | None, digest: str) -> dict[str, int]:
    """{why: how many of these new tasks}, the commonest first. `rows` is read once, and little of it is kept.

    `noted` is the plan that the folder worked on last, `digest` that of the new one.
    """
    if noted is not None and noted.plan_sha256 == digest:
        return {"not begun yet": len(fresh)}
    wanted = {label_of(task) for task in fresh}
    row_ids = {task.row_id for task in fresh}
    pairs = {pair for task in fresh for pair in task.axes.items()}
    before: dict[Label, Task] = {}
    known = _Known()
    begun = 0
    for row in rows:
        if not row.in_spec:
            continue
        begun += 1
        label = label_of(row)
        if label in wanted:
            before[label] = row.task
        known.row_ids.update({row.row_id} & row_ids)
        known.pairs.update(pair for pair in row.axes.items() if pair in pairs)
        known.axes.update(row.axes)
        known.samples = max(known.samples, row.sample + 1)
    partly = noted is not None and begun < noted.total
    found: Counter[str] = Counter()
    for task in fresh:
        old = before.get(label_of(task))
        if old is not None:
            found[changed(old, task)] += 1
        else:
            found[f"{known.added(task)}, or not begun before" if partly else known.added(task)] += 1
    return dict(found.most_common())


class _Known:
    """What there was before, of the rows, axes and samples that new tasks have."""

    def __init__(self) -> None:
        self.row_ids: set[str | None] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.axes: set[str] = set()
        self.samples = 0

    def added(self, task: Task) -> str:
        """What is new about a place that no task had."""
        if task.row_id is not None and task.row_id not in self.row_ids:
            return "new row"
        for name, value in task.axes.items():
            if name not in self.axes:
                return f"new axis {name}"
            if (name, value) not in self.pairs:
                return f"new value of {name}"
        if set(self.axes) - set(task.axes):
            return "an axis was taken away"
        return "one sample more" if task.sample >= self.samples else "new combination"


def changed(old: Task, new: Task) -> str:
    """In which respects what is sent has changed: `prompt and size changed`."""
    found = [name for name, before, now in _respects(old, new) if before != now]
    if old.seed != new.seed and not found:
        # Where it is derived, it follows from the others.
        found.append("seed")
    if not found:
        return "sent in another way by this version"
    *first, last = found
    return f"{', '.join(first)} and {last} changed" if first else f"{last} changed"


def _respects(old: Task, new: Task) -> Iterable[tuple[str, object, object]]:
    yield "gateway", old.gateway, new.gateway
    yield "model", old.model, new.model
    yield "prompt", old.prompt, new.prompt
    yield "negative prompt", old.negative_prompt, new.negative_prompt
    yield "size", old.size, new.size
    yield "n", old.n, new.n
    yield "input pictures", [_identity(each) for each in old.inputs], [_identity(each) for each in new.inputs]
    for name in sorted({*old.params, *new.params}):
        yield name, _param(old.params, name), _param(new.params, name)


def _param(params: Mapping[str, object], name: str) -> tuple[object, ...]:
    return (params[name],) if name in params else ()


def _identity(source: Input) -> str:
    return repr(input_identity(source))
