"""What was written: a job as typed parts, in the order of the YAML. No meaning yet; that is plan's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.errors import Place
from pipeline.values.digest import JSON
from pipeline.values.money import Money


@dataclass(frozen=True, slots=True)
class Inputs:
    """`inputs`: a table whose records become rows. `where` is an expression's text."""

    source: str
    id: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class ListAxis:
    """Values written out: scalars, or maps with an `id`."""

    name: str
    values: tuple[JSON, ...]


@dataclass(frozen=True, slots=True)
class LinesAxis:
    """One value per non-empty line of a file."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class FilesAxis:
    """One value per file that matches a glob, in sorted order."""

    name: str
    glob: str


@dataclass(frozen=True, slots=True)
class RangeAxis:
    """Numbers from `start` to `stop`, both included, as the decimal texts that were written."""

    name: str
    start: str
    stop: str
    step: str


Axis: TypeAlias = ListAxis | LinesAxis | FilesAxis | RangeAxis


@dataclass(frozen=True, slots=True)
class ZipGroup:
    """Axes that advance together; equal lengths."""

    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """`matrix`: axes and groups in written order, then what is left out and added."""

    axes: tuple[Axis | ZipGroup, ...] = ()
    #: Each: {axis or row.column: value, or list of values}.
    exclude: tuple[Mapping[str, JSON], ...] = ()
    include: tuple[Mapping[str, JSON], ...] = ()


@dataclass(frozen=True, slots=True)
class Override:
    """`overrides`: when a combination matches (map of equalities, or an expression's text), set these keys."""

    when: Mapping[str, JSON] | str
    set: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class DerivedSeed:
    """A seed from the digest of what is asked, under a root. `seed` left out is root 0."""

    root: int = 0


@dataclass(frozen=True, slots=True)
class FixedSeed:
    """Exactly this seed in every task, or a template that yields one."""

    value: int | str


@dataclass(frozen=True, slots=True)
class ListedSeeds:
    """Short for an axis named `seed`."""

    values: tuple[int, ...]


Seed: TypeAlias = DerivedSeed | FixedSeed | ListedSeeds


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """`limits` of a gateway or gateway/model: (requests, seconds), operations at once, unanswered POSTs at once."""

    rate: tuple[int, float] | None = None
    in_flight: int | None = None
    unanswered: int | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as written, checked for form. `positions` maps dotted YAML paths ("matrix.color[0]") to places."""

    name: str
    model: str
    prompt: str
    inputs: Inputs | None = None
    #: `inputs.exclude_from`: a review.csv, of which what was rejected is left out.
    exclude_from: str | None = None
    matrix: Matrix = field(default_factory=Matrix)
    overrides: tuple[Override, ...] = ()
    images: tuple[str, ...] | str = ()
    negative_prompt: str | None = None
    size: str | None = None
    n: int | str = 1
    samples: int | str = 1
    seed: Seed = field(default_factory=DerivedSeed)
    params: Mapping[str, JSON] = field(default_factory=dict)
    #: () means `budget: none`, written out; None means that no budget was written.
    budget: tuple[Money, ...] | None = None
    #: {unit: Money in the cap's unit, per one unit}, pinned exchange rates.
    rates: Mapping[str, Money] = field(default_factory=dict)
    #: {gateway/model: Money per image}, for models whose price is unknown.
    prices: Mapping[str, Money] = field(default_factory=dict)
    limits: Mapping[str, LaneLimits] = field(default_factory=dict)
    attempts_max: int = 3
    on_doubt: str = "hold"
    #: Gateways whose keys buy for this job alone while it runs: what evidence about doubts may rest on.
    dedicated: tuple[str, ...] = ()
    output_path: str | None = None
    order: str = "written"
    description: str = ""
    #: The file's name as given on the command line.
    file: str = "spec.yaml"
    #: The text as read, for the run folder.
    text: str = ""
    #: {dotted path: where its value stands}; `place()` falls back to the nearest parent.
    positions: Mapping[str, Place] = field(default_factory=dict)
    #: {dotted path: where its key stands}
    key_positions: Mapping[str, Place] = field(default_factory=dict)

    def key_place(self, path: str) -> Place:
        """Where a key itself stands: `matrix.color`; its value's place for items of a list."""
        return self.key_positions.get(path) or self.place(path)

    def place(self, path: str) -> Place:
        """Where a key's value stands in the file: `matrix.color[0]`; the nearest known parent otherwise."""
        while path:
            if path in self.positions:
                return self.positions[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return self.positions.get("", Place(self.file, 1, 1))
