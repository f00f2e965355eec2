"""Which tasks of a plan are still to be offered: those that the store has not, one byte of memory each."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.plan.expand import Plan
from pipeline.runtime import prepare
from pipeline.store.journal import Journal
from pipeline.values.task import Task


def distinct(plan: Plan) -> Iterator[Task]:
    """Every task of a plan, of those that buy the same only the first."""
    repeats = prepare.summary(plan).repeats
    return (plan.task(number) for number in range(len(plan)) if number not in repeats)


def offered(plan: Plan, journal: Journal, limit: int | None) -> Iterator[Task]:
    """The tasks below `limit` that the store has not yet, made when they are asked for.

    The store is read at once: later a commit may be under way. Its numbers are this plan's since it was noted.
    """
    return _unset(plan, _done(plan, journal, len(plan) if limit is None else min(limit, len(plan))))


def _done(plan: Plan, journal: Journal, count: int) -> bytearray:
    repeats = prepare.summary(plan).repeats
    done = bytearray(count)
    for number in journal.numbers():
        # Stores of before may have a task under the number of its repetition.
        first = repeats.get(number, number)
        if first < count:
            done[first] = 1
    for number in repeats:
        if number < count:
            done[number] = 1
    return done


def _unset(plan: Plan, done: bytearray) -> Iterator[Task]:
    number = done.find(0)
    while number >= 0:
        yield plan.task(number)
        number = done.find(0, number + 1)
