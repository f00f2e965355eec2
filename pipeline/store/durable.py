"""Writing so that it is there after the power went: files, names and folders."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from pipeline.errors import StorageFailed


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write every byte to a file descriptor; a short write goes on where it stopped."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def end_of(handle: int) -> tuple[int, bool]:
    """The size of a file of lines, and whether its last line was torn: then the next one begins with a newline."""
    size = os.fstat(handle).st_size
    return size, size > 0 and os.pread(handle, 1, size - 1) != b"\n"


def taken_back(handle: int, size: int) -> tuple[int, bool]:
    """As `end_of`, after what a failed write left beyond `size` was cut off, if that can be."""
    with suppress(OSError):
        os.ftruncate(handle, size)
    return end_of(handle)


def open_private(path: Path, flags: int) -> int:
    """Open or create a file with mode 0600 whatever the umask. *Raises* StorageFailed for anything but a file of ours
    alone: a symbolic link, a pipe, or a second name of another file could lead our bytes to where they do harm.
    """
    try:
        # Emptied only after the look; not blocking, because a pipe without a reader would wait for ever.
        handle = os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as exc:
        if exc.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise _strange(path) from exc
        raise
    try:
        _plain(handle, path)
        os.fchmod(handle, 0o600)
        if flags & os.O_TRUNC:
            os.ftruncate(handle, 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def refuse_links(*paths: Path) -> None:
    """For files that a library opens, not we: those that are there must be plain. *Raises* StorageFailed."""
    for path in paths:
        try:
            known = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(known.st_mode) or known.st_nlink > 1:
            raise _strange(path)


def _plain(handle: int, path: Path) -> None:
    known = os.fstat(handle)
    if not stat.S_ISREG(known.st_mode) or known.st_nlink > 1:
        raise _strange(path)


def _strange(path: Path) -> StorageFailed:
    return StorageFailed(f"not a plain file with one name (a link, a pipe or a folder?); move it away: {path}")


def replace(path: Path, data: bytes, *, anew: bool = False) -> bool:
    """Write a small file whole, durably and at once; one that has these bytes already is left alone (False).

    `anew` replaces it in any case: whoever has it open sees that his is no longer the one.
    """
    if not anew and path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        # Whoever wrote it may have died before its name was durable.
        sync_folder(path.parent)
        return False
    fresh = path.with_name(f".{path.name}.new")
    handle = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    sync_folder(path.parent)
    return True
