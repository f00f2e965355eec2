"""Making a plan: what a spec, its inputs and the cards come to, or every fault that keeps them from it."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.plan.assemble import additions, check_names, check_samples, exclusions, read
from pipeline.plan.bounds import constant_flaws
from pipeline.plan.expand import Plan
from pipeline.plan.fields import Compiler
from pipeline.plan.flaw import Flaw, FlawBook, Flawed
from pipeline.plan.pictures import Pictures
from pipeline.plan.places import Places
from pipeline.plan.price import caps_of
from pipeline.plan.render import Renderer
from pipeline.plan.resources import Resources
from pipeline.plan.review import PATH as REVIEW
from pipeline.plan.review import unheeded
from pipeline.spec.job import JobSpec
from pipeline.values.card import GatewayCard
from pipeline.values.money import Money


def make_plan(
    job: JobSpec,
    cards: Mapping[str, GatewayCard],
    resources: Resources,
    *,
    budget: tuple[Money, ...] | None = None,
) -> Plan:
    """What a job means: a lazy plan. `budget` is the command line's. *Raises* PlanError with every fault found."""
    book = FlawBook()
    table, groups, review, dropped = read(job, resources, book)
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
        places = Places(job, table, groups, added, excludes, rules, renderer)
        plan = Plan(job, cards, caps, table, places, rules, renderer)
    except Flawed as flawed:
        for flaw in flawed.flaws:
            book.add(flaw)
    _stop(book, job, cards)
    if not len(plan):
        book.add(Flaw("matrix.exclude", "every combination is excluded", "nothing is left to make"))
    elif review is not None:
        plan.leave_out(review.tasks)
        if (review.tasks or review.rows) and not plan.left_out and not dropped:
            plan.unheeded = unheeded(str(job.exclude_from), review)
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
