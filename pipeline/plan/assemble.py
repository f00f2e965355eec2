"""Assembly: a job's table, axes and rules, read and checked, with every flaw noted in one book."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.plan.fields import Compiler, Fields, Rule
from pipeline.plan.flaw import Flaw, FlawBook, Flawed, nearest
from pipeline.plan.matrix import Added, Group, Match, allowed_steps, read_added, read_match, resolve_axes
from pipeline.plan.resources import Resources
from pipeline.plan.review import Review, read_review, without_rejected
from pipeline.plan.table import Table, read_table
from pipeline.spec.job import JobSpec, ListedSeeds, ZipGroup
from pipeline.values.card import GatewayCard


def read(
    job: JobSpec, resources: Resources, book: FlawBook
) -> tuple[Table | None, tuple[Group, ...], Review | None, int]:
    """The table without the rows that a review rejected, groups, review, how many rows; flaws go into the book."""
    review: Review | None = None
    table: Table | None = None
    groups: tuple[Group, ...] = ()
    dropped = 0
    try:
        groups = resolve_axes(job.matrix, job.seed, resources)
    except Flawed as flawed:
        for flaw in flawed.flaws:
            book.add(flaw)
    try:
        review = read_review(job.exclude_from, resources)
    except Flawed as flawed:
        for flaw in flawed.flaws:
            book.add(flaw)
    try:
        table = None if job.inputs is None else read_table(job.inputs, resources)
        if table is not None and review is not None:
            before, table = len(table), without_rejected(table, review)
            dropped = before - len(table)
    except Flawed as flawed:
        for flaw in flawed.flaws:
            book.add(flaw)
    if book:
        _check_templates(job, table, groups, book)
    return table, groups, review, dropped


def _check_templates(job: JobSpec, table: Table | None, groups: tuple[Group, ...], book: FlawBook) -> None:
    """When axes or rows are broken, at least the form of the templates is told at once."""
    names = {axis.name for part in job.matrix.axes for axis in (part.axes if isinstance(part, ZipGroup) else (part,))}
    names |= {"seed"} if isinstance(job.seed, ListedSeeds) else set()
    if len(names) != sum(len(group.axes) for group in groups):
        return
    axes = {axis.name: list(axis.texts) for group in groups for axis in group.axes}
    maps = {
        axis.name: frozenset(key for value in axis.values if isinstance(value, dict) for key in value)
        for group in groups
        for axis in group.axes
    }
    compiler = Compiler(axes, maps, table)
    compiler.table_unread = job.inputs is not None and table is None
    compiler.fields(job)
    for flaw in compiler.flaws:
        book.add(flaw)


def check_names(job: JobSpec, cards: Mapping[str, GatewayCard], book: FlawBook) -> None:
    """Every name in `limits`, `prices` and `dedicated` is a gateway or a model."""
    lanes = [
        f"{card.name}/{name}"
        for card in cards.values()
        for model in card.models.values()
        for name in (model.name, *model.aliases)
    ]
    for name in job.limits:
        if name not in cards and name not in lanes:
            book.add(Flaw(f"limits.{name}", f"limits for the unknown '{name}'", nearest(name, [*cards, *lanes])))
    for index, name in enumerate(job.dedicated):
        if name not in cards:
            book.add(Flaw(f"dedicated[{index}]", f"the unknown gateway '{name}'", nearest(name, cards)))
    for name in job.prices:
        if name not in lanes:
            book.add(Flaw(f"prices.{name}", f"a price for the unknown '{name}'", nearest(name, lanes)))


def additions(job: JobSpec, groups: tuple[Group, ...], book: FlawBook) -> tuple[Added, ...]:
    """What `include` adds."""
    made: list[Added] = []
    seen: set[tuple[str, ...]] = set()
    for index, written in enumerate(job.matrix.include):
        if not groups:
            book.add(Flaw(f"matrix.include[{index}]", "there are no axes to add to"))
            continue
        try:
            added = read_added(index, written, groups)
        except Flawed as flawed:
            for flaw in flawed.flaws:
                book.add(flaw)
            continue
        key = tuple(added.texts.values())
        if key in seen:
            book.add(Flaw(f"matrix.include[{index}]", "this combination is added twice", "remove one"))
        seen.add(key)
        made.append(added)
    return tuple(made)


def exclusions(job: JobSpec, groups: tuple[Group, ...], table: Table | None, book: FlawBook) -> tuple[Match, ...]:
    """What `exclude` leaves out; a rule that matches nothing is a flaw."""
    axes = {axis.name: axis.texts for group in groups for axis in group.axes}
    made = []
    for index, written in enumerate(job.matrix.exclude):
        path = f"matrix.exclude[{index}]"
        try:
            match = read_match(path, written, axes, table)
        except Flawed as flawed:
            for flaw in flawed.flaws:
                book.add(flaw)
            continue
        together = all(allowed_steps(match, groups).values())
        if together and table is not None and len(match.columns) > 1:
            together = any(match.holds_row(table.row(number)) for number in range(len(table)))
        if not together:
            book.add(Flaw(path, "the rule matches nothing: its values never stand together"))
        made.append(match)
    return tuple(made)


def check_samples(job: JobSpec, fields: Fields, rules: tuple[Rule, ...], book: FlawBook) -> None:
    """Numbers of samples from 1, and none above 1 with a fixed seed."""
    numbers: list[tuple[str, object]] = [("samples", fields.samples)]
    numbers += [(f"{rule.path}.set.samples", rule.laid["samples"]) for rule in rules if "samples" in rule.laid]
    for path, number in numbers:
        if isinstance(number, int) and number < 1:
            book.add(Flaw(path, "samples is below 1", "leave combinations out with matrix.exclude"))
    fixed = isinstance(fields.seed, int) or isinstance(job.seed, ListedSeeds)
    if fixed and isinstance(fields.samples, int) and fields.samples > 1 and not rules:
        remedy = "list as many seeds as you want samples, or derive them: seed: {derive: 42}"
        book.add(Flaw("seed", f"with a fixed seed the {fields.samples} samples would be identical", remedy))
