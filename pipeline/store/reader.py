"""What the tables say, to whoever has the store open."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator

from pipeline.engine.phases import Phase
from pipeline.engine.stored import Snapshot, StoredAccount, StoredTask
from pipeline.errors import StorageFailed
from pipeline.store import columns, figures, moves, reading
from pipeline.values.rows import (
    AttemptRow,
    BillRow,
    CapRow,
    Columns,
    EntryRow,
    FailureRow,
    ImageRow,
    LaneRow,
    MoveRow,
    NotedPlan,
    SaidRow,
    TaskRow,
)


class Reader:
    """One store, read: every answer is made from its tables at the moment of asking."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def get_meta(self, key: str) -> str | None:
        """The words kept under a key, None when there are none."""
        row = self._db.execute("SELECT v FROM meta WHERE k=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def run_id(self) -> str:
        """The id that the store was created with."""
        return self.get_meta("store:run_id") or ""

    def plan(self) -> NotedPlan | None:
        """The plan noted last; None before the first. *Raises* StorageFailed for a note that no run wrote."""
        digest = self.get_meta("plan_sha256")
        if digest is None:
            return None
        words = {key: self.get_meta(key) or "" for key in ("spec_sha256", "spec_text", "job", "total")}
        try:
            total = int(words["total"] or 0)
        except ValueError as exc:
            raise StorageFailed(
                "the store's note of how many tasks its plan has is no number, so no run wrote it. Nothing was "
                "sent; bring back a whole copy of the run folder, or begin anew with --fresh"
            ) from exc
        return NotedPlan(digest, words["spec_sha256"], words["spec_text"], words["job"], total)

    def spec_before(self) -> bytes:
        """The spec that stood in the folder before the one noted last; empty when there was none."""
        return (self.get_meta("spec_before") or "").encode()

    def sends(self) -> dict[str, tuple[int, ...]]:
        """{lane: its last sends, in microseconds of a steady clock}."""
        rows = self._db.execute("SELECT k, v FROM meta WHERE k LIKE 'sends:%'").fetchall()
        return {
            key.removeprefix("sends:"): tuple(int(stamp) for stamp in text.split(",") if stamp) for key, text in rows
        }

    def snapshot(self) -> Snapshot:
        """What is unfinished, the accounts and the counts."""
        return reading.snapshot(self._db)

    def accounts(self) -> tuple[StoredAccount, ...]:
        """Every account, by currency."""
        return reading.accounts(self._db)

    def failed_tasks(self, kinds: Collection[str] | None = None) -> list[StoredTask]:
        """FAILED and SHORT tasks of the current spec, of these fault kinds (None: of any), for a retry."""
        return reading.failed_tasks(self._db, kinds)

    def task_of(self, task_id: str) -> StoredTask | None:
        """The task of this id, ended or not."""
        return reading.task_of(self._db, task_id)

    def task_of_attempt(self, attempt: int) -> StoredTask | None:
        """The task of one attempt, ended or not, for late evidence."""
        return reading.task_of_attempt(self._db, attempt)

    def task_ids(self) -> Iterator[bytes]:
        """The 32-byte ids of every task in the store."""
        for (key,) in self._db.execute("SELECT id FROM task"):
            yield bytes(key)

    def numbers(self) -> Iterator[int]:
        """The numbers of every task of the spec that is in the store."""
        for (number,) in self._db.execute("SELECT number FROM task WHERE number >= 0"):
            yield int(number)

    def has(self, task_id: bytes | str) -> Phase | None:
        """Where a task stands, by its 32 bytes or 64 hex digits; None when it never entered the store."""
        key = bytes.fromhex(task_id) if isinstance(task_id, str) else task_id
        row = self._db.execute("SELECT phase FROM task WHERE id=?", (key,)).fetchone()
        return None if row is None else Phase(row[0])

    def task_rows(self, only: Collection[int] | None = None) -> Iterator[TaskRow]:
        """Every task (or those of these numbers): the spec's by number, then those it dropped."""
        return reading.task_rows(self._db, only)

    def image_rows(self, only: Collection[int] | None = None) -> Iterator[ImageRow]:
        """Every stored picture (or those of these tasks), in the order of `task_rows`, then by image index."""
        return reading.image_rows(self._db, only)

    def columns(self, size: int) -> Iterator[Columns]:
        """Both of them as columns, in batches of this size."""
        return columns.columns(self._db, size)

    def numbers_of(self, attempts: Collection[int]) -> set[int]:
        """The numbers of the tasks of these attempts."""
        return reading.numbers_of(self._db, attempts)

    def attempt_rows(self) -> Iterator[AttemptRow]:
        """Every attempt, by number."""
        return reading.attempt_rows(self._db)

    def doubtful_rows(self) -> Iterator[AttemptRow]:
        """Every attempt in doubt, by number."""
        return reading.attempt_rows(self._db, reading.DOUBTFUL)

    def undone(self) -> dict[str, int]:
        """{kind of fault: tasks that are not done because of it}."""
        return figures.undone(self._db)

    def failures(self) -> Iterator[FailureRow]:
        """Tasks that ended with a fault, by its kind."""
        return figures.failures(self._db)

    def lane_rows(self) -> Iterator[LaneRow]:
        """Every lane that money was ever held for, by name."""
        return figures.lanes(self._db)

    def bill_rows(self) -> Iterator[BillRow]:
        """What attempts cost, those that are alike counted together."""
        return figures.bills(self._db)

    def money_entries(self) -> Iterator[EntryRow]:
        """Every movement of money, oldest first."""
        return reading.entry_rows(self._db)

    def moves(self) -> Iterator[MoveRow]:
        """Every movement of money with what it was for, oldest first."""
        return moves.moves(self._db)

    def cap_rows(self) -> Iterator[CapRow]:
        """Every setting of a cap, oldest first."""
        return reading.cap_rows(self._db)

    def said_rows(self) -> Iterator[SaidRow]:
        """What people told the run while it was alive, oldest first."""
        return reading.said_rows(self._db)

    def picture_paths(self) -> Iterator[str]:
        """The paths of every stored picture, relative to the run folder, by their order."""
        sql = "SELECT path FROM picture WHERE path IS NOT NULL AND state='STORED' ORDER BY path"
        for (path,) in self._db.execute(sql):
            yield str(path)

    def has_picture(self, path: str) -> bool:
        """Whether a stored picture has this path."""
        return self._db.execute("SELECT 1 FROM picture WHERE path=? AND state='STORED'", (path,)).fetchone() is not None

    def pending_pictures(self) -> set[tuple[int, int]]:
        """(attempt, index) of every picture still to be fetched."""
        rows = self._db.execute("SELECT attempt, idx FROM picture WHERE state='PENDING'")
        return {(int(attempt), int(index)) for attempt, index in rows}

    def oldest_links(self) -> dict[tuple[str, str], int]:
        """{(gateway, model): when the oldest of the links that are still to be fetched came, in UTC microseconds}."""
        return reading.oldest_links(self._db)

    def last_time(self) -> int:
        """The latest wall time in the tables, in UTC microseconds; 0 when nothing has happened."""
        return reading.last_time(self._db)

    def calls_out(self) -> dict[str, int]:
        """{state: attempts that may be billed and have no end yet}: SUBMITTING, ACCEPTED, DOUBT, VANISHED."""
        return reading.calls_out(self._db)
