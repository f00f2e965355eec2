"""The tree of a YAML text: scalars with the text as written, lists and maps, each with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from pipeline.errors import Place
from pipeline.spec.scalars import Value
from pipeline.values.digest import JSON


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A single value. `text` is what was written, without quotes; `value` what it means."""

    place: Place
    text: str
    value: Value
    plain: bool

    @property
    def size(self) -> int:
        """Always 1."""
        return 1

    @property
    def height(self) -> int:
        """Always 0."""
        return 0


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list. *Units* - size: nodes in it, itself included; height: levels of lists and maps."""

    place: Place
    items: tuple[Node, ...]
    size: int = field(init=False)
    height: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(item.size for item in self.items))
        object.__setattr__(self, "height", 1 + max((item.height for item in self.items), default=0))


@dataclass(frozen=True, slots=True)
class MapNode:
    """A map in written order; no key twice. *Units* - as ListNode."""

    place: Place
    pairs: tuple[tuple[ScalarNode, Node], ...]
    size: int = field(init=False)
    height: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(1 + value.size for _, value in self.pairs))
        object.__setattr__(self, "height", 1 + max((value.height for _, value in self.pairs), default=0))

    def get(self, key: str) -> Node | None:
        """The value at a key, or None."""
        return next((value for name, value in self.pairs if name.text == key), None)


Node: TypeAlias = ScalarNode | ListNode | MapNode
#: Keys and indexes from the root.
Path: TypeAlias = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`matrix.color[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


@dataclass(slots=True)
class Tree:
    """A tree as plain data, with the place and the written text of each part. Keys are dotted paths."""

    root: Node
    data: JSON = None
    #: {dotted path: place of the value}
    values: dict[str, Place] = field(default_factory=dict)
    #: {dotted path: place of its key}
    keys: dict[str, Place] = field(default_factory=dict)
    #: {dotted path: scalar as written}
    texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = self._data(self.root, "")

    def _data(self, node: Node, path: str) -> JSON:
        self.values[path] = node.place
        match node:
            case ScalarNode():
                self.texts[path] = node.text
                return node.value
            case ListNode():
                return [self._data(item, f"{path}[{index}]") for index, item in enumerate(node.items)]
            case MapNode():
                return {key.text: self._data(value, self._key(path, key)) for key, value in node.pairs}

    def _key(self, path: str, key: ScalarNode) -> str:
        inner = f"{path}.{key.text}" if path else key.text
        self.keys[inner] = key.place
        return inner

    def place(self, path: Path) -> Place:
        """Where a value stands; the nearest parent's place when it is not written."""
        for end in range(len(path), -1, -1):
            if found := self.values.get(dotted(path[:end])):
                return found
        return self.root.place

    def key_place(self, path: Path) -> Place:
        """Where the key of a value stands; the value's own place for items of a list."""
        return self.keys.get(dotted(path)) or self.place(path)

    def walk_keys(self) -> Iterator[tuple[str, Place]]:
        """Every key with its dotted path."""
        return iter(self.keys.items())
