"""Real I/O seen and spoiled at the system call, without a change of the product: SQLite's and Python's, in one order.

SQLite's unix VFS lets tests replace its system calls (`xSetSystemCall`); its syncs go through a copy of the VFS that
differs in `xOpen` and `xSync` alone. Python's own go by `os` and `io.open`, whose names are replaced. What escapes both
(a library that opens files in C) is found by the proof: replaying the record must give the folder that is there.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.python_calls import PythonCalls
from tests.chaos.sqlite_calls import SqliteCalls
from tests.chaos.tape import Event, Tape, Unusable


class Recorder(Tape):
    """Listens to one process's I/O below `root` from `install` on; there is no way back, so use a child process."""

    __slots__ = ()

    def install(self) -> None:
        """Begin. *Raises* Unusable."""
        calls = SqliteCalls(self)
        self.held.append(calls)
        calls.install()
        PythonCalls(self).install()
        self._prove()

    def _prove(self) -> None:
        """Write a small store beside the root, which may be full, and see that it was heard. *Raises* Unusable."""
        spoil, self.spoil = self.spoil, None
        base = self.base
        with TemporaryDirectory(dir=self.root.parent) as place:
            self.base = f"{place}/"
            db = sqlite3.connect(Path(place) / "heard.db")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("CREATE TABLE t(x)")
            db.close()
        self.spoil, self.base = spoil, base
        heard = {event.kind for event in self.events}
        if not {"create", "write", "sync", "sync_folder", "unlink"} <= heard:
            raise Unusable(f"SQLite writes past the recorder: only {', '.join(sorted(heard)) or 'nothing'} was heard")
        self.events.clear()
        self.ids.clear()
        self._found(self.root)
        self.note("begun")

    def _found(self, folder: Path) -> None:
        """What an earlier life left, as if it had been written and synced just now."""
        for path in sorted(folder.iterdir()):
            inside = self.inside(str(path))
            if inside is None:
                continue
            if path.is_dir() and not path.is_symlink():
                self.events.append(Event("mkdir", inside))
                self._found(path)
            elif path.is_file():
                handle = os.open(path, os.O_RDONLY)
                self.born(handle, inside)
                os.close(handle)
                data = path.read_bytes() if self.keep else b""
                self.events.append(Event("write", inside, self.count, 0, data))
                self.events.append(Event("sync", inside, self.count))
        self.events.append(Event("sync_folder", self.inside(str(folder)) or ""))
