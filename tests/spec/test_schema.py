"""The schema serves editors: every property explains itself, and examples are true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.spec.specs import EVERYTHING, SCHEMA, load

Part = dict[str, Any]


def _resolved(part: Part) -> Part:
    return SCHEMA["definitions"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part


def _properties(part: Part, path: str = "") -> Iterator[tuple[str, Part, bool]]:
    """(path, property, required) of each property at any depth."""
    part = _resolved(part)
    for name, inner in part.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        yield where, _resolved(inner), name in part.get("required", ())
        yield from _properties(inner, where)
    for word in ("items", "additionalProperties"):
        if isinstance(part.get(word), dict):
            yield f"{path}.<{word}>", _resolved(part[word]), True
            yield from _properties(part[word], f"{path}.<{word}>")


PROPERTIES = list(_properties(SCHEMA))


def _validator(part: Part) -> Draft7Validator:
    return Draft7Validator({**part, "definitions": SCHEMA["definitions"]})


def test_the_schema_is_a_draft_07_schema() -> None:
    """Every editor knows this vocabulary."""
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert len(PROPERTIES) > 60


@pytest.mark.parametrize(("path", "part", "required"), PROPERTIES, ids=[entry[0] for entry in PROPERTIES])
def test_each_property_explains_itself(path: str, part: Part, required: bool) -> None:  # noqa: FBT001 - a table's column
    """A sentence, true examples, what is expected, and a default wherever the key may be left out."""
    assert part["description"].endswith(".") or ")" in part["description"][-2:], path
    assert part["examples"], path
    for example in part["examples"]:
        assert _validator(part).is_valid(example), (path, example)
    assert required or "default" in part, path
    if part.get("default") is not None and part["default"] != {}:
        assert _validator(part).is_valid(part["default"]), path


def test_closed_maps_are_closed() -> None:
    """A map of known keys lets no other through, but for the matrix and values of axes, whose keys users choose."""
    open_maps = {
        path for path, part, _ in PROPERTIES if "properties" in part and part.get("additionalProperties") is not False
    }
    assert all(path == "matrix" or path.endswith(".<items>") or "include" in path for path in open_maps), open_maps
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize("name", ["mugs\n", "-rf", "a" * 65, "a/b", "..", "Mugs", ""])
def test_a_name_that_could_harm_a_folder_is_refused(name: str) -> None:
    """The pattern ends where the text ends: a last newline is no part of a name."""
    assert not _validator(SCHEMA["properties"]["name"]).is_valid(name)


def test_the_form_with_every_key_is_valid() -> None:
    """The text that the laws misspell has no fault of its own."""
    assert load(EVERYTHING).name == "everything"
