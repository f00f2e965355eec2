"""Where a picture's file ends: its container walked block by block, without decoding a pixel.

Decoders forgive what stands behind a picture's end, and some go on for as long as a file tells them to. What a
gateway sent is a picture and nothing else, in a bounded number of pieces. Every fault is a ValueError in plain words.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final, NoReturn

#: A picture of 64 MB in the customary pieces of 8 KB has eight thousand.
PIECES_MAX: Final = 65_536
#: Each further scan of a progressive JPEG goes over the whole picture again; encoders make about ten.
SCANS_MAX: Final = 100
FRAMES_MAX: Final = 64

#: A marker in the coded data of a JPEG: not a stuffed byte, a restart, or a filling.
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _cut() -> NoReturn:
    raise ValueError("it is cut short")


def _count(pieces: int) -> None:
    if pieces > PIECES_MAX:
        raise ValueError(f"it is made of more than {PIECES_MAX} pieces")


def _check_end(length: int, end: int) -> None:
    if length < end:
        _cut()
    if length > end:
        raise ValueError(f"something stands behind its end: {length - end} bytes")


def png_ends(data: bytes) -> None:
    """Pillow checks neither the sums of the chunks that hold the pixels nor what comes after the last one."""
    place, pieces = 8, 0
    while place + 12 <= len(data):
        _count(pieces := pieces + 1)
        length = int.from_bytes(data[place : place + 4])
        end = place + 12 + length
        if end > len(data):
            break
        kind = data[place + 4 : place + 8]
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise ValueError("it is damaged: a chunk does not match its sum")
        if kind == b"IEND":
            _check_end(len(data), end)
            return
        place = end
    _cut()


def jpeg_ends(data: bytes) -> None:
    """One JPEG, or several behind each other as telephones make, and zeros with which some encoders fill up."""
    length, place, pieces, scans = len(data.rstrip(b"\0")), 0, 0, 0
    while place < length:
        if data[place : place + 2] != b"\xff\xd8":
            raise ValueError(f"something stands behind its end: {length - place} bytes")
        place += 2
        while True:
            _count(pieces := pieces + 1)
            place, kind = _next_marker(data, place)
            if kind == 0xD9:
                break
            size = int.from_bytes(data[place : place + 2])
            if size < 2 or place + size > length:
                _cut()
            place += size
            if kind == 0xDA:
                scans += 1
                if scans > SCANS_MAX:
                    raise ValueError(f"it goes over the picture more than {SCANS_MAX} times")
                found = _MARKER.search(data, place)
                if found is None:
                    _cut()
                place = found.start()
        while place < length and data[place] == 0:
            place += 1


def _next_marker(data: bytes, place: int) -> tuple[int, int]:
    """The place behind the next marker, and its kind; a marker may be filled up with 0xFF."""
    if data[place : place + 1] != b"\xff":
        if place >= len(data):
            _cut()
        raise ValueError("it is damaged: a marker is missing")
    while data[place : place + 1] == b"\xff":
        place += 1
    if place >= len(data):
        _cut()
    return place + 1, data[place]


def webp_ends(data: bytes) -> None:
    """The outer block says how long everything is."""
    size = 8 + int.from_bytes(data[4:8], "little")
    _check_end(len(data), size + size % 2 if len(data) != size else size)


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP's canvas; None when its head does not say. Its decoder makes room before it looks."""
    kind, head = data[12:16], data[20:30]
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(head) < 10:
        return None
    match kind:
        case b"VP8X":
            return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
        case b"VP8L":
            bits = int.from_bytes(head[1:5], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", head[6:10])
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def gif_ends(data: bytes) -> None:
    """Every block up to the last one; frames are counted, because asking Pillow walks through all of them."""
    if len(data) < 13:
        _cut()
    place, frames, pieces = 13 + _table(data[10]), 0, 0
    while True:
        _count(pieces := pieces + 1)
        if place >= len(data):
            _cut()
        match data[place]:
            case 0x3B:
                _check_end(len(data), place + 1)
                return
            case 0x21:
                place = _blocks(data, place + 2)
            case 0x2C:
                frames += 1
                if frames > FRAMES_MAX:
                    raise ValueError(f"it has more than {FRAMES_MAX} frames")
                if place + 9 >= len(data):
                    _cut()
                place = _blocks(data, place + 10 + _table(data[place + 9]) + 1)
            case _:
                raise ValueError("it is damaged: a block of an unknown kind")


def _table(flags: int) -> int:
    """How many bytes a table of colours takes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(data: bytes, place: int) -> int:
    """The place behind a row of blocks, which ends with an empty one."""
    length = len(data)
    while place < length:
        size = data[place]
        place += size + 1
        if not size:
            return place
    _cut()
