"""The board itself: every anchor stands, every mutant is in the table, no name twice. The run is `make mutants`."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from tests.mutants.__main__ import ROOT, TABLE, caught_by, misplaced_anchors
from tests.mutants.board import MUTANTS


def test_every_anchor_occurs_exactly_once() -> None:
    """Code that was rewritten takes its seeded bug with it, and the board says so at once."""
    assert list(misplaced_anchors(MUTANTS)) == []


def test_there_are_at_least_40_mutants_and_no_name_twice() -> None:
    """Forty is what a suite must catch before it is trusted."""
    assert len(MUTANTS) >= 40
    assert [name for name, times in Counter(each.name for each in MUTANTS).items() if times > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_a_mutant_is_another_program_and_its_tests_exist(mutant: object) -> None:
    """It parses, it differs from what it replaces, and what must catch it is there."""
    each = next(one for one in MUTANTS if one is mutant)
    text = (ROOT / each.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(each.applied(text))) != ast.dump(ast.parse(text))
    for test in each.tests:
        assert (ROOT / test.split("::")[0]).is_file()


def test_the_table_names_every_mutant() -> None:
    """tests/mutants/TABLE.md is of this board: each mutant with the test that caught it."""
    rows = [line.split("|") for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    assert [row[1].strip() for row in rows] == [each.name for each in MUTANTS]
    assert all("tests/" in row[4] for row in rows)


@pytest.mark.parametrize(
    ("code", "said", "by"),
    [
        (1, "..F\nFAILED tests/a.py::test_b[hold] - assert 1 == 2\n1 failed", "tests/a.py::test_b[hold]"),
        (1, "ERROR tests/a.py - ImportError: no\n1 error", ""),
        (2, "ERROR tests/a.py\nInterrupted: 1 error during collection", ""),
        (2, "FAILED tests/a.py::test_b\n!!! KeyboardInterrupt !!!", ""),
        (4, "ERROR: file or directory not found: tests/a.py", ""),
        (5, "no tests ran", ""),
        (124, "it does not end", ""),
        (0, "3 passed", ""),
    ],
)
def test_only_a_failed_test_is_a_catch(code: int, said: str, by: str) -> None:
    """An import error, a usage error or a run without an end shows nothing about the bug."""
    assert caught_by(code, said) == by
