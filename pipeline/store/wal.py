"""SQLite's write-ahead log, as far as one question goes: was anything ever committed in it?"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

#: The last bit of the magic number says how the sums read the words: 1 is big-endian.
_MAGIC: Final = 0x377F0682
_HEADER, _FRAME = 32, 24
_WORD: Final = 0xFFFFFFFF


def has_commit(path: Path) -> bool:
    """Whether a log holds a whole transaction. A cut in the middle of the first one leaves frames, and none."""
    try:
        with path.open("rb") as file:
            return _has_commit(file)
    except FileNotFoundError:
        return False


def _has_commit(file: BinaryIO) -> bool:
    header = file.read(_HEADER)
    if len(header) < _HEADER:
        return False
    magic, _version, page_size = struct.unpack(">III", header[:12])
    salts, kept = header[16:24], header[24:32]
    if magic & ~1 != _MAGIC:
        return False
    order = ">" if magic & 1 else "<"
    sums = _summed(order, (0, 0), header[:24])
    if struct.pack(">II", *sums) != kept:
        return False
    while len(frame := file.read(_FRAME + page_size)) == _FRAME + page_size:
        sums = _summed(order, _summed(order, sums, frame[:8]), frame[_FRAME:])
        if frame[8:16] != salts or struct.pack(">II", *sums) != frame[16:24]:
            return False
        if frame[4:8] != bytes(4):  # the size of the file after this commit
            return True
    return False


def _summed(order: str, sums: tuple[int, int], data: bytes) -> tuple[int, int]:
    first, second = sums
    for one, two in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & _WORD
        second = (second + two + first) & _WORD
    return first, second
