"""S9: templates look declared names up and use seven filters; two hundred ways to get more out of them do not work."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Final

import pytest

from pipeline.errors import PlanError
from pipeline.plan.check import check
from pipeline.plan.evaluation import TemplateFault
from pipeline.plan.make import make_plan
from pipeline.plan.template import IMAGE_TEXT_MAX, TEXT_MAX, compile_expression, compile_template
from pipeline.spec.load import load_job
from tests.plan.jobs import CARDS, Memory
from tests.spec.specs import HEAD, SCHEMA

CANARY: Final = "canary-9Zt4-in-the-environment"
SCOPE: Final[dict[str, Any]] = {
    "color": "red",
    "scene": {"id": "oak", "text": "a table", "__class__": "trap", "_private": "trap"},
    "row": {"sku": "7", "__dict__": "trap", "format": "text", "items": "things"},
    "sample": 0,
    "long": "x" * 9_000_000,
    "many": ["y" * 1000] * 20_000,
    "number": 7,
}
_DUNDERS: Final = (
    "__class__", "__init__", "__globals__", "__dict__", "__mro__", "__subclasses__", "__builtins__", "__reduce__",
)  # fmt: skip


def _words(text: str) -> list[str]:
    return text.split()


WALKS: Final = [
    *(pattern % name for name in _DUNDERS for pattern in (
        "{{ color.%s }}", "{{ color['%s'] }}", "{{ row.%s }}", "{{ scene.text.%s }}", "{{ (color | upper).%s }}",
        "{{ %s }}", "{{ ''.%s }}", "{{ color | default(scene.%s) }}",
    )),
    "{{ row['\\x5f\\x5fdict\\x5f\\x5f'] }}", "{{ scene._private }}", "{{ scene['_' 'private'] }}",
    "{{ color.upper() }}", "{{ color.format }}", "{{ color.encode }}", "{{ row.keys }}", "{{ row.values() }}",
    "{{ row.get('sku') }}", "{{ color[0] }}", "{{ color[0:2] }}", "{{ color[::-1] }}", "{{ row[color] }}",
    "{{ many[0] }}", "{{ number.real }}", "{{ number.numerator }}", "{{ sample.__add__ }}",
]  # fmt: skip
NAMES: Final = [
    f"{{{{ {name} }}}}"
    for name in _words(
        "self loop super caller lipsum cycler joiner namespace range dict config request g session url_for environ env"
        " os sys open eval exec import None.x true.x steps job spec key secret MULEROUTER_API_KEY HOME this globals"
    )
]
CALLS: Final = [
    "{{ range(10) }}", "{{ lipsum(5) }}", "{{ dict(a=1) }}", "{{ cycler('a') }}", "{{ open('/etc/passwd') }}",
    "{{ eval('1') }}", "{{ color() }}", "{{ 'a'.join(many) }}", "{{ '%s' % color }}", "{{ '{}'.format(color) }}",
    "{{ 7 * 7 }}", "{{ 2 ** 9999999 }}", "{{ 9 // 2 }}", "{{ 'a' * 999999999 }}", "{{ color ~ color }}",
    "{{ color + color }}", "{{ [color] * 9 }}", "{{ 7 % 4 }}", "{{ -color }}", "{{ +1 }}", "{{ {'a': 1} }}",
    "{{ color if number else sample }}", "{{ number is odd }}", "{{ color is defined }}", "{{ color is not none }}",
    "{{ [x for x in many] }}", "{{ lambda: 1 }}", "{{ color := 1 }}", "{{ await color }}", "{{ *many }}",
    "{{ color | replace(*many) }}", "{{ color | replace('a', **row) }}", "{{ color | replace(old='a', new='b') }}",
]  # fmt: skip
FILTERS: Final = [
    f"{{{{ color | {name} }}}}"
    for name in _words(
        "attr('x') map('x') format(1) pprint tojson safe escape e e|e center(999999999) indent(99) xmlattr urlize"
        " wordwrap(1) truncate(1) batch(2) slice(2) groupby('a') select reject sort unique random reverse list sum"
        " string int float round(2) filesizeformat items first last length dictsort wordcount striptags abs min max"
        " Lower upper.lower upper(1) trim('x') default default(1,2,3) join(1,2) replace('a') replace(1,2,3) title()x"
    )
]
STATEMENTS: Final = [
    "{% for i in range(99) %}x{% endfor %}", "{% if 1 %}x{% endif %}", "{% set a = 1 %}", "{% include 'a' %}",
    "{% import 'a' as b %}", "{% from 'a' import b %}", "{% extends 'a' %}", "{% macro m() %}{% endmacro %}",
    "{% call m() %}{% endcall %}", "{% raw %}x{% endraw %}", "{% block a %}{% endblock %}",
    "{% filter upper %}x{% endfilter %}",
    "{% autoescape true %}x{% endautoescape %}", "{% do x %}", "{% with a = 1 %}x{% endwith %}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}", "{% print color %}", "{# comment #}", "{%", "{#", "{{", "{{ color", "{{ }}", "{{ color }} {% if",
    "{{ color }}{#- x -#}", "{%- for x in many -%}", "{{ '{{' }", "{{ color } }", "{{ {{ color }} }}",
]  # fmt: skip
BOMBS: Final = [
    "{{ long }}", "{{ long | upper }}", "{{ color }}" + "{{ long }}" * 9_000, "{{ many | join }}",
    "{{ many | join(long) }}", "{{ long | replace('x', long) }}", "{{ color | replace('', 'x') }}",
    "{{ many }}", "{{ row }}", "{{ number }}" + " " * 100_000,
    "{{ color" + " | upper" * 8_000 + " }}", "{{ color" + " | replace('e', 'eeeeeeeeee')" * 45 + " }}",
    "{{ " + "(" * 40_000 + "color" + ")" * 40_000 + " }}", "{{ " + "[" * 300 + "]" * 300 + " | join }}",
    "{{ " + "not " * 20_000 + "color }}", "{{ color" + " and color" * 8_000 + " }}", "{{ color" + ".a" * 40_000 + " }}",
    "{{ " + "1" * 90_000 + " }}", "{{ 0x" + "f" * 90_000 + " }}", "{{ 1e999 }}", "{{ -1e999 }}",
    "{{ 0b" + "1" * 9_000 + " }}",
    "{{ color == color" + " == color" * 8_000 + " }}", "{{ [" + "color," * 15_000 + "] | join }}",
    "{{ [" + "long," * 900 + "] | join }}", "{{ color" + " or color" * 60 + " }}", "x" * 100_001 + "{{ color }}",
    "{{ color | default(color" + " | default(color" * 60 + ")" * 61 + " }}",
]  # fmt: skip
#: What other template languages and formatters would act on: here it is text, and stays as it is.
LITERAL: Final = [
    "{0.__init__.__globals__}", "{color.__class__}", "{color!r:>999999999}", "{:>999999999}", "%(color)s",
    "%999999999d",
    "%s%s%s%n", "${HOME}", "$HOME", "$(id)", "`id`", "${{ github.token }}".replace("{{", "{ {"), "<%= 7*7 %>", "#{7*7}",
    "${7*7}", "[[${7*7}]]", "@(7*7)", "!ENV HOME", "~root", "%HOME%", "{color}", "{ { color } }", "}}", "%}", "#}",
]  # fmt: skip
REFUSED: Final = [*WALKS, *NAMES, *CALLS, *FILTERS, *STATEMENTS, *BOMBS]


def test_there_are_more_than_two_hundred_payloads() -> None:
    """The count that the programme asks for, each different."""
    assert len(set(REFUSED)) == len(REFUSED)
    assert len(REFUSED) + len(LITERAL) >= 200


@pytest.mark.parametrize("payload", REFUSED, ids=lambda text: text[:40])
def test_a_payload_is_refused(payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a sentence that holds nothing of the environment, in well under a second, as a prompt and as a picture."""
    monkeypatch.setenv("MULEROUTER_API_KEY", CANARY)
    begun = time.process_time()
    for text_max in (TEXT_MAX, IMAGE_TEXT_MAX):
        if text_max == IMAGE_TEXT_MAX and payload.startswith(("{{ long", "{{ many | join }}", "{{ number }} ")):
            continue  # Nine million letters are a picture's size.
        with pytest.raises(TemplateFault) as caught:
            compile_template(payload, text_max).text(SCOPE)
        assert CANARY not in caught.value.what + caught.value.remedy
        assert "trap" not in caught.value.what
        assert len(caught.value.what) < 120_000
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("payload", LITERAL)
def test_what_other_languages_act_on_is_text(payload: str) -> None:
    """Not one of their marks means anything."""
    assert compile_template(payload).text(SCOPE) == payload
    assert compile_template("{{ color }}").text({"color": payload}) == payload


