"""Sums over the tables, made by SQLite: what `status` says of a run of any length, in the memory of a short one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Final

from pipeline.values.rows import BillRow, FailureRow, LaneRow
from pipeline.values.task import Price

_FAILED: Final = "phase IN ('failed', 'short', 'skipped')"
_DOUBTFUL: Final = "('DOUBT', 'VANISHED')"
#: Where a task stands in the order of `task_rows`: the spec's by number, then what it dropped.
_PLACE: Final = "CASE WHEN number < 0 THEN 4611686018427387904 - number ELSE number END"


def undone(db: sqlite3.Connection) -> dict[str, int]:
    """{kind of fault: tasks that are not done because of it}; doubts are told by themselves."""
    sql = "SELECT fault, count(*) FROM task WHERE fault <> '' AND phase NOT IN ('done', 'in_doubt') GROUP BY fault"
    return {str(fault): int(count) for fault, count in db.execute(sql)}


def failures(db: sqlite3.Connection) -> Iterator[FailureRow]:
    """Per kind of fault, how many tasks ended with it, the latest one's words, and what they cost all the same."""
    settled: dict[str, dict[str, int]] = {}
    sql = (
        "SELECT t.fault, a.currency, sum(a.settled) FROM task t JOIN attempt a ON a.task = t.key"  # noqa: S608
        f" WHERE t.fault <> '' AND t.{_FAILED} AND a.settled > 0 GROUP BY 1, 2"
    )
    for fault, currency, micros in db.execute(sql):
        settled.setdefault(fault, {})[currency] = micros
    # SQLite takes the words from the row that has the greatest place.
    sql = (
        f"SELECT fault, count(*), fault_message, max({_PLACE}) FROM task"  # noqa: S608
        f" WHERE fault <> '' AND {_FAILED} GROUP BY fault ORDER BY fault"
    )
    for fault, count, message, _ in db.execute(sql):
        yield FailureRow(fault, count, message, settled.get(fault, {}))


def lanes(db: sqlite3.Connection) -> Iterator[LaneRow]:
    """Every lane that money was ever held for, by name."""
    sql = (
        "SELECT a.gateway || '/' || t.model, count(a.submitted_at), sum(a.fault = 'rate_limited'),"
        " sum(a.state IN ('SUBMITTING', 'ACCEPTED')) FROM attempt a JOIN task t ON t.key = a.task GROUP BY 1 ORDER BY 1"
    )
    for lane, submits, rate_limited, in_flight in db.execute(sql):
        yield LaneRow(lane, submits, rate_limited, in_flight)


def bills(db: sqlite3.Connection) -> Iterator[BillRow]:
    """What attempts cost, those that cost the same by the same price counted together."""
    sql = (
        "SELECT a.gateway, a.currency, json_extract(t.record, '$.price'), a.settled,"  # noqa: S608
        f" CASE WHEN a.state IN {_DOUBTFUL} THEN 0 ELSE a.open END AS held,"
        f" CASE WHEN a.state IN {_DOUBTFUL} THEN a.open ELSE 0 END AS doubt, count(*)"
        " FROM attempt a JOIN task t ON t.key = a.task WHERE a.settled > 0 OR a.open > 0"
        " GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY min(a.id)"
    )
    for gateway, currency, price, settled, held, doubt, count in db.execute(sql):
        yield BillRow(gateway, currency, Price(**json.loads(price)), settled, held, doubt, count)
