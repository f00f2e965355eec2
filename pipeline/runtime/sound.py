"""Rows of a store as those who show them may take them: a folder may come from a stranger, or from a failing disk.

SQLite's own checks hold in stores that we made. In others a prompt can be a number, and a width can be missing; whoever
shows that must not fall over it, nor hand a page what it cannot read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Final, TypeAlias, TypeVar

from pipeline.engine.phases import Phase
from pipeline.errors import StorageFailed
from pipeline.report.pages import Store
from pipeline.report.summary import Told
from pipeline.runtime.remains import remedy
from pipeline.store.inside import is_digest
from pipeline.values.folder import STORE
from pipeline.values.money import UNLIMITED
from pipeline.values.rows import MOVES, EntryRow, ImageRow, TaskRow
from pipeline.values.task import InlineInput, LocalInput, Task, UpstreamInput, UrlInput

_Found = TypeVar("_Found")
_Table: TypeAlias = "Mapping[tuple[type, ...], tuple[str, ...]]"
_TEXT: Final = (str,)
_PERHAPS_TEXT: Final = (str, NoneType)
#: From 0; a page holds no larger number exactly.
_NUMBER: Final = (int,)
_PERHAPS_NUMBER: Final = (int, NoneType)
_NUMBER_MAX: Final = 2**53 - 1

_TASK: Final[_Table] = {
    _TEXT: ("id", "step", "operation", "gateway", "model", "prompt", "path"),
    _PERHAPS_TEXT: ("negative_prompt", "size", "row_id"),
    _NUMBER: ("n", "sample"),
}
_PRICE: Final[_Table] = {_TEXT: ("currency", "native_unit", "source")}
_PICTURE: Final[_Table] = {_TEXT: ("sha256", "media_type"), _NUMBER: ("size_bytes", "width", "height")}
_TASK_ROW: Final[_Table] = {
    _TEXT: ("currency", "fault", "fault_message", "operation_id"),
    _NUMBER: ("held_micros", "settled_micros", "doubt_micros", "images_delivered", "attempts"),
    _PERHAPS_NUMBER: ("submitted_at", "completed_at"),
}
_IMAGE_ROW: Final[_Table] = {
    _TEXT: ("currency", "operation_id"),
    _PERHAPS_TEXT: ("revised_prompt",),
    _NUMBER: ("image_index", "attempt", "attempts", "cost_micros"),
    _PERHAPS_NUMBER: ("submitted_at", "completed_at"),
}
_ARTIFACT: Final[_Table] = {
    _TEXT: ("sha256", "media_type", "path"),
    _NUMBER: ("size_bytes", "width", "height", "stored_at"),
}
_ENTRY: Final[_Table] = {_TEXT: ("currency", "kind"), _NUMBER: ("amount_micros", "at")}
_TOLD: Final[_Table] = {
    _TEXT: ("job", "state", "folder"),
    _NUMBER: ("updated_at",),
    _PERHAPS_NUMBER: ("created_at",),
}
_ACCOUNT: Final[_Table] = {_TEXT: ("currency",), _NUMBER: ("spent", "held", "doubt", "overage")}
_PHASES: Final = frozenset(Phase)


@contextmanager
def sound(folder: Path) -> Iterator[None]:
    """Around all that reads a store for people: rows that cannot be are told as that. *Raises* StorageFailed."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError) as error:
        raise StorageFailed(f"{STORE}: a row cannot be read ({_short(error)}). {remedy(folder)}") from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:200] or "it contradicts itself"
    return f"there is no {text}" if isinstance(error, KeyError) else text


class Rows:
    """One read of a store whose rows were looked at: its readers *raise* StorageFailed for those that cannot be."""

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store

    def image_rows(self) -> Iterator[ImageRow]:
        """Every stored picture."""
        return self._looked_at(self._store.image_rows(), _check_image)

    def task_rows(self) -> Iterator[TaskRow]:
        """Every task."""
        return self._looked_at(self._store.task_rows(), _check_task_row)

    def money_entries(self) -> Iterator[EntryRow]:
        """Every movement of money."""
        return self._looked_at(self._store.money_entries(), _check_entry)

    def _looked_at(self, rows: Iterator[_Found], check: Callable[[_Found], None]) -> Iterator[_Found]:
        # Only what reads and checks: a mistake of whoever takes the rows must not be called the store's.
        while True:
            with sound(self._folder):
                row = next(rows, None)
                if row is not None:
                    check(row)
            if row is None:
                return
            yield row


def check_told(told: Told) -> Told:
    """What is known of a run besides its rows. *Raises* ValueError."""
    _check(told, _TOLD, "the run")
    for account in told.accounts:
        _check(account, _ACCOUNT, f"account {account.currency}")
        if type(account.cap) is not int or not 0 <= account.cap <= max(UNLIMITED, _NUMBER_MAX):
            raise ValueError(f"account {account.currency}: its cap is {account.cap!r}")
    return told


def _check(value: object, table: _Table, what: str) -> None:
    for kinds, names in table.items():
        for name in names:
            found = getattr(value, name)
            # A truth is a number to Python, and not to a page.
            if type(found) not in kinds or (type(found) is int and not 0 <= found <= _NUMBER_MAX):
                raise ValueError(f"{what}: its {name} is {found!r:.60}")


def _check_entry(row: EntryRow) -> None:
    _check(row, _ENTRY, f"entry {row.entry}")
    if row.kind not in MOVES:
        raise ValueError(f"entry {row.entry}: its kind is {row.kind!r:.60}")


def _check_task_row(row: TaskRow) -> None:
    what = f"task {row.task.number}"
    _check(row, _TASK_ROW, what)
    if row.phase not in _PHASES:
        raise ValueError(f"{what}: its state is {row.phase!r:.60}")
    _check_task(row.task, what)


def _check_image(row: ImageRow) -> None:
    what = f"a picture of task {row.task.number}"
    _check(row, _IMAGE_ROW, what)
    _check(row.artifact, _ARTIFACT, what)
    _check_task(row.task, f"task {row.task.number}")


def _check_task(task: Task, what: str) -> None:
    _check(task, _TASK, what)
    _check(task.price, _PRICE, what)
    if task.seed is not None and type(task.seed) is not int:
        raise ValueError(f"{what}: its seed is {task.seed!r:.60}")
    for name, cells in (("row", task.row), ("axes", task.axes)):
        if not all(type(word) is str for pair in cells.items() for word in pair):
            raise ValueError(f"{what}: its {name} is {cells!r:.60}")
    if type(task.params) is not dict or not _is_plain(task.params):
        raise ValueError(f"{what}: its params are {task.params!r:.60}")
    for source in task.inputs:
        match source:
            case LocalInput() | InlineInput():
                _check(source.picture, _PICTURE, f"an input of {what}")
                good = type(source.uri) is str and is_digest(source.picture.sha256)
            case UrlInput():
                good = type(source.url) is str
            case UpstreamInput():
                good = type(source.task_id) is str and type(source.image_index) is int
        if not good:
            raise ValueError(f"an input of {what} is {source!r:.60}")


def _is_plain(value: object) -> bool:
    """Whether a value is JSON; some that Python reads as such are none."""
    if isinstance(value, Mapping):
        return all(type(name) is str and _is_plain(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, float) or math.isfinite(value)
