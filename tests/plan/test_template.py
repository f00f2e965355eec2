"""Templates and expressions: what they yield, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.plan.evaluation import TemplateFault
from pipeline.plan.template import compile_expression, compile_template

SCOPE: dict[str, Any] = {
    "row": {"sku": "a1", "price": 12, "empty": "", "nothing": None, "tags": ["x", "y"], "deep": {"er": "down"}},
    "color": "red",
    "n": 3,
    "flag": True,
    "bg": {"id": "oak", "text": "a warm oak table"},
    "sample": 0,
}


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("plain", "plain"),
        ("a } b { c }}", "a } b { c }}"),
        ("line\r\nline", "line\r\nline"),
        ("ends\n", "ends\n"),
        ("a {{ color }} mug", "a red mug"),
        ("{{ row.sku }}-{{ sample }}", "a1-0"),
        ("{{ row['sku'] }}", "a1"),
        ("{{ row.deep.er }}", "down"),
        ("{{ bg }} {{ bg.text }}", "oak a warm oak table"),
        ("{{ flag }}/{{ n }}", "true/3"),
        ("{{ color | upper }}", "RED"),
        ("{{ 'it\\'s a red-hot mug' | title }}", "It's A Red-Hot Mug"),
        ("{{ '  x ' | trim }}", "x"),
        ("{{ color | replace('r', 'l') | upper }}", "LED"),
        ("{{ row.gone | default('none') }}", "none"),
        ("{{ row.nothing | default('none') }}", "none"),
        ("x{{ row.empty | default('') }}", "x"),
        ("{{ row.tags | join(', ') }}", "x, y"),
        ("""{{ "{{" }} and {{ "{%" }}""", "{{ and {%"),
    ],
)
def test_yields(source: str, made: str) -> None:
    """A template yields exactly this text."""
    assert compile_template(source).text(SCOPE) == made


@pytest.mark.parametrize(
    ("source", "value"),
    [("{{ n }}", 3), ("{{ flag }}", True), ("{{ row.tags }}", ["x", "y"]), ("{{ bg }}", "oak"), (" {{ n }}", " 3")],
)
def test_lone_keeps_its_type(source: str, value: object) -> None:
    """A lone look-up keeps its type; a map is its id; anything else is text."""
    assert compile_template(source).value(SCOPE) == value


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{% if x %}", "only {{ name }}"),
        ("a {# note #}", "only {{ name }}"),
        ("{% raw %}{{ x }}{% endraw %}", "only {{ name }}"),
        ("{{ f() }}", "cannot hold a call"),
        ("{{ n + 1 }}", "cannot hold a add"),
        ("{{ color ~ color }}", "cannot hold a concat"),
        ("{{ row[n] }}", "cannot compute an index"),
        ("{{ row._x }}", "underscore"),
        ("{{ __class__ }}", "underscore"),
        ("{{ row['__class__'] }}", "underscore"),
        ("{{ color | length }}", "unknown filter 'length'"),
        ("{{ color | replace('a') }}", "takes 2 values"),
        ("{{ color | default(value='x') }}", "plain values only"),
        ("{{ color", "not a template"),
        ("{{ }}", "not a template"),
        ("{{ 'a' * 300000000 }}", "cannot hold a mul"),
    ],
)
def test_refused_when_parsed(source: str, what: str) -> None:
    """Everything but look-ups and the named filters is refused before any row is seen."""
    with pytest.raises(TemplateFault) as caught:
        compile_template(source)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("source", "what", "remedy"),
    [
        ("{{ colour }}", "'colour' is undefined", "did you mean 'color'?"),
        ("{{ row.skuu }}", "'row.skuu' is undefined", "did you mean 'sku'?"),
        ("{{ color.id }}", "'color.id' is undefined", ""),
        ("{{ row.empty }}", "'row.empty' is empty", "default"),
        ("{{ row.nothing }}", "'row.nothing' is null", "default"),
        ("{{ row.empty | default('') }}", "yields nothing", ""),
        ("a {{ row.tags }}", "is a list", "join"),
        ("a {{ row.deep }}", "is a whole map", ""),
    ],
)
def test_refused_when_rendered(source: str, what: str, remedy: str) -> None:
    """An undefined name, an empty result and a null never reach a gateway; the nearest name is told."""
    with pytest.raises(TemplateFault) as caught:
        compile_template(source).text(SCOPE)
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_length_is_bounded() -> None:
    """No template yields a text without bound."""
    source = "{{ color" + " | replace('r', 'rrrrrrrrrr')" * 12 + " }}"
    with pytest.raises(TemplateFault, match=r"too long|more than"):
        compile_template(source).text(SCOPE)


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("row.sku == 'a1'", True),
        ("row.price > 10 and color != 'blue'", True),
        ("1 < row.price <= 12", True),
        ("not (color == 'red' or n == 4)", False),
        ("color in ['red', 'teal']", True),
        ("color not in ('red',)", False),
        ("'e' in color", True),
        ("bg == 'oak'", True),
        ("row.price >= -1", True),
        ("row.nothing == 'x'", False),
        ("(row.gone | default('x')) == 'x'", True),
        ("flag", True),
    ],
)
def test_expressions(source: str, holds: bool) -> None:  # noqa: FBT001 - a table's column
    """Conditions compare as written."""
    assert compile_expression(source).holds(SCOPE) is holds


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("row.sku > 3", "compares text with a number"),
        ("row.sku == 3", "compares text with a number"),
        ("row.sku in [3]", "compares text with a number"),
        ("row.nothing < 3", "compares null"),
        ("row.gone == 'x'", "'row.gone' is undefined"),
        ("color in n", "needs a list"),
    ],
)
def test_expressions_that_cannot_be_told(source: str, what: str) -> None:
    """Text against a number is an error, not false without a word."""
    with pytest.raises(TemplateFault) as caught:
        compile_expression(source).holds(SCOPE)
    assert what in caught.value.what


@pytest.mark.parametrize("source", ["a b", "f(x)", "a +", "a if b else c", "", "a.b()"])
def test_expressions_refused(source: str) -> None:
    """A condition has Jinja2's grammar without calls, arithmetic and choices."""
    with pytest.raises(TemplateFault):
        compile_expression(source)
