"""What people told a run while it was alive, from its store: pauses, continuations, drains, budgets; who and when."""

from __future__ import annotations

from typing import Final

from pipeline.runtime.history import utc
from pipeline.store.reader import Reader
from pipeline.values.money import format_money

#: Caps that were set in other ways: when a run was begun, or gone on with.
_USUAL: Final = frozenset({"the spec's budget", "--budget"})
#: So many are told, the latest.
SAID_MAX: Final = 100


def said_of(journal: Reader) -> list[dict[str, object]]:
    """`said` of `status --json`: oldest first, each with `at`, `what`, `lane`, `amount` and `why` (who)."""
    words: list[tuple[int, dict[str, object]]] = [
        (row.at, {"what": row.what, "lane": row.lane, "amount": None, "why": row.why}) for row in journal.said_rows()
    ]
    words += [
        (row.at, {"what": "budget", "lane": None, "amount": format_money(row.cap_micros, row.currency), "why": row.why})
        for row in journal.cap_rows()
        if row.why not in _USUAL
    ]
    words.sort(key=lambda each: each[0])
    return [{"at": utc(at), **word} for at, word in words[-SAID_MAX:]]
