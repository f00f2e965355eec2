"""The store's tables as plain SQLite shows them, read from a copy: a judge does not ask the accused to read for it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

#: {kind of entry: (held, doubt, spent, overage) per micro-unit}.
_MOVES: Final = {
    "hold": (1, 0, 0, 0),
    "settle": (-1, 0, 1, 0),
    "release": (-1, 0, 0, 0),
    "doubt": (-1, 1, 0, 0),
    "lift": (1, -1, 0, 0),
    "doubt_release": (0, -1, 0, 0),
    "write_off": (0, -1, 1, 0),
    "overage": (0, 0, 1, 1),
}


class Attempt(NamedTuple):
    """One POST, or the intention of one. *Units* - hold, open, settled: micro-units."""

    attempt: int
    task: str
    state: str
    operation: str
    hold: int
    open: int
    settled: int


class Entry(NamedTuple):
    """One movement of money."""

    attempt: int
    currency: str
    kind: str
    amount: int


class Account(NamedTuple):
    """One currency's balances."""

    currency: str
    cap: int
    held: int
    doubt: int
    spent: int
    overage: int


@dataclass(frozen=True, slots=True)
class Tables:
    """One look at a store that nobody is working on."""

    attempts: tuple[Attempt, ...]
    entries: tuple[Entry, ...]
    accounts: Mapping[str, Account]
    #: {task: prompt}, and {phase: tasks that the spec asks for}.
    prompts: Mapping[str, str]
    phases: Mapping[str, int]
    #: {path: digest} of what is stored, and (attempt, index) of what is still to be fetched.
    stored: Mapping[str, str]
    pending: frozenset[tuple[int, int]]
    meta: Mapping[str, str]
    #: What SQLite itself finds wrong.
    damage: tuple[str, ...]

    @classmethod
    def read(cls, run: Path) -> Tables | None:
        """The tables of a run folder; None where no store was made yet. *Raises* sqlite3.Error for a broken file."""
        path = run / "state.db"
        if not path.is_file():
            return None
        with tempfile.TemporaryDirectory(prefix="tables-") as place:
            for suffix in ("", "-wal", "-journal"):
                beside = path.with_name(path.name + suffix)
                if beside.is_file():
                    shutil.copyfile(beside, Path(place) / beside.name)
            with closing(sqlite3.connect(Path(place) / path.name)) as db:
                if not db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'attempt'").fetchone()[0]:
                    return None
                return cls._of(db)

    @classmethod
    def _of(cls, db: sqlite3.Connection) -> Tables:
        attempts = db.execute(
            "SELECT a.id, lower(hex(t.id)), a.state, coalesce(a.operation, ''), a.hold, a.open, a.settled "
            "FROM attempt a JOIN task t ON t.key = a.task ORDER BY a.id"
        )
        accounts = map(Account._make, db.execute("SELECT currency, cap, held, doubt, spent, overage FROM account"))
        tasks = db.execute("SELECT lower(hex(id)), record, phase, in_spec FROM task").fetchall()
        pictures = db.execute("SELECT attempt, idx, state, path, sha256 FROM picture").fetchall()
        damage = [str(row[0]) for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        damage += [f"a row of {row[0]} refers to nothing" for row in db.execute("PRAGMA foreign_key_check")]
        return cls(
            tuple(map(Attempt._make, attempts)),
            tuple(map(Entry._make, db.execute("SELECT attempt, currency, kind, amount FROM entry ORDER BY id"))),
            {account.currency: account for account in accounts},
            {task: str(json.loads(record)["prompt"]) for task, record, _, _ in tasks},
            Counter(phase for _, _, phase, in_spec in tasks if in_spec),
            {path: digest for _, _, state, path, digest in pictures if state == "STORED"},
            frozenset((attempt, index) for attempt, index, state, _, _ in pictures if state == "PENDING"),
            dict(db.execute("SELECT k, v FROM meta").fetchall()),
            tuple(damage),
        )

    @property
    def spent(self) -> int:
        """Micro-units that were settled or written off, over all currencies (a campaign has one)."""
        return sum(account.spent for account in self.accounts.values())

    @property
    def doubtful(self) -> int:
        """Micro-units that are held or in doubt."""
        return sum(account.held + account.doubt for account in self.accounts.values())

    def faults(self) -> Iterator[str]:
        """What does not add up: pages, balances against entries, each attempt against its own entries."""
        yield from self.damage
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        own: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for entry in self.entries:
            for index, sign in enumerate(_MOVES[entry.kind]):
                sums[entry.currency][index] += sign * entry.amount
                own[entry.attempt][index] += sign * entry.amount
        for account in self.accounts.values():
            balances = [account.held, account.doubt, account.spent, account.overage]
            if balances != sums[account.currency]:
                yield f"balances {balances} are not the sum of their entries {sums[account.currency]}"
        for attempt in self.attempts:
            held, doubt, spent, _ = own[attempt.attempt]
            if (attempt.open, attempt.settled) != (held + doubt, spent):
                yield f"attempt {attempt.attempt} says {attempt.open} open, {attempt.settled} settled, not its entries"
