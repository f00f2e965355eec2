"""Amounts, durations and safe text."""

from __future__ import annotations

import pytest

from pipeline.cli import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 s"),
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (1.0, "1 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h"),
        (18_600.0, "5 h 10 min"),
        (183_600.0, "2 d 3 h"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    """Two units at most, rounded, never negative."""
    assert words.duration(seconds) == text


def test_durations_never_skip_a_unit_at_its_edge() -> None:
    """59.6 seconds are a minute, 3,599.7 seconds are an hour."""
    assert words.duration(3599.7) == "1 h"
    assert words.duration(86399.9) == "1 d"


@pytest.mark.parametrize(
    ("dirty", "text"),
    [
        ("a\x1b[31mb", "a[31mb"),
        ("a\r\nb\tc", "a  b c"),
        ("\x9b2J\x07\x00", "2J"),
        ("\u202eright to left\u2066", "right to left"),
        ("\u2028\u2029", ""),
        ("\udcff", ""),
        ("zażółć 图 \U0001f469\u200d\U0001f680", "zażółć 图 \U0001f469\u200d\U0001f680"),
    ],
)
def test_text_of_others_cannot_move_the_cursor(dirty: str, text: str) -> None:
    """Controls, bidirectional marks, line separators and broken surrogates are dropped; scripts and emoji stay."""
    assert words.clean(dirty) == text


def test_short_cuts_at_the_width_it_is_given() -> None:
    """A cut is visible and never longer than asked."""
    assert words.short("abcdefghij", 10) == "abcdefghij"
    assert words.short("abcdefghijk", 10) == "abcdefg..."


def test_sums_in_several_units_are_never_added_up() -> None:
    """Dollars and credits stand beside each other."""
    assert words.money({"USD": 900_000, "CNY": 20_000_000}) == "20.00 CNY + 0.90 USD"
    assert words.money({}) == "nothing"


def test_a_table_aligns_its_columns() -> None:
    """Words to the left, numbers to the right, no trailing spaces."""
    assert words.table([("a", "1", ""), ("bbb", "22", "x")], right=frozenset({1})) == "  a      1\n  bbb   22   x"


PAGE = """\
stopped: 49 images, 49 of 60 tasks done in 2 min 23 s; 2.685 USD of 6.00 USD (0.06 USD held)
  out       2 operations at the gateway; 0.06 USD is held for them: the next run collects what can be had
  next      edit what was moderated, then: pipeline run cups.yaml --set samples=2 --run-dir a   (what is done is kept)
            what was refused or never sent was not charged; 0.06 USD is held for what is still out
"""


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_page_is_folded_between_words_and_never_within_a_command(width: int) -> None:
    """What follows stands below what was said; a command stays whole, so that it can be copied."""
    folded = words.fold(PAGE, width)
    assert folded.split() == PAGE.split()
    assert "pipeline run cups.yaml --set samples=2 --run-dir a" in folded
    for line in folded.splitlines():
        assert len(line) <= width or "pipeline run" in line
        assert line.startswith(("stopped", "  ")), line
    assert "2 min\n" not in folded
    assert words.fold(PAGE, 200) == PAGE
    doubted = words.fold("  in doubt  5 tasks: no clear answer came, nobody knows", 40)
    assert doubted == "  in doubt  5 tasks: no clear answer\n            came, nobody knows"
    assert words.fold("it would take about 2 min 44 s", 29) == "it would take about 2 min 44 s", "too narrow"
    assert words.fold("it really would take about 2 min 44 s", 36).endswith("\n  44 s")
