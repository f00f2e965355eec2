"""Templates and expressions: Jinja2's grammar, a short list of allowed nodes, and closures instead of its renderer.

Jinja2's own renderer, sandboxed too, allocates without bound and says nothing about where an undefined name stands.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from pipeline.plan.flaw import nearest
from pipeline.plan.scalar import text_of
from pipeline.values.digest import JSON

Scope: TypeAlias = Mapping[str, JSON]

#: Characters that one template may yield; a prompt is 800, and a data URI of 10 MB is below the larger bound.
TEXT_MAX: Final = 100_000
IMAGE_TEXT_MAX: Final = 16_000_000
SOURCE_MAX: Final = 100_000
#: Look-ups, filters and comparisons inside one another, and in one template: evaluation takes time for each.
DEPTH_MAX: Final = 50
NODES_MAX: Final = 10_000
_TOKENS_MAX: Final = 25_000
#: Numbers written in a template (digits); nobody sends longer ones.
_NUMBER_MAX: Final = 10**30
FILTERS: Final = ("lower", "upper", "title", "trim", "replace", "default", "join")
_LANGUAGE: Final = jinja2.Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - only its parser is used
_BLOCKS: Final = frozenset({"block_begin", "comment_begin", "raw_begin", "linestatement_begin", "linecomment_begin"})


class TemplateFault(Exception):  # noqa: N818 - becomes a flaw with a place
    """A template or expression that is wrong, or that has no value for some task."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class _Missing:
    """The value of a name that is not there, with what is needed to say so."""

    name: str
    known: tuple[str, ...]

    def fault(self) -> TemplateFault:
        return TemplateFault(f"'{self.name}' is undefined", nearest(self.name.rpartition(".")[2], self.known))


_Value: TypeAlias = "JSON | _Missing"
_Evaluate: TypeAlias = Callable[[Scope], _Value]


@dataclass(frozen=True, slots=True)
class Look:
    """One look-up in a template: `row.sku` is ("row", "sku"). `optional`: it stands under a `default`."""

    root: str
    attribute: str | None
    optional: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. *Shape* - parts: literal texts and evaluators in order."""

    source: str
    parts: tuple[str | _Piece, ...]
    looks: tuple[Look, ...]
    text_max: int
    #: The text when there is nothing to evaluate.
    constant: str | None

    def text(self, scope: Scope) -> str:
        """The text for one task. *Raises* TemplateFault when a name is undefined or a result is null or empty."""
        if self.constant is not None:
            return self.constant
        made = "".join(self._pieces(scope))
        if not made or made.isspace():
            raise TemplateFault("the template yields nothing", "an empty text is never sent")
        return made

    def _pieces(self, scope: Scope) -> list[str]:
        pieces: list[str] = []
        left = self.text_max
        for part in self.parts:
            piece = part if isinstance(part, str) else part.text(scope)
            pieces.append(piece)
            # Looked at piece by piece, so that what is too long is never put together.
            left -= len(piece)
            if left < 0:
                raise TemplateFault(f"a template yields more than {self.text_max} characters")
        return pieces

    def value(self, scope: Scope) -> JSON:
        """Like `text`, but a lone `{{ x }}` keeps its type."""
        if len(self.parts) == 1 and isinstance(self.parts[0], _Piece):
            found = self.parts[0].value(scope)
            return text_of(found) if isinstance(found, dict) else found
        return self.text(scope)


@dataclass(frozen=True, slots=True)
class _Piece:
    source: str
    evaluate: _Evaluate
    may_be_empty: bool

    def value(self, scope: Scope) -> JSON:
        found = self.evaluate(scope)
        if isinstance(found, _Missing):
            raise found.fault()
        if found is None:
            raise TemplateFault(f"'{self.source}' is null", "fill it in, or give it a default: | default('...')")
        return found

    def text(self, scope: Scope) -> str:
        found = self.value(scope)
        if found.__class__ is not str:
            if isinstance(found, dict) and "id" not in found:
                raise TemplateFault(f"'{self.source}' is a whole map", f"name a part of it: {self.source}.name")
            if isinstance(found, list | tuple):
                raise TemplateFault(f"'{self.source}' is a list", f"join it: {self.source} | join(', ')")
            found = text_of(found)
        if not found and not self.may_be_empty:
            raise TemplateFault(f"'{self.source}' is empty", "fill it in, or give it a default: | default('...')")
        return found


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition of `where` or `when`."""

    source: str
    evaluate: _Evaluate
    looks: tuple[Look, ...]

    def holds(self, scope: Scope) -> bool:
        """Whether it holds. *Raises* TemplateFault for an undefined name, or kinds that do not compare."""
        found = self.evaluate(scope)
        if isinstance(found, _Missing):
            raise found.fault()
        return bool(found)


