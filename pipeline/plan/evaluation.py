"""What templates are evaluated with: the names in scope, what is missing from it, filters and comparisons."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.plan.flaw import nearest
from pipeline.plan.scalar import text_of
from pipeline.values.digest import JSON

Scope: TypeAlias = Mapping[str, JSON]


class TemplateFault(Exception):  # noqa: N818 - becomes a flaw with a place
    """A template or expression that is wrong, or that has no value for some task."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Missing:
    """The value of a name that is not there, with what is needed to say so."""

    name: str
    known: tuple[str, ...]

    def fault(self) -> TemplateFault:
        """What is said of it."""
        return TemplateFault(f"'{self.name}' is undefined", nearest(self.name.rpartition(".")[2], self.known))


Value: TypeAlias = "JSON | Missing"
Evaluate: TypeAlias = Callable[[Scope], Value]


_COMPARE: Final[Mapping[str, Callable[..., object]]] = {
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
}


def known(value: Value) -> JSON:
    """A value that is there; a map with an `id` is its id. *Raises* TemplateFault."""
    if isinstance(value, Missing):
        raise value.fault()
    return text_of(value) if isinstance(value, dict) and "id" in value else value


def truth(value: Value) -> bool:
    """Whether a value counts as true. *Raises* TemplateFault when it is missing."""
    return bool(known(value))


def _kind(value: JSON) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else ""


def _same(left: JSON, right: JSON) -> bool:
    """Equality that refuses text against a number, which would be false without a word for every csv cell."""
    kinds = _kind(left), _kind(right)
    if all(kinds) and kinds[0] != kinds[1]:
        raise TemplateFault(
            f"the condition compares {kinds[0]} with {kinds[1]}", "cells of csv and tsv are text: quote the value"
        )
    return left == right


def holds(name: str, left: JSON, right: JSON) -> bool:
    """Whether a comparison holds, by Jinja2's name of it. *Raises* TemplateFault for kinds that do not compare."""
    match name:
        case "eq":
            return _same(left, right)
        case "ne":
            return not _same(left, right)
        case "in" | "notin":
            if isinstance(right, str) and isinstance(left, str):
                found = left in right
            elif isinstance(right, Sequence) and not isinstance(right, str):
                found = any(_same(left, item) for item in right)
            else:
                raise TemplateFault("'in' needs a list or a text on its right")
            return found == (name == "in")
        case _:
            if not _kind(left) or _kind(left) != _kind(right):
                raise TemplateFault(
                    f"the condition compares {_kind(left) or 'null'} with {_kind(right) or 'null'}",
                    "cells of csv and tsv are text: only typed tables (jsonl) compare as numbers",
                )
            return bool(_COMPARE[name](left, right))


_WORD: Final = re.compile(r"[^\W_][\w'\u2019]*")


_Filter: TypeAlias = Callable[[Evaluate, list[Evaluate], int], Evaluate]


def _textual(change: Callable[[str], str]) -> _Filter:
    return lambda inner, _, __: lambda scope: change(text_of(known(inner(scope))))


def _replace(inner: Evaluate, args: list[Evaluate], text_max: int) -> Evaluate:
    def replace(scope: Scope) -> JSON:
        text, old, new = text_of(known(inner(scope))), text_of(known(args[0](scope))), text_of(known(args[1](scope)))
        if not old:
            raise TemplateFault("replace needs a text to look for")
        if len(text) + text.count(old) * (len(new) - len(old)) > max(text_max, len(text)):
            raise TemplateFault("replace yields too long a text")
        return text.replace(old, new)

    return replace


def _default(inner: Evaluate, args: list[Evaluate], _text_max: int) -> Evaluate:
    def default(scope: Scope) -> Value:
        found = inner(scope)
        return args[0](scope) if isinstance(found, Missing) or found is None or found == "" else found

    return default


def _join(inner: Evaluate, args: list[Evaluate], text_max: int) -> Evaluate:
    def join(scope: Scope) -> JSON:
        items = known(inner(scope))
        if not isinstance(items, list | tuple):
            raise TemplateFault("join needs a list")
        between = text_of(known(args[0](scope))) if args else ""
        texts = [text_of(item) for item in items]
        if sum(map(len, texts)) + len(between) * len(texts) > text_max:
            raise TemplateFault("join yields too long a text")
        return between.join(texts)

    return join


#: {name: what makes a closure of it}: the filters that a template may use.
FILTERS: Final[Mapping[str, _Filter]] = {
    "lower": _textual(str.lower),
    "upper": _textual(str.upper),
    "title": _textual(lambda text: _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), text)),
    "trim": _textual(str.strip),
    "replace": _replace,
    "default": _default,
    "join": _join,
}
