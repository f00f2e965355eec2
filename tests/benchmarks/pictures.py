"""Pictures that the stub hands out: real PNGs that decode, of one kilobyte and of one megabyte."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass
from typing import Final

#: {name: (width, height, zlib level, what is kept of each random byte)}. Six bits a byte do not repeat and still have
#: a code to be decoded, which is the slowest that a photograph of this size could be.
SIZES: Final = {
    "1KB": (21, 21, 6, 0x3F),
    "1MB": (682, 682, 6, 0x3F),
    # Nearly the same size in stored blocks: decoding copies them, and what is measured is the way to the disk.
    "1MB-stored": (592, 592, 0, 0xFF),
}


@dataclass(frozen=True, slots=True)
class Png:
    """One picture as bytes."""

    data: bytes
    width: int
    height: int


def picture(name: str) -> Png:
    """One of `SIZES`, the same bytes each time. A filter per row makes a decoder work as with photographs."""
    width, height, level, kept = SIZES[name]
    noise, table = random.Random(name).randbytes, bytes(byte & kept for byte in range(256))
    row_filter = b"\x00" if level == 0 else b"\x04"
    rows = b"".join(row_filter + noise(width * 3).translate(table) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, level))
    return Png(data + _chunk(b"IEND", b""), width, height)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
