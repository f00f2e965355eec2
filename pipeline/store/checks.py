"""Whether a store is as it was left: its file's sum, its pages, the sums and the chain of its entries, in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipeline.errors import StorageFailed
from pipeline.store import schema, seal
from pipeline.store.opening import state_of, wal
from pipeline.store.reader import Reader

#: How many faults of a damaged store are said when it is refused; `verify` says all.
_FAULTS_SAID: Final = 4


class Checked(Reader):
    """A store that can say what is wrong with it."""

    def __init__(self, db: sqlite3.Connection, path: Path, sealed: seal.Sealed | None) -> None:
        super().__init__(db)
        self._path = path
        #: What the seal said when the store was opened.
        self._sealed = sealed

    @property
    def writable(self) -> bool:
        """Opened for writing, and no commit has failed."""
        return False

    def damage(self, most: int | None = None) -> list[str]:
        """What the seal says against a store that was opened for reading: flipped bits, lost commits. In words.

        A file of more than `most` bytes is not summed.
        """
        summed = most is None or self._path.stat().st_size <= most
        faults = self._file_off() if summed else []
        return faults + seal.faults_of_head(self._path, self._sealed, self.run_id, self._kept_head())

    def folded_elsewhere(self) -> bool:
        """Whether another program folded a killed run's log into the file, and all that can be checked agrees."""
        if self._sealed is None or state_of(wal(self._path))[1]:
            return False
        try:
            later = self._kept_head().commits > self._sealed.folded
            return later and bool(self._file_off()) and not self._rows_off()
        except (sqlite3.Error, StorageFailed):
            return False

    def told_of_folding(self) -> str:
        """What is said of such a store."""
        return (
            f"another program, such as sqlite3 or a backup tool, opened {self._path.name} after the run was killed and "
            f"wrote its log into it; its pages, sums, entries and {self._kept_head().commits} commits agree, so it is "
            "gone on with"
        )

    def refusal(self, faults: Iterable[str]) -> StorageFailed:
        """The words for not going on with a store that was opened for reading."""
        try:
            further, out = self._rows_off(), sum(self.calls_out().values())
        except (sqlite3.Error, StorageFailed) as exc:
            further, out = [str(exc)], 0
        told = [*faults, *(fault for fault in further if fault not in faults)]
        return seal.refused(told[:_FAULTS_SAID], self._path, agrees=not further, out=out)

    def _file_off(self) -> list[str]:
        try:
            now = seal.read(self._path)
        except (OSError, ValueError) as exc:
            return [f"{exc}; when the rest is in order, delete it"]
        # Otherwise a run began or ended meanwhile, and has made its own check.
        if not self.writable and now == self._sealed:
            return seal.faults_of_file(self._path, self._sealed)
        return []

    def integrity_check(self) -> list[str]:
        """Every fault of the file, of its rows, of the accounts and of the attempts' own figures, in words."""
        faults: list[str] = []
        try:
            faults += [] if self.writable or not self.folded_elsewhere() else [self.told_of_folding()]
            faults += [] if faults else self._file_off()
            faults += self._rows_off()
        except sqlite3.Error as exc:
            faults.append(f"the store cannot be read: {exc}")
        except StorageFailed as exc:
            faults.append(str(exc))
        return faults

    def _rows_off(self) -> list[str]:
        """Everything that can be checked but the file's own sum."""
        head = self._kept_head()
        faults = seal.faults_of_head(self._path, self._sealed, self.run_id, head)
        faults += self._pages_off()
        faults += seal.faults_of_chain(self._db, head)
        faults += [f"the store: a row of {row[0]} names a missing {row[2]}" for row in self._foreign()]
        return faults + self._sums_off() + self._attempts_off()

    def _pages_off(self) -> list[str]:
        return [f"the store: {row[0]}" for row in self._db.execute("PRAGMA integrity_check") if row[0] != "ok"]

    def _attempts_off(self) -> list[str]:
        return [
            f"money: attempt {attempt} has {left} open and {settled} settled,"
            f" its entries say {entries_left} and {entries_settled}"
            for attempt, left, entries_left, settled, entries_settled in self._db.execute(schema.ATTEMPTS_OFF)
        ]

    def _foreign(self) -> list[tuple[str, int, str, int]]:
        return self._db.execute("PRAGMA foreign_key_check").fetchall()

    def _sums_off(self) -> list[str]:
        sums = {row[0]: row[1:] for row in self._db.execute(schema.SUMS)}
        faults = []
        for account in self.accounts():
            kept = (account.spent, account.held, account.doubt, account.overage)
            entered = sums.pop(account.currency, (0, 0, 0, 0))
            for name, has, should in zip(("spent", "held", "doubt", "overage"), kept, entered, strict=True):
                if has != should:
                    faults.append(f"money: {account.currency} {name} is {has}, its entries say {should}")
        return faults + [f"money: entries without an account: {currency}" for currency in sums]

    def _kept_head(self) -> seal.Head:
        kept = self.get_meta("store:head")
        if kept is None:  # made before there were heads
            return seal.chained(self._db, seal.Head(int(self.get_meta("store:epoch") or 0), 0))
        try:
            return seal.Head.parse(kept)
        except ValueError as exc:
            raise seal.refused(["its head is not readable"], self._path) from exc
