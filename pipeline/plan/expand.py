"""Expansion: a plan is a function from task number to task, counted and addressed without listing anything."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping

from pipeline.errors import PlanError
from pipeline.plan import identity
from pipeline.plan.bounds import find_model
from pipeline.plan.fields import Rule
from pipeline.plan.flaw import FlawBook, Flawed
from pipeline.plan.lanes import Lane, lane_of
from pipeline.plan.mentions import Mentions
from pipeline.plan.places import Places
from pipeline.plan.render import Placed, Renderer
from pipeline.plan.table import Table
from pipeline.spec.job import JobSpec
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.digest import JSON, digest
from pipeline.values.task import Task


class Plan:
    """A lazy sequence of tasks addressed by number. Memory: rows and axis values, whatever the number of tasks."""

    def __init__(  # noqa: PLR0917 - made by make_plan only
        self,
        job: JobSpec,
        cards: Mapping[str, GatewayCard],
        caps: Mapping[str, int] | None,
        table: Table | None,
        places: Places,
        rules: tuple[Rule, ...],
        renderer: Renderer,
    ) -> None:
        self.job = job
        self.cards = cards
        #: {unit: cap in micro-units}; None when the spec has no budget.
        self.caps = caps
        self.groups = places.groups
        self._table = table
        self._rules = rules
        self._renderer = renderer
        self._places = places
        self._mentions = Mentions(places, rules, renderer)
        #: How many tasks before it are kept, of each one that a review leaves out, in order.
        self._left_out = array("q")
        #: What is to be said of a review that rejects nothing of this job; empty when there is nothing to say.
        self.unheeded = ""
        self._digest: str | None = None
        self._lanes: dict[str, Lane] | None = None
        self._aliases: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def rows(self) -> int:
        """How many input rows there are; 1 without inputs."""
        return self._places.rows

    @property
    def lanes(self) -> dict[str, Lane]:
        """{gateway/model: its card and limits} of every model that the job can name."""
        if self._lanes is None:
            self._lanes = {}
            models = self._mentions.models()
            for name in models if models is not None else self._every_model():
                try:
                    card, model = find_model(name, "model", self.cards)
                except Flawed:
                    continue
                lane = f"{card.name}/{model.name}"
                self._lanes[lane] = lane_of(self.job, model)
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
            for _ in self._mentions.pictures(self._ids):
                found = pictures.inline_bytes(sha256)
                if found is not None:
                    break
        return found

    def __len__(self) -> int:
        return self._places.total - len(self._left_out)

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
            numbers = (number for number in range(self._places.total) if self._id_of(number) in ids)
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
        return self._places.find(number + bisect_right(self._left_out, number), number)

    def _every_model(self) -> list[str]:
        return [f"{card.name}/{model}" for card in self.cards.values() for model in card.models]

    def _ids(self) -> Iterator[str]:
        """Every task's id; a fault stands for itself."""
        for number in range(len(self)):
            try:
                yield self.build(number).id
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
            [[dict(added.values), dict(added.texts)] for added in self._places.added],
            [[[axis.name, list(axis.values), list(axis.texts)] for axis in group.axes] for group in self.groups],
            self._rows_digest(),
            _chain(self._mentions.pictures(self._ids)),
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


def _chain(texts: Iterator[str]) -> str:
    """A digest of many texts, none of which is kept."""
    chain = hashlib.sha256()
    for text in texts:
        chain.update(text.encode(errors="surrogatepass") + b"\n")
    return chain.hexdigest()


def _terms(cards: Mapping[str, GatewayCard], card: ModelCard) -> JSON:
    """What of a card enters a task: the price, and parameters that are always sent."""
    always = {name: parameter.always for name, parameter in card.parameters.items() if parameter.always is not None}
    rate = cards[card.gateway].rates.get(card.price_unit)
    terms: list[JSON] = [card.price_per_image, card.price_per_call, card.price_unit, card.price_source, rate, always]
    rules: list[JSON] = [[dict(rule.when), rule.area_above, rule.per_image] for rule in card.price_rules]
    apart = sorted(name for name, parameter in card.parameters.items() if not parameter.identity)
    return [*terms, card.seed_max, card.price_per_input, rules, list[JSON](apart)]
