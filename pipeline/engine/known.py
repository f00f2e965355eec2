"""Every operation id that a run folder ever accepted, in eight bytes each: an id seen twice is no acceptance."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

#: So many are kept in a set before they become a sorted array.
_FRESH_MAX: Final = 32_768


class Operations:
    """A set of (gateway, operation id) that cannot be listed. Two of a million are taken for one another once in 10^7.

    Then an acceptance becomes a doubt, which costs nothing twice.
    """

    __slots__ = ("_fresh", "_sorted")

    def __init__(self, known: Iterable[tuple[str, str]] = ()) -> None:
        """Begin with these."""
        self._fresh: set[int] = set()
        self._sorted: list[array[int]] = []
        self.update(known)

    def add(self, known: tuple[str, str]) -> None:
        """One more."""
        self._fresh.add(hash(known))
        if len(self._fresh) >= _FRESH_MAX:
            self._sorted.append(array("q", sorted(self._fresh)))
            self._fresh.clear()

    def update(self, known: Iterable[tuple[str, str]]) -> None:
        """Many more, read once; none of them is kept as text."""
        for each in known:
            self.add(each)

    def copy(self) -> Operations:
        """Another set with these in it; what is sorted never changes and is shared."""
        twin = Operations()
        twin._fresh, twin._sorted = self._fresh.copy(), self._sorted.copy()
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operations) and self._all() == other._all()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _all(self) -> set[int]:
        return self._fresh.union(*self._sorted)

    def __contains__(self, known: tuple[str, str]) -> bool:
        key = hash(known)
        return key in self._fresh or any(_holds(keys, key) for keys in self._sorted)


def _holds(keys: array[int], key: int) -> bool:
    place = bisect_left(keys, key)
    return place < len(keys) and keys[place] == key
