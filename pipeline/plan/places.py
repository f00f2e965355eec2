"""Places: which row, combination and sample a number stands for, counted and found without listing anything."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.plan import identity
from pipeline.plan.fields import Rule, Text
from pipeline.plan.flaw import Flaw, Flawed
from pipeline.plan.grid import Grid
from pipeline.plan.matrix import Added, Group, Match, allowed_steps, steps_of
from pipeline.plan.render import Placed, Renderer
from pipeline.plan.scalar import text_of
from pipeline.plan.table import Table
from pipeline.spec.job import DerivedSeed, JobSpec
from pipeline.values.digest import JSON, digest

#: The golden section spreads any prefix of 0..N-1 evenly over all of it (three-distance theorem).
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
#: Tasks that can be counted; what a plan may have is in `check`.
_COUNT_MAX: Final = 10**12
_NO_ROW: Final[dict[str, JSON]] = {}


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of row expands: the grid, then what `include` adds. *Shape* - ends: one per addition."""

    grid: Grid
    ends: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """What rows are told apart by: rules that look at columns, and columns that numbers of samples are made from.

    `tracked` are the groups that numbers of samples depend on.
    """

    matches: tuple[Match, ...]
    columns: tuple[str, ...]
    tracked: frozenset[int]

    @property
    def alike(self) -> bool:
        """Whether all rows expand alike."""
        return not self.matches and not self.columns


