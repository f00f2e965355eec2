"""Plain PNGs are inflated without a decoder: what passes has the decoder's size, and nothing damaged passes."""

from __future__ import annotations

import io
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.runtime.pictures import examine
from pipeline.runtime.plain_png import plain_size

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def png(mode: str = "RGB", width: int = 37, height: int = 23, *, seed: int = 0, **more: object) -> bytes:
    """A PNG of noise."""
    row = Image.new(mode, (width, height)).tobytes()
    image = Image.frombytes(mode, (width, height), Random(seed).randbytes(len(row)))
    made = io.BytesIO()
    image.save(made, "PNG", **more)
    return made.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, content) of every chunk."""
    found, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4])
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def built(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right sums."""
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in parts:
        made += len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
    return made


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODES), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99))
def test_what_is_plain_has_the_size_that_the_decoder_sees(mode: str, width: int, height: int, seed: int) -> None:
    """Every mode that Pillow writes, every odd width."""
    data = png(mode, width, height, seed=seed)
    assert plain_size(data) == (width, height) == Image.open(io.BytesIO(data)).size


def _with_pixels(change: object) -> bytes:
    """The picture with its inflated rows changed, compressed again, all sums right."""
    parts = chunks(png())
    rows = zlib.decompress(b"".join(content for kind, content in parts if kind == b"IDAT"))
    changed = zlib.compress(change(rows))  # type: ignore[operator]  # a function of bytes
    return built([parts[0], (b"IDAT", changed), (b"IEND", b"")])


STRIDE = 1 + 37 * 3
#: {what is wrong: a picture of which every sum is right}.
NOT_PLAIN = {
    "a row is missing": _with_pixels(lambda rows: rows[:-STRIDE]),
    "one byte is missing": _with_pixels(lambda rows: rows[:-1]),
    "one byte too many": _with_pixels(lambda rows: rows + b"\0"),
    "an unknown filter": _with_pixels(lambda rows: rows[:STRIDE] + b"\5" + rows[STRIDE + 1 :]),
    "the stream is cut": built(
        [(kind, content[:-9] if kind == b"IDAT" else content) for kind, content in chunks(png(width=9))]
    ),
    "the stream's own sum is wrong": built(
        [
            (kind, content[:-1] + bytes([content[-1] ^ 1]) if kind == b"IDAT" else content)
            for kind, content in chunks(png(width=9))
        ]
    ),
    "something behind the stream": built(
        [(kind, content + b"more" if kind == b"IDAT" else content) for kind, content in chunks(png(width=9))]
    ),
    "no palette": built([each for each in chunks(png("P")) if each[0] != b"PLTE"]),
    "a bomb": built(
        [
            chunks(png())[0],
            (b"IDAT", zlib.compress(bytes(40 * 1024 * 1024))),
            (b"IEND", b""),
        ]
    ),
    "an animation": built(
        [
            chunks(png())[0],
            (b"acTL", bytes(8)),
            *chunks(png())[1:],
        ]
    ),
    "pixels in two places": built(
        [
            chunks(png())[0],
            *[(b"IDAT", chunks(png())[1][1][:20]), (b"tEXt", b"a\0b"), (b"IDAT", chunks(png())[1][1][20:])],
            (b"IEND", b""),
        ]
    ),
}


@pytest.mark.parametrize("wrong", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_the_decoder(wrong: str) -> None:
    """Its word counts: what is wrong only inside the compressed stream is never passed by the short way."""
    assert plain_size(NOT_PLAIN[wrong]) is None


@pytest.mark.parametrize("wrong", ["the stream is cut"])
def test_a_picture_that_is_cut_short_inside_is_refused(wrong: str) -> None:
    """Whichever way it takes."""
    with pytest.raises(ValueError, match="cut short or damaged"):
        examine(NOT_PLAIN[wrong])


def _large(look: str, *, wrong_row: int | None = None) -> bytes:
    """More rows than are inflated at once, as noise or as black; one of them may begin with a filter that is none."""
    width, height = 700, 600
    rows = [
        b"\0" + (Random(row).randbytes(3 * width) if look == "noise" else bytes(3 * width)) for row in range(height)
    ]
    if wrong_row is not None:
        rows[wrong_row] = b"\5" + rows[wrong_row][1:]
    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return built([(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows), 1)), (b"IEND", b"")])


@pytest.mark.slow
@pytest.mark.parametrize("look", ["noise", "black"])
def test_a_large_picture_is_looked_at_in_every_row(look: str) -> None:
    """It is inflated bit by bit, and what begins in one bit and ends in the next counts like the rest."""
    assert plain_size(_large(look)) == (700, 600)
    assert [row for row in (1, 63, 300, 599) if plain_size(_large(look, wrong_row=row)) is not None] == []
