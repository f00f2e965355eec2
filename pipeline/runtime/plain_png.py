"""PNGs as encoders usually write them, inflated to the last byte without a decoder.

A PNG's pixels are one compressed stream of rows. That the stream is whole, matches its own sum and holds exactly the
rows that the head speaks of, each with a known filter, is all that a decoder could find out. Whatever is not that plain
(several frames, interlacing, odd chunks, anything damaged) is left to the decoder, whose word counts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

#: {colour type: (samples a pixel, bit depths)}.
_COLOURS: Final = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    3: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
#: Rows of more bytes are left to the decoder, which is bounded by pixels.
_RAW_MAX: Final = 32 * 1024 * 1024
#: What is inflated at once, before and after (bytes).
_READ: Final = 64 * 1024
_ROWS: Final = 128 * 1024
#: Filters of a row are numbered from 0 to 4.
_FILTER_MAX: Final = 4
#: Chunks that say nothing about how pixels are stored.
_PLAIN: Final = frozenset(
    {b"PLTE", b"tRNS", b"cHRM", b"gAMA", b"sRGB", b"pHYs", b"tIME", b"tEXt", b"bKGD", b"sBIT", b"eXIf", b"cICP"}
)


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a plain and whole PNG, whose chunks were walked already; None for any other."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", data[16:29])
    samples, depths = _COLOURS.get(colour, (0, ()))
    if depth not in depths or rest != [0, 0, 0] or not width or not height:
        return None
    stride = 1 + (width * samples * depth + 7) // 8
    coded = _coded(data, palette=colour == 3)
    if coded is None or stride * height > _RAW_MAX:
        return None
    return (width, height) if _whole(coded, stride, height) else None


def _whole(coded: list[memoryview], stride: int, height: int) -> bool:
    """Whether the pieces hold exactly so many rows, each with a known filter, and nothing behind them."""
    inflate, place, end = zlib.decompressobj(), 0, stride * height
    try:
        for rows in _inflated(inflate, coded):
            # Each row begins with the number of its filter.
            if max(rows[-place % stride :: stride], default=0) > _FILTER_MAX:
                return False
            place += len(rows)
            if place > end:
                return False
    except zlib.error:
        return False
    return inflate.eof and not inflate.unused_data and place == end


def _inflated(inflate: zlib._Decompress, coded: list[memoryview]) -> Iterator[bytes]:
    """What the pieces hold, bit by bit: fresh pages for a whole picture cost more than to inflate most of them."""
    for piece in coded:
        for start in range(0, len(piece), _READ):
            left: bytes | memoryview = piece[start : start + _READ]
            while left:
                yield inflate.decompress(left, _ROWS)
                left = inflate.unconsumed_tail
    # Nothing is left to read, and there may be more to come all the same.
    while not inflate.eof and (rows := inflate.decompress(b"", _ROWS)):
        yield rows


def _coded(data: bytes, *, palette: bool) -> list[memoryview] | None:
    """The pieces of the one row of IDAT chunks; None when there is anything but plain chunks around it."""
    coded: list[memoryview] = []
    view, place, before = memoryview(data), 33, b"IHDR"
    while True:
        length = int.from_bytes(view[place : place + 4])
        kind = data[place + 4 : place + 8]
        if kind == b"IDAT":
            if coded and before != b"IDAT":
                return None
            coded.append(view[place + 8 : place + 8 + length])
        elif kind == b"IEND":
            return None if palette or not coded else coded
        elif kind == b"PLTE":
            # A palette of whole colours, before the pixels.
            palette = palette and (coded != [] or length % 3 != 0 or not 3 <= length <= 768)
        elif kind not in _PLAIN:
            return None
        before, place = kind, place + 12 + length
