"""Python's own I/O, heard: the names in `os` and `io` are replaced by ones that record, and pass on or fail."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store import syncing
from tests.chaos.tape import Event, Tape, there


@dataclass(slots=True)
class PythonCalls:
    """Replaces the names; there is no way back."""

    _tape: Tape

    def install(self) -> None:
        """Begin."""
        for name in ("open", "write", "fsync", "fdatasync", "ftruncate", "truncate", "posix_fallocate", "pwrite"):
            setattr(os, name, getattr(self, f"_os_{name}")(getattr(os, name)))
        for name in ("mkdir", "unlink", "rmdir", "remove"):
            setattr(os, name, self._one_name(name, getattr(os, name)))
        for name in ("rename", "replace", "link"):
            setattr(os, name, self._two_names(name, getattr(os, name)))
        io.open = self._io_open(io.open)
        shared: Any = syncing
        shared.sync_file_system = self._sync_file_system(syncing.sync_file_system)

    def _os_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            inside = self._tape.where(path, dir_fd)
            if inside is None:
                return real(path, flags, mode, dir_fd=dir_fd)
            with self._tape.lock:
                self._tape.check("open", inside)
                if flags & os.O_TMPFILE == os.O_TMPFILE:
                    handle = real(path, flags, mode, dir_fd=dir_fd)
                    self._tape.number(handle)
                    return handle
                new = bool(flags & os.O_CREAT) and not there(path, dir_fd)
                handle = real(path, flags, mode, dir_fd=dir_fd)
                if new:
                    self._tape.born(handle, inside)
                elif flags & os.O_TRUNC:
                    self._tape.events.append(Event("resize", inside, self._tape.id(os.fstat(handle)), 0))
                return handle

        return opened

    def _io_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            inside = None if isinstance(file, int) else self._tape.where(file)
            if inside is not None:
                if set(mode) & set("wax+"):
                    raise AssertionError(f"a file of the run is written where nobody can see it: {inside}")
                self._tape.check("open", inside)
            return real(file, mode, *more, **named)

        return opened

    def _os_write(self, real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def write(handle: int, data: Any) -> int:
            inside = self._tape.of(handle)
            if inside is None:
                return real(handle, data)
            with self._tape.lock:
                self._tape.check("write", inside)
                # A file that is opened for appending is at its end after the write.
                count = real(handle, data)
                self._tape.wrote(handle, inside, -1, bytes(memoryview(data)[:count]))
                return count

        return write

    def _os_pwrite(self, real: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
        def pwrite(handle: int, data: Any, at: int) -> int:
            inside = self._tape.of(handle)
            if inside is None:
                return real(handle, data, at)
            with self._tape.lock:
                self._tape.check("pwrite", inside)
                count = real(handle, data, at)
                self._tape.wrote(handle, inside, at, bytes(memoryview(data)[:count]))
                return count

        return pwrite

    def _os_fsync(self, real: Callable[[Any], None]) -> Callable[[Any], None]:
        def fsync(handle: Any) -> None:
            number = handle if isinstance(handle, int) else handle.fileno()
            inside = self._tape.of(number)
            if inside is None:
                return real(handle)
            with self._tape.lock:
                self._tape.check("fsync", inside)
                real(handle)
                known = os.fstat(number)
                if stat.S_ISDIR(known.st_mode):
                    self._tape.events.append(Event("sync_folder", inside))
                else:
                    self._tape.events.append(Event("sync", inside, self._tape.id(known)))
            return None

        return fsync

    _os_fdatasync = _os_fsync

    def _sync_file_system(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(handle: int) -> None:
            with self._tape.lock:
                inside = self._tape.of(handle) or ""
                self._tape.check("fsync", inside)
                real(handle)
                self._tape.events.append(Event("sync_all", inside))

        return sync

    def _os_ftruncate(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def ftruncate(handle: int, size: int) -> None:
            inside = self._tape.of(handle)
            if inside is None:
                return real(handle, size)
            with self._tape.lock:
                self._tape.check("ftruncate", inside)
                real(handle, size)
                self._tape.events.append(Event("resize", inside, self._tape.id(os.fstat(handle)), size))
            return None

        return ftruncate

    def _os_truncate(self, real: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
        def truncate(path: Any, size: int) -> None:
            inside = self._tape.where(path)
            if inside is None:
                return real(path, size)
            with self._tape.lock:
                self._tape.check("ftruncate", inside)
                real(path, size)
                self._tape.events.append(Event("resize", inside, self._tape.id(Path(path).stat()), size))
            return None

        return truncate

    def _os_posix_fallocate(self, real: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def allocate(handle: int, at: int, length: int) -> None:
            inside = self._tape.of(handle)
            if inside is None:
                return real(handle, at, length)
            with self._tape.lock:
                self._tape.check("write", inside)
                real(handle, at, length)
                known = os.fstat(handle)
                self._tape.events.append(Event("resize", inside, self._tape.id(known), known.st_size))
            return None

        return allocate

    def _one_name(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        kind = "unlink" if name == "remove" else name

        def call(path: Any, *more: Any, dir_fd: int | None = None, **named: Any) -> None:
            inside = self._tape.where(path, dir_fd)
            if inside is None:
                return real(path, *more, dir_fd=dir_fd, **named)
            with self._tape.lock:
                self._tape.check(kind, inside)
                real(path, *more, dir_fd=dir_fd, **named)
                self._tape.events.append(Event(kind, inside))
            return None

        return call

    def _two_names(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        kind = "rename" if name == "replace" else name

        def call(
            source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **named: Any
        ) -> None:
            old, new = self._tape.where(source, src_dir_fd), self._tape.where(target, dst_dir_fd)
            if old is None or new is None:
                return real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **named)
            with self._tape.lock:
                self._tape.check("rename", new)
                real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **named)
                number = self._tape.id(os.stat(target, dir_fd=dst_dir_fd)) if kind == "link" else -1
                self._tape.events.append(Event(kind, old, number, other=new))
            return None

        return call
