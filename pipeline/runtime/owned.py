"""Which tasks of a plan are still to be offered: those that the store has not, one byte of memory each."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pipeline.plan.expand import Plan
from pipeline.plan.part import Part
from pipeline.runtime import prepare
from pipeline.store.journal import Journal
from pipeline.values.task import Task


def distinct(plan: Plan) -> Iterator[Task]:
    """Every task of a plan, of those that buy the same only the first."""
    repeats = prepare.summary(plan).repeats
    return (plan.task(number) for number in range(len(plan)) if number not in repeats)


def wanted(plan: Plan, part: Part) -> Collection[int]:
    """The numbers of the tasks of a part."""
    return part.numbers(plan, () if part.is_whole or part.limit is not None else prepare.summary(plan).repeats)


def together(numbers: Collection[int], journal: Journal) -> int:
    """How many tasks a run is about: those that are wanted, and those that earlier runs of this folder began."""
    return len(numbers) + sum(number not in numbers for number in journal.numbers())


def offered(plan: Plan, journal: Journal, numbers: Collection[int]) -> Iterator[Task]:
    """The tasks of these numbers that the store has not yet, made when they are asked for.

    The store is read at once: later a commit may be under way. Its numbers are this plan's since it was noted.
    """
    return _unset(plan, _done(plan, journal, numbers))


def _done(plan: Plan, journal: Journal, numbers: Collection[int]) -> bytearray:
    repeats = prepare.summary(plan).repeats
    done = _begun(numbers)
    count = len(done)
    for number in journal.numbers():
        # Stores of before may have a task under the number of its repetition.
        first = repeats.get(number, number)
        if first < count:
            done[first] = 1
    for number in repeats:
        if number < count:
            done[number] = 1
    return done


def _begun(numbers: Collection[int]) -> bytearray:
    """A byte a task up to the last one that is wanted: 0 for those that are."""
    if isinstance(numbers, range):
        return bytearray(len(numbers))
    done = bytearray(b"\1") * (1 + max(numbers, default=-1))
    for number in numbers:
        done[number] = 0
    return done


def _unset(plan: Plan, done: bytearray) -> Iterator[Task]:
    number = done.find(0)
    while number >= 0:
        yield plan.task(number)
        number = done.find(0, number + 1)
