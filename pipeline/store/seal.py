"""What bears witness against the store: a small file beside it, and a chain of digests through the entries of money.

SQLite does not see a flipped bit in a row, and takes a damaged log for one that ends early: commits that somebody was
told are safe would be gone without a word. Hence `state.db.seal`: how many commits there were, written after each of
them, and, once the store was closed in order, the SHA-256 of the whole file. A seal that is ahead of its store means
that commits are lost; one that is behind means a kill, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import StorageFailed
from pipeline.store.durable import open_private, replace

#: The suffix of the seal's name.
SUFFIX: Final = ".seal"
_NO_SUM: Final = "-" * 64
#: Every seal has this length, so that writing over one is one write within one sector.
_LINE: Final = re.compile(rb"seal 1 run=(\S{1,64}) +commits=([0-9]{20}) sha256=([0-9a-f]{64}|-{64}) ([0-9a-f]{8})\n")
#: The chain before its first entry.
NO_ENTRIES: Final = "0" * 64
_ENTRIES: Final = "SELECT id, attempt, currency, kind, amount, why, at FROM entry WHERE id > ? ORDER BY id"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a seal says. `sha256` is empty while the store is in use, or after it was left in a hurry."""

    run_id: str
    commits: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a store stands: its epoch, its commits, its last entry and the digest of all entries up to there."""

    epoch: int
    commits: int
    entry: int = 0
    chain: str = NO_ENTRIES

    @staticmethod
    def parse(text: str) -> Head:
        """*Raises* ValueError for a text that is none."""
        epoch, commits, entry, chain = text.split(" ")
        return Head(int(epoch), int(commits), int(entry), chain)

    def __str__(self) -> str:
        return f"{self.epoch} {self.commits} {self.entry} {self.chain}"


def chained(db: sqlite3.Connection, head: Head) -> Head:
    """The head after every entry that came since; each link holds the digest of all before it."""
    entry, chain = head.entry, head.chain
    for row in db.execute(_ENTRIES, (entry,)):
        entry = int(row[0])
        chain = hashlib.sha256("\x1f".join((chain, *map(str, row))).encode()).hexdigest()
    return Head(head.epoch, head.commits, entry, chain)


def path_of(store: Path) -> Path:
    """Where a store's seal stands."""
    return store.with_name(store.name + SUFFIX)


def read(store: Path) -> Sealed | None:
    """The seal of a store; None when there is none. *Raises* ValueError for a damaged one."""
    path = path_of(store)
    try:
        data = path.read_bytes() if not path.is_symlink() else b""
    except FileNotFoundError:
        return None
    found = _LINE.fullmatch(data)
    if found is None or found[4] != b"%08x" % zlib.crc32(data[:-10]):
        raise ValueError(f"{path.name} is damaged")
    run_id, commits, digest = (word.decode() for word in found.groups()[:3])
    return Sealed(run_id, int(commits), "" if digest == _NO_SUM else digest)


def sum_of(store: Path) -> str:
    """The SHA-256 of the store's file. Not while SQLite has it open: closing a second handle drops its locks."""
    with store.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def logged(store: Path) -> bool:
    """Whether a write-ahead log with something in it stands beside the store."""
    wal = store.with_name(f"{store.name}-wal")
    return wal.is_file() and wal.stat().st_size > 0


def faults_of_file(store: Path, sealed: Sealed | None) -> list[str]:
    """What the sum of a store that was closed in order says, in words. Only while nobody has the store open."""
    if sealed is None or not sealed.sha256:
        return []
    if logged(store):
        return [f"{store.name}-wal: stands beside a store that was closed in order; somebody else wrote it"]
    if sum_of(store) != sealed.sha256:
        return [f"{store.name}: its bytes are not those that were written (SHA-256 differs from {path_of(store).name})"]
    return []


def faults_of_head(store: Path, sealed: Sealed | None, run_id: str, head: Head) -> list[str]:
    """Whether commits are missing that the seal knows of, in words."""
    if sealed is None or sealed.run_id != run_id or head.commits >= sealed.commits:
        return []
    missing = sealed.commits - head.commits
    why = "its log was damaged or lost, or an older copy was put in its place"
    return [f"{store.name}: {missing} of {sealed.commits} commits are missing; {why}"]


def faults_of_chain(db: sqlite3.Connection, head: Head) -> list[str]:
    """Whether any entry of money is not as it was written, in words."""
    found = chained(db, Head(head.epoch, head.commits))
    if (found.entry, found.chain) == (head.entry, head.chain):
        return []
    return ["money: an entry is not as it was written (the chain of digests over all entries is broken)"]


class Seal:
    """The seal of a store in use: opened without a sum before the first write, told of each commit, closed with one."""

    __slots__ = ("_handle", "_run_id", "_store")

    def __init__(self, store: Path, run_id: str, commits: int) -> None:
        """Break the seal, durably: from here on a kill must not look like damage."""
        self._store = store
        self._run_id = run_id
        replace(path_of(store), _line(Sealed(run_id, commits)))
        self._handle = open_private(path_of(store), os.O_WRONLY)

    def note(self, commits: int) -> None:
        """So many commits are durable. Without fsync: it may fall behind when the power goes, never run ahead."""
        os.pwrite(self._handle, _line(Sealed(self._run_id, commits)), 0)

    def close(self) -> None:
        """Let go without a sum."""
        os.close(self._handle)

    def put(self, commits: int) -> None:
        """Seal a store that was closed in order, durably."""
        replace(path_of(self._store), _line(Sealed(self._run_id, commits, sum_of(self._store))))


def refused(faults: Iterable[str], store: Path) -> StorageFailed:
    """The words for a store that must not be gone on with, and what can be done."""
    return StorageFailed(
        f"the store is damaged, nothing is sent: {'; '.join(faults)}. Bring back a whole copy of {store.parent}, or "
        f"start anew with --fresh; to go on with the store as it is, delete {path_of(store).name}"
    )


def _line(sealed: Sealed) -> bytes:
    text = f"seal 1 run={sealed.run_id:<64} commits={sealed.commits:020} sha256={sealed.sha256 or _NO_SUM} ".encode()
    return b"%s%08x\n" % (text, zlib.crc32(text[:-1]))