def compile_template(source: str, text_max: int = TEXT_MAX) -> Template:
    """A template from its text. *Raises* TemplateFault when it is more than look-ups and the named filters."""
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return Template(source, (source,), (), text_max, source)
    if len(source) > SOURCE_MAX:
        raise TemplateFault(f"a template is longer than {SOURCE_MAX} characters")
    compiler = _Compiler(text_max)
    parts: list[str | _Piece] = []
    for node in _parse(source):
        if isinstance(node, nodes.TemplateData):
            parts.append(node.data)
        else:
            evaluate = compiler.visit(cast("nodes.Expr", node))
            parts.append(_Piece(_spell(node), evaluate, _has_default(node)))
    return Template(source, tuple(parts), tuple(compiler.looks), text_max, None)


def compile_expression(source: str) -> Expression:
    """A condition from its text. *Raises* TemplateFault."""
    if len(source) > SOURCE_MAX:
        raise TemplateFault(f"a condition is longer than {SOURCE_MAX} characters")
    try:
        parser = Parser(_LANGUAGE, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateFault(f"'{parser.stream.current.value}' stands after the end of the condition")
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFault(f"not a condition: {error.message}") from error
    except RecursionError as error:
        raise TemplateFault("the condition is nested too deeply") from error
    except ValueError as error:  # Python's own bound on the digits of a number
        raise TemplateFault("a number in the condition is too long") from error
    compiler = _Compiler(TEXT_MAX)
    return Expression(source, compiler.visit(tree), tuple(compiler.looks))


def _parse(source: str) -> list[nodes.Node]:
    try:
        for number, (_, kind, _) in enumerate(_LANGUAGE.lex(source)):
            if number > _TOKENS_MAX:
                raise TemplateFault("a template has too many parts", "put the text into a column or an axis")
            if kind in _BLOCKS:
                raise TemplateFault(
                    "a template holds only {{ name }}, no statements or comments",
                    """for the characters themselves write {{ "{%" }}""",
                )
        body = _LANGUAGE.parse(source).body
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFault(f"not a template: {error.message}", """for braces themselves write {{ "{{" }}""") from error
    except RecursionError as error:
        raise TemplateFault("the template is nested too deeply") from error
    except ValueError as error:
        raise TemplateFault("a number in the template is too long") from error
    found: list[nodes.Node] = []
    for node in body:
        if not isinstance(node, nodes.Output):
            raise TemplateFault("a template holds only {{ name }}, no statements")
        found.extend(node.nodes)
    return found


def _spell(node: nodes.Node) -> str:
    """A look-up as it was written, near enough for a message."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_spell(node.node)}.{node.attr}"
        case nodes.Getitem():
            return f"{_spell(node.node)}[{_spell(node.arg)}]"
        case nodes.Filter(node=nodes.Node() as inner):
            return f"{_spell(inner)} | {node.name}"
        case nodes.Const():
            return repr(node.value)
        case _:
            return type(node).__name__.lower()


def _has_default(node: nodes.Node) -> bool:
    while isinstance(node, nodes.Filter):
        if node.name == "default":
            return True
        if node.node is None:
            return False
        node = node.node
    return isinstance(node, nodes.Const)


_COMPARE: Final[Mapping[str, Callable[..., object]]] = {
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
}


class _Compiler:
    """Turns allowed nodes into closures, and refuses the others by name."""

    def __init__(self, text_max: int) -> None:
        self.looks: list[Look] = []
        self._text_max = text_max
        self._optional = 0
        self._depth = 0
        self._nodes = 0

    def visit(self, node: nodes.Expr) -> _Evaluate:
        self._nodes += 1
        if self._depth >= DEPTH_MAX or self._nodes > NODES_MAX:
            raise TemplateFault(
                "it is nested too deeply, or has too many parts", "put the text into a column or an axis"
            )
        self._depth += 1
        made = self._visit(node)
        self._depth -= 1
        return made

    def _visit(self, node: nodes.Expr) -> _Evaluate:
        match node:
            case nodes.Const():
                value = _sendable(cast("JSON", node.value))
                return lambda _: value
            case nodes.Name():
                self.looks.append(Look(_plain(node.name), None, bool(self._optional)))
                return _name(node.name)
            case nodes.Getattr() | nodes.Getitem():
                return self._look(node)
            case nodes.Filter():
                return self._filter(node)
            case nodes.Compare():
                return self._compare(node)
            case nodes.And():
                left, right = self.visit(node.left), self.visit(node.right)
                return lambda scope: _truth(left(scope)) and _truth(right(scope))
            case nodes.Or():
                left, right = self.visit(node.left), self.visit(node.right)
                return lambda scope: _truth(left(scope)) or _truth(right(scope))
            case nodes.Not():
                inner = self.visit(node.node)
                return lambda scope: not _truth(inner(scope))
            case nodes.List() | nodes.Tuple():
                items = [self.visit(item) for item in node.items]
                return lambda scope: [_known(item(scope)) for item in items]
            case nodes.Neg(node=nodes.Const(value=int() | float() as number)):
                _sendable(number)
                return lambda _: -number
            case _:
                kind = type(node).__name__.lower()
                raise TemplateFault(f"a template cannot hold a {kind}", "it looks names up and uses named filters only")

    def _look(self, node: nodes.Getattr | nodes.Getitem) -> _Evaluate:
        if isinstance(node, nodes.Getattr):
            attribute = node.attr
        elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
            attribute = node.arg.value
        else:
            raise TemplateFault("a template cannot compute an index", "write row.column")
        _plain(attribute)
        place = len(self.looks)
        inner = self.visit(node.node)
        if isinstance(node.node, nodes.Name):
            self.looks[place] = Look(node.node.name, attribute, bool(self._optional))
        whole = f"{_spell(node.node)}.{attribute}"

        def look(scope: Scope) -> _Value:
            owner = inner(scope)
            if isinstance(owner, dict):
                found = owner.get(attribute, look)
                return _Missing(whole, tuple(owner)) if found is look else found
            return owner if isinstance(owner, _Missing) else _Missing(whole, ())

        return look

    def _filter(self, node: nodes.Filter) -> _Evaluate:
        if node.name not in FILTERS:
            raise TemplateFault(f"unknown filter '{node.name}'", nearest(node.name, FILTERS))
        if node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            raise TemplateFault(f"the filter {node.name} takes plain values only")
        counts = {"replace": (2, 2), "default": (1, 1), "join": (0, 1)}.get(node.name, (0, 0))
        if not counts[0] <= len(node.args) <= counts[1]:
            raise TemplateFault(f"the filter {node.name} takes {counts[1]} values, not {len(node.args)}")
        self._optional += node.name == "default"
        inner = self.visit(node.node)
        self._optional -= node.name == "default"
        return _FILTERS[node.name](inner, [self.visit(arg) for arg in node.args], self._text_max)

    def _compare(self, node: nodes.Compare) -> _Evaluate:
        first = self.visit(node.expr)
        rest = [(operand.op, self.visit(operand.expr)) for operand in node.ops]

        def compare(scope: Scope) -> _Value:
            left = _known(first(scope))
            for name, other in rest:
                right = _known(other(scope))
                if not _holds(name, left, right):
                    return False
                left = right
            return True

        return compare


def _sendable(value: JSON) -> JSON:
    if isinstance(value, int | float) and not -_NUMBER_MAX < value < _NUMBER_MAX:
        raise TemplateFault("a number in it is too long")
    return value


def _plain(name: str) -> str:
    if name.startswith("_"):
        raise TemplateFault(f"'{name}' begins with an underscore", "such names are refused; rename the column")
    return name


def _name(name: str) -> _Evaluate:
    def look(scope: Scope) -> _Value:
        found = scope.get(name, look)
        return _Missing(name, tuple(scope)) if found is look else cast("JSON", found)

    return look


def _known(value: _Value) -> JSON:
    if isinstance(value, _Missing):
        raise value.fault()
    return text_of(value) if isinstance(value, dict) and "id" in value else value


def _truth(value: _Value) -> bool:
    return bool(_known(value))


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


def _holds(name: str, left: JSON, right: JSON) -> bool:
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


_Filter: TypeAlias = Callable[[_Evaluate, list[_Evaluate], int], _Evaluate]


def _textual(change: Callable[[str], str]) -> _Filter:
    return lambda inner, _, __: lambda scope: change(text_of(_known(inner(scope))))


def _replace(inner: _Evaluate, args: list[_Evaluate], text_max: int) -> _Evaluate:
    def replace(scope: Scope) -> JSON:
        text, old, new = text_of(_known(inner(scope))), text_of(_known(args[0](scope))), text_of(_known(args[1](scope)))
        if not old:
            raise TemplateFault("replace needs a text to look for")
        if len(text) + text.count(old) * (len(new) - len(old)) > max(text_max, len(text)):
            raise TemplateFault("replace yields too long a text")
        return text.replace(old, new)

    return replace


def _default(inner: _Evaluate, args: list[_Evaluate], _text_max: int) -> _Evaluate:
    def default(scope: Scope) -> _Value:
        found = inner(scope)
        return args[0](scope) if isinstance(found, _Missing) or found is None or found == "" else found

    return default


def _join(inner: _Evaluate, args: list[_Evaluate], text_max: int) -> _Evaluate:
    def join(scope: Scope) -> JSON:
        items = _known(inner(scope))
        if not isinstance(items, list | tuple):
            raise TemplateFault("join needs a list")
        between = text_of(_known(args[0](scope))) if args else ""
        texts = [text_of(item) for item in items]
        if sum(map(len, texts)) + len(between) * len(texts) > text_max:
            raise TemplateFault("join yields too long a text")
        return between.join(texts)

    return join


_FILTERS: Final[Mapping[str, _Filter]] = {
    "lower": _textual(str.lower),
    "upper": _textual(str.upper),
    "title": _textual(lambda text: _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), text)),
    "trim": _textual(str.strip),
    "replace": _replace,
    "default": _default,
    "join": _join,
}
