"""What bears witness against the store: a small file beside it, and a chain of digests through the entries of money.

SQLite does not see a flipped bit in a row, and takes a damaged log for one that ends early: commits that somebody was
told are safe would be gone without a word. Hence `state.db.seal`: how many commits there were, written after each of
them, and the SHA-256 of the file itself, which changes only when the log is folded into it: no sum stands there from
before a fold to after it. A seal that is ahead of its store means that commits are lost; one that is behind means a
kill, and nothing else. A file that holds more commits than it did when it was summed was folded by another program
(sqlite3 does that when it opens a killed run's store): it is looked at whole, and gone on with when all of it agrees.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
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
_CHUNK: Final = 1024 * 1024
#: File systems keep the time of a write no finer than this, and some by seconds.
_TELLING_NS: Final = 3_000_000_000
#: Every seal has this length, so that writing over one is one write within one sector.
_LINE: Final = re.compile(
    rb"seal [12] run=(\S{1,64}) +commits=([0-9]{20}) sha256=([0-9a-f]{64}|-{64}) "
    rb"(?:folded=([0-9]{20}) )?([0-9a-f]{8})\n"
)
#: The chain before its first entry.
NO_ENTRIES: Final = "0" * 64
_ENTRIES: Final = "SELECT id, attempt, currency, kind, amount, why, at FROM entry WHERE id > ? ORDER BY id"


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a seal says. `sha256` is empty where a death came while the log was folded into the file."""

    run_id: str
    commits: int
    sha256: str = ""
    #: The commits that the file itself held when it was summed; those after them stood in the log.
    folded: int = 0


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
    if found is None or found[5] != b"%08x" % zlib.crc32(data[:-10]):
        raise ValueError(f"{path.name} is damaged")
    run_id, commits, digest = (word.decode() for word in found.groups()[:3])
    # Seals of before did not say; then the file may not have changed at all.
    return Sealed(run_id, int(commits), "" if digest == _NO_SUM else digest, int(found[4] or commits))


def sum_of(store: Path) -> str:
    """The SHA-256 of the store's file. Not while SQLite has it open: closing a second handle drops its locks."""
    with store.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of_file(store: Path | int) -> tuple[int, ...] | None:
    """What changes with every write to a file; None where it was written so lately that a write might not show."""
    found = os.fstat(store) if isinstance(store, int) else store.stat()
    if time.time_ns() - found.st_mtime_ns < _TELLING_NS:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def faults_of_file(store: Path, sealed: Sealed | None) -> list[str]:
    """Whether the file is as it was left, in words; not while this process has it open."""
    if sealed is None or not sealed.sha256 or sum_of(store) == sealed.sha256:
        return []
    return [f"{store.name}: its bytes are not those that were written (SHA-256 differs from {path_of(store).name})"]


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
    """The seal of a store in use: told of each commit, broken while the log is folded into the file."""

    __slots__ = ("_body", "_commits", "_folded", "_handle", "_path", "_run_id", "_sum")

    def __init__(self, store: Path, body: int, run_id: str, commits: int, *, folded: int, known: str = "") -> None:
        """Write a fresh seal, durably: whoever held this store before finds another file in the old one's place.

        `body` is a handle of the store's file that outlives SQLite's own: closing it earlier would drop its locks.
        `folded` counts the commits that stand in the file and not in its log. `known` is the file's sum, where it was
        summed a moment ago.
        """
        self._folded = folded
        self._body = body
        self._run_id = run_id
        self._commits = commits
        self._sum = known or _sum(body)
        self._path = path_of(store)
        replace(self._path, self._line(), anew=True)
        self._handle = open_private(self._path, os.O_WRONLY)

    def note(self, commits: int) -> None:
        """So many commits are durable. Without fsync: it may fall behind when the power goes, never run ahead."""
        self._commits = commits
        os.pwrite(self._handle, self._line(), 0)

    def open(self) -> None:
        """Break the seal, durably: the file is about to change."""
        self._sum = ""
        os.pwrite(self._handle, self._line(), 0)
        os.fsync(self._handle)

    def shut(self) -> None:
        """The file has changed, durably: seal it as it is now."""
        self._sum = _sum(self._body)
        self._folded = self._commits
        os.pwrite(self._handle, self._line(), 0)

    def close(self) -> None:
        """Let go."""
        os.close(self._handle)

    def _line(self) -> bytes:
        text = (
            f"seal 2 run={self._run_id:<64} commits={self._commits:020} sha256={self._sum or _NO_SUM} "
            f"folded={self._folded:020} "
        )
        return b"%s%08x\n" % (text.encode(), zlib.crc32(text[:-1].encode()))


def _sum(handle: int) -> str:
    digest, at = hashlib.sha256(), 0
    while data := os.pread(handle, _CHUNK, at):
        digest.update(data)
        at += len(data)
    return digest.hexdigest()


def refused(faults: Iterable[str], store: Path, *, agrees: bool = False, out: int = 0) -> StorageFailed:
    """The words for a store that must not be gone on with, and what can be done, the best first.

    `agrees`: all that can be checked without the seal does. `out`: calls that may be billed and have no end yet.
    """
    name = path_of(store).name
    copy = f"ring back a whole copy of {store.parent}"
    if agrees:
        remedy = (
            "Its pages, sums, entries and commits all agree, so another program, such as sqlite3 or a backup tool, has "
            f"probably written in it: to go on with it as it is, delete {name}. If it was the disk, b{copy}"
        )
    elif out:
        remedy = f"B{copy}; failing that, to go on with the store as it is, delete {name}"
    else:
        remedy = f"B{copy}, or start anew with --fresh; to go on with the store as it is, delete {name}"
    calls = f". {out} {'call is' if out == 1 else 'calls are'} out: --fresh would lose what they bought" if out else ""
    return StorageFailed(f"the store is damaged, nothing is sent: {'; '.join(faults)}{calls}. {remedy}")
