"""Room on the disk: how much is left, and a ballast file that is given up when the last of it is gone.

Paid answers may arrive when the disk is full. Then the ballast makes room for them, and nothing new is sent.
"""

from __future__ import annotations

import errno
import math
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import StorageFailed
from pipeline.store.durable import open_private
from pipeline.values.folder import BALLAST

_MB: Final = 1024 * 1024
#: What a roomy disk spares for a run. *Units* - bytes.
BALLAST_MAX: Final = 16 * _MB
#: Of the free room, one part in so many becomes ballast.
_SHARE: Final = 8
#: A ballast of up to this size is given up whole, a larger one by halves: the other half is for the next opening.
_WHOLE: Final = _MB
#: Less free room than this stops new purchases, on file systems of 1 GB or more; smaller ones keep a twentieth.
_FLOOR: Final = 64 * _MB
_SMALL: Final = 1024 * _MB
#: Each picture needs a name; so do parts and the manifest.
_NAMES_MIN: Final = 64
#: Half of the time for which a disk is not believed after it refused a picture, doubling (seconds).
_REFUSED_S: Final = 15.0
#: What a file system says when it, a quota or a limit on the size of files leaves no room.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException | None) -> bool:
    """Whether a failure, or what it came of, says that there is no room: what failed may be done again on room made.

    *Source* - SQLite says SQLITE_FULL for ENOSPC and a short write only; for a quota or a limit it says SQLITE_IOERR,
    as for a broken disk, and is not believed to mean room (os_unix.c, unixWrite).
    """
    match error:
        case sqlite3.Error():
            return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        case OSError():
            return error.errno in _FULL
        case StorageFailed():
            return is_full(error.__cause__)
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Disk:
    """What a file system says of itself. *Units* - bytes; names: files that can still be made, None when unknown."""

    total: int
    free: int
    names: int | None


def disk_of(folder: Path) -> Disk:
    """Ask the file system that holds a folder; free is what this user may still write."""
    told = os.statvfs(folder)
    return Disk(told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize, told.f_favail if told.f_files else None)


class Room:
    """The room of one run folder. Its methods may be called from any thread."""

    __slots__ = ("_ask", "_folder", "_path")

    def __init__(self, folder: Path, *, ask: Callable[[Path], Disk] = disk_of) -> None:
        self._folder = folder
        self._path = folder / BALLAST
        self._ask = ask

    def stock(self) -> int:
        """Put the ballast there, as far as the disk has room to spare; answers its size. Not for rehearsals."""
        with suppress(OSError):  # a full disk needs no ballast that does not fit; what was made counts
            handle = open_private(self._path, os.O_RDWR | os.O_CREAT)
            try:
                size = os.fstat(handle).st_size
                wanted = min(BALLAST_MAX, self._ask(self._folder).free // _SHARE)
                if size < wanted and self.low(0) is None:
                    os.posix_fallocate(handle, 0, wanted)
            finally:
                os.close(handle)
        return self.ballast

    @property
    def ballast(self) -> int:
        """The size of the ballast that is left, in bytes."""
        return self._path.stat().st_size if self._path.is_file() and not self._path.is_symlink() else 0

    def low(self, in_flight_bytes: int) -> str | None:
        """Why nothing new may be bought, in words; None when there is room for what is in flight twice over."""
        try:
            disk = self._ask(self._folder)
        except OSError as exc:
            return f"the disk does not say how much room it has ({exc.strerror}): {self._folder}"
        floor = _FLOOR if disk.total >= _SMALL else disk.total // 20
        needed = max(floor, 2 * in_flight_bytes)
        if disk.free < needed:
            return f"the disk has {_size(disk.free)} left, {_size(needed)} are needed; make room: {self._folder}"
        if disk.names is not None and disk.names < _NAMES_MIN:
            return f"the disk can hold {disk.names} more files only (inodes); delete some: {self._folder}"
        return None

    def release(self) -> bool:
        """Give up ballast, half of it or all; False when there is none left."""
        size = self.ballast
        if not size:
            return False
        try:
            if size <= _WHOLE:
                self._path.unlink()
                return True
            handle = open_private(self._path, os.O_RDWR)
            try:
                os.ftruncate(handle, size // 2)
            finally:
                os.close(handle)
        except (OSError, StorageFailed):
            return False
        return True

    def clear(self) -> None:
        """The run has finished: nothing more will come, so nothing is kept for it."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Refusals:
    """A disk that says it has room and refuses pictures all the same (a quota): until when its word is not believed."""

    __slots__ = ("_count", "_until")

    def __init__(self) -> None:
        self._count = 0
        self._until = -math.inf

    def refused(self, now: float) -> None:
        """A picture was refused. Those that were under way when the first one was are the same refusal."""
        if now >= self._until:
            self._count += 1
            self._until = now + _REFUSED_S * 2.0 ** min(self._count, 6)

    def kept(self) -> None:
        """A picture was kept: what was refused before it was passing."""
        self._count = 0

    def distrusted(self, now: float) -> bool:
        """Whether its word is not believed yet."""
        return now < self._until


def _size(count: int) -> str:
    return f"{count / _MB:,.1f} MB"