@pytest.mark.parametrize("payload", [*REFUSED, *LITERAL], ids=lambda text: text[:40])
def test_values_are_never_templates(payload: str) -> None:
    """A template in a cell, an axis or a parameter is its letters: what was looked up is not looked into."""
    assert compile_template("{{ row.x }}", IMAGE_TEXT_MAX).text({"row": {"x": payload}}) == payload


@pytest.mark.parametrize("payload", [*WALKS, *NAMES, *CALLS, *FILTERS], ids=lambda text: text[:40])
def test_conditions_refuse_the_same(payload: str) -> None:
    """`when` and `where` are no way around: refused, or no more than a look that finds nothing."""
    inner = payload.removeprefix("{{").removesuffix("}}").strip()
    if not inner.strip("0123456789"):
        return
    with pytest.raises(TemplateFault):
        compile_expression(inner).holds(SCOPE)


def test_a_template_yields_no_more_than_its_bound() -> None:
    """The longest texts are possible, one letter more is not, and nothing longer is put together on the way."""
    template = compile_template("{{ a }}{{ b }}")
    assert len(template.text({"a": "x" * (TEXT_MAX - 1), "b": "y"})) == TEXT_MAX
    with pytest.raises(TemplateFault, match="more than"):
        template.text({"a": "x" * TEXT_MAX, "b": "y"})


