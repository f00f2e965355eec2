"""The black box: answers to paid POSTs, written down as received, before anybody understands them.

Plain `write()` without fsync: it survives the death of the process, not of the machine, and is evidence only. A line
is `crc32 json`; a torn or damaged line is skipped, and the next one starts after its newline.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pipeline.store.durable import open_private, write_all
from pipeline.values.wire import Response

#: A segment that grew past this is rotated. *Units* - bytes.
SEGMENT_MAX: Final = 4 * 1024 * 1024
#: Answer headers that are of no use as evidence and might be held against somebody.
_DROPPED: Final = frozenset({"set-cookie", "authorization", "cookie"})


@dataclass(slots=True)
class _Segment:
    path: Path
    #: Attempts whose answers stand here and are not committed yet.
    waiting: set[int] = field(default_factory=set)


class BlackBox:
    """The black box of one run folder: `blackbox`, and `blackbox.1`, `blackbox.2` ... while their answers wait."""

    __slots__ = ("_handle", "_next", "_path", "_rotated", "_size", "_waiting", "segment_max")

    def __init__(self, path: Path, *, segment_max: int = SEGMENT_MAX) -> None:
        """Open for appending (0600); what an earlier process left stays until committed or cleared."""
        self._path = path
        self.segment_max = segment_max
        old = _rotated(path)
        self._rotated = [_Segment(each, {attempt for attempt, _ in _read_file(each)}) for each in old]
        self._next = 1 + max((int(each.suffix[1:]) for each in old), default=0)
        self._waiting = {attempt for attempt, _ in _read_file(path)}
        self._open()

    def append(self, attempt: int, response: Response) -> None:
        """Write one answer down, before it is parsed."""
        line = _line(attempt, response)
        if self._size and self._size + len(line) > self.segment_max:
            self._rotate()
        write_all(self._handle, line)
        self._size += len(line)
        self._waiting.add(attempt)

    def read(self) -> list[tuple[int, Response]]:
        """Every whole answer that stands here, oldest first. Some may be committed already: ask the store."""
        found: list[tuple[int, Response]] = []
        for path in (*(segment.path for segment in self._rotated), self._path):
            found.extend(_read_file(path))
        return found

    def committed(self, attempt: int) -> None:
        """The answer of this attempt is in the store; a segment without waiting answers goes."""
        self._waiting.discard(attempt)
        if not self._waiting and self._size:
            self._empty()
        for segment in tuple(self._rotated):
            segment.waiting.discard(attempt)
            if not segment.waiting:
                segment.path.unlink(missing_ok=True)
                self._rotated.remove(segment)

    def clear(self) -> None:
        """Every answer is in the store."""
        for segment in self._rotated:
            segment.path.unlink(missing_ok=True)
        self._rotated.clear()
        self._waiting.clear()
        if self._size:
            self._empty()

    def close(self) -> None:
        """Close the file; what it says stays."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> None:
        self._handle = open_private(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._size = os.fstat(self._handle).st_size
        if self._size and os.pread(self._handle, 1, self._size - 1) != b"\n":
            write_all(self._handle, b"\n")
            self._size += 1

    def _empty(self) -> None:
        os.ftruncate(self._handle, 0)
        self._size = 0

    def _rotate(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.{self._next}")
        self._next += 1
        self._path.rename(aside)
        os.close(self._handle)
        self._rotated.append(_Segment(aside, self._waiting))
        self._waiting = set()
        self._open()


def _line(attempt: int, response: Response) -> bytes:
    record = {
        "attempt": attempt,
        "status": response.status,
        "headers": {name: value for name, value in response.headers.items() if name.lower() not in _DROPPED},
        "body": base64.b64encode(response.body).decode("ascii"),
    }
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read_file(path: Path) -> list[tuple[int, Response]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    answers = []
    for line in data.split(b"\n"):
        crc, _, text = line.partition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            continue  # torn by a crash, or empty
        record = json.loads(text)
        response = Response(record["status"], base64.b64decode(record["body"]), record["headers"])
        answers.append((int(record["attempt"]), response))
    return answers


def _rotated(path: Path) -> list[Path]:
    beside = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdecimal()]
    return sorted(beside, key=lambda each: int(each.suffix[1:]))
