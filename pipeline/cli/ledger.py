"""`status --csv`: the account of a run as a statement, a line for each movement of money, for those who check bills."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from pipeline.cli import words
from pipeline.engine.stored import StoredAccount
from pipeline.values.money import UNLIMITED, format_micros, format_money
from pipeline.values.rows import MOVES, CapRow, MoveRow
from pipeline.values.sheet import MARK, guarded

COLUMNS: Final = (
    *("time_utc", "kind", "amount", "currency", "spent_change", "held_change", "in_doubt_change"),
    *("spent_after", "held_after", "in_doubt_after", "budget", "left"),
    *("vendor_amount", "vendor_unit", "images"),
    *("task_id", "attempt", "gateway", "model", "operation_id", "why"),
)
#: {kind of an entry: as it is called here}, where that differs.
_NAMES: Final = {"lift": "doubt lifted", "doubt_release": "doubt released", "write_off": "write-off"}
#: Lines that are written at once.
_LINES: Final = 1000


class Balance:
    """Both sides of the account, as they are after each line. *Units* - micro-units by currency."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.doubt: Counter[str] = Counter()
        self.cap: dict[str, int] = {}

    def after(self, currency: str) -> list[str]:
        """The columns from `spent_after` to `left`."""
        gone = (self.spent[currency], self.held[currency], self.doubt[currency])
        cap = self.cap.get(currency, UNLIMITED)
        limit = ["", ""] if cap >= UNLIMITED else [format_micros(cap), format_micros(cap - sum(gone))]
        return [*map(format_micros, gone), *limit]


def lines(moves: Iterable[MoveRow], caps: Iterable[CapRow], balance: Balance) -> Iterator[list[str]]:
    """The statement, oldest first, settings of the cap in between; `balance` goes along."""
    waiting = list(caps)
    for move in moves:
        while waiting and waiting[0].at <= move.entry.at:
            yield _of_cap(waiting.pop(0), balance)
        yield _of_move(move, balance)
    for cap in waiting:
        yield _of_cap(cap, balance)


def _of_cap(cap: CapRow, balance: Balance) -> list[str]:
    balance.cap[cap.currency] = cap.cap_micros
    amount = "no limit" if cap.cap_micros >= UNLIMITED else format_micros(cap.cap_micros)
    nothing = [format_micros(0)] * 3
    after = balance.after(cap.currency)
    return [_utc(cap.at), "budget", amount, cap.currency, *nothing, *after, *[""] * 8, _text(cap.why)]


def _of_move(move: MoveRow, balance: Balance) -> list[str]:
    entry = move.entry
    kind, signs = _NAMES.get(entry.kind, entry.kind), MOVES[entry.kind]
    # What a settlement costs above its hold has no reason of its own; a bill that came after the end has.
    kind = "late" if kind == "overage" and entry.why else kind
    amount, unit = entry.amount_micros, entry.currency
    balance.spent[unit] += signs[0] * amount
    balance.held[unit] += signs[1] * amount
    balance.doubt[unit] += signs[2] * amount
    # An attempt that was settled for nothing may be settled again, with pictures, when its operation is found late.
    images = move.images if entry.kind == "settle" and (amount or not move.settled_micros) else None
    return [
        *(_utc(entry.at), kind, format_micros(amount), unit),
        *(format_micros(sign * amount) for sign in signs),
        *balance.after(unit),
        *(format_micros(_native(move)), _text(move.price.native_unit), "" if images is None else str(images)),
        *(_text(move.task_id), str(entry.attempt), _text(move.gateway), _text(move.model)),
        *(_text(move.operation_id), _text(entry.why or _why(move))),
    ]


def _native(move: MoveRow) -> int:
    from pipeline.runtime.bills import native_of

    return native_of(move.entry.amount_micros, move.entry.currency, move.price)


def _why(move: MoveRow) -> str:
    """Why money came back, or is in doubt, where the entry does not say it itself."""
    match move.entry.kind:
        case "release" if move.state == "SETTLED":
            return "it cost less than was held"
        case "release" | "doubt" | "settle":
            return move.fault_message
        case _:
            return ""


def _text(cell: str) -> str:
    """Words of a vendor: no control character, and no formula."""
    return guarded(words.clean(cell))


def _utc(micros: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(micros / 1e6))


def write(moves: Iterable[MoveRow], caps: Iterable[CapRow], out: IO[bytes]) -> Balance:
    """Write the statement as CSV for spreadsheets, some lines at a time; answers what the account is at its end."""
    balance = Balance()
    out.write(MARK.encode())
    _put([list(COLUMNS)], out)
    some: list[list[str]] = []
    for line in lines(moves, caps, balance):
        some.append(line)
        if len(some) == _LINES:
            _put(some, out)
            some = []
    _put(some, out)
    out.flush()
    return balance


def _put(some: Iterable[list[str]], out: IO[bytes]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(some)
    out.write(text.getvalue().encode("utf-8", "backslashreplace"))


def statement(folder: Path, out: IO[bytes]) -> list[str]:
    """Write the statement of a run; answers why it is not to be trusted. *Raises* RunNotFound, StorageFailed."""
    from pipeline.runtime.remains import reading

    with reading(folder) as journal:
        balance = write(journal.moves(), journal.cap_rows(), out)
        return [fault for each in journal.accounts() for fault in _differences(each, balance)]


def _differences(account: StoredAccount, balance: Balance) -> Iterator[str]:
    unit = account.currency
    for name, booked, told in (
        ("spent", account.spent, balance.spent[unit]),
        ("held", account.held, balance.held[unit]),
        ("in doubt", account.doubt, balance.doubt[unit]),
    ):
        if booked != told:
            yield f"the account says {format_money(booked, unit)} {name}, its entries {format_money(told, unit)}"
