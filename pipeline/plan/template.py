"""Templates and expressions: texts compiled once, which yield a text, a value or a verdict for each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from jinja2 import nodes

from pipeline.plan.evaluation import Evaluate, Missing, Scope, TemplateFault
from pipeline.plan.grammar import Compiler, Look, has_default, parse_expression, parse_template, spell
from pipeline.plan.scalar import text_of
from pipeline.values.digest import JSON

#: Characters that one template may yield; a prompt is 800, and a data URI of 10 MB is below the larger bound.
TEXT_MAX: Final = 100_000
IMAGE_TEXT_MAX: Final = 16_000_000
SOURCE_MAX: Final = 100_000


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
    evaluate: Evaluate
    may_be_empty: bool

    def value(self, scope: Scope) -> JSON:
        found = self.evaluate(scope)
        if isinstance(found, Missing):
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
    evaluate: Evaluate
    looks: tuple[Look, ...]

    def holds(self, scope: Scope) -> bool:
        """Whether it holds. *Raises* TemplateFault for an undefined name, or kinds that do not compare."""
        found = self.evaluate(scope)
        if isinstance(found, Missing):
            raise found.fault()
        return bool(found)


def compile_template(source: str, text_max: int = TEXT_MAX) -> Template:
    """A template from its text. *Raises* TemplateFault when it is more than look-ups and the named filters."""
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return Template(source, (source,), (), text_max, source)
    if len(source) > SOURCE_MAX:
        raise TemplateFault(f"a template is longer than {SOURCE_MAX} characters")
    compiler = Compiler(text_max)
    parts: list[str | _Piece] = []
    for node in parse_template(source):
        if isinstance(node, nodes.TemplateData):
            parts.append(node.data)
        else:
            evaluate = compiler.visit(cast("nodes.Expr", node))
            parts.append(_Piece(spell(node), evaluate, has_default(node)))
    return Template(source, tuple(parts), tuple(compiler.looks), text_max, None)


def compile_expression(source: str) -> Expression:
    """A condition from its text. *Raises* TemplateFault."""
    if len(source) > SOURCE_MAX:
        raise TemplateFault(f"a condition is longer than {SOURCE_MAX} characters")
    tree = parse_expression(source)
    compiler = Compiler(TEXT_MAX)
    return Expression(source, compiler.visit(tree), tuple(compiler.looks))
