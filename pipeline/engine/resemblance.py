"""Which listed operation must be which POST: by what the gateway repeats of the request, and by time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.values.digest import JSON, digest
from pipeline.values.evidence import ListedOperation
from pipeline.values.task import Task, input_identity

#: A gateway's clock and ours may differ by so much (seconds).
SKEW_S: Final = 120.0

#: What is asked for, whatever the task is called: two POSTs with the same one are interchangeable.
Wish: TypeAlias = str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A POST of ours that a listed operation may be. *Units* - sent: wall seconds; None: nobody knows when."""

    attempt: int
    task: Task
    sent: float | None
    #: It may be accepted this long after (seconds).
    quiet_s: float


def fits(operation: ListedOperation, suspect: Suspect) -> bool:
    """Whether an operation may be this POST. Time alone tells nothing: something asked for must be repeated."""
    task = suspect.task
    said = [(operation.prompt, task.prompt), (operation.n, task.n)]
    if task.seed is not None:
        said.append((operation.seed, task.seed))  # Where we name none, the gateway chooses one.
    if any(listed is not None and listed != ours for listed, ours in said):
        return False
    if operation.prompt is None and operation.seed is None:
        return False
    if suspect.sent is None:
        return operation.prompt is not None
    at = operation.submitted_at / 1e6
    return suspect.sent - SKEW_S <= at <= suspect.sent + suspect.quiet_s + SKEW_S


def candidates(operation: ListedOperation, suspects: Iterable[Suspect]) -> list[Suspect]:
    """The POSTs that an operation may be. One that named its very seed is meant, not one that left it open."""
    fitting = [suspect for suspect in suspects if fits(operation, suspect)]
    named = [suspect for suspect in fitting if suspect.task.seed is not None and suspect.task.seed == operation.seed]
    return named or fitting


def wish(task: Task) -> Wish:
    """What a task asks for, without its place in the plan."""
    params: JSON = dict(task.params)
    inputs: JSON = [input_identity(source) for source in task.inputs]
    return digest([task.operation, task.prompt, task.negative_prompt, task.size, task.n, task.seed, params, inputs])


def attributed(
    operations: Iterable[ListedOperation], suspects: Sequence[Suspect], blocking: Sequence[Suspect]
) -> list[tuple[int, str]]:
    """(attempt, operation) for every operation that can be nothing else.

    Suspects with the same wish share: so many operations of it belong to as many of them, in order of time. An
    operation that a `blocking` POST may be, or that fits different wishes, belongs to nobody until that is cleared up.
    """
    left = {suspect.attempt: suspect for suspect in suspects}
    open_operations = sorted(operations, key=lambda each: (each.submitted_at, each.operation))
    wishes = {suspect.attempt: wish(suspect.task) for suspect in suspects}
    found: list[tuple[int, str]] = []
    while True:
        groups: dict[Wish, list[ListedOperation]] = defaultdict(list)
        for operation in open_operations:
            near = candidates(operation, (*left.values(), *blocking))
            fitting = {wishes.get(suspect.attempt, "") for suspect in near}
            if len(fitting) == 1 and "" not in fitting:
                groups[fitting.pop()].append(operation)
        news: list[tuple[int, str]] = []
        for name, group in groups.items():
            members = [suspect for each, suspect in left.items() if wishes[each] == name]
            news.extend(_shared(group, members))
        if not news:
            return found
        found.extend(news)
        gone = {operation for _, operation in news}
        left = {each: suspect for each, suspect in left.items() if each not in dict(news)}
        open_operations = [operation for operation in open_operations if operation.operation not in gone]


def _shared(operations: Sequence[ListedOperation], members: Sequence[Suspect]) -> list[tuple[int, str]]:
    """Operations of one wish to POSTs of that wish, earliest first; none when there are more than can be ours."""
    free = sorted(members, key=lambda suspect: (suspect.sent is None, suspect.sent or 0.0, suspect.attempt))
    pairs = []
    for operation in operations:
        suspect = next((each for each in free if fits(operation, each)), None)
        if suspect is None:
            return []
        free.remove(suspect)
        pairs.append((suspect.attempt, operation.operation))
    return pairs
