"""The grid: counts and numbers the combinations of a row without ever listing them.

A tree over the groups, last fastest. A node is shared by all prefixes that the rules cannot tell apart, so ten million
combinations under three rules are a few dozen nodes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

#: How many samples a combination has, from the steps taken in the tracked groups (0 elsewhere).
Samples: TypeAlias = Callable[[tuple[int, ...]], int]


@dataclass(slots=True)
class Node:
    """The combinations below a prefix. `ends` None: every child is the same one."""

    total: int
    children: list[Node] = field(default_factory=list)
    ends: array[int] | None = None


class Grid:
    """A tree for one kind of row. *Shape* - lengths: steps per group; rules: {group: allowed steps} of each exclusion.

    `tracked` are the groups on which the number of samples depends.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        rules: Sequence[Mapping[int, frozenset[int]]],
        tracked: frozenset[int],
        samples: Samples,
    ) -> None:
        self._lengths = tuple(lengths)
        self._tracked = tracked
        self._samples = samples
        self._known: dict[tuple[int, int, tuple[int, ...]], Node] = {}
        whole = (1 << len(rules)) - 1
        #: Per group, None or the rules that each step keeps alive.
        self._alive: list[array[int] | list[int] | None] = []
        for group, length in enumerate(self._lengths):
            if not any(group in rule for rule in rules):
                self._alive.append(None)
                continue
            masks = [whole] * length
            for bit, rule in enumerate(rules):
                if group in rule:
                    keep = rule[group]
                    for step in range(length):
                        if step not in keep:
                            masks[step] &= ~(1 << bit)
            self._alive.append(masks)
        self.root = self._node(0, whole, ())

    def _node(self, depth: int, mask: int, taken: tuple[int, ...]) -> Node:
        key = (depth, mask, taken)
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = self._grow(depth, mask, taken)
        return node

    def _grow(self, depth: int, mask: int, taken: tuple[int, ...]) -> Node:
        if depth == len(self._lengths):
            return Node(0 if mask else self._samples(taken))
        length, alive, tracked = self._lengths[depth], self._alive[depth], depth in self._tracked
        if not tracked and (alive is None or not mask):
            child = self._node(depth + 1, mask, (*taken, 0))
            return Node(child.total * length, [child])
        children, ends, total = [], array("q"), 0
        for step in range(length):
            left = mask if alive is None else mask & alive[step]
            child = self._node(depth + 1, left, (*taken, step if tracked else 0))
            total += child.total
            children.append(child)
            ends.append(total)
        return Node(total, children, ends)

    def find(self, offset: int) -> tuple[list[int], int]:
        """The steps and the sample that stand at an offset below `root.total`."""
        node = self.root
        steps = []
        while node.children:
            if node.ends is None:
                node = node.children[0]
                step, offset = divmod(offset, node.total)
            else:
                step = bisect_right(node.ends, offset)
                offset -= node.ends[step - 1] if step else 0
                node = node.children[step]
            steps.append(step)
        return steps, offset

    def holds(self, steps: Sequence[int]) -> bool:
        """Whether a combination is there at all."""
        node = self.root
        for step in steps:
            if not node.total:
                return False
            node = node.children[0] if node.ends is None else node.children[step]
        return node.total > 0
