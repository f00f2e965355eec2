"""The tables of the store, and the sums that must hold between them."""

from __future__ import annotations

from typing import Final

#: Version of the tables, in `PRAGMA user_version`; migrations are append-only.
VERSION: Final = 2
#: Marks the file as ours ("pipe").
APPLICATION: Final = 0x70697065

#: Where uploaded input pictures stand at gateways. A location is as secret as a presigned link: it stands here until it
#: expires. `account` is a digest of the key; `model` is empty where an upload serves every model.
PLACEMENT: Final = """
CREATE TABLE placement(
  gateway TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, sha256 TEXT NOT NULL CHECK(length(sha256) = 64),
  location TEXT NOT NULL, expires_at INTEGER,
  PRIMARY KEY(gateway, account, model, sha256)) STRICT, WITHOUT ROWID;
"""

TABLES: Final = (
    """
CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT;

-- `high_cap` is the highest cap ever set: a lowered budget can still settle and collect.
CREATE TABLE account(
  currency TEXT PRIMARY KEY,
  cap INTEGER NOT NULL CHECK(cap >= 0), high_cap INTEGER NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
  doubt INTEGER NOT NULL DEFAULT 0, overage INTEGER NOT NULL DEFAULT 0,
  CHECK(high_cap >= cap),
  CHECK(spent >= 0 AND held >= 0 AND doubt >= 0 AND overage >= 0),
  CHECK(spent + held + doubt <= high_cap + overage)) STRICT;

CREATE TABLE cap(id INTEGER PRIMARY KEY, currency TEXT NOT NULL, cap INTEGER NOT NULL, why TEXT NOT NULL,
  at INTEGER NOT NULL) STRICT;

-- `number` is the place in the current plan; tasks that the plan dropped have -key, so that it stays unique.
CREATE TABLE task(
  key INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE CHECK(length(id) = 32), number INTEGER NOT NULL UNIQUE,
  gateway TEXT NOT NULL, model TEXT NOT NULL, in_spec INTEGER NOT NULL DEFAULT 1,
  phase TEXT NOT NULL CHECK(phase IN ('waiting', 'held', 'submitting', 'running', 'fetching', 'done', 'short',
    'failed', 'in_doubt', 'skipped')),
  fault TEXT NOT NULL DEFAULT '', fault_message TEXT NOT NULL DEFAULT '',
  record TEXT NOT NULL, admitted_at INTEGER NOT NULL, submitted_at INTEGER, completed_at INTEGER) STRICT;
CREATE INDEX unfinished ON task(phase)
  WHERE phase IN ('waiting', 'held', 'submitting', 'running', 'fetching', 'in_doubt');

-- `open` is what is still held (or, in DOUBT and VANISHED, doubtful). `live_slot` is the task's key while the attempt
-- may still cost something: at most one such attempt a task, unless a doubt gives its slot up.
CREATE TABLE attempt(
  id INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES task(key), ordinal INTEGER NOT NULL CHECK(ordinal >= 1),
  gateway TEXT NOT NULL, currency TEXT NOT NULL REFERENCES account(currency),
  state TEXT NOT NULL CHECK(state IN ('RESERVED', 'SUBMITTING', 'ACCEPTED', 'SETTLED', 'VOID', 'DOUBT', 'VANISHED',
    'WRITTEN_OFF')),
  hold INTEGER NOT NULL CHECK(hold >= 0), open INTEGER NOT NULL CHECK(open BETWEEN 0 AND hold),
  settled INTEGER NOT NULL DEFAULT 0 CHECK(settled >= 0), images INTEGER NOT NULL DEFAULT 0 CHECK(images >= 0),
  counts INTEGER NOT NULL DEFAULT 1, operation TEXT, request_id TEXT NOT NULL DEFAULT '', revised_prompt TEXT,
  fault TEXT NOT NULL DEFAULT '', fault_message TEXT NOT NULL DEFAULT '',
  live_slot INTEGER UNIQUE REFERENCES task(key),
  held_at INTEGER NOT NULL, submitted_at INTEGER, ended_at INTEGER,
  UNIQUE(gateway, operation)) STRICT;
CREATE INDEX attempts_of ON attempt(task);
CREATE INDEX alive ON attempt(task)
  WHERE open > 0 OR state IN ('RESERVED', 'SUBMITTING', 'ACCEPTED', 'DOUBT', 'VANISHED');

CREATE TABLE entry(
  id INTEGER PRIMARY KEY, attempt INTEGER NOT NULL REFERENCES attempt(id), currency TEXT NOT NULL,
  kind TEXT NOT NULL CHECK(kind IN ('hold', 'settle', 'release', 'doubt', 'lift', 'doubt_release', 'write_off',
    'overage')),
  amount INTEGER NOT NULL CHECK(amount >= 0), why TEXT NOT NULL DEFAULT '', at INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX one_hold ON entry(attempt) WHERE kind = 'hold';
CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entry_undeleted BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;

-- A presigned link stands here only until its picture is STORED or LOST.
CREATE TABLE picture(
  attempt INTEGER NOT NULL REFERENCES attempt(id), idx INTEGER NOT NULL CHECK(idx >= 0),
  state TEXT NOT NULL CHECK(state IN ('PENDING', 'STORED', 'LOST')),
  link TEXT, sha256 TEXT, media_type TEXT, bytes INTEGER, w INTEGER, h INTEGER, path TEXT UNIQUE, stored_at INTEGER,
  fault TEXT NOT NULL DEFAULT '', fault_message TEXT NOT NULL DEFAULT '',
  CHECK(state = 'PENDING' OR link IS NULL), CHECK(state <> 'STORED' OR (sha256 IS NOT NULL AND path IS NOT NULL)),
  PRIMARY KEY(attempt, idx)) STRICT, WITHOUT ROWID;
CREATE INDEX pending ON picture(attempt) WHERE state = 'PENDING';
"""
    + PLACEMENT
)

#: What the accounts must be, from the entries alone: currency, spent, held, doubt, overage.
SUMS: Final = """
SELECT currency,
  sum(CASE WHEN kind IN ('settle', 'write_off', 'overage') THEN amount ELSE 0 END),
  sum(CASE WHEN kind IN ('hold', 'lift') THEN amount WHEN kind IN ('settle', 'release', 'doubt') THEN -amount
    ELSE 0 END),
  sum(CASE WHEN kind = 'doubt' THEN amount WHEN kind IN ('lift', 'doubt_release', 'write_off') THEN -amount
    ELSE 0 END),
  sum(CASE WHEN kind = 'overage' THEN amount ELSE 0 END)
FROM entry GROUP BY currency
"""

#: Attempts whose own figures differ from their entries: id, open, open by entries, settled, settled by entries.
ATTEMPTS_OFF: Final = """
SELECT a.id, a.open, e.open, a.settled, e.settled FROM attempt a LEFT JOIN (
  SELECT attempt,
    sum(CASE WHEN kind = 'hold' THEN amount
      WHEN kind IN ('settle', 'release', 'doubt_release', 'write_off') THEN -amount ELSE 0 END) AS open,
    sum(CASE WHEN kind IN ('settle', 'write_off', 'overage') THEN amount ELSE 0 END) AS settled
  FROM entry GROUP BY attempt) e ON e.attempt = a.id
WHERE e.attempt IS NULL OR a.open <> e.open OR a.settled <> e.settled
"""
