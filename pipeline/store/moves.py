"""Movements of money with what they were for, one after the other, for a run of any length."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from pipeline.values.rows import EntryRow, MoveRow
from pipeline.values.task import Price

#: Prices that are read once: a job has a handful.
_PRICES: Final = 256


def moves(db: sqlite3.Connection) -> Iterator[MoveRow]:
    """Every entry, oldest first."""
    priced = lru_cache(_PRICES)(_price)
    sql = (
        "SELECT e.id, e.attempt, e.currency, e.kind, e.amount, e.why, e.at, lower(hex(t.id)), a.gateway, t.model,"
        " ifnull(a.operation, a.request_id), a.state, a.settled, a.images, a.fault_message,"
        " json_extract(t.record, '$.price')"
        " FROM entry e JOIN attempt a ON a.id = e.attempt JOIN task t ON t.key = a.task ORDER BY e.id"
    )
    for row in db.execute(sql):
        yield MoveRow(*[EntryRow(*row[:7]), *row[7:15], priced(row[15])])


def _price(text: str) -> Price:
    return Price(**json.loads(text))
