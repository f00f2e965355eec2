"""Laws of specs: a misspelling is one fault with its remedy, the long form means the same, nothing else is raised."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SpecError
from pipeline.spec.job import JobSpec, ListAxis, Matrix
from pipeline.spec.load import long_form
from pipeline.spec.scalars import resolve
from tests.spec.specs import EVERYTHING, HEAD, MINIMAL, SCHEMA, TYPICAL, load, mistakes


def _known_keys(part: Any) -> set[str]:
    """Every property of the schema, at any depth."""
    if isinstance(part, list):
        return set().union(*map(_known_keys, part)) if part else set()
    if not isinstance(part, dict):
        return set()
    inner = (_known_keys(value) for key, value in part.items() if key not in {"examples", "default"})
    return set(part["properties"] if isinstance(part.get("properties"), dict) else ()).union(*inner)


def _misspellings(key: str) -> set[str]:
    """One letter left out, doubled, or swapped with the next; a hyphen or a capital for an underscore."""
    out = {key[:i] + key[i + 1 :] for i in range(len(key))} | {key[: i + 1] + key[i:] for i in range(len(key))}
    out |= {key[:i] + key[i + 1] + key[i] + key[i + 2 :] for i in range(len(key) - 1)}
    out |= {key.replace("_", "-"), re.sub("_(.)", lambda match: match[1].upper(), key)}
    return out - {key, ""}


def _written_keys() -> list[tuple[int, int, str]]:
    """(line, column, key) of every key of EVERYTHING that the schema names, zero-based."""
    names = _known_keys(SCHEMA)
    found: list[tuple[int, int, str]] = []

    def visit(node: yaml.Node, inside: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                # Keys that users choose, such as those of params, cannot be misspelt.
                if key.value in names and inside not in {"params", "limits"}:
                    found.append((key.start_mark.line, key.start_mark.column, key.value))
                visit(value, key.value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                visit(item, inside)

    root = yaml.compose(EVERYTHING, Loader=yaml.SafeLoader)
    assert root is not None
    visit(root, "")
    return found


WRITTEN = _written_keys()
#: An id of an axis value, and the text beside it, are keys of an open map: a misspelt `id` is a missing one.
IN_OPEN_MAPS = {"id"}


def test_every_key_of_the_schema_is_written_so_that_it_can_be_misspelt() -> None:
    """The law below reaches the whole language."""
    assert {key for _, _, key in WRITTEN} == _known_keys(SCHEMA)


@pytest.mark.parametrize(("line", "column", "key"), WRITTEN, ids=[f"{key}-{line + 1}" for line, _, key in WRITTEN])
def test_every_misspelt_key_is_one_fault_at_its_place_with_the_key_that_was_meant_laws(
    line: int, column: int, key: str
) -> None:
    """One error, with line, column and suggestion, for each misspelling of each key."""
    lines = EVERYTHING.split("\n")
    for wrong in sorted(_misspellings(key)):
        text = lines[line][:column] + wrong + lines[line][column + len(key) :]
        found = mistakes("\n".join([*lines[:line], text, *lines[line + 1 :]]))
        assert len(found) == 1, (wrong, [m.render() for m in found])
        if key in IN_OPEN_MAPS and "{id: " in lines[line] and "inputs" not in lines[line]:
            assert found[0].what.startswith("a map as a value needs an id")
            assert found[0].place.line == line + 1
            continue
        assert (found[0].place.line, found[0].place.column) == (line + 1, column + 1), wrong
        assert f"unknown key '{wrong}'" in found[0].what
        assert found[0].remedy == f"did you mean '{key}'?", wrong


def _meaning(job: JobSpec) -> dict[str, object]:
    unread = {"file", "text", "positions", "key_positions"}
    return {name: getattr(job, name) for name in JobSpec.__slots__ if name not in unread}


@pytest.mark.parametrize("text", [HEAD, MINIMAL, TYPICAL, EVERYTHING], ids=["head", "minimal", "typical", "everything"])
def test_the_long_form_loads_to_the_same_meaning_and_is_its_own_long_form_laws(text: str) -> None:
    """`plan --expand` prints what the run keeps."""
    job = load(text)
    expanded = long_form(job)
    again = load(expanded)
    assert _meaning(again) == _meaning(job)
    assert long_form(again) == expanded


LETTERS = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\ufffe\uffff") | st.sampled_from(
    "\n\t\x85 :#{}[],'\"\\&*!|>%@`-?0"
)
TEXT = st.one_of(
    st.text(LETTERS, max_size=30),
    st.sampled_from(
        ["no", "16:9", "0o17", "0123", "1e3", "~", "null", "true", "<<", "{{ a }}", ".nan", "2026-01-01", "- a", "a: b"]
    ),
)
SCALARS = st.one_of(
    TEXT, st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


def _secret(value: object) -> bool:
    return "sk-" in str(value)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    params=st.dictionaries(TEXT.filter(bool), VALUES, max_size=4),
    values=st.lists(SCALARS, min_size=1, max_size=5),
    prompt=TEXT.filter(bool),
)
def test_any_value_survives_the_long_form_laws(params: dict[str, Any], values: list[Any], prompt: str) -> None:
    """Whatever the letters and types, written out and read again is the same."""
    if _secret(params) or _secret(values) or _secret(prompt):
        return
    job = replace(load(HEAD), params=params, matrix=Matrix((ListAxis("a", tuple(values)),)), prompt=prompt)
    again = load(long_form(job))
    assert _meaning(again) == _meaning(job)
    (axis,) = again.matrix.axes
    assert isinstance(axis, ListAxis)
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_whatever_is_broken_only_mistakes_with_places_are_raised_laws(data: st.DataObject) -> None:
    """Any cut, insertion or exchange of letters in a good spec gives a job or a SpecError, never another exception."""
    text = data.draw(st.sampled_from([MINIMAL, TYPICAL, EVERYTHING]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 12)))
        text = (
            text[:at]
            + data.draw(st.text(st.sampled_from("{}[]:,-#'\"&*!|>%@ \n\t\0ab1<~?\ufeff"), max_size=6))
            + text[end:]
        )
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    try:
        load(text)
    except SpecError as error:
        for mistake in error.mistakes:
            assert 1 <= mistake.place.line <= len(lines) + 1
            assert mistake.place.column >= 1
            assert "\n" not in mistake.what


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("0123456789+-._eExXoOabfinN:~", max_size=8))
def test_a_scalar_is_read_as_a_number_only_when_python_reads_the_same_number_laws(text: str) -> None:
    """Nothing is guessed: a number is the number everybody reads there, and anything else stays its text."""
    try:
        value = resolve(text)
    except ValueError:
        return
    if isinstance(value, int):
        assert value == int(text, 0 if text.startswith(("0x", "0o")) else 10)
    elif isinstance(value, float):
        assert value == float(text)
    elif isinstance(value, str):
        assert value == text
