"""The black box: answers to paid POSTs, written down as received, before anybody understands them.

Plain `write()` without fsync: it survives the death of the process, not of the machine, and is evidence only. A line
is `crc32 json`; a torn or damaged line is no evidence, which `damage` tells, and the next one starts after its newline.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from pipeline.errors import StorageFailed
from pipeline.store.durable import end_of, open_private, taken_back, write_all
from pipeline.store.room import is_full
from pipeline.values.wire import Response

#: A segment that grew past this is rotated. *Units* - bytes.
SEGMENT_MAX: Final = 4 * 1024 * 1024
#: Answer headers that are of no use as evidence and might be held against somebody.
_DROPPED: Final = frozenset({"set-cookie", "authorization", "cookie"})
_JSON: Final = json.JSONEncoder(separators=(",", ":"))


@dataclass(slots=True)
class _Segment:
    path: Path
    #: Attempts whose answers stand here and are not committed yet.
    waiting: set[int] = field(default_factory=set)


class BlackBox:
    """The black box of one run folder: `blackbox`, and `blackbox.1`, `blackbox.2` ... while their answers wait."""

    __slots__ = (
        "_handle",
        "_next",
        "_path",
        "_relief",
        "_rotated",
        "_size",
        "_torn",
        "_waiting",
        "broken",
        "segment_max",
        "unkept",
    )

    def __init__(self, path: Path, *, segment_max: int = SEGMENT_MAX, relief: Callable[[], bool] | None = None) -> None:
        """Open for appending (0600); what an earlier process left stays until committed or cleared.

        `relief` makes room when the disk is full, and says whether it did.
        """
        self._path = path
        self._relief = relief
        self.segment_max = segment_max
        #: {attempt: what its answer was found to mean} of answers that could not be kept, until they are in the store.
        self.unkept: dict[int, str] = {}
        #: Why the disk refused an answer, other than for want of room: nothing more may be sent.
        self.broken: OSError | StorageFailed | None = None
        old = _rotated(path)
        self._rotated = [_Segment(each, {attempt for attempt, _ in _read_file(each)}) for each in old]
        self._next = 1 + max((int(each.suffix[1:]) for each in old), default=0)
        self._waiting = {attempt for attempt, _ in _read_file(path)}
        #: How long the file is, and whether its last line is torn: the next one begins with a newline then.
        self._size, self._torn = 0, False
        self._open()

    def append(self, attempt: int, response: Response) -> None:
        """Write one answer down, before it is parsed. One that the disk refuses is in `unkept`, whatever its reason:
        an answer that is not understood because it could not be kept would be lost twice.
        """
        line = _line(attempt, response)
        while True:
            try:
                if self._size and self._size + len(line) > self.segment_max:
                    self._rotate()
                data = b"\n" * self._torn + line
                write_all(self._handle, data)
            except (OSError, StorageFailed) as exc:
                self._size, self._torn = taken_back(self._handle, self._size)
                if not is_full(exc):
                    self.broken = exc
                elif self._relief is not None and self._relief():
                    continue
                self.unkept[attempt] = ""
                return
            else:
                self._size, self._torn = self._size + len(data), False
                self._waiting.add(attempt)
                return

    def meant(self, attempt: int, verdict: str) -> None:
        """What an answer was found to mean: said aloud, should it find no room in the store either."""
        if attempt in self.unkept:
            self.unkept[attempt] = verdict

    def read(self) -> list[tuple[int, Response]]:
        """Every whole answer that stands here, oldest first. Some may be committed already: ask the store."""
        found: list[tuple[int, Response]] = []
        for path in (*(segment.path for segment in self._rotated), self._path):
            found.extend(_read_file(path))
        return found

    def committed(self, attempt: int) -> None:
        """The answer of this attempt is in the store; a segment without waiting answers goes."""
        self.unkept.pop(attempt, None)
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
        self._size, self._torn = end_of(self._handle)

    def _empty(self) -> None:
        os.ftruncate(self._handle, 0)
        self._size, self._torn = 0, False

    def _rotate(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.{self._next}")
        self._next += 1
        self._path.rename(aside)
        full = self._handle
        try:
            self._open()
        except (OSError, StorageFailed):
            self._handle = full
            aside.rename(self._path)
            raise
        self._rotated.append(_Segment(aside, self._waiting))
        self._waiting = set()
        os.close(full)


def _line(attempt: int, response: Response) -> bytes:
    record = {
        "attempt": attempt,
        "status": response.status,
        "headers": {name: value for name, value in response.headers.items() if name.lower() not in _DROPPED},
        "body": base64.b64encode(response.body).decode("ascii"),
    }
    text = _JSON.encode(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def answered(path: Path) -> set[int]:
    """Attempts whose answers stand in a black box and its rotated segments; some may be in the store already."""
    return {attempt for each in (*_rotated(path), path) for attempt, _ in _read_file(each)}


def damage(path: Path) -> list[str]:
    """Lines of a black box and its rotated segments that are no evidence any more, in words."""
    found = []
    for each in (*_rotated(path), path):
        for number, line in enumerate(_lines(each), 1):
            if _whole(line) is None and line.rstrip(b"\0"):
                found.append(
                    f"{each.name}: line {number} is damaged or torn, the answer in it is lost: its attempt is in doubt "
                    "unless the store has it"
                )
    return found


def _read_file(path: Path) -> list[tuple[int, Response]]:
    answers = []
    for line in _lines(path):
        text = _whole(line)
        if text is not None:
            record = json.loads(text)
            response = Response(record["status"], base64.b64decode(record["body"]), record["headers"])
            answers.append((int(record["attempt"]), response))
    return answers


def _lines(path: Path) -> Iterator[bytes]:
    """Lines with something in them. A link in the place of a file of ours is none of ours."""
    if path.is_file() and not path.is_symlink():
        yield from (line for line in path.read_bytes().split(b"\n") if line)


def _whole(line: bytes) -> bytes | None:
    crc, _, text = line.partition(b" ")
    return text if crc == b"%08x" % zlib.crc32(text) else None


def _rotated(path: Path) -> list[Path]:
    beside = [each for each in path.parent.glob(f"{path.name}.*") if each.suffix[1:].isdecimal()]
    return sorted(beside, key=lambda each: int(each.suffix[1:]))
