"""Expansion: a plan is a function from task number to task, counted and addressed without listing anything."""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import PlanError
from pipeline.plan import identity
from pipeline.plan.assemble import additions, check_names, check_samples, exclusions, read
from pipeline.plan.bounds import constant_flaws, find_model
from pipeline.plan.fields import Compiler, Rule, Text
from pipeline.plan.flaw import Flaw, FlawBook, Flawed
from pipeline.plan.grid import Grid
from pipeline.plan.matrix import (
    Added,
    Group,
    Match,
    allowed_steps,
    steps_of,
)
from pipeline.plan.pictures import Pictures
from pipeline.plan.price import caps_of
from pipeline.plan.render import Placed, Renderer
from pipeline.plan.resources import Resources
from pipeline.plan.review import PATH as REVIEW
from pipeline.plan.scalar import text_of
from pipeline.plan.table import Table
from pipeline.spec.job import DerivedSeed, JobSpec, LaneLimits
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.digest import JSON, digest
from pipeline.values.money import Money
from pipeline.values.task import Task

__all__ = ["Lane", "Plan", "make_plan"]

#: The golden section spreads any prefix of 0..N-1 evenly over all of it (three-distance theorem).
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
#: Tasks that can be counted; what a plan may have is in `check`.
_COUNT_MAX: Final = 10**12
_NO_ROW: Final[dict[str, JSON]] = {}


@dataclass(frozen=True, slots=True)
class Lane:
    """A model at a gateway with the limits in force. *Units* - rate_period_s: seconds."""

    card: ModelCard
    rate_count: int
    rate_period_s: float
    in_flight: int
    unanswered: int
    #: Where the rate is from: how sure the card is of it, or `limits` of the spec.
    rate_basis: str = ""


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


