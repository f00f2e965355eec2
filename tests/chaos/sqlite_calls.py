"""SQLite's I/O, heard at the system call: its unix VFS lets tests replace them, and a copy of it hears the syncs."""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.tape import Event, Tape, Unusable, there

_IOERR_FSYNC: Final = 10 | 4 << 8
#: `sqlite3_io_methods`: where `xSync` stands among its words, and how many there are.
_X_SYNC, _IO_WORDS = 5, 19


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs`, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("path_max", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("app_data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("rest", ctypes.c_void_p * 12),
        ("set_system_call", ctypes.c_void_p),
        ("get_system_call", ctypes.c_void_p),
        ("next_system_call", ctypes.c_void_p),
    )


# The name is passed on as the pointer that it is: SQLite keeps it.
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_SET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_GET = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_INT, _SIZE, _OFF, _PTR, _TEXT = ctypes.c_int, ctypes.c_ssize_t, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
_CALLS: Final = {
    "open": ctypes.CFUNCTYPE(_INT, _TEXT, _INT, _INT, use_errno=True),
    "write": ctypes.CFUNCTYPE(_SIZE, _INT, _PTR, ctypes.c_size_t, use_errno=True),
    "pwrite": ctypes.CFUNCTYPE(_SIZE, _INT, _PTR, ctypes.c_size_t, _OFF, use_errno=True),
    "pwrite64": ctypes.CFUNCTYPE(_SIZE, _INT, _PTR, ctypes.c_size_t, _OFF, use_errno=True),
    "ftruncate": ctypes.CFUNCTYPE(_INT, _INT, _OFF, use_errno=True),
    "unlink": ctypes.CFUNCTYPE(_INT, _TEXT, use_errno=True),
    "openDirectory": ctypes.CFUNCTYPE(_INT, _TEXT, ctypes.POINTER(_INT)),
}


@dataclass(slots=True)
class SqliteCalls:
    """Replaces the calls of this process's SQLite; there is no way back."""

    _tape: Tape
    #: What C holds on to.
    _kept: list[Any] = field(default_factory=list)
    #: {address of a sqlite3_file: its path}
    _open: dict[int, str] = field(default_factory=dict)
    #: While SQLite syncs a file: the folders that it opened to sync them too. None outside of that.
    _folders_synced: list[str] | None = None

    def install(self) -> None:
        """Begin. *Raises* Unusable."""
        library = _library()
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        library.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), ctypes.c_int]
        library.sqlite3_initialize()
        found = library.sqlite3_vfs_find(b"unix")
        if not found or found.contents.version < 3 or not found.contents.set_system_call:
            raise Unusable("SQLite's unix VFS takes no other system calls here")
        unix = found.contents
        get = _GET(unix.get_system_call)
        for name, shape in _CALLS.items():
            address = get(ctypes.addressof(unix), name.encode())
            if address:
                self._replace(unix, name, shape, shape(address))
        self._register(library, unix)

    def _replace(self, unix: _Vfs, name: str, shape: Any, real: Any) -> None:
        wrapped = shape(getattr(self, f"_sqlite_{name.removesuffix('64').lower()}")(real))
        self._kept.extend((wrapped, real))
        given = ctypes.cast(wrapped, ctypes.c_void_p).value
        if _SET(unix.set_system_call)(ctypes.addressof(unix), name.encode(), given):
            raise Unusable(f"SQLite does not let its {name} be replaced")

    def _register(self, library: ctypes.CDLL, unix: _Vfs) -> None:
        shim = _Vfs.from_buffer_copy(unix)
        shim.name, shim.next = b"seen", None
        opened = _OPEN(self._vfs_open(_OPEN(unix.open)))
        shim.open = ctypes.cast(opened, ctypes.c_void_p).value
        self._kept.extend((shim, opened))
        if library.sqlite3_vfs_register(ctypes.byref(shim), 1):
            raise Unusable("SQLite takes no other VFS")

    def _vfs_open(self, real: Any) -> Any:
        def opened(vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
            code = int(real(vfs, name, file, flags, out))
            path = os.fsdecode(ctypes.string_at(name)) if name else ""
            if code == 0 and path and self._tape.inside(path) is not None:
                self._open[file] = path
                methods = ctypes.cast(file, ctypes.POINTER(ctypes.c_void_p))
                table = (ctypes.c_void_p * _IO_WORDS).from_address(methods[0] or 0)
                mine = (ctypes.c_void_p * _IO_WORDS)(*table)
                sync = _SYNC(self._vfs_sync(_SYNC(table[_X_SYNC] or 0)))
                mine[_X_SYNC] = ctypes.cast(sync, ctypes.c_void_p).value
                self._kept.extend((mine, sync))
                methods[0] = ctypes.addressof(mine)
            return code

        return opened

    def _vfs_sync(self, real: Any) -> Any:
        def sync(file: int, flags: int) -> int:
            path = self._open[file]
            inside = self._tape.inside(path) or ""
            with self._tape.lock:
                if self._tape.fail("fsync", inside):
                    return _IOERR_FSYNC
                self._folders_synced = []
                code = int(real(file, flags))
                if code == 0:
                    self._tape.events.append(Event("sync", inside, self._tape.id(Path(path).stat())))
                    # The first sync of a new log syncs the folder that its name stands in.
                    self._tape.events.extend(Event("sync_folder", folder) for folder in self._folders_synced)
                self._folders_synced = None
                return code

        return sync

    def _sqlite_open(self, real: Any) -> Any:
        def opened(path: bytes, flags: int, mode: int) -> int:
            inside = self._tape.inside(os.fsdecode(path))
            if inside is None:
                return int(real(path, flags, mode))
            with self._tape.lock:
                if number := self._tape.fail("open", inside):
                    ctypes.set_errno(number)
                    return -1
                new = bool(flags & os.O_CREAT) and not there(path, None)
                handle = int(real(path, flags, mode))
                if handle >= 0 and new:
                    self._tape.born(handle, inside)
                return handle

        return opened

    def _sqlite_write(self, real: Any) -> Any:
        def write(handle: int, data: int, count: int) -> int:
            inside = self._tape.of(handle)
            if inside is None:
                return int(real(handle, data, count))
            with self._tape.lock:
                if number := self._tape.fail("write", inside):
                    ctypes.set_errno(number)
                    return -1
                done = int(real(handle, data, count))
                if done > 0:
                    self._tape.wrote(handle, inside, -1, ctypes.string_at(data, done))
                return done

        return write

    def _sqlite_pwrite(self, real: Any) -> Any:
        def pwrite(handle: int, data: int, count: int, at: int) -> int:
            inside = self._tape.of(handle)
            if inside is None:
                return int(real(handle, data, count, at))
            with self._tape.lock:
                if number := self._tape.fail("pwrite", inside):
                    ctypes.set_errno(number)
                    return -1
                done = int(real(handle, data, count, at))
                if done > 0:
                    self._tape.wrote(handle, inside, at, ctypes.string_at(data, done))
                return done

        return pwrite

    def _sqlite_ftruncate(self, real: Any) -> Any:
        def ftruncate(handle: int, size: int) -> int:
            inside = self._tape.of(handle)
            if inside is None:
                return int(real(handle, size))
            with self._tape.lock:
                if number := self._tape.fail("ftruncate", inside):
                    ctypes.set_errno(number)
                    return -1
                code = int(real(handle, size))
                if code == 0:
                    self._tape.events.append(Event("resize", inside, self._tape.id(os.fstat(handle)), size))
                return code

        return ftruncate

    def _sqlite_unlink(self, real: Any) -> Any:
        def unlink(path: bytes) -> int:
            inside = self._tape.inside(os.fsdecode(path))
            if inside is None:
                return int(real(path))
            with self._tape.lock:
                if number := self._tape.fail("unlink", inside):
                    ctypes.set_errno(number)
                    return -1
                code = int(real(path))
                if code == 0:
                    self._tape.events.append(Event("unlink", inside))
                return code

        return unlink

    def _sqlite_opendirectory(self, real: Any) -> Any:
        def opened(path: bytes, out: Any) -> int:
            inside = self._tape.inside(os.fsdecode(path))
            folder = "" if inside is None or "/" not in inside else inside.rpartition("/")[0]
            code = int(real(path, out))
            if inside is not None and code == 0:
                if self._folders_synced is None:  # a deletion
                    self._tape.events.append(Event("sync_folder", folder))
                else:
                    self._folders_synced.append(folder)
            return code

        return opened


def _library() -> ctypes.CDLL:
    """The very library that Python's `sqlite3` uses. *Raises* Unusable."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    loaded = {line.split(maxsplit=5)[5].strip() for line in maps if "libsqlite3" in line}
    if len(loaded) > 1:
        raise Unusable(f"several SQLite libraries are loaded: {', '.join(sorted(loaded))}")
    # Linked into the module or into Python itself, it can still be found if its names were left visible.
    for path in (*loaded, getattr(_sqlite3, "__file__", None), None):
        try:
            library = ctypes.CDLL(path)
            library.sqlite3_vfs_find  # noqa: B018 - asking for the name is the test
        except (OSError, AttributeError):
            continue
        return library
    raise Unusable("SQLite is linked into Python without its names, so nobody can listen; use a Python that loads it")
