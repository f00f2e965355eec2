"""Notes of the pictures that got their final names: evidence for adoption after a kill, hence without fsync."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.store.durable import open_private, write_all

_NOTES: Final = "kept.jsonl"
_OLD_NOTES: Final = "kept.old.jsonl"
#: The notes are rotated after this many pictures: only those not committed yet matter, and they are few.
_NOTES_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that got its final name. *Units* - size_bytes: bytes."""

    attempt: int
    index: int
    path: str
    sha256: str
    media_type: str
    size_bytes: int


class Notes:
    """The notes of one folder for parts."""

    __slots__ = ("_folder", "_taken")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken = 0

    def rotate(self) -> None:
        """One more picture is on its way: now and then the notes begin anew."""
        self._taken += 1
        if self._taken % _NOTES_MAX == 0:
            with suppress(FileNotFoundError):
                (self._folder / _NOTES).replace(self._folder / _OLD_NOTES)

    def write(self, kept: Iterable[Kept]) -> None:
        """Before the names, so that after a kill a name explains itself."""
        lines = "".join(f"\n{_line(each)}\n" for each in kept)
        if not lines:
            return
        handle = open_private(self._folder / _NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(handle, lines.encode())
        finally:
            os.close(handle)

    def read(self) -> list[Kept]:
        """Every whole note, oldest first."""
        found = []
        for name in (_OLD_NOTES, _NOTES):
            try:
                lines = (self._folder / name).read_bytes().splitlines()
            except FileNotFoundError:
                continue
            for line in lines:
                with suppress(ValueError, TypeError):  # torn by a crash, or empty
                    found.append(Kept(**json.loads(line)))
        return found

    def clear(self) -> None:
        """Every picture that they speak of has its row."""
        for name in (_NOTES, _OLD_NOTES):
            (self._folder / name).unlink(missing_ok=True)


def _line(kept: Kept) -> str:
    return json.dumps({name: getattr(kept, name) for name in kept.__slots__})