class Places:
    """All places of a job, in its order. Memory: rows and axis values, whatever their number."""

    def __init__(  # noqa: PLR0917 - made by make_plan only
        self,
        job: JobSpec,
        table: Table | None,
        groups: tuple[Group, ...],
        added: tuple[Added, ...],
        excludes: tuple[Match, ...],
        rules: tuple[Rule, ...],
        renderer: Renderer,
    ) -> None:
        self.groups = groups
        self.added = added
        self._table = table
        self._excludes = [(match, allowed_steps(match, groups)) for match in excludes]
        self._rules = rules
        self._renderer = renderer
        self._axes = [
            (number, axis.name, axis.values, axis.texts) for number, group in enumerate(groups) for axis in group.axes
        ]
        self._kinds: dict[tuple[object, ...], _Kind] = {}
        self._apart = self._tell_apart()
        self._row: tuple[int, dict[str, JSON], Mapping[str, str]] = (-1, {}, {})
        self._ends = self._count_rows()
        #: How many places there are.
        self.total = _bounded(self._ends[-1] if self._ends is not None else self.rows * self._kind(0).total)
        self._stride, self._shift = _spread(job, self.total)

    @property
    def rows(self) -> int:
        """How many input rows there are; 1 without inputs."""
        return len(self._table) if self._table is not None else 1

    def find(self, place: int, number: int) -> Placed:
        """What stands at a place below `total`, for the task of that number."""
        offset = (place * self._stride + self._shift) % self.total if self._stride else place
        if self._ends is None:
            kind = self._kind(0)
            row_index, offset = divmod(offset, kind.total)
        else:
            row_index = bisect_right(self._ends, offset)
            offset -= self._ends[row_index - 1] if row_index else 0
            kind = self._kind(row_index)
        row, row_text = self.read_row(row_index)
        inside = kind.grid.root.total
        if offset < inside:
            steps, sample = kind.grid.find(offset)
            scope, texts = self.combination(steps)
        else:
            offset -= inside
            place = bisect_right(kind.ends, offset)
            sample = offset - (kind.ends[place - 1] if place else 0)
            added = self.added[place]
            scope, texts = dict(added.values), dict(added.texts)
        scope["row"] = row
        scope["sample"] = sample
        return Placed(
            number, scope, texts, row, row_text, self._table.ids[row_index] if self._table is not None else None, sample
        )

    def combination(self, steps: Sequence[int]) -> tuple[dict[str, JSON], dict[str, str]]:
        """What the axes have at a step of each group: {name: value} and {name: its text}."""
        scope: dict[str, JSON] = {}
        texts: dict[str, str] = {}
        for group, name, values, names in self._axes:
            step = steps[group]
            scope[name] = values[step]
            texts[name] = names[step]
        return scope, texts

    def read_row(self, index: int) -> tuple[dict[str, JSON], Mapping[str, str]]:
        """An input row and its texts; empty without inputs."""
        if self._table is None:
            return _NO_ROW, {}
        if self._row[0] != index:
            row = self._table.row(index)
            self._row = (index, row, {name: text_of(value) for name, value in row.items()})
        return self._row[1], self._row[2]

    def _tell_apart(self) -> _Rows:
        """Which columns and groups decide how many tasks a combination has."""
        names: set[str] = set()
        columns: set[str] = set()
        matches = [match for match, _ in self._excludes if match.columns]
        samples: list[Text | int] = [self._renderer.fields.samples]
        for rule in self._rules:
            if "samples" not in rule.laid:
                continue
            samples.append(rule.laid["samples"])  # type: ignore[arg-type]  # laid so by the compiler
            if isinstance(rule.when, Match):
                names |= rule.when.axes.keys()
                matches += [rule.when] if rule.when.columns else []
            else:
                names |= {look.root for look in rule.when.looks}
                columns |= {look.attribute for look in rule.when.looks if look.root == "row" and look.attribute}
        for text in samples:
            if isinstance(text, Text):
                names |= {look.root for look in text.template.looks}
                columns |= {look.attribute for look in text.template.looks if look.root == "row" and look.attribute}
        tracked = frozenset(group for group, name, *_ in self._axes if name in names)
        return _Rows(tuple(matches), tuple(sorted(columns)), tracked)

    def _count_rows(self) -> array[int] | None:
        """Where each row's tasks end; None when all rows expand alike."""
        if self._table is None or self._apart.alike:
            return None
        ends, total = array("q"), 0
        for index in range(len(self._table)):
            total = _bounded(total + self._kind(index).total)
            ends.append(total)
        return ends

    def _kind(self, index: int) -> _Kind:
        if self._apart.alike:
            kind = self._kinds.get(())
            return kind if kind is not None else self._make_kind((), index)
        row = self.read_row(index)[0]
        held = tuple([match.holds_row(row) for match in self._apart.matches])
        key = held + tuple(
            value if isinstance(value, str) else (identity.json_of(value) if name in row else None,)
            for name, value in ((name, row.get(name)) for name in self._apart.columns)
        )
        kind = self._kinds.get(key)
        return kind if kind is not None else self._make_kind(key, index)

    def _make_kind(self, key: tuple[object, ...], index: int) -> _Kind:
        row = self.read_row(index)[0]

        def samples(steps: tuple[int, ...]) -> int:
            scope, texts = self.combination(steps)
            return self._renderer.samples({**scope, "row": row}, texts, row)

        rules = [allowed for match, allowed in self._excludes if match.holds_row(row)]
        grid = Grid([group.length for group in self.groups], rules, self._apart.tracked, samples)
        ends, total = [], 0
        for place, added in enumerate(self.added):
            steps = steps_of(added, self.groups)
            if steps is not None and grid.holds(steps):
                raise Flawed(
                    Flaw(
                        f"matrix.include[{place}]",
                        "this combination exists already",
                        "remove it, or use overrides to patch it",
                    )
                )
            total += self._renderer.samples({**added.values, "row": row}, added.texts, row)
            ends.append(total)
        kind = self._kinds[key] = _Kind(grid, tuple(ends), grid.root.total + total)
        return kind


def too_many(most: int) -> Flaw:
    """What is said of a job with more tasks than that."""
    return Flaw("matrix", f"the job has more than {most:,} tasks", "split it into several jobs, or take fewer values")


def _bounded(total: int) -> int:
    if total > _COUNT_MAX:
        raise Flawed(too_many(_COUNT_MAX))
    return total


def _spread(job: JobSpec, total: int) -> tuple[int, int]:
    """Stride and shift of `order: even`; a stride coprime to the length visits every residue of every fast axis."""
    if job.order != "even" or total < 3:
        return 0, 0
    stride = max(1, round(total * _GOLDEN))
    while math.gcd(stride, total) != 1:
        stride += 1
    root = job.seed.root if isinstance(job.seed, DerivedSeed) else 0
    return stride, int(digest({"order": root})[:12], 16) % total
