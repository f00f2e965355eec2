"""Whether a write-ahead log holds a transaction: as SQLite itself sees it."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.store.wal import has_commit


@pytest.fixture
def log(tmp_path: Path) -> bytes:
    """The log of a store that was just made: one transaction, nothing folded into the file."""
    journal = Journal.open(tmp_path / "state.db", run_id="r", clock=lambda: 1)
    data = (tmp_path / "state.db-wal").read_bytes()
    shutil.copy(tmp_path / "state.db", tmp_path / "kept")
    journal.close(clean=True)
    return data


def _sqlite_sees(folder: Path, log: bytes) -> bool:
    shutil.copy(folder / "kept", folder / "asked.db")
    (folder / "asked.db-wal").write_bytes(log)
    db = sqlite3.connect(folder / "asked.db")
    try:
        return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    finally:
        db.close()


def test_a_log_cut_anywhere_is_judged_as_sqlite_judges_it(tmp_path: Path, log: bytes) -> None:
    """At every cut between frames and inside them, and with a byte changed, the answer is SQLite's own."""
    cuts = [log[:end] for start in range(0, len(log), 4120) for end in (start, start + 31, start + 40, start + 4000)]
    changed = [log[:at] + bytes([log[at] ^ 1]) + log[at + 1 :] for at in range(0, len(log), 2999)]
    for data in (b"", *cuts, *changed, log):
        (tmp_path / "log").write_bytes(data)
        assert has_commit(tmp_path / "log") is _sqlite_sees(tmp_path, data), len(data)


def test_a_store_whose_making_lost_the_power_is_made_anew(tmp_path: Path, log: bytes) -> None:
    """Tables that were never committed are no store, whatever of them stands in the log."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tmp_path / "kept", run / "state.db")
    (run / "state.db-wal").write_bytes(log[: len(log) // 2])
    assert not has_store(run)
    journal = Journal.open(run / "state.db", run_id="second", clock=lambda: 1)
    assert journal.run_id == "second"
    journal.close(clean=True)
    assert has_store(run)


def test_a_first_page_that_was_torn_is_no_store(tmp_path: Path) -> None:
    """The power went while SQLite wrote its first page: the rollback journal makes the file empty again."""
    (tmp_path / "state.db").write_bytes(bytes(512) + b"x" * 512 + bytes(3072))
    assert not has_store(tmp_path)
    (tmp_path / "state.db").write_bytes(b"some other file" + bytes(4081))
    assert has_store(tmp_path)
