"""Rendering: one located combination becomes one task, with its id, seed, price and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.plan import identity
from pipeline.plan.bounds import SIZE, SIZE_WORD, find_model, misspelt_size, seedless
from pipeline.plan.evaluation import Scope
from pipeline.plan.fields import Fields, Rule, Text, overlay
from pipeline.plan.flaw import Flaw, Flawed
from pipeline.plan.naming import safe_path
from pipeline.plan.pictures import Pictures, sent_as
from pipeline.plan.price import Tariff, tariff_of
from pipeline.plan.scalar import text_of
from pipeline.spec.job import DerivedSeed, JobSpec
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.digest import JSON
from pipeline.values.task import Input, Task

STEP: Final = "image"
_FIXED: Final = '"fixed"'
_SEEDLESS: Final = '"none"'


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a task stands: its row, its combination and its sample."""

    number: int
    scope: Scope
    texts: dict[str, str]
    row: Mapping[str, JSON]
    row_text: Mapping[str, str]
    row_id: str | None
    sample: int


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a model and a set of overrides fix for all of their tasks. Texts are JSON."""

    gateway: str
    gateway_json: str
    card: ModelCard
    model_json: str
    tariff: Tariff
    #: {name: value} sent besides what the spec writes.
    always: Mapping[str, JSON]
    #: Parameters that are no part of what is bought, and so of no id.
    apart: frozenset[str]
    #: As sent, as JSON, and as written in JSON; None when templates make them.
    params: tuple[Mapping[str, JSON], str, str] | None


class Renderer:
    """Makes tasks from fields; remembers what many tasks share."""

    def __init__(  # noqa: PLR0917 - made by make_plan only
        self,
        job: JobSpec,
        cards: Mapping[str, GatewayCard],
        caps: Mapping[str, int] | None,
        fields: Fields,
        rules: Sequence[Rule],
        path: Text | None,
        pictures: Pictures,
    ) -> None:
        self.fields = fields
        self.pictures = pictures
        #: Bits of the overrides that have held for some task.
        self.matched = 0
        self._job, self._cards, self._caps = job, cards, caps
        self._rules = tuple(rules)
        self._path = path
        self._laid: dict[int, Fields] = {0: fields}
        self._terms: dict[tuple[int, str], _Terms | Flaw] = {}
        self._sampling = tuple(rule for rule in rules if "samples" in rule.laid)

    def samples(self, scope: Scope, texts: Mapping[str, str], row: Mapping[str, JSON]) -> int:
        """How many samples a combination has. *Raises* Flawed."""
        samples, path = self.fields.samples, self.fields.samples_path
        for rule in self._sampling:
            if rule.holds(scope, texts, row):
                samples, path = rule.laid["samples"], f"{rule.path}.set.samples"  # type: ignore[assignment]  # laid so
        number = samples if isinstance(samples, int) else samples.whole(scope, "samples")
        if number < 1:
            raise Flawed(Flaw(path, "samples is below 1", "leave combinations out with matrix.exclude"))
        return number

    def render(self, placed: Placed) -> Task:
        """The task. *Raises* Flawed with every flaw of its fields."""
        scope, sample = placed.scope, placed.sample
        mask = self._mask(placed) if self._rules else 0
        fields = self._fields(mask)
        flaws: list[Flaw] = []
        prompt = negative = size = ""
        sized: str | None = None
        negated: str | None = None
        inputs: tuple[Input, ...] = ()
        inputs_json = "[]"
        count, path = 1, ""
        terms: _Terms | None = None
        try:
            terms = self._model(mask, fields, scope)
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            prompt = fields.prompt.text(scope)
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            if fields.negative_prompt is not None:
                negated = fields.negative_prompt.text(scope)
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            if fields.size is not None:
                sized = _size(fields.size, scope)
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            count = fields.n if isinstance(fields.n, int) else fields.n.whole(scope, "n")
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            if fields.images:
                inputs, inputs_json = self._inputs(fields, scope)
                if terms is not None and terms.card.pictures is not None and terms.card.pictures.upload_formats:
                    inputs = tuple([sent_as(source, terms.card.pictures) for source in inputs])
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        try:
            if self._path is not None:
                path = safe_path(self._path.text(scope))
        except Flawed as flawed:
            flaws.extend(flawed.flaws)
        if flaws or terms is None:
            raise Flawed(*flaws)
        params, sent_json, written_json = terms.params or self._params(fields, terms, scope)
        operation = "image.edit" if inputs else "image.generate"
        prompt_json, negative, size = map(identity.json_text, (prompt, negated, sized))
        operation_json = f'"{operation}"'
        try:
            seed, rule = self._seed(
                fields,
                terms,
                placed,
                (operation_json, prompt_json, negative, inputs_json, written_json, size, count, sample),
            )
            name = identity.task_id(
                terms.gateway_json,
                terms.model_json,
                operation_json,
                prompt_json,
                negative,
                inputs_json,
                sent_json,
                size,
                count,
                rule,
                seed,
                sample,
            )
        except UnicodeEncodeError as error:
            what = "the text holds half of a character (a lone surrogate)"
            raise Flawed(Flaw(fields.prompt.path, what, "mend it in the table")) from error
        return Task(
            placed.number,
            name,
            STEP,
            operation,
            terms.gateway,
            terms.card.name,
            prompt,
            negated,
            sized,
            count,
            seed,
            params,
            inputs,
            terms.tariff.price(params, sized, len(inputs)),
            placed.row_id,
            placed.row_text,
            placed.texts,
            sample,
            path,
        )

    def origin(self, placed: Placed, path: str) -> str:
        """The dotted path in the spec of what a task has at `path`, with overrides seen through."""
        fields = self._fields(self._mask(placed))
        name, _, rest = path.partition(".")
        head, bracket, index = name.partition("[")
        if head == "images" and isinstance(fields.images, Text):
            return fields.images.path
        match head:
            case "prompt":
                return fields.prompt.path
            case "negative_prompt" if fields.negative_prompt is not None:
                return fields.negative_prompt.path
            case "size" if fields.size is not None:
                return fields.size.path
            case "n":
                return fields.n_path
            case "seed":
                return fields.seed_path
            case "params" if rest in fields.params:
                return fields.params[rest].path
            case "images" if isinstance(fields.images, tuple) and fields.images:
                place = fields.images[int(index[:-1]) if bracket else 0].path
                return place if bracket else place.rpartition("[")[0]
            case _:
                return path

    def _mask(self, placed: Placed) -> int:
        mask = 0
        for bit, rule in enumerate(self._rules):
            if rule.holds(placed.scope, placed.texts, placed.row):
                mask |= 1 << bit
        self.matched |= mask
        return mask

    def _fields(self, mask: int) -> Fields:
        fields = self._laid.get(mask)
        if fields is None:
            held = [rule for bit, rule in enumerate(self._rules) if mask >> bit & 1]
            fields = self._laid[mask] = overlay(self.fields, held)
        return fields

    def _model(self, mask: int, fields: Fields, scope: Scope) -> _Terms:
        name = fields.model.text(scope)
        found = self._terms.get((mask, name))
        if found is None:
            try:
                found = self._make_terms(name, fields)
            except Flawed as flawed:
                found = flawed.flaws[0]
            self._terms[mask, name] = found
        if isinstance(found, Flaw):
            raise Flawed(found)
        return found

    def _make_terms(self, name: str, fields: Fields) -> _Terms:
        path = fields.model.path
        card, found = find_model(name, path, self._cards)
        try:
            tariff = tariff_of(self._job, card, found, self._caps)
        except Flawed as flawed:
            raise Flawed(
                *(Flaw(path if f.path == "model" else f.path, f.what, f.remedy) for f in flawed.flaws)
            ) from None
        always = {key: rule.always for key, rule in found.parameters.items() if rule.always is not None}
        apart = frozenset(key for key, rule in found.parameters.items() if not rule.identity)
        params = None
        if all(param.make is None for param in fields.params.values()):
            params = _sent({key: param.constant for key, param in fields.params.items()}, always, apart)
        quote = identity.json_text
        return _Terms(card.name, quote(card.name), found, quote(found.name), tariff, always, apart, params)

    def _params(self, fields: Fields, terms: _Terms, scope: Scope) -> tuple[Mapping[str, JSON], str, str]:
        written = {
            key: param.constant if param.make is None else param.make(scope) for key, param in fields.params.items()
        }
        return _sent(written, terms.always, terms.apart)

    def _inputs(self, fields: Fields, scope: Scope) -> tuple[tuple[Input, ...], str]:
        written: list[tuple[str, str]]
        if isinstance(fields.images, tuple):
            written = [(text.path, text.text(scope)) for text in fields.images]
        else:
            value = fields.images.value(scope)
            written = []
            for item in value if isinstance(value, list | tuple) else (value,):
                if not isinstance(item, str) or not item:
                    raise Flawed(Flaw(fields.images.path, "a picture is named by text", "", text_of(item)[:80]))
                written.append((fields.images.path, item))
        found = [self.pictures.resolve(name, path) for path, name in written]
        return tuple([source for source, _ in found]), f"[{','.join([text for _, text in found])}]"

    def _seed(
        self,
        fields: Fields,
        terms: _Terms,
        placed: Placed,
        asked: tuple[str, str, str, str, str, str, int, int],
    ) -> tuple[int | None, str]:
        rule, top = fields.seed, terms.card.seed_max
        if isinstance(rule, DerivedSeed):
            if top is None:
                return None, _SEEDLESS
            seed = identity.asked_digest(rule.root, *asked)
            return (seed if seed <= top else seed % (top + 1)), f'{{"derive":{rule.root}}}'
        if placed.sample and not (
            isinstance(rule, Text) and any(look.root == "sample" for look in rule.template.looks)
        ):
            remedy = "list as many seeds as you want samples, or derive them: seed: {derive: 42}"
            raise Flawed(Flaw(fields.seed_path, "with a fixed seed, samples above 1 would be identical", remedy))
        if top is None:
            raise Flawed(seedless(fields.seed_path, terms.card))
        return (rule if isinstance(rule, int) else rule.whole(placed.scope, "seed")), _FIXED


def _sent(
    written: Mapping[str, JSON], always: Mapping[str, JSON], apart: frozenset[str]
) -> tuple[Mapping[str, JSON], str, str]:
    """What is sent; and what of that, and of what is written, is part of a task's identity, as JSON."""
    sent = {**always, **written}
    if not apart:
        return sent, identity.json_of(sent), identity.json_of(written)
    bought, asked = ({key: value for key, value in each.items() if key not in apart} for each in (sent, written))
    return sent, identity.json_of(bought), identity.json_of(asked)


def _size(text: Text, scope: Scope) -> str:
    made = text.text(scope)
    if not SIZE.fullmatch(made) and not SIZE_WORD.fullmatch(made):
        raise Flawed(misspelt_size(text.path, made))
    return made
