"""How an edited plan stands to a folder of a million tasks, in little memory: marks instead of a set of ids."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.comparison import _Marks

WORDS = st.one_of(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1))


@given(st.sets(WORDS, max_size=60), st.lists(WORDS, max_size=20), st.sets(WORDS, max_size=20))
def test_marks_are_a_set(first: set[int], asked: list[int], later: set[int]) -> None:
    """Whatever is added, also after somebody asked, is there, and nothing else is (bits beyond 64 do not count)."""
    marks = _Marks()
    for mark in first:
        marks.add(mark)
    bits = {mark % 2**64 for mark in first}
    assert [mark in marks for mark in asked] == [mark % 2**64 in bits for mark in asked]
    for mark in later - first:
        marks.add(mark)
    assert all(mark in marks for mark in first | later)
    assert len(marks) == len(first | later)


def test_a_mark_takes_eight_bytes() -> None:
    """A million of them 10 MB, where a set of ids took over a hundred; looking sorts them piece by piece."""
    tracemalloc.start()
    try:
        marks = _Marks()
        for number in range(100_000):
            marks.add(number * 0x9E3779B97F4A7C15)
        assert 0x9E3779B97F4A7C15 in marks
        assert all(number * 0x9E3779B97F4A7C15 in marks for number in range(0, 100_000, 97))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000