class Plan:
    """A lazy sequence of tasks addressed by number. Memory: rows and axis values, whatever the number of tasks."""

    def __init__(  # noqa: PLR0917 - made by make_plan only
        self,
        job: JobSpec,
        cards: Mapping[str, GatewayCard],
        caps: Mapping[str, int] | None,
        table: Table | None,
        groups: tuple[Group, ...],
        added: tuple[Added, ...],
        excludes: tuple[Match, ...],
        rules: tuple[Rule, ...],
        renderer: Renderer,
    ) -> None:
        self.job = job
        self.cards = cards
        #: {unit: cap in micro-units}; None when the spec has no budget.
        self.caps = caps
        self.groups = groups
        self._table = table
        self._added = added
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
        rows = len(table) if table is not None else 1
        self._all = _bounded(self._ends[-1] if self._ends is not None else rows * self._kind(0).total)
        #: How many tasks before it are kept, of each one that a review leaves out, in order.
        self._left_out = array("q")
        self._stride, self._shift = self._spread()
        self._digest: str | None = None
        self._lanes: dict[str, Lane] | None = None
        self._aliases: dict[str, str] = {}

    # --- what a plan is -------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def rows(self) -> int:
        """How many input rows there are; 1 without inputs."""
        return len(self._table) if self._table is not None else 1

    @property
    def shape(self) -> str:
        """`12 rows x 3 color x 2 scene x 2 samples`, as written; exclusions and additions are not in it."""
        parts = [f"{len(self._table)} rows"] if self._table is not None else []
        parts += [f"{group.length} {'+'.join(axis.name for axis in group.axes)}" for group in self.groups]
        if isinstance(self.job.samples, int) and self.job.samples > 1:
            parts.append(f"{self.job.samples} samples")
        return " x ".join(parts)

    @property
    def lanes(self) -> dict[str, Lane]:
        """{gateway/model: its card and limits} of every model that the job can name."""
        if self._lanes is None:
            self._lanes = {}
            for name in self._models():
                try:
                    card, model = find_model(name, "model", self.cards)
                except Flawed:
                    continue
                lane = f"{card.name}/{model.name}"
                self._lanes[lane] = _lane(self.job, model)
                if name != lane:
                    self._aliases[name] = lane
        return dict(self._lanes)

    @property
    def aliases(self) -> dict[str, str]:
        """{model as the job names it: the name that its card has}, where they differ. They are the same model."""
        return dict(self._aliases) if self.lanes else {}

    @property
    def digest(self) -> str:
        """SHA-256 over what the job means, 64 hex digits: a change of any task changes it; names, limits, caps do not.

        It reads every picture that the job names, through the digest cache.
        """
        if self._digest is None:
            self._digest = self._make_digest()
        return self._digest

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Paths of overrides that have matched no task built so far."""
        return tuple(rule.path for bit, rule in enumerate(self._rules) if not self._renderer.matched >> bit & 1)

    def inline_bytes(self, sha256: str) -> bytes | None:
        """The bytes of a picture that the spec or a row holds as a data URI; None when no task has it."""
        pictures = self._renderer.pictures
        found = pictures.inline_bytes(sha256)
        if found is None:
            for _ in self._image_identities():
                found = pictures.inline_bytes(sha256)
                if found is not None:
                    break
        return found

    def __len__(self) -> int:
        return self._all - len(self._left_out)

    def task(self, number: int) -> Task:
        """The task at a number. *Raises* IndexError; PlanError when it cannot be made."""
        try:
            return self.build(number)
        except Flawed as flawed:
            book = FlawBook()
            for flaw in flawed.flaws:
                book.add(flaw, self.label(number))
            raise PlanError(book.mistakes(self.job)) from flawed

    def tasks(self, start: int = 0) -> Iterator[Task]:
        """Every task from a number on, in order. *Raises* PlanError."""
        for number in range(start, len(self)):
            yield self.task(number)

    def leave_out(self, ids: Collection[str]) -> None:
        """Leave out the tasks with these ids, once and before anything else: the others close up."""
        assert not self._left_out
        if ids:
            numbers = (number for number in range(self._all) if self._id_of(number) in ids)
            # Kept aside until all are found: `build` counts by what is left out already.
            self._left_out = array("q", [number - before for before, number in enumerate(list(numbers))])

    @property
    def left_out(self) -> int:
        """How many tasks a review leaves out."""
        return len(self._left_out)

    def _id_of(self, number: int) -> str | None:
        try:
            return self.build(number).id
        except Flawed:
            return None  # told when the plan is checked

    def build(self, number: int) -> Task:
        """Like `task`, and raises Flawed: for the room's own use."""
        return self._renderer.render(self.locate(number))

    def label(self, number: int) -> str:
        """What a person calls a task: `row 12, color red, sample 1`; empty when there is but one."""
        if len(self) == 1:
            return ""
        placed = self.locate(number)
        parts = [f"row {placed.row_id}"] if placed.row_id is not None else []
        parts += [f"{name} {text}" for name, text in placed.texts.items()]
        if placed.sample:
            parts.append(f"sample {placed.sample}")
        return ", ".join(parts) or f"task {number}"

    def origin(self, number: int, path: str) -> str:
        """Where a field of a task was written: `size`, or the override that set it for this task."""
        return self._renderer.origin(self.locate(number), path)

    def locate(self, number: int) -> Placed:
        """Row, combination and sample of a task number."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        offset = number + bisect_right(self._left_out, number)
        offset = (offset * self._stride + self._shift) % self._all if self._stride else offset
        if self._ends is None:
            kind = self._kind(0)
            row_index, offset = divmod(offset, kind.total)
        else:
            row_index = bisect_right(self._ends, offset)
            offset -= self._ends[row_index - 1] if row_index else 0
            kind = self._kind(row_index)
        row, row_text = self._read_row(row_index)
        inside = kind.grid.root.total
        if offset < inside:
            steps, sample = kind.grid.find(offset)
            scope, texts = self._combination(steps)
        else:
            offset -= inside
            place = bisect_right(kind.ends, offset)
            sample = offset - (kind.ends[place - 1] if place else 0)
            added = self._added[place]
            scope, texts = dict(added.values), dict(added.texts)
        scope["row"] = row
        scope["sample"] = sample
        return Placed(
            number, scope, texts, row, row_text, self._table.ids[row_index] if self._table is not None else None, sample
        )

    # --- counting -------------------------------------------------------------------------------------------------

    def _combination(self, steps: Sequence[int]) -> tuple[dict[str, JSON], dict[str, str]]:
        scope: dict[str, JSON] = {}
        texts: dict[str, str] = {}
        for group, name, values, names in self._axes:
            step = steps[group]
            scope[name] = values[step]
            texts[name] = names[step]
        return scope, texts

    def _read_row(self, index: int) -> tuple[dict[str, JSON], Mapping[str, str]]:
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
        row = self._read_row(index)[0]
        held = tuple([match.holds_row(row) for match in self._apart.matches])
        key = held + tuple(
            value if isinstance(value, str) else (identity.json_of(value) if name in row else None,)
            for name, value in ((name, row.get(name)) for name in self._apart.columns)
        )
        kind = self._kinds.get(key)
        return kind if kind is not None else self._make_kind(key, index)

    def _make_kind(self, key: tuple[object, ...], index: int) -> _Kind:
        row = self._read_row(index)[0]

        def samples(steps: tuple[int, ...]) -> int:
            scope, texts = self._combination(steps)
            return self._renderer.samples({**scope, "row": row}, texts, row)

        rules = [allowed for match, allowed in self._excludes if match.holds_row(row)]
        grid = Grid([group.length for group in self.groups], rules, self._apart.tracked, samples)
        ends, total = [], 0
        for place, added in enumerate(self._added):
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

    def _spread(self) -> tuple[int, int]:
        """Stride and shift of `order: even`; a stride coprime to the length visits every residue of every fast axis."""
        if self.job.order != "even" or self._all < 3:
            return 0, 0
        stride = max(1, round(self._all * _GOLDEN))
        while math.gcd(stride, self._all) != 1:
            stride += 1
        root = self.job.seed.root if isinstance(self.job.seed, DerivedSeed) else 0
        return stride, int(digest({"order": root})[:12], 16) % self._all

    # --- what the job can name ------------------------------------------------------------------------------------

    def _renderings(self, text: Text) -> Iterator[str] | None:
        """Every text that a template can yield, at least; None when it speaks of samples."""
        looks = text.template.looks
        if any(look.root == "sample" for look in looks):
            return None
        return self._walk(text, {look.root for look in looks})

    def _walk(self, text: Text, names: set[str]) -> Iterator[str]:
        groups = [number for number, group in enumerate(self.groups) if any(axis.name in names for axis in group.axes)]
        rows = range(self.rows) if "row" in names else range(1)
        steps = [0] * len(self.groups)
        for index in rows:
            row = self._read_row(index)[0]
            for flat in range(math.prod(self.groups[number].length for number in groups)):
                rest = flat
                for number in groups:
                    rest, steps[number] = divmod(rest, self.groups[number].length)
                yield from _lines({**self._combination(steps)[0], "row": row}, text)
            if groups:
                for added in self._added:
                    yield from _lines({**added.values, "row": row}, text)

    def _models(self) -> list[str]:
        found: dict[str, None] = {}
        texts = [self._renderer.fields.model, *(rule.laid["model"] for rule in self._rules if "model" in rule.laid)]
        for text in texts:
            assert isinstance(text, Text)
            renderings = self._renderings(text)
            if renderings is None:
                return [f"{card.name}/{model}" for card in self.cards.values() for model in card.models]
            found.update(dict.fromkeys(renderings))
        return list(found)

    def _image_identities(self) -> Iterator[str]:
        """The identity of every input picture, at least, in a fixed order; a fault stands for itself."""
        laid = [self._renderer.fields.images, *(rule.laid["images"] for rule in self._rules if "images" in rule.laid)]
        for images in laid:
            texts = images if isinstance(images, tuple) else (images,)
            for text in texts:
                assert isinstance(text, Text)
                renderings = self._renderings(text)
                if renderings is None:
                    for number in range(len(self)):
                        try:
                            yield self.build(number).id
                        except Flawed as flawed:
                            yield str(flawed)
                    continue
                for written in renderings:
                    try:
                        yield self._renderer.pictures.resolve(written, text.path)[1]
                    except Flawed as flawed:
                        yield str(flawed)

    def _make_digest(self) -> str:
        job = self.job
        parts: list[JSON] = [
            identity.OPERATION_VERSION,
            [job.model, job.prompt, job.negative_prompt, job.size, job.n, job.samples, job.output_path, job.order],
            job.images if isinstance(job.images, str) else list(job.images),
            repr(job.seed),
            dict(job.params),
            [[rule.when if isinstance(rule.when, str) else dict(rule.when), dict(rule.set)] for rule in job.overrides],
            [dict(rule) for rule in job.matrix.exclude],
            [[dict(added.values), dict(added.texts)] for added in self._added],
            [[[axis.name, list(axis.values), list(axis.texts)] for axis in group.axes] for group in self.groups],
            self._rows_digest(),
            _chain(self._image_identities()),
            sorted(self.caps or ()),
            {unit: str(money) for unit, money in job.rates.items()},
            {model: str(money) for model, money in job.prices.items()},
            {name: _terms(self.cards, lane.card) for name, lane in sorted(self.lanes.items())},
        ]
        if self._left_out:
            parts.append(list(self._left_out))
        return digest(parts)

    def _rows_digest(self) -> str:
        if self._table is None:
            return ""
        rows = (identity.json_of([self._table.ids[index], self._table.row(index)]) for index in range(self.rows))
        return _chain(rows)


def too_many(most: int) -> Flaw:
    """What is said of a job with more tasks than that."""
    return Flaw("matrix", f"the job has more than {most:,} tasks", "split it into several jobs, or take fewer values")


def _bounded(total: int) -> int:
    if total > _COUNT_MAX:
        raise Flawed(too_many(_COUNT_MAX))
    return total


def _chain(texts: Iterator[str]) -> str:
    """A digest of many texts, none of which is kept."""
    chain = hashlib.sha256()
    for text in texts:
        chain.update(text.encode(errors="surrogatepass") + b"\n")
    return chain.hexdigest()


def _lines(scope: dict[str, JSON], text: Text) -> Iterator[str]:
    try:
        value = text.value(scope)
    except Flawed:
        return
    yield from (text_of(item) for item in (value if isinstance(value, list | tuple) else (value,)))


def _terms(cards: Mapping[str, GatewayCard], card: ModelCard) -> JSON:
    """What of a card enters a task: the price, and parameters that are always sent."""
    always = {name: parameter.always for name, parameter in card.parameters.items() if parameter.always is not None}
    rate = cards[card.gateway].rates.get(card.price_unit)
    terms: list[JSON] = [card.price_per_image, card.price_per_call, card.price_unit, card.price_source, rate, always]
    rules: list[JSON] = [[dict(rule.when), rule.area_above, rule.per_image] for rule in card.price_rules]
    apart = sorted(name for name, parameter in card.parameters.items() if not parameter.identity)
    return [*terms, card.seed_max, card.price_per_input, rules, list[JSON](apart)]


def _lane(job: JobSpec, card: ModelCard) -> Lane:
    whole = job.limits.get(card.gateway, LaneLimits())
    names = (card.name, *card.aliases)
    own = next((job.limits[lane] for name in names if (lane := f"{card.gateway}/{name}") in job.limits), LaneLimits())
    stated = own.rate or whole.rate
    rate = stated or (int(card.rate.value or 60), card.rate_period_s)
    return Lane(
        card,
        rate[0],
        rate[1],
        own.in_flight or whole.in_flight or int(card.in_flight.value or 1),
        own.unanswered or whole.unanswered or int(card.unanswered.value or 1),
        card.rate.certainty if stated is None else "limits",
    )


def make_plan(
    job: JobSpec,
    cards: Mapping[str, GatewayCard],
    resources: Resources,
    *,
    budget: tuple[Money, ...] | None = None,
) -> Plan:
    """What a job means: a lazy plan. `budget` is the command line's. *Raises* PlanError with every fault found."""
    book = FlawBook()
    table, groups, review = read(job, resources, book)
    check_names(job, cards, book)
    _stop(book, job, cards)
    added = additions(job, groups, book)
    values = {axis.name: [*zip(axis.texts, axis.values, strict=True)] for group in groups for axis in group.axes}
    for extra in added:
        for name, text in extra.texts.items():
            values[name].append((text, extra.values[name]))
    axes = {name: [text for text, _ in pairs] for name, pairs in values.items()}
    maps = {name: frozenset(k for _, v in pairs if isinstance(v, dict) for k in v) for name, pairs in values.items()}
    compiler = Compiler(axes, maps, table)
    fields = compiler.fields(job)
    path = None if job.output_path is None else compiler.text("outputs.path", job.output_path)
    rules = tuple(compiler.rule(index, override) for index, override in enumerate(job.overrides))
    for flaw in compiler.flaws:
        book.add(flaw)
    excludes = exclusions(job, groups, table, book)
    check_samples(job, fields, rules, book)
    _stop(book, job, cards)
    caps = caps_of(job, budget, cards)
    renderer = Renderer(job, cards, caps, fields, rules, path, Pictures(resources))
    try:
        plan = Plan(job, cards, caps, table, groups, added, excludes, rules, renderer)
    except Flawed as flawed:
        for flaw in flawed.flaws:
            book.add(flaw)
    _stop(book, job, cards)
    if not len(plan):
        book.add(Flaw("matrix.exclude", "every combination is excluded", "nothing is left to make"))
    elif review is not None:
        plan.leave_out(review.tasks)
        if not len(plan):
            book.add(Flaw(REVIEW, "the review rejects every task", "nothing is left to make"))
    _stop(book, job, cards)
    return plan


def _stop(book: FlawBook, job: JobSpec, cards: Mapping[str, GatewayCard]) -> None:
    """*Raises* PlanError when anything was noted, with all else that is known to be wrong already."""
    if book:
        for flaw in constant_flaws(job, cards):
            book.add_constant(flaw)
    book.stop(job)
