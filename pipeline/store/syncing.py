"""Making a group of files durable: by one sync of their whole file system where that is as good, else one by one.

A sync of one small file costs the system about as much as one of thirty: each is a commit of the file system's journal
and a flush of the disk. `syncfs` does all of it once, and also writes whatever anybody else has waiting there. So it is
asked for only where nothing much waits, for groups that are worth it, and where the system is known to tell of errors.
"""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

#: Syncs of one group that are asked for at once: the system does those that come together in one go.
_AT_ONCE: Final = 8
#: Fewer files are synced by themselves.
WHOLE_MIN: Final = 4
#: What may wait to be written in the whole system (bytes), and how long a look at it is good for (seconds).
DIRTY_MAX: Final = 64 * 1024 * 1024
_LOOK_S: Final = 0.5
#: File systems of which one sync makes contents and names durable; the others may do less, as FUSE does, or more than
#: is wanted, as btrfs does (whose device numbers in /proc/self/mountinfo are besides not those of its files).
_KNOWN: Final = frozenset({"ext4", "xfs"})
#: Since this Linux the call tells of everything that went wrong; before it, an error could be lost.
_TELLS_SINCE: Final = (5, 17)


class Syncing:
    """The syncs of one run folder. It may be used from several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._apt: bool | None = None
        self._looked_at, self._quiet = float("-inf"), False
        # Its threads begin with its first use.
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sync")

    def whole(self, handle: int, count: int) -> bool:
        """Make everything durable that was written to this file system since `handle` was opened, for `count` files.

        False: it was not asked for, or something in that file system went wrong; then each file's own sync tells.
        """
        if count < WHOLE_MIN or not self._whole_is_apt() or not self._nothing_waits():
            return False
        try:
            sync_file_system(handle)
        except OSError:
            return False
        return True

    def each(self, handles: Sequence[int]) -> list[OSError | None]:
        """One fsync each; answers what went wrong with it, None where nothing did."""
        if len(handles) > 1:
            # A group whose waiters are gone may outlive the run.
            with suppress(RuntimeError):
                return list(self._pool.map(_synced, handles))
        return [_synced(handle) for handle in handles]

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False)

    def _whole_is_apt(self) -> bool:
        if self._apt is None:
            self._apt = tells() and one_known_file_system(self._folder)
        return self._apt

    def _nothing_waits(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at > _LOOK_S:
            self._looked_at, self._quiet = now, waiting_bytes() <= DIRTY_MAX
        return self._quiet


def sync_file_system(handle: int) -> None:
    """Make all of the file system durable that an open file is in. *Raises* OSError."""
    if number := _syncfs()(handle):
        raise OSError(number, os.strerror(number))


@cache
def _syncfs() -> Callable[[int], int]:
    """The system's call, which Python has no name for; it answers the number of what went wrong, or 0."""
    import ctypes  # noqa: PLC0415 - it takes milliseconds, and most runs have no groups

    called: Any = ctypes.CDLL(None, use_errno=True).syncfs
    called.argtypes = [ctypes.c_int]
    return lambda handle: called(handle) and (ctypes.get_errno() or errno.EIO)


@cache
def tells() -> bool:
    """Whether this system has the call, and it tells of whatever went wrong."""
    if platform.system() != "Linux":
        return False
    first, second = (*platform.release().split("."), "", "")[:2]
    if not first.isdigit() or not second.isdigit() or (int(first), int(second)) < _TELLS_SINCE:
        return False
    try:
        return bool(_syncfs())
    except (OSError, AttributeError):
        return False


def waiting_bytes(path: Path = Path("/proc/meminfo")) -> int:
    """What the whole system has in memory that is still to be written to disks; without an answer, far too much."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return sum(int(lines[name].split()[0]) * 1024 for name in ("Dirty", "Writeback"))
    except (OSError, ValueError, LookupError):
        return 1 << 62


def one_known_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether all of a folder is on one file system, of a known kind."""
    try:
        place, lines = os.fspath(folder.resolve()), mounts.read_text().splitlines()
        device = folder.stat().st_dev
        rows = [line.split(" ") for line in lines]
        # Spaces and the like stand in octal there: such a folder is taken for one that may hold anything.
        if "\\" in place or any(character.isspace() for character in place):
            return False
        if any(row[4].startswith(f"{place}/") for row in rows):
            return False
        kinds = {row[row.index("-") + 1] for row in rows if row[2] == f"{os.major(device)}:{os.minor(device)}"}
        return bool(kinds) and kinds <= _KNOWN
    except (OSError, ValueError, LookupError):
        return False


def _synced(handle: int) -> OSError | None:
    try:
        os.fsync(handle)
    except OSError as exc:
        return exc
    return None