@pytest.mark.parametrize("key", ["prompt", "model", "size", "negative_prompt", "outputs", "params", "when", "axis"])
def test_a_payload_in_a_spec_is_a_mistake_with_its_place(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever key it stands in; and the message shows nothing of what it reached for."""
    monkeypatch.setenv("HOME", CANARY)
    head = HEAD.replace("prompt: a mug\n", "") + "budget: 1 USD\n"
    for payload in itertools.chain(WALKS[::9], CALLS[::4], STATEMENTS[::5]):
        quoted = "'" + payload.replace("'", "''") + "'"
        lines = {
            "outputs": f"prompt: a mug\noutputs: {{path: {quoted}}}",
            "params": f"prompt: a mug\nparams: {{a: {quoted}}}",
            "when": f"prompt: a mug\noverrides: [{{when: {quoted}, set: {{n: 1}}}}]",
            "axis": f"prompt: '{{{{ a.b }}}}'\nmatrix: {{a: [{quoted}]}}",
            "prompt": f"prompt: {quoted}",
        }
        text = head + lines.get(key, f"prompt: a mug\n{key}: {quoted}") + "\n"
        text = text.replace("model: mulerouter/qwen-image-max\n", "") if key == "model" else text
        with pytest.raises((PlanError, Exception)) as caught:
            check(make_plan(load_job(text, "spec.yaml", SCHEMA), CARDS, Memory()))
        assert type(caught.value).__name__ in {"PlanError", "SpecError"}, (payload, caught.value)
        assert CANARY not in str(caught.value)
        assert os.environ["HOME"] not in str(caught.value)
