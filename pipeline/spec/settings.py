"""`--set key.path=value`: settings laid over the tree before it is checked."""

from __future__ import annotations

import re
from typing import Final

from pipeline.errors import Mistake
from pipeline.spec.nodes import ListNode, MapNode, Node, Path, ScalarNode, dotted
from pipeline.spec.scalars import resolve
from pipeline.spec.source import Source
from pipeline.spec.yaml_core import DEPTH_MAX, read_tree

FILE: Final = "--set"
_PART: Final = re.compile(r'"([^"]*)"|\[([0-9]{1,6})\]|([^.\[\]"]+)', re.ASCII)
_KEY: Final = re.compile(rf"(?:{_PART.pattern})(?:\.?(?:{_PART.pattern}))*", re.ASCII)


class _NoSuchPlace(Exception):  # noqa: N818 - becomes a mistake at once
    """The setting does not fit the tree; the message says why."""


def apply_settings(root: Node, settings: tuple[tuple[str, str], ...]) -> tuple[Node, list[Mistake]]:
    """The tree with each (key path, value as YAML) set, and the faults of the settings. The line counts settings."""
    mistakes: list[Mistake] = []
    for number, (key, value) in enumerate(settings, start=1):
        source = Source(FILE, f"{key}={value}", number)
        if (fault := source.unreadable()) is not None:
            mistakes.append(fault)
            continue
        place = source.place(0, 0)
        path = _path(key)
        if path is None:
            remedy = (
                'write keys with dots, such as params.prompt_extend, and quote a key that holds a dot: limits."a/b-2.0"'
            )
            mistakes.append(Mistake(place, "this is no path of keys", remedy))
            continue
        node, faults = _value(source, len(key) + 1, value)
        mistakes += source.mistakes + faults
        if node is None:
            continue
        try:
            root = _replaced(root, path, node, ScalarNode(place, "", "", plain=False), ())
        except _NoSuchPlace as error:
            mistakes.append(Mistake(place, str(error)))
    return root, mistakes


def _path(key: str) -> Path | None:
    """`a."b.c"[0]` as its parts; None when it is no path."""
    if not _KEY.fullmatch(key):
        return None
    parts: list[str | int] = []
    for match in _PART.finditer(key):
        quoted, index, word = match.groups()
        parts.append(int(index) if index is not None else (word if quoted is None else quoted))
    return tuple(parts) if len(parts) < DEPTH_MAX and isinstance(parts[0], str) else None


def _value(source: Source, column: int, value: str) -> tuple[Node | None, list[Mistake]]:
    """A list, map or quoted text as YAML has them; anything else as one unquoted scalar, colons and all."""
    text = value.strip()
    if text[:1] in {"[", "{", '"', "'"} and not text.startswith("{{"):
        return read_tree(source, " " * column + value)
    place = source.place(0, column)
    try:
        return ScalarNode(place, text, resolve(text), plain=True), []
    except ValueError as error:
        return None, [Mistake(place, str(error), "quote it if text is meant")]


def _replaced(node: Node | None, path: Path, value: Node, key: ScalarNode, above: Path) -> Node:
    """The node with the value at the path; maps on the way are made when they are missing."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        if not isinstance(node, ListNode) or first >= len(node.items):
            raise _NoSuchPlace(f"'{dotted(above)}' has no item [{first}]")
        items = list(node.items)
        items[first] = _replaced(items[first], rest, value, key, (*above, first))
        return ListNode(node.place, tuple(items))
    if node is None:
        node = MapNode(key.place, ())
    if not isinstance(node, MapNode):
        raise _NoSuchPlace(f"'{dotted(above)}' is no map, so it has no key '{first}'")
    inner = _replaced(node.get(first), rest, value, key, (*above, first))
    named = ScalarNode(key.place, first, first, plain=False)
    if node.get(first) is None:
        return MapNode(node.place, (*node.pairs, (named, inner)))
    # A key that is wrong in the file stays the file's; one that is set anew points at the setting.
    pairs = ((named if not rest else old, inner) if old.text == first else (old, kept) for old, kept in node.pairs)
    return MapNode(node.place, tuple(pairs))
