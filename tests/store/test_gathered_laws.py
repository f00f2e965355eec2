"""Rows of a commit are gathered by statement; nobody may be able to tell."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine.facts import Fact
from pipeline.errors import StorageFailed
from pipeline.store.gathered import Gathered, Step
from pipeline.store.journal import Journal
from tests.store.stories import START, Storyteller

_TABLES = ("account", "cap", "task", "attempt", "entry", "picture")


def _tables(commits: Sequence[Sequence[Fact]]) -> dict[str, list[tuple[object, ...]]]:
    """Every row that these commits leave, on a clock that stands still."""
    with tempfile.TemporaryDirectory() as place:
        journal = Journal.open(Path(place) / "state.db", run_id="run", clock=lambda: START)
        journal._db.execute("PRAGMA synchronous=OFF")  # nothing dies here
        try:
            for facts in commits:
                journal.commit(facts)
            found = {name: journal._db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in _TABLES}  # noqa: S608 - names of our own
            found["meta"] = journal._db.execute("SELECT * FROM meta WHERE k NOT LIKE 'store:%' ORDER BY k").fetchall()
            assert journal.integrity_check() == []
        finally:
            journal.close(clean=True)
    return found


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 90), st.lists(st.integers(1, 30), max_size=4))
def test_one_commit_leaves_what_a_commit_per_fact_leaves(seed: int, count: int, cuts: list[int]) -> None:
    """However the facts of any life are cut into commits, the same rows stand there in the end."""
    facts = Storyteller(Random(seed)).tell(count)
    alone = _tables([[fact] for fact in facts])
    assert _tables([facts]) == alone
    pieces, rest = [], facts
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    assert _tables([*pieces, rest]) == alone


def test_a_step_back_in_an_attempts_life_has_what_came_before_written_first() -> None:
    """Statements run in the order of a life: a row that would run before one that was said earlier comes after it."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE attempt(id INTEGER, state TEXT, operation TEXT, submitted_at INTEGER)")
    db.execute("INSERT INTO attempt VALUES (1, 'SUBMITTING', NULL, 5), (2, 'RESERVED', NULL, NULL)")

    def states() -> list[str]:
        return [state for (state,) in db.execute("SELECT state FROM attempt ORDER BY id")]

    gathered = Gathered(db)
    gathered.of_attempt(Step.ACCEPT, 1, ("op", 1), "refused")
    gathered.of_attempt(Step.PERMIT, 2, (6, 2), "refused")
    assert states() == ["SUBMITTING", "RESERVED"]
    gathered.of_attempt(Step.PERMIT, 1, (7, 1), "attempt 1 has left already")
    assert states() == ["ACCEPTED", "SUBMITTING"]
    with pytest.raises(StorageFailed, match="attempt 1 has left already"):
        gathered.write()
    db.close()
