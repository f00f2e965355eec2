"""Axes: the values of a matrix, read, named and grouped; and the matching of rules against them."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pipeline.plan.flaw import Flaw, Flawed, nearest
from pipeline.plan.resources import ResourceMissing, Resources
from pipeline.plan.scalar import text_of
from pipeline.plan.table import Table
from pipeline.spec.job import Axis, FilesAxis, LinesAxis, ListAxis, ListedSeeds, Matrix, RangeAxis, Seed, ZipGroup
from pipeline.values.digest import JSON

#: Values of one axis; more is a table's work.
VALUES_MAX: Final = 1_000_000
RESERVED: Final = ("row", "sample", "steps")


@dataclass(frozen=True, slots=True)
class Values:
    """One axis with its values. *Shape* - values and texts: one per value; texts are ids or the plain text."""

    name: str
    path: str
    values: tuple[JSON, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Axes that advance together; a lone axis is a group of one."""

    axes: tuple[Values, ...]

    @property
    def length(self) -> int:
        """How many steps the group has."""
        return len(self.axes[0].values)


@dataclass(frozen=True, slots=True)
class Added:
    """A whole combination that `include` adds: {axis: value} and {axis: text}."""

    values: dict[str, JSON]
    texts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule's map of equalities. *Shape* - axes: {axis: texts}; columns: {row column: texts}."""

    path: str
    axes: dict[str, frozenset[str]]
    columns: dict[str, frozenset[str]]

    def holds(self, texts: Mapping[str, str], row: Mapping[str, JSON]) -> bool:
        """Whether a combination and its row are meant."""
        return all(texts[name] in wanted for name, wanted in self.axes.items()) and self.holds_row(row)

    def holds_row(self, row: Mapping[str, JSON]) -> bool:
        """Whether the row alone is meant."""
        return all(name in row and text_of(row[name]) in wanted for name, wanted in self.columns.items())


def resolve_axes(matrix: Matrix, seed: Seed, resources: Resources) -> tuple[Group, ...]:
    """Every group with its values read. *Raises* Flawed with all flaws."""
    flaws: list[Flaw] = []
    groups: list[Group] = []
    names: set[str] = set()
    zips = 0
    listed = ListAxis("seed", seed.values) if isinstance(seed, ListedSeeds) else None
    for part in (*matrix.axes, *((listed,) if listed else ())):
        members = part.axes if isinstance(part, ZipGroup) else (part,)
        prefix = f"matrix.zip[{zips}]" if isinstance(part, ZipGroup) else "matrix"
        zips += isinstance(part, ZipGroup)
        resolved = []
        for axis in members:
            path = "seed" if axis is listed else f"{prefix}.{axis.name}"
            try:
                _check_name(axis.name, path, names)
                resolved.append(_resolve(axis, path, resources))
            except Flawed as flawed:
                flaws.extend(flawed.flaws)
            names.add(axis.name)
        lengths = {len(axis.values) for axis in resolved}
        if len(lengths) > 1:
            counts = ", ".join(f"{axis.name} has {len(axis.values)}" for axis in resolved)
            flaws.append(Flaw(prefix, f"the members of a zip group differ in length: {counts}", "make them equal"))
        elif resolved:
            groups.append(Group(tuple(resolved)))
    if flaws:
        raise Flawed(*flaws)
    return tuple(groups)


def _check_name(name: str, path: str, names: set[str]) -> None:
    if name in names:
        raise Flawed(Flaw(path, f"there are two axes named '{name}'", "rename one"))
    if name in RESERVED or name.startswith("_") or not name.isidentifier() or keyword.iskeyword(name):
        raise Flawed(Flaw(path, f"an axis cannot be named '{name}'", "use letters, digits and underscores"))


def _resolve(axis: Axis, path: str, resources: Resources) -> Values:
    match axis:
        case ListAxis():
            return _listed(axis, path)
        case LinesAxis():
            try:
                text = resources.text(axis.file)
            except ResourceMissing as missing:
                raise Flawed(Flaw(path, f"cannot read '{missing.path}': {missing.why}")) from missing
            lines = tuple(line.strip() for line in text.removeprefix("\ufeff").split("\n") if line.strip())
            return _bounded(Values(axis.name, path, lines, lines), f"'{axis.file}' has no lines")
        case FilesAxis():
            try:
                found = resources.glob(axis.glob)
            except ResourceMissing as missing:
                raise Flawed(Flaw(path, f"cannot look for '{missing.path}': {missing.why}")) from missing
            return _bounded(Values(axis.name, path, found, found), f"no file matches '{axis.glob}'")
        case RangeAxis():
            return _ranged(axis, path)


def _bounded(values: Values, empty: str) -> Values:
    if not values.values:
        raise Flawed(Flaw(values.path, empty, "an axis needs a value"))
    if len(values.values) > VALUES_MAX:
        raise Flawed(Flaw(values.path, f"an axis has more than {VALUES_MAX} values", "use a table: inputs"))
    return values


def _listed(axis: ListAxis, path: str) -> Values:
    flaws, seen = [], set()
    values, texts = [], []
    for index, value in enumerate(axis.values):
        place = f"{path}[{index}]"
        if isinstance(value, Mapping):
            plain = dict(value)
            if not text_of(plain.get("id")) or isinstance(plain.get("id"), dict | list):
                flaws.append(Flaw(place, "a value that is a map needs an id", "{id: short-name, text: ...}"))
                continue
            value = plain  # noqa: PLW2901 - templates look up in plain dicts only
        elif isinstance(value, Sequence) and not isinstance(value, str):
            flaws.append(Flaw(place, "a value cannot be a list", "use a map with an id"))
            continue
        elif value is None or value == "":
            flaws.append(Flaw(place, "a value is empty", "write it out, or leave it away"))
            continue
        text = text_of(value)
        if text in seen:
            flaws.append(
                Flaw(place, f"the value '{text}' stands twice in '{axis.name}'", "every value needs its own id")
            )
        seen.add(text)
        values.append(value)
        texts.append(text)
    if flaws:
        raise Flawed(*flaws)
    return _bounded(Values(axis.name, path, tuple(values), tuple(texts)), "the list is empty")


