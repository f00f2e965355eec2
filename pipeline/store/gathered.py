"""What a commit does to many rows: gathered by statement, so that each is run once for all of its rows.

The statements run in the order of an attempt's life. A fact that would go back in it, or one of the rare ones that look
at what stands in the tables, first has everything written that was gathered before it: nobody can tell the difference.
"""

from __future__ import annotations

import sqlite3
from enum import IntEnum
from typing import Final, TypeAlias

from pipeline.errors import StorageFailed

Row: TypeAlias = tuple[object, ...]


class Step(IntEnum):
    """A statement of the ordinary life of a task, in the order in which they may follow each other in one commit."""

    ADMIT = 0
    HOLD = 1
    PERMIT = 2
    SENT = 3
    ACCEPT = 4
    SETTLE = 5
    LINK = 6
    STORE = 7
    ENTER = 8
    MOVE = 9


_SQL: Final = {
    Step.ADMIT: (
        "INSERT INTO task(id, number, gateway, model, record, admitted_at, phase, fault, fault_message, completed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ),
    Step.HOLD: (
        "INSERT INTO attempt(id, task, ordinal, gateway, currency, state, hold, open, live_slot, held_at)"
        " SELECT ?, key, ?, gateway, ?, 'RESERVED', ?, ?, key, ? FROM task WHERE number=?"
    ),
    Step.PERMIT: "UPDATE attempt SET state='SUBMITTING', submitted_at=? WHERE id=? AND state='RESERVED'",
    Step.SENT: (
        "UPDATE task SET submitted_at=? WHERE key=(SELECT task FROM attempt WHERE id=?) AND submitted_at IS NULL"
    ),
    Step.ACCEPT: "UPDATE attempt SET state='ACCEPTED', operation=? WHERE id=? AND state='SUBMITTING'",
    Step.SETTLE: (
        "UPDATE attempt SET state='SETTLED', open=open-?, settled=settled+?, images=?, request_id=?,"
        " revised_prompt=?, counts=?, fault=?, fault_message=?, live_slot=NULL, ended_at=?"
        " WHERE id=? AND open>=? AND state IN ('SUBMITTING', 'ACCEPTED')"
    ),
    Step.LINK: "INSERT INTO picture(attempt, idx, state, link) VALUES (?, ?, 'PENDING', ?)",
    Step.STORE: (
        "UPDATE picture SET state='STORED', link=NULL, sha256=?, media_type=?, bytes=?, w=?, h=?, path=?,"
        " stored_at=? WHERE attempt=? AND idx=? AND state='PENDING'"
    ),
    Step.ENTER: "INSERT INTO entry(attempt, currency, kind, amount, why, at) VALUES (?, ?, ?, ?, ?, ?)",
    Step.MOVE: "UPDATE task SET phase=?, fault=?, fault_message=?, completed_at=? WHERE number=?",
}
#: Of these the first may find nothing to do, when a task is sent again.
_UNCOUNTED: Final = frozenset({Step.SENT})


class Gathered:
    """Rows that wait for their statements. *Raises* StorageFailed for a row that the tables do not allow."""

    __slots__ = ("_db", "_far", "_moved", "_rows", "_said")

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: dict[Step, list[Row]] = {}
        #: {attempt: the furthest step that waits for it}.
        self._far: dict[int, Step] = {}
        #: {task number: where it stands now}: only the last word of a commit counts.
        self._moved: dict[int, Row] = {}
        #: {step: what to say when one of its rows is not allowed}.
        self._said: dict[Step, str] = {}

    def of_attempt(self, step: Step, attempt: int, row: Row, refusal: str) -> None:
        """A step of an attempt's life."""
        if self._far.get(attempt, step) > step:
            self.write()
        self._far[attempt] = step
        self.add(step, row, refusal)

    def add(self, step: Step, row: Row, refusal: str = "") -> None:
        """A row for one statement; `refusal` is said when the tables do not allow it."""
        rows = self._rows.get(step)
        if rows is None:
            rows = self._rows[step] = []
            self._said[step] = refusal
        rows.append(row)

    def move(self, task: int, row: Row) -> None:
        """Where a task stands: phase, fault, its message, and when it was completed."""
        self._moved[task] = row

    def write(self) -> None:
        """Run every statement for its rows."""
        rows, moved = self._rows, self._moved
        self._rows, self._moved = {}, {}
        self._far.clear()
        if Step.ADMIT in rows:
            rows[Step.ADMIT] = [(*row, *moved.pop(row[1], _WAITING)) for row in rows[Step.ADMIT]]  # type: ignore[call-overload]  # a row's second word is the task's number
        if moved:
            rows[Step.MOVE] = [(*row, task) for task, row in moved.items()]
            self._said[Step.MOVE] = "the store does not allow TaskMoved as it stands"
        for step in sorted(rows):
            count = self._db.executemany(_SQL[step], rows[step]).rowcount
            if count != len(rows[step]) and step not in _UNCOUNTED:
                raise StorageFailed(self._said[step])


#: Where a task stands that was only admitted.
_WAITING: Final = ("waiting", "", "", None)
