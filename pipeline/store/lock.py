"""One process per run folder: a lock that the kernel takes back when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from pipeline.errors import RunError, RunLocked
from pipeline.store.durable import open_private, write_all

#: File systems on which a lock here says nothing about another machine, and an fsync little about the disk.
NETWORK: Final = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "glusterfs", "beegfs",
        "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.davfs", "davfs",
    }
)  # fmt: skip


#: A lock that is taken is tried so often again, with so many seconds between.
_TRIES: Final = 4
_PAUSE_S: Final = 0.01


class RunLock:
    """The lock of one run folder, from `take` to `release` or to the end of the process.

    `flock`, not POSIX record locks: those fall when any descriptor of the file is closed in the process. The file is
    never deleted, for a second process could then lock another file of the same name; after a release it is empty.
    A forked child lets go at once: with its copy of the handle it would keep the lock beyond our death.
    """

    __slots__ = ("__weakref__", "_handle")

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        _HELD.add(self)

    @classmethod
    def take(cls, path: Path, *, mounts: Callable[[], str] | None = None) -> RunLock:
        """Lock the file at `path`. *Raises* RunLocked with the holder's pid; RunError on a network file system."""
        kind = file_system_of(path.parent.resolve(), (mounts or _mounts)())
        if kind in NETWORK:
            raise RunError(
                f"the run folder is on a network file system ({kind}), where no lock and no write is sure; "
                f"choose a local disk with --run-dir: {path.parent}"
            )
        handle = open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            _lock(handle)
            while not _names(path, handle):
                # Deleted between the opening and the lock: what is locked is nobody's.
                os.close(handle)
                handle = open_private(path, os.O_RDWR | os.O_CREAT)
                _lock(handle)
        except BlockingIOError as exc:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise RunLocked(
                f"another process{f' (pid {holder})' if holder else ''} is at work in this run folder; "
                f"wait for it or stop it: {path.parent}"
            ) from exc
        # Without a pid the lock is as good; a full disk may refuse it.
        with suppress(OSError):
            os.ftruncate(handle, 0)
            write_all(handle, f"{os.getpid()}\n".encode())
        return cls(handle)

    def release(self) -> None:
        """Let go; harmless when done twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            # Empty, so that looking at a finished run changes no byte of its folder; a failing disk has its own error.
            with suppress(OSError):
                os.ftruncate(handle, 0)
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


#: The locks of this process.
_HELD: Final[weakref.WeakSet[RunLock]] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_HELD):
        handle, lock._handle = lock._handle, None  # noqa: SLF001 - closed, not released: our parent goes on holding it
        if handle is not None:
            os.close(handle)


os.register_at_fork(after_in_child=_let_go_in_child)


def _names(path: Path, handle: int) -> bool:
    try:
        named = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(handle))


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a run folder now. Looks only; a folder without a lock file has none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if not os.fstat(handle).st_size:
            return False  # Let go in order: nobody's start is disturbed by trying.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(handle: int) -> None:
    """Take the lock; somebody who only looks has it for an instant, which is waited for. *Raises* BlockingIOError."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def file_system_of(path: Path, mounts: str) -> str:
    """The kind of file system that holds an absolute path, by the lines of /proc/mounts; empty when unknown."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # device, mount point, kind
            continue
        # Spaces and other signs stand there as octal escapes.
        point = fields[1].encode("latin-1", "replace").decode("unicode_escape")
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="latin-1")
    except OSError:
        return ""
