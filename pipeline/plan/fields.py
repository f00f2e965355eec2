"""Fields: what a task is made from (prompt, model, images ...), compiled once, with overrides laid over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.plan.evaluation import Scope, TemplateFault
from pipeline.plan.flaw import Flaw, Flawed, nearest
from pipeline.plan.grammar import Look
from pipeline.plan.matrix import Match, read_match
from pipeline.plan.scalar import text_of, whole_number
from pipeline.plan.table import Table
from pipeline.plan.template import (
    IMAGE_TEXT_MAX,
    TEXT_MAX,
    Expression,
    Template,
    compile_expression,
    compile_template,
)
from pipeline.spec.job import DerivedSeed, FixedSeed, JobSpec, ListedSeeds, Override
from pipeline.values.digest import JSON

#: What an override may set.
SETTABLE = ("prompt", "negative_prompt", "images", "size", "n", "samples", "seed", "params", "model")
_Value: TypeAlias = Callable[[Scope], JSON]


@dataclass(frozen=True, slots=True)
class Text:
    """A template and where it stands."""

    path: str
    template: Template

    def text(self, scope: Scope) -> str:
        """Its text for one task. *Raises* Flawed at its place."""
        try:
            return self.template.text(scope)
        except TemplateFault as fault:
            raise Flawed(Flaw(self.path, fault.what, fault.remedy)) from fault

    def value(self, scope: Scope) -> JSON:
        """Its value for one task, typed when it is a lone look-up. *Raises* Flawed at its place."""
        try:
            return self.template.value(scope)
        except TemplateFault as fault:
            raise Flawed(Flaw(self.path, fault.what, fault.remedy)) from fault

    def whole(self, scope: Scope, name: str) -> int:
        """Its value as a whole number. *Raises* Flawed at its place."""
        value = self.value(scope)
        number = whole_number(value)
        if number is None:
            raise Flawed(Flaw(self.path, f"{name} is not a whole number", "", text_of(value)[:80]))
        return number


@dataclass(frozen=True, slots=True)
class Param:
    """One further parameter: a constant, or a value made per task from its templates."""

    path: str
    constant: JSON
    make: _Value | None


@dataclass(frozen=True, slots=True)
class Fields:
    """Everything that a task is rendered from."""

    model: Text
    prompt: Text
    negative_prompt: Text | None
    #: One text each, or one lone template that yields a list.
    images: tuple[Text, ...] | Text
    size: Text | None
    n: int | Text
    n_path: str
    samples: int | Text
    samples_path: str
    seed: DerivedSeed | int | Text
    seed_path: str
    params: Mapping[str, Param]


@dataclass(frozen=True, slots=True)
class Rule:
    """An override, compiled: when it holds, `laid` goes over the fields."""

    path: str
    when: Match | Expression
    laid: Mapping[str, object]

    def holds(self, scope: Scope, texts: Mapping[str, str], row: Mapping[str, JSON]) -> bool:
        """Whether it speaks of this combination. *Raises* Flawed at its place."""
        if isinstance(self.when, Match):
            return self.when.holds(texts, row)
        try:
            return self.when.holds(scope)
        except TemplateFault as fault:
            raise Flawed(Flaw(f"{self.path}.when", fault.what, fault.remedy)) from fault


class Compiler:
    """Compiles fields, checks every name in them, and gathers the flaws."""

    def __init__(
        self, axes: Mapping[str, Sequence[str]], maps: Mapping[str, frozenset[str]], table: Table | None
    ) -> None:
        #: {axis: texts of its values}, and {axis: keys of those of its values that are maps}
        self._axes, self._maps, self._table = axes, maps, table
        self.table_unread = False
        self.flaws: list[Flaw] = []
        self.looks: dict[str, tuple[Look, ...]] = {}

    def fields(self, job: JobSpec) -> Fields:
        """The fields as the job has them."""
        seed = FixedSeed("{{ seed }}") if isinstance(job.seed, ListedSeeds) else job.seed
        return Fields(
            model=self.text("model", job.model),
            prompt=self.text("prompt", job.prompt),
            negative_prompt=None if job.negative_prompt is None else self.text("negative_prompt", job.negative_prompt),
            images=self._images("images", job.images),
            size=None if job.size is None else self.text("size", job.size),
            n=self._whole("n", job.n),
            n_path="n",
            samples=self._whole("samples", job.samples),
            samples_path="samples",
            seed=seed if isinstance(seed, DerivedSeed) else self._whole("seed", seed.value),
            seed_path="seed",
            params=self._params("params", job.params),
        )

    def rule(self, index: int, override: Override) -> Rule:
        """One override."""
        path = f"overrides[{index}]"
        when: Match | Expression = Match(f"{path}.when", {}, {})
        try:
            if isinstance(override.when, str):
                when = compile_expression(override.when)
                self._check(f"{path}.when", when.looks, sampled=False)
            else:
                when = read_match(f"{path}.when", override.when, self._axes, self._table)
        except TemplateFault as fault:
            self.flaws.append(Flaw(f"{path}.when", fault.what, fault.remedy))
        except Flawed as flawed:
            self.flaws.extend(flawed.flaws)
        laid: dict[str, object] = {}
        for name, value in override.set.items():
            self._lay(laid, f"{path}.set.{name}", name, value)
        return Rule(path, when, laid)

    def text(self, path: str, source: str, text_max: int = TEXT_MAX, *, sampled: bool = True) -> Text:
        """One template; `sampled`: it may speak of the sample's number."""
        try:
            template = compile_template(source, text_max)
        except TemplateFault as fault:
            self.flaws.append(Flaw(path, fault.what, fault.remedy))
            template = compile_template("-")
        self._check(path, template.looks, sampled=sampled)
        self.looks[path] = template.looks
        return Text(path, template)

    def _lay(self, laid: dict[str, object], path: str, name: str, value: JSON) -> None:
        match name, value:
            case (("prompt" | "model"), str()):
                laid[name] = self.text(path, value)
            case (("negative_prompt" | "size"), None):
                laid[name] = None
            case (("negative_prompt" | "size"), str()):
                laid[name] = self.text(path, value)
            case "images", str() | list() | tuple():
                laid[name] = self._images(path, value if isinstance(value, str) else tuple(map(text_of, value)))
            case (("n" | "samples"), int() | str()):
                laid[name], laid[f"{name}_path"] = self._whole(path, value), path
            case "seed", {"derive": int() as root}:
                laid["seed"], laid["seed_path"] = DerivedSeed(root), path
            case "seed", int() | str():
                laid["seed"], laid["seed_path"] = self._whole(path, value), path
            case "params", dict():
                laid["params"] = self._params(path, value)
            case _:
                known = nearest(name, SETTABLE) if name not in SETTABLE else "see the schema"
                self.flaws.append(Flaw(path, f"an override cannot set '{name}' so", known))

    def _images(self, path: str, written: tuple[str, ...] | str) -> tuple[Text, ...] | Text:
        if isinstance(written, str):
            return self.text(path, written, IMAGE_TEXT_MAX)
        return tuple(self.text(f"{path}[{index}]", source, IMAGE_TEXT_MAX) for index, source in enumerate(written))

    def _whole(self, path: str, value: int | str) -> int | Text:
        return value if isinstance(value, int) else self.text(path, value, sampled=not path.endswith("samples"))

    def _params(self, path: str, written: Mapping[str, JSON]) -> dict[str, Param]:
        made = {}
        for name, value in written.items():
            maker = self._value(f"{path}.{name}", value)
            made[name] = Param(f"{path}.{name}", value if maker is None else None, maker)
        return made

    def _value(self, path: str, value: JSON) -> _Value | None:
        """A maker for a value that holds templates; None for a constant."""
        if isinstance(value, str):
            text = self.text(path, value)
            return None if text.template.constant is not None else text.value
        if isinstance(value, list | tuple):
            items = [(item, self._value(f"{path}[{index}]", item)) for index, item in enumerate(value)]
            if all(maker is None for _, maker in items):
                return None
            return lambda scope: [item if maker is None else maker(scope) for item, maker in items]
        if isinstance(value, dict):
            pairs = [(name, item, self._value(f"{path}.{name}", item)) for name, item in value.items()]
            if all(maker is None for *_, maker in pairs):
                return None
            return lambda scope: {name: item if maker is None else maker(scope) for name, item, maker in pairs}
        return None

    def _check(self, path: str, looks: Sequence[Look], *, sampled: bool) -> None:
        for look in looks:
            flaw = self._flaw_of(path, look, sampled=sampled)
            if flaw is not None and flaw not in self.flaws:
                self.flaws.append(flaw)

    def _flaw_of(self, path: str, look: Look, *, sampled: bool) -> Flaw | None:
        if look.root == "row":
            if self._table is None:
                return (
                    None if self.table_unread else Flaw(path, "'row' is undefined: there are no inputs", "add inputs")
                )
            if look.attribute is None:
                return Flaw(path, "'row' is a whole row", "write row.column")
            if look.attribute in self._table.columns or look.optional:
                return None
            return Flaw(path, f"'row.{look.attribute}' is undefined", nearest(look.attribute, self._table.columns))
        if look.root == "steps":
            return Flaw(path, "'steps' is undefined: the job has one step", "name an axis or row.column")
        if look.root == "sample" and sampled:
            return None
        if look.root not in self._axes:
            known = [*self._axes, *(("sample",) if sampled else ()), *(("row.column",) if self._table else ())]
            return Flaw(path, f"'{look.root}' is undefined", nearest(look.root, known))
        keys = self._maps[look.root]
        if look.attribute is None or look.attribute in keys or look.optional:
            return None
        if not keys:
            return Flaw(path, f"the values of '{look.root}' are no maps", f"write {{{{ {look.root} }}}}")
        return Flaw(path, f"'{look.root}.{look.attribute}' is undefined", nearest(look.attribute, keys))


def overlay(fields: Fields, rules: Sequence[Rule]) -> Fields:
    """Fields with the rules that hold laid over them in order: the last wins, parameters one by one."""
    for rule in rules:
        laid = dict(rule.laid)
        params = laid.pop("params", None)
        if isinstance(params, dict):
            laid["params"] = {**fields.params, **params}
        fields = replace(fields, **laid)  # type: ignore[arg-type]  # names and kinds are _lay's
    return fields
