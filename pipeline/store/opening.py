"""How a store's file is opened: what stands in the way in words, and a copy to look at while a run writes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import Final

from pipeline.errors import JournalNewer, RunLocked, StorageFailed
from pipeline.store.durable import open_private

#: What SQLite says of a file whose header or pages are not a store's, and the way out.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_UNREADABLE: Final = (
    "; it is damaged: bring back a whole copy of the folder, or start anew with --fresh --yes, without knowing what "
    "was bought"
)
#: How often a store that is being written to is copied before we give up.
_COPIES: Final = 20
#: What is copied at once (bytes).
_PIECE: Final = 1024 * 1024


def newer(path: Path) -> JournalNewer:
    """The words for a store of a later version."""
    return JournalNewer(f"this store was written by a newer version of pipeline; upgrade to read it: {path}")


def statements(text: str) -> Iterator[str]:
    """Single statements: `executescript` would commit what it stands in."""
    gathered = ""
    for line in text.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""


@contextmanager
def failing(words: str) -> Iterator[None]:
    """What SQLite or the disk refuses inside, in these words and with a remedy. *Raises* RunLocked, StorageFailed."""
    try:
        yield
    except UnicodeDecodeError as exc:
        raise StorageFailed(f"{words} (a row holds what is no text){_UNREADABLE}") from exc
    except (sqlite3.Error, OSError) as exc:
        if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            raise RunLocked(
                "another process is at work in this run folder, although its lock file is gone; wait for it or stop it "
                f"({words})"
            ) from exc
        way = _UNREADABLE if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGED else _writable_again(exc)
        raise StorageFailed(f"{words} ({exc}){way}") from exc


def _writable_again(error: Exception) -> str:
    """The remedy for a store that may not be written, or not be read, by us."""
    refused = isinstance(error, PermissionError) or getattr(error, "errno", 0) == errno.EROFS
    codes = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
    if not refused and getattr(error, "sqlite_errorcode", 0) & 0xFF not in codes:
        return ""
    return (
        "; nothing was sent or written: see that the run folder and what is in it belong to you and may be written "
        "(ls -l, lsattr, mount), then run the same command again"
    )


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands under a name, whatever is in it; None for none."""
    try:
        known = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return known.st_dev, known.st_ino


def wal(path: Path) -> Path:
    """Where a store's log stands."""
    return path.with_name(f"{path.name}-wal")


def state_of(path: Path) -> tuple[int, int, bytes]:
    """Time, size and first bytes of a file: a log begins anew with other salts, a body gets a new time."""
    try:
        with path.open("rb") as file:
            known = os.fstat(file.fileno())
            return known.st_mtime_ns, known.st_size, file.read(32)
    except FileNotFoundError:
        return 0, 0, b""


def copied(path: Path) -> TemporaryDirectory[str]:
    """A private copy of the file and its log, taken while neither was folded into the other."""
    copy = TemporaryDirectory(prefix="pipeline-store-")
    target = Path(copy.name) / path.name
    try:
        for _ in range(_COPIES):
            before = state_of(path), state_of(wal(path))[2]
            _copy_file(path, target)
            _copy_file(wal(path), wal(target))
            # A log that only grew is fine: what is torn at its end was not acknowledged to anybody.
            if before == (state_of(path), state_of(wal(path))[2]):
                return copy
    except BaseException:
        copy.cleanup()
        raise
    copy.cleanup()
    raise StorageFailed(f"the store is written to without a pause; ask again: {path}")


def _copy_file(source: Path, target: Path) -> None:
    try:
        opened = source.open("rb")
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return
    with opened, os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as copy:
        # Bit by bit: a store of a million tasks is larger than what a look may take.
        copyfileobj(opened, copy, _PIECE)
