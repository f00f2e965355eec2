"""A part of a plan, to try small first: the first so many tasks, a sample of them, or every axis value once."""

from __future__ import annotations

import random
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass

from pipeline.plan.expand import Plan


@dataclass(frozen=True, slots=True)
class Part:
    """Which tasks of a plan a run is about; of the three at most one is set, and none means all tasks."""

    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    probe: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is no part at all."""
        return self.limit is None and self.sample is None and not self.probe

    @property
    def option(self) -> str:
        """The option of `run` that says so."""
        return "--sample" if self.sample is not None else "--probe" if self.probe else "--limit"

    def words(self) -> dict[str, int | bool]:
        """What tells it from other parts, by option; empty for the whole plan."""
        if self.sample is not None:
            return {"sample": self.sample, "sample_seed": self.sample_seed}
        return {"probe": True} if self.probe else {}

    def numbers(self, plan: Plan, repeats: Container[int]) -> Collection[int]:
        """The numbers of its tasks; of `repeats`, which buy what an earlier task buys, none in a sample or a probe."""
        if self.sample is not None:
            return frozenset(_drawn(len(plan), self.sample, self.sample_seed, repeats))
        if self.probe:
            return frozenset(_probed(plan, repeats))
        return range(len(plan) if self.limit is None else min(self.limit, len(plan)))


def _drawn(total: int, wanted: int, seed: int, repeats: Container[int]) -> Iterator[int]:
    """Each set of tasks as likely as any other; a larger sample of the same seed holds the smaller ones."""
    source = random.Random(seed)  # noqa: S311 - which tasks are tried first is no secret
    moved: dict[int, int] = {}
    for place in range(total):
        if not wanted:
            return
        # A shuffle of all numbers, of which only what was touched is kept.
        other = source.randrange(place, total)
        number = moved.get(other, other)
        moved[other] = moved.get(place, place)
        if number not in repeats:
            wanted -= 1
            yield number


def _probed(plan: Plan, repeats: Container[int]) -> Iterator[int]:
    """Few tasks that hold every value of every axis: first those that hold most values that are new."""
    missing = {(axis.name, text) for group in plan.groups for axis in group.axes for text in axis.texts}
    if not missing:
        yield 0
        return
    target = len({name for name, _ in missing})
    while missing and target:
        best = 0
        for number in range(len(plan)):
            found = missing & plan.locate(number).texts.items()
            if len(found) < target or number in repeats:
                best = max(best, len(found))
                continue
            yield number
            missing -= found
            if not missing:
                return
            target = min(target, len({name for name, _ in missing}))
        # What an exclusion took out of the plan altogether stays missing.
        target = min(best, target - 1)
