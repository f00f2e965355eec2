"""Where uploaded pictures stand: kept across openings, erased with their end, and brought to older stores."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pipeline.store import schema
from pipeline.store.journal import Journal
from pipeline.store.migrations import MIGRATIONS, migrate
from pipeline.values.rows import Placement

FOX = Placement("evolink", "0" * 16, "", "f" * 64, "https://files.example/fox?signature=very-secret", 2_000)
OWL = Placement("dashscope", "0" * 16, "qwen-image-edit", "0" * 64, "oss://owl", None)


def opened(path: Path, now: int = 0) -> Journal:
    """The store at a moment."""
    return Journal.open(path, run_id="r" * 32, clock=lambda: now)


def test_placements_are_there_at_the_next_opening_until_they_expire(tmp_path: Path) -> None:
    """One with no known end stays; one that expired is gone from the file, bytes and all."""
    path = tmp_path / "state.db"
    journal = opened(path)
    journal.keep_placement(FOX)
    journal.keep_placement(OWL)
    journal.close(clean=True)
    journal = opened(path)
    assert sorted(journal.placements(1_999), key=lambda one: one.gateway) == [OWL, FOX]
    assert journal.placements(2_000) == [OWL]
    journal.close(clean=True)
    assert b"very-secret" not in path.read_bytes()


def test_a_newer_place_replaces_the_older_and_an_empty_one_erases_it(tmp_path: Path) -> None:
    """One row for a gateway, an account, a model and a picture."""
    journal = opened(tmp_path / "state.db")
    newer = Placement("evolink", "0" * 16, "", "f" * 64, "new", None)
    journal.keep_placement(FOX)
    journal.keep_placement(newer)
    assert journal.placements(9_999) == [newer]
    journal.keep_placement(Placement("evolink", "0" * 16, "", "f" * 64, "", None))
    assert journal.placements(0) == []
    journal.close(clean=True)


def test_a_store_of_the_first_version_gets_the_table_as_new_ones_have_it(tmp_path: Path) -> None:
    """The migration's words and the new store's make the same table."""
    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("PRAGMA user_version=1")
    assert migrate(old, MIGRATIONS) == schema.VERSION
    journal = opened(tmp_path / "new.db")
    journal.close(clean=True)
    new = sqlite3.connect(tmp_path / "new.db")
    told = "SELECT sql FROM sqlite_schema WHERE name = 'placement'"
    assert old.execute(told).fetchone() == new.execute(told).fetchone()
