"""A picture on its way in, from its first byte to its name: with a name of its own meanwhile, or without any."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from pipeline.failpoints import reach
from pipeline.store.durable import open_private, write_all

#: Where this process's open files have names of a sort.
_HANDLES: Final = "/proc/self/fd"


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a picture's bytes go."""

    handle: int

    def write(self, data: bytes) -> None:
        """Append all of it. *Raises* OSError."""
        write_all(self.handle, data)


class Part:
    """A picture on its way in: written, looked at, then kept or discarded.

    What comes whole has no name before its final one, where the system can do that: a death leaves nothing of it, and
    there are two names less to be made durable.
    """

    __slots__ = ("_handle", "_named", "attempt", "index", "path", "task_id")

    def __init__(self, path: Path, task_id: str, index: int, attempt: int) -> None:
        self.path = path
        self.task_id = task_id
        self.index = index
        self.attempt = attempt
        self._handle = -1
        self._named = False

    @property
    def nameless(self) -> bool:
        """Whether it is open and has no name."""
        return self._handle >= 0 and not self._named

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Write into it from the start, piece by piece; what an earlier try left is gone."""
        self._named = True
        handle = open_private(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            # Unbuffered: what came through the door in one piece is written in one piece, and a failure is seen there.
            yield Sink(handle)
        finally:
            os.close(handle)

    def fill(self, data: bytes) -> None:
        """Write all of it at once; it stays open until it is closed. *Raises* OSError, StorageFailed."""
        self.close()
        self._handle = _open_nameless(self.path.parent)
        self._named = self._handle < 0
        if self._named:
            self._handle = open_private(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        write_all(self._handle, data)

    def handle(self) -> int:
        """It as an open file, until it is closed. *Raises* OSError."""
        if self._handle < 0:
            self._named = True
            self._handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._handle

    def give(self, folder: int, path: str) -> bool:
        """Give it a name below an open folder; False when that is taken. *Raises* OSError."""
        if self.nameless:
            return _name_nameless(self._handle, folder, path)
        return give_name(self.path, folder, path)

    def close(self) -> None:
        """Let go of it; what has no name by now is gone."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def discard(self) -> None:
        """Drop it, if it was not kept."""
        self.close()
        if self._named:
            self.path.unlink(missing_ok=True)


def _exists(folder: int, name: str) -> bool:
    """Whether a name is taken in a folder, if only by a link."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def give_name(part: Path, folder: int, name: str) -> bool:
    """Move a part to its name in a folder; False when the name is taken."""
    try:
        # A link never writes over anything, even if two threads want the same name; a rename would.
        os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no links. The lock is ours, so nobody comes between the look and the rename.
        if _exists(folder, name):
            return False
        os.rename(part, name, dst_dir_fd=folder)
        return True
    reach("keep.linked")
    part.unlink()
    return True


def _open_nameless(folder: Path) -> int:
    """A private file in a folder's file system that has no name: closed, it is gone. -1 where there are none such."""
    handle = _opened_nameless(folder) if _can_be_named(folder) else -1
    if handle < 0:
        return -1
    try:
        os.fchmod(handle, 0o600)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _name_nameless(handle: int, folder: int, path: str) -> bool:
    """Give a nameless file a name below an open folder; False when that is taken. *Raises* OSError."""
    try:
        # With a folder's handle only: without one Python asks for another call, which does not follow the link.
        os.link(f"{_HANDLES}/{handle}", path, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _opened_nameless(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if exc.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            return -1
        raise


@lru_cache(64)
def _can_be_named(folder: Path) -> bool:
    """Whether a nameless file can be given a name here: some file systems (FUSE, the network's) make them in vain."""
    if not hasattr(os, "O_TMPFILE"):
        return False
    handle, probe = _opened_nameless(folder), folder / ".probe"
    if handle < 0:
        return False
    place = -1
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        probe.unlink(missing_ok=True)
        # Where the name is taken by now, another thread tries as well.
        _name_nameless(handle, place, probe.name)
        probe.unlink(missing_ok=True)
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}:
            raise
        return False
    finally:
        for each in (handle, place):
            if each >= 0:
                os.close(each)
    return True
