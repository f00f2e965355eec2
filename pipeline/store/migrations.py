"""From older tables to today's: an append-only list, run in the transaction that opens the store for writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

#: The first brings version 1 to 2, the second 2 to 3 ...; never edited, never reordered. A new one comes with a higher
#: `schema.VERSION` and with the tables of `schema.TABLES` as they are after it.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE placement(
  gateway TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, sha256 TEXT NOT NULL CHECK(length(sha256) = 64),
  location TEXT NOT NULL, expires_at INTEGER,
  PRIMARY KEY(gateway, account, model, sha256)) STRICT, WITHOUT ROWID""",
    ),
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> int:
    """Run what this store has not had yet, inside the transaction that is open; answers the version it is at then."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    for statements in migrations[version - 1 :]:
        for statement in statements:
            db.execute(statement)
        version += 1
        db.execute(f"PRAGMA user_version={version}")
    return version