def _ranged(axis: RangeAxis, path: str) -> Values:
    """From start to stop, both included, in exact decimals: 0.1, 0.2, 0.3 and never 0.30000000000000004."""
    start, stop, step = Decimal(axis.start), Decimal(axis.stop), Decimal(axis.step)
    if not step or (stop - start) * step < 0:
        raise Flawed(Flaw(path, f"a range from {axis.start} to {axis.stop} by {axis.step} never ends", "turn the step"))
    count = int((stop - start) / step) + 1
    if count > VALUES_MAX:
        raise Flawed(Flaw(path, f"a range has more than {VALUES_MAX} values", "make the step larger"))
    whole = all(part == part.to_integral_value() for part in (start, step))
    numbers = [start + step * index for index in range(count)]
    values = tuple(int(number) if whole else float(number) for number in numbers)
    return Values(axis.name, path, values, tuple(f"{number:f}" for number in numbers) if not whole else _texts(values))


def _texts(values: tuple[JSON, ...]) -> tuple[str, ...]:
    return tuple(text_of(value) for value in values)


def read_match(path: str, written: Mapping[str, JSON], axes: Mapping[str, Sequence[str]], table: Table | None) -> Match:
    """A map of equalities, every name and value of which exists. *Raises* Flawed with the nearest that does.

    *Shape* - axes: {axis: the texts of its values, those that `include` adds among them}.
    """
    match = Match(path, {}, {})
    flaws = []
    if not written:
        flaws.append(Flaw(path, "an empty rule matches everything", "name an axis or row.column"))
    for name, value in written.items():
        wanted = [text_of(item) for item in value] if isinstance(value, list | tuple) else [text_of(value)]
        column = name.removeprefix("row.") if name.startswith("row.") else None
        known: Sequence[str]
        if column is not None:
            if table is None or column not in table.columns:
                flaws.append(
                    Flaw(path, f"there is no column '{name}'", nearest(column, table.columns if table else ()))
                )
                continue
            place = table.columns.index(column)
            known = tuple(dict.fromkeys(text_of(cells[place]) for cells in table.cells))
            match.columns[column] = frozenset(wanted)
        elif name in axes:
            known = axes[name]
            match.axes[name] = frozenset(wanted)
        else:
            flaws.append(Flaw(path, f"there is no axis '{name}'", nearest(name, [*axes, "row.column"])))
            continue
        there = frozenset(known)
        flaws.extend(
            Flaw(f"{path}.{name}", f"'{name}' is never '{item}', so the rule matches nothing", nearest(item, known))
            for item in wanted
            if item not in there
        )
    if flaws:
        raise Flawed(*flaws)
    return match


def allowed_steps(match: Match, groups: Sequence[Group]) -> dict[int, frozenset[int]]:
    """{group: its steps that a rule means}, for the groups that the rule speaks of."""
    allowed: dict[int, frozenset[int]] = {}
    for number, group in enumerate(groups):
        rules = [(axis.texts, match.axes[axis.name]) for axis in group.axes if axis.name in match.axes]
        if rules:
            steps = range(group.length)
            allowed[number] = frozenset(step for step in steps if all(texts[step] in wanted for texts, wanted in rules))
    return allowed


def read_added(index: int, written: Mapping[str, JSON], groups: Sequence[Group]) -> Added:
    """A whole combination of `include`: every axis, every member of a zip group, nothing else. *Raises* Flawed."""
    path = f"matrix.include[{index}]"
    axes = {axis.name: axis for group in groups for axis in group.axes}
    flaws = [Flaw(path, f"there is no axis '{name}'", nearest(name, axes)) for name in written if name not in axes]
    missing = [name for name in axes if name not in written]
    if missing:
        flaws.append(Flaw(path, f"include adds whole combinations: {', '.join(missing)} is missing", "name every axis"))
    added = Added({}, {})
    for name, axis in axes.items():
        value = written.get(name)
        if isinstance(value, Mapping):
            value = dict(value)
            if not text_of(value.get("id")):
                flaws.append(Flaw(f"{path}.{name}", "a value that is a map needs an id", "{id: short-name, text: ...}"))
        elif name in written and (value is None or value == "" or isinstance(value, list | tuple)):
            flaws.append(Flaw(f"{path}.{name}", "include names one value per axis"))
        text = text_of(value)
        if not isinstance(value, dict) and text in axis.texts:
            value = axis.values[axis.texts.index(text)]
        elif isinstance(value, dict) and text in axis.texts:
            there = axis.values[axis.texts.index(text)]
            if there != value:
                what = f"'{name}' has a value with the id '{text}' that differs"
                flaws.append(Flaw(f"{path}.{name}", what, "name it by its id alone, or take another id"))
        added.values[name], added.texts[name] = value, text
    if flaws:
        raise Flawed(*flaws)
    return added


def steps_of(added: Added, groups: Sequence[Group]) -> tuple[int, ...] | None:
    """Where a combination stands among the groups' own; None when the axes do not make it."""
    found = []
    for group in groups:
        steps = range(group.length)
        wanted = [(axis.texts, added.texts[axis.name]) for axis in group.axes]
        step = next((step for step in steps if all(texts[step] == text for texts, text in wanted)), None)
        if step is None:
            return None
        found.append(step)
    return tuple(found)
