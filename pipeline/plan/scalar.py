"""The text of a value: how numbers, truth and maps with an id look inside prompts, names and matches."""

from __future__ import annotations

from pipeline.values.digest import JSON, canonical_json


def text_of(value: JSON) -> str:
    """The one text of a value: text is itself, a map with an `id` is its id, truth is as in YAML, null is empty."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[return-value]  # mypy does not narrow by type()
    if value is None:
        return ""
    if kind is bool:
        return "true" if value else "false"
    if isinstance(value, dict) and "id" in value:
        return text_of(value["id"])
    if isinstance(value, dict | list | tuple):
        return canonical_json(value).decode()
    return str(value)


def whole_number(value: JSON) -> int | None:
    """An integer, or the decimal text of one (cells of csv and tsv are text); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return None
