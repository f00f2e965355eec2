"""Looking at pictures: inputs by their head, outputs to their last pixel."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from pipeline.runtime.pictures import Examined, examine, identify
from pipeline.values.task import Picture

MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
OUTPUTS = ("PNG", "JPEG", "WEBP", "GIF")


def noise(kind: str, width: int = 61, height: int = 37, *, frames: int = 1) -> bytes:
    """A picture of seeded noise, which no coder shrinks to nothing."""
    dice = random.Random(7)
    pictures = [Image.frombytes("RGB", (width, height), dice.randbytes(width * height * 3)) for _ in range(frames)]
    sink = io.BytesIO()
    pictures[0].save(sink, kind, **({"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}))
    return sink.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claims(width: int, height: int) -> bytes:
    """A PNG that says it is this large and holds nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_an_input_is_known_by_its_head_and_digest(kind: str, tmp_path: Path) -> None:
    """From bytes or from a file, the same."""
    data = noise(kind)
    path = tmp_path / "named.txt"
    path.write_bytes(data)
    expected = Picture(hashlib.sha256(data).hexdigest(), MEDIA_TYPES[kind], len(data), 61, 37)
    assert identify(data) == expected
    assert identify(path) == expected


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_whole_output_is_examined(kind: str, tmp_path: Path) -> None:
    """Its kind is what its bytes say, not its name."""
    path = tmp_path / "picture.part"
    path.write_bytes(noise(kind))
    assert examine(path) == Examined(MEDIA_TYPES[kind], 61, 37)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_that_is_cut_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    """Every prefix is a ValueError: never a picture, never another exception."""
    data, path = noise(kind, 20, 15), tmp_path / "picture.part"
    for length in [*range(0, len(data), max(1, len(data) // 60)), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"^it "):
            examine(path)


def test_every_flipped_bit_of_a_png_is_noticed(tmp_path: Path) -> None:
    """The sums of all chunks are checked."""
    data, path, dice = noise("PNG", 16, 16), tmp_path / "picture.part", random.Random(1)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^it "):
            examine(path)


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("tail", [b"<html>sorry</html>", b"PK\x03\x04rest"])
def test_something_behind_the_end_is_refused(kind: str, tail: bytes, tmp_path: Path) -> None:
    """A picture is a picture and nothing else."""
    path = tmp_path / "picture.part"
    path.write_bytes(noise(kind) + tail)
    with pytest.raises(ValueError, match="behind its end"):
        examine(path)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>One moment</html>", "page"),
        (b"\n <html>", "page"),
        (b"<svg xmlns='x'/>", "markup"),
        (b'{"error": 1}', "JSON"),
        (b"\x00" * 100, "no picture"),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (claims(30_000, 30_000), "pixels"),
        (claims(9_000, 9_000), "pixels"),
        (claims(2**31 - 1, 2**31 - 1), "pixels"),
        (claims(100, 100), "cut short or damaged"),
        (claims(0, 5), "^it "),
    ],
)
def test_what_is_no_picture_is_refused_in_plain_words(data: bytes, complaint: str, tmp_path: Path) -> None:
    """The message says what came instead."""
    path = tmp_path / "picture.part"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=complaint):
        examine(path)


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_an_output_of_an_unknown_kind_is_refused(kind: str, tmp_path: Path) -> None:
    """No gateway makes these; a decoder that is not used cannot be attacked."""
    path = tmp_path / "picture.part"
    path.write_bytes(noise(kind))
    with pytest.raises(ValueError, match="known kind"):
        examine(path)


@pytest.mark.parametrize("data", [b"", b"<html>", claims(30_000, 30_000), claims(9_000, 9_000), noise("PNG")[:20]])
def test_an_input_that_is_none_is_refused(data: bytes) -> None:
    """The head is enough to know."""
    with pytest.raises(ValueError, match=r"^it "):
        identify(data)


def test_limits_hold_for_bytes_pixels_and_frames(tmp_path: Path) -> None:
    """Each limit by itself; at the limit it is well."""
    path = tmp_path / "picture.part"
    data = noise("PNG", 10, 10)
    path.write_bytes(data)
    assert examine(path, pixels_max=100, size_bytes_max=len(data)).width == 10
    with pytest.raises(ValueError, match="99 pixels"):
        examine(path, pixels_max=99)
    with pytest.raises(ValueError, match="larger than"):
        examine(path, size_bytes_max=len(data) - 1)
    path.write_bytes(noise("GIF", 5, 5, frames=3))
    assert examine(path, pixels_max=75).height == 5
    with pytest.raises(ValueError, match="3 frames"):
        examine(path, pixels_max=74)
    path.write_bytes(noise("GIF", 2, 2, frames=65))
    with pytest.raises(ValueError, match="64 frames"):
        examine(path)


def test_a_pipe_and_a_missing_file_are_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="regular"):
        identify(tmp_path / "pipe")
    with pytest.raises(ValueError, match="cannot be read"):
        examine(tmp_path / "missing")
