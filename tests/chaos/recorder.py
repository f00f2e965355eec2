"""Real I/O seen and spoiled at the system call, without a change of the product: SQLite's and Python's, in one order.

SQLite's unix VFS lets tests replace its system calls (`xSetSystemCall`); its syncs go through a copy of the VFS that
differs in `xOpen` and `xSync` alone. Python's own go by `os` and `io.open`, whose names are replaced. What escapes both
(a library that opens files in C) is found by the proof: replaying the record must give the folder that is there.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import errno
import io
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple


class Event(NamedTuple):
    """One thing that happened. `file` numbers a file for life, whatever its names; paths are relative to the root."""

    #: create, write, resize, sync, mkdir, link, rename, unlink, rmdir, sync_folder; or a note of the test's own.
    kind: str
    path: str = ""
    file: int = -1
    at: int = 0
    data: bytes = b""
    other: str = ""


class Unusable(Exception):  # noqa: N818 - it is a fact about this machine
    """The SQLite of this Python cannot be listened to, so the campaign would prove nothing."""


#: Decides whether an operation fails: (its name, its path) -> errno, 0 to let it through.
Spoiler = Callable[[str, str], int]

#: A file below the root that is not the product's, and not heard.
OTHERS: Final = "filler"
_IOERR_FSYNC: Final = 10 | 4 << 8
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
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
class Recorder:
    """Listens to one process's I/O below `root` from `install` on; there is no way back, so use a child process."""

    root: Path
    spoil: Spoiler | None = None
    #: Whether contents are kept (a spoiler's campaign has no use for them).
    keep: bool = True
    events: list[Event] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: dict[tuple[int, int], int] = field(default_factory=dict)
    _count: int = 0
    _base: str = ""
    #: What C holds on to.
    _kept: list[Any] = field(default_factory=list)
    #: {address of a sqlite3_file: its path}
    _open: dict[int, str] = field(default_factory=dict)
    #: While SQLite syncs a file: the folders that it opened to sync them too. None outside of that.
    _folders_synced: list[str] | None = None

    # --- what the wrappers share ---

    def note(self, kind: str, path: str = "", other: str = "", at: int = 0) -> None:
        """Put something of the test's own into the same sequence."""
        self.events.append(Event(kind, path, -1, at, b"", other))

    def _inside(self, path: str) -> str | None:
        """A path relative to the root; None when it lies elsewhere, or is another's."""
        whole = os.path.abspath(path)  # noqa: PTH100 - a link at the end must stay one
        if f"{whole}/" == self._base:
            return ""
        inside = whole[len(self._base) :] if whole.startswith(self._base) else None
        return None if inside == OTHERS else inside

    def _where(self, path: Any, folder: int | None = None) -> str | None:
        if isinstance(path, int):
            return self._of(path)
        text = os.fsdecode(path)
        if folder is not None and not text.startswith("/"):
            text = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{text}"
        return self._inside(text)

    def _of(self, handle: int) -> str | None:
        try:
            return self._inside(str(Path(f"/proc/self/fd/{handle}").readlink()))
        except OSError:
            return None

    def _id(self, known: os.stat_result) -> int:
        return self._ids.get((known.st_dev, known.st_ino), -1)

    def _born(self, handle: int, path: str) -> None:
        known = os.fstat(handle)
        self._count += 1
        self._ids[known.st_dev, known.st_ino] = self._count
        self.events.append(Event("create", path, self._count))

    def _fail(self, call: str, path: str) -> int:
        if self.spoil is None:
            return 0
        number = self.spoil(call, path)
        if number:
            self.note("failed", path, other=f"{call} {errno.errorcode[number]}")
        return number

    def _check(self, call: str, path: str) -> None:
        if number := self._fail(call, path):
            raise OSError(number, os.strerror(number), path)

    # --- Python's own calls ---

    def install(self) -> None:
        """Begin. *Raises* Unusable."""
        self.root = self.root.resolve()
        self._base = f"{self.root}/"
        self._listen_to_sqlite()
        for name in ("open", "write", "fsync", "fdatasync", "ftruncate", "truncate", "posix_fallocate", "pwrite"):
            setattr(os, name, getattr(self, f"_os_{name}")(getattr(os, name)))
        for name in ("mkdir", "unlink", "rmdir", "remove"):
            setattr(os, name, self._one_name(name, getattr(os, name)))
        for name in ("rename", "replace", "link"):
            setattr(os, name, self._two_names(name, getattr(os, name)))
        io.open = self._io_open(io.open)

    def _os_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            inside = self._where(path, dir_fd)
            if inside is None:
                return real(path, flags, mode, dir_fd=dir_fd)
            with self._lock:
                self._check("open", inside)
                new = bool(flags & os.O_CREAT) and not _there(path, dir_fd)
                handle = real(path, flags, mode, dir_fd=dir_fd)
                if new:
                    self._born(handle, inside)
                elif flags & os.O_TRUNC:
                    self.events.append(Event("resize", inside, self._id(os.fstat(handle)), 0))
                return handle

        return opened

    def _io_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            inside = None if isinstance(file, int) else self._where(file)
            if inside is not None:
                if set(mode) & set("wax+"):
                    raise AssertionError(f"a file of the run is written where nobody can see it: {inside}")
                self._check("open", inside)
            return real(file, mode, *more, **named)

        return opened

    def _wrote(self, handle: int, inside: str, at: int, data: bytes) -> None:
        if at < 0:
            at = os.lseek(handle, 0, os.SEEK_CUR) - len(data)
        self.events.append(Event("write", inside, self._id(os.fstat(handle)), at, data if self.keep else b""))

    def _os_write(self, real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def write(handle: int, data: Any) -> int:
            inside = self._of(handle)
            if inside is None:
                return real(handle, data)
            with self._lock:
                self._check("write", inside)
                # A file that is opened for appending is at its end after the write.
                count = real(handle, data)
                self._wrote(handle, inside, -1, bytes(memoryview(data)[:count]))
                return count

        return write

    def _os_pwrite(self, real: Callable[[int, Any, int], int]) -> Callable[[int, Any, int], int]:
        def pwrite(handle: int, data: Any, at: int) -> int:
            inside = self._of(handle)
            if inside is None:
                return real(handle, data, at)
            with self._lock:
                self._check("pwrite", inside)
                count = real(handle, data, at)
                self._wrote(handle, inside, at, bytes(memoryview(data)[:count]))
                return count

        return pwrite

    def _os_fsync(self, real: Callable[[Any], None]) -> Callable[[Any], None]:
        def fsync(handle: Any) -> None:
            number = handle if isinstance(handle, int) else handle.fileno()
            inside = self._of(number)
            if inside is None:
                return real(handle)
            with self._lock:
                self._check("fsync", inside)
                real(handle)
                known = os.fstat(number)
                if stat.S_ISDIR(known.st_mode):
                    self.events.append(Event("sync_folder", inside))
                else:
                    self.events.append(Event("sync", inside, self._id(known)))
            return None

        return fsync

    _os_fdatasync = _os_fsync

    def _os_ftruncate(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def ftruncate(handle: int, size: int) -> None:
            inside = self._of(handle)
            if inside is None:
                return real(handle, size)
            with self._lock:
                self._check("ftruncate", inside)
                real(handle, size)
                self.events.append(Event("resize", inside, self._id(os.fstat(handle)), size))
            return None

        return ftruncate

    def _os_truncate(self, real: Callable[[Any, int], None]) -> Callable[[Any, int], None]:
        def truncate(path: Any, size: int) -> None:
            inside = self._where(path)
            if inside is None:
                return real(path, size)
            with self._lock:
                self._check("ftruncate", inside)
                real(path, size)
                self.events.append(Event("resize", inside, self._id(Path(path).stat()), size))
            return None

        return truncate

    def _os_posix_fallocate(self, real: Callable[[int, int, int], None]) -> Callable[[int, int, int], None]:
        def allocate(handle: int, at: int, length: int) -> None:
            inside = self._of(handle)
            if inside is None:
                return real(handle, at, length)
            with self._lock:
                self._check("write", inside)
                real(handle, at, length)
                known = os.fstat(handle)
                self.events.append(Event("resize", inside, self._id(known), known.st_size))
            return None

        return allocate

    def _one_name(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        kind = "unlink" if name == "remove" else name

        def call(path: Any, *more: Any, dir_fd: int | None = None, **named: Any) -> None:
            inside = self._where(path, dir_fd)
            if inside is None:
                return real(path, *more, dir_fd=dir_fd, **named)
            with self._lock:
                self._check(kind, inside)
                real(path, *more, dir_fd=dir_fd, **named)
                self.events.append(Event(kind, inside))
            return None

        return call

    def _two_names(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        kind = "rename" if name == "replace" else name

        def call(
            source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **named: Any
        ) -> None:
            old, new = self._where(source, src_dir_fd), self._where(target, dst_dir_fd)
            if old is None or new is None:
                return real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **named)
            with self._lock:
                self._check("rename", new)
                real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **named)
                self.events.append(Event(kind, old, other=new))
            return None

        return call

    # --- SQLite's ---

    def _listen_to_sqlite(self) -> None:
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
        self._prove()

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
            if code == 0 and path and self._inside(path) is not None:
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
            inside = self._inside(path) or ""
            with self._lock:
                if self._fail("fsync", inside):
                    return _IOERR_FSYNC
                self._folders_synced = []
                code = int(real(file, flags))
                if code == 0:
                    self.events.append(Event("sync", inside, self._id(Path(path).stat())))
                    # The first sync of a new log syncs the folder that its name stands in.
                    self.events.extend(Event("sync_folder", folder) for folder in self._folders_synced)
                self._folders_synced = None
                return code

        return sync

    def _sqlite_open(self, real: Any) -> Any:
        def opened(path: bytes, flags: int, mode: int) -> int:
            inside = self._inside(os.fsdecode(path))
            if inside is None:
                return int(real(path, flags, mode))
            with self._lock:
                if number := self._fail("open", inside):
                    ctypes.set_errno(number)
                    return -1
                new = bool(flags & os.O_CREAT) and not _there(path, None)
                handle = int(real(path, flags, mode))
                if handle >= 0 and new:
                    self._born(handle, inside)
                return handle

        return opened

    def _sqlite_write(self, real: Any) -> Any:
        def write(handle: int, data: int, count: int) -> int:
            inside = self._of(handle)
            if inside is None:
                return int(real(handle, data, count))
            with self._lock:
                if number := self._fail("write", inside):
                    ctypes.set_errno(number)
                    return -1
                done = int(real(handle, data, count))
                if done > 0:
                    self._wrote(handle, inside, -1, ctypes.string_at(data, done))
                return done

        return write

    def _sqlite_pwrite(self, real: Any) -> Any:
        def pwrite(handle: int, data: int, count: int, at: int) -> int:
            inside = self._of(handle)
            if inside is None:
                return int(real(handle, data, count, at))
            with self._lock:
                if number := self._fail("pwrite", inside):
                    ctypes.set_errno(number)
                    return -1
                done = int(real(handle, data, count, at))
                if done > 0:
                    self._wrote(handle, inside, at, ctypes.string_at(data, done))
                return done

        return pwrite

    def _sqlite_ftruncate(self, real: Any) -> Any:
        def ftruncate(handle: int, size: int) -> int:
            inside = self._of(handle)
            if inside is None:
                return int(real(handle, size))
            with self._lock:
                if number := self._fail("ftruncate", inside):
                    ctypes.set_errno(number)
                    return -1
                code = int(real(handle, size))
                if code == 0:
                    self.events.append(Event("resize", inside, self._id(os.fstat(handle)), size))
                return code

        return ftruncate

    def _sqlite_unlink(self, real: Any) -> Any:
        def unlink(path: bytes) -> int:
            inside = self._inside(os.fsdecode(path))
            if inside is None:
                return int(real(path))
            with self._lock:
                if number := self._fail("unlink", inside):
                    ctypes.set_errno(number)
                    return -1
                code = int(real(path))
                if code == 0:
                    self.events.append(Event("unlink", inside))
                return code

        return unlink

    def _sqlite_opendirectory(self, real: Any) -> Any:
        def opened(path: bytes, out: Any) -> int:
            inside = self._inside(os.fsdecode(path))
            folder = "" if inside is None or "/" not in inside else inside.rpartition("/")[0]
            code = int(real(path, out))
            if inside is not None and code == 0:
                if self._folders_synced is None:  # a deletion
                    self.events.append(Event("sync_folder", folder))
                else:
                    self._folders_synced.append(folder)
            return code

        return opened

    def _prove(self) -> None:
        """Write a small store beside the root, which may be full, and see that it was heard. *Raises* Unusable."""
        spoil, self.spoil = self.spoil, None
        base = self._base
        with TemporaryDirectory(dir=self.root.parent) as place:
            self._base = f"{place}/"
            db = sqlite3.connect(Path(place) / "heard.db")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE t(x)")
            db.close()
        self.spoil, self._base = spoil, base
        heard = {event.kind for event in self.events}
        if not {"create", "write", "sync", "sync_folder", "unlink"} <= heard:
            raise Unusable(f"SQLite writes past the recorder: only {', '.join(sorted(heard)) or 'nothing'} was heard")
        self.events.clear()
        self._ids.clear()
        self._found(self.root)
        self.note("begun")

    def _found(self, folder: Path) -> None:
        """What an earlier life left, as if it had been written and synced just now."""
        for path in sorted(folder.iterdir()):
            inside = self._inside(str(path))
            if inside is None:
                continue
            if path.is_dir() and not path.is_symlink():
                self.events.append(Event("mkdir", inside))
                self._found(path)
            elif path.is_file():
                handle = os.open(path, os.O_RDONLY)
                self._born(handle, inside)
                os.close(handle)
                data = path.read_bytes() if self.keep else b""
                self.events.append(Event("write", inside, self._count, 0, data))
                self.events.append(Event("sync", inside, self._count))
        self.events.append(Event("sync_folder", self._inside(str(folder)) or ""))


def _there(path: Any, folder: int | None) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


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
