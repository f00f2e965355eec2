"""How far an export came that was killed: shards that are whole, which the same command need not write again.

What stands in which shard follows from the pictures, their order and the length of shards alone; all of that is the
identity of an export. A line is written when a shard is on the disk, and none any more once a picture was left out.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pipeline.store.durable import write_all

NAME: Final = ".pipeline-export.shards"
_NOTES_MAX: Final = 64 * 1024 * 1024


class Shards:
    """The notes of one export. *Units* - size_bytes: bytes of the pictures in whole shards."""

    def __init__(self, place: Path) -> None:
        self._path = place / NAME
        self._off = False
        self.files: list[str] = []
        self.pictures = 0
        self.size_bytes = 0

    def read(self) -> None:
        """Believe the notes as far as the shards are there with the lengths that they had."""
        for note in _notes(self._path):
            name, pictures, size_bytes = (note.get(key) for key in ("file", "pictures", "size_bytes"))
            if not (isinstance(name, str) and isinstance(pictures, int) and isinstance(size_bytes, int)):
                return
            if _length(self._path.parent, name) != note.get("length"):
                return
            self._take(name, pictures, size_bytes)

    def ended(self, name: str, pictures: int, size_bytes: int) -> None:
        """A shard is whole and on the disk: note it, durably."""
        self._take(name, pictures, size_bytes)
        if self._off:
            return
        length = _length(self._path.parent, name)
        note = {"file": name, "length": length, "pictures": pictures, "size_bytes": size_bytes}
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            write_all(handle, (json.dumps(note) + "\n").encode())
            os.fsync(handle)
        finally:
            os.close(handle)

    def stop(self) -> None:
        """A picture was left out: from here on nobody can say by counting what stands where."""
        self._off = True

    def drop(self) -> None:
        """The export is whole, and its notes are of no use any more."""
        self._path.unlink(missing_ok=True)

    def _take(self, name: str, pictures: int, size_bytes: int) -> None:
        self.files.append(name)
        self.pictures += pictures
        self.size_bytes += size_bytes


def _notes(path: Path) -> Iterator[Mapping[str, object]]:
    """Whole lines; the last one may be torn."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _NOTES_MAX:
            return
        for line in file:
            try:
                note = json.loads(line)
            except (ValueError, RecursionError):
                return
            if not isinstance(note, dict):
                return
            yield note


def _length(place: Path, name: str) -> int | None:
    """How long a shard is; None for anything but a plain file beside the notes."""
    if not name or "/" in name or "\0" in name:
        return None
    try:
        found = (place / name).lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
