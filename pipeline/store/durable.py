"""Writing so that it is there after the power went: files, names and folders."""

from __future__ import annotations

import os
from pathlib import Path


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


def open_private(path: Path, flags: int) -> int:
    """Open or create a file with mode 0600 whatever the umask; a symbolic link at the end is refused (OSError)."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    return handle


def replace(path: Path, data: bytes) -> bool:
    """Write a small file whole, durably and at once; one that has these bytes already is left alone (False)."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
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
