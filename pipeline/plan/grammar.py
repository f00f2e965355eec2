"""The grammar of templates and expressions: Jinja2's parser, a short list of allowed nodes, and closures.

Jinja2's own renderer, sandboxed too, allocates without bound and says nothing about where an undefined name stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import jinja2
from jinja2 import nodes
from jinja2.parser import Parser

from pipeline.plan.evaluation import FILTERS, Evaluate, Missing, Scope, TemplateFault, Value, holds, known, truth
from pipeline.plan.flaw import nearest
from pipeline.values.digest import JSON

#: Look-ups, filters and comparisons inside one another, and in one template: evaluation takes time for each.
DEPTH_MAX: Final = 50
NODES_MAX: Final = 10_000
_TOKENS_MAX: Final = 25_000
#: Numbers written in a template (digits); nobody sends longer ones.
_NUMBER_MAX: Final = 10**30
_LANGUAGE: Final = jinja2.Environment(keep_trailing_newline=True, autoescape=False)  # noqa: S701 - only its parser is used
_BLOCKS: Final = frozenset({"block_begin", "comment_begin", "raw_begin", "linestatement_begin", "linecomment_begin"})


@dataclass(frozen=True, slots=True)
class Look:
    """One look-up in a template: `row.sku` is ("row", "sku"). `optional`: it stands under a `default`."""

    root: str
    attribute: str | None
    optional: bool


def parse_template(source: str) -> list[nodes.Node]:
    """The literal texts and look-ups of a template, in order. *Raises* TemplateFault."""
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


def parse_expression(source: str) -> nodes.Expr:
    """The tree of a condition. *Raises* TemplateFault."""
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
    return tree


def spell(node: nodes.Node) -> str:
    """A look-up as it was written, near enough for a message."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{spell(node.node)}.{node.attr}"
        case nodes.Getitem():
            return f"{spell(node.node)}[{spell(node.arg)}]"
        case nodes.Filter(node=nodes.Node() as inner):
            return f"{spell(inner)} | {node.name}"
        case nodes.Const():
            return repr(node.value)
        case _:
            return type(node).__name__.lower()


def has_default(node: nodes.Node) -> bool:
    """Whether a look-up may yield nothing: it has a default, or is a text itself."""
    while isinstance(node, nodes.Filter):
        if node.name == "default":
            return True
        if node.node is None:
            return False
        node = node.node
    return isinstance(node, nodes.Const)


class Compiler:
    """Turns allowed nodes into closures, and refuses the others by name."""

    def __init__(self, text_max: int) -> None:
        self.looks: list[Look] = []
        self._text_max = text_max
        self._optional = 0
        self._depth = 0
        self._nodes = 0

    def visit(self, node: nodes.Expr) -> Evaluate:
        """The closure of a node. *Raises* TemplateFault for what is not allowed, or for too much of it."""
        self._nodes += 1
        if self._depth >= DEPTH_MAX or self._nodes > NODES_MAX:
            raise TemplateFault(
                "it is nested too deeply, or has too many parts", "put the text into a column or an axis"
            )
        self._depth += 1
        made = self._visit(node)
        self._depth -= 1
        return made

    def _visit(self, node: nodes.Expr) -> Evaluate:
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
                return lambda scope: truth(left(scope)) and truth(right(scope))
            case nodes.Or():
                left, right = self.visit(node.left), self.visit(node.right)
                return lambda scope: truth(left(scope)) or truth(right(scope))
            case nodes.Not():
                inner = self.visit(node.node)
                return lambda scope: not truth(inner(scope))
            case nodes.List() | nodes.Tuple():
                items = [self.visit(item) for item in node.items]
                return lambda scope: [known(item(scope)) for item in items]
            case nodes.Neg(node=nodes.Const(value=int() | float() as number)):
                _sendable(number)
                return lambda _: -number
            case _:
                kind = type(node).__name__.lower()
                raise TemplateFault(f"a template cannot hold a {kind}", "it looks names up and uses named filters only")

    def _look(self, node: nodes.Getattr | nodes.Getitem) -> Evaluate:
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
        whole = f"{spell(node.node)}.{attribute}"

        def look(scope: Scope) -> Value:
            owner = inner(scope)
            if isinstance(owner, dict):
                found = owner.get(attribute, look)
                return Missing(whole, tuple(owner)) if found is look else found
            return owner if isinstance(owner, Missing) else Missing(whole, ())

        return look

    def _filter(self, node: nodes.Filter) -> Evaluate:
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
        return FILTERS[node.name](inner, [self.visit(arg) for arg in node.args], self._text_max)

    def _compare(self, node: nodes.Compare) -> Evaluate:
        first = self.visit(node.expr)
        rest = [(operand.op, self.visit(operand.expr)) for operand in node.ops]

        def compare(scope: Scope) -> Value:
            left = known(first(scope))
            for name, other in rest:
                right = known(other(scope))
                if not holds(name, left, right):
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


def _name(name: str) -> Evaluate:
    def look(scope: Scope) -> Value:
        found = scope.get(name, look)
        return Missing(name, tuple(scope)) if found is look else cast("JSON", found)

    return look
