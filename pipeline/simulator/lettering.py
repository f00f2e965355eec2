"""Text in Pillow's own font: what it can draw, how wide that is, and how large it may be to fit a room."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby
from typing import Final, TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: The smallest text, in pixels: below it nothing can be read.
TEXT_MIN: Final = 13


def fit(text: str, width: int, height: int, largest: int) -> tuple[list[str], int]:
    """The text in lines at the largest size that fits the room; cut with dots if even the smallest does not."""
    size = max(TEXT_MIN, largest)
    while True:
        lines = _wrap(text, width, size)
        if len(lines) * size * 1.24 <= height:
            return lines, size
        if size <= TEXT_MIN:
            room = max(1, int(height // (size * 1.24)))
            return [*lines[: room - 1], lines[room - 1][:-3] + "..."], size
        size = max(TEXT_MIN, round(size * 0.88))


def _wrap(text: str, width: int, size: int) -> list[str]:
    lines, line, length, space = [], "", 0.0, length_of(" ", size)
    for word in text.split():
        long = length_of(word, size)
        if line and length + space + long > width:
            lines.append(line)
            line, length = "", 0.0
        for piece in [word] if long <= width else _pieces(word, width, size):
            if line and piece is not word:
                lines.append(line)
                line, length = "", 0.0
            length = length + space + length_of(piece, size) if line else length_of(piece, size)
            line = f"{line} {piece}" if line else piece
    return [*lines, line] if line else lines


def _pieces(word: str, width: int, size: int) -> list[str]:
    """A word too long for a line, in parts that are not."""
    step = max(1, int(len(word) * width / length_of(word, size) * 0.9))
    return [word[start : start + step] for start in range(0, len(word), step)]


def drawable(text: str) -> str:
    """A text in the letters that Pillow's own font has; runs of others are named: `[7 CJK characters]`."""
    parts = []
    for script, letters in groupby(map(_nearest, unicodedata.normalize("NFC", text)), key=_script):
        run = "".join(letters)
        count = len(run)
        parts.append(f" [{count} {script} character{'s' if count > 1 else ''}] " if script else run)
    return " ".join("".join(parts).split())


@lru_cache(maxsize=4_096)
def _nearest(letter: str) -> str:
    """The letter, or the plain one under its accents where the font has only that."""
    plain = unicodedata.normalize("NFKD", letter)
    return plain[0] if not _has_glyph(letter) and _has_glyph(plain[0]) else letter


@lru_cache(maxsize=4_096)
def _script(letter: str) -> str:
    """Empty for letters that can be drawn, else the first word of the letter's name, which is its script."""
    if letter.isspace() or _has_glyph(letter):
        return ""
    return unicodedata.name(letter, "other").partition(" ")[0].partition("-")[0]


@lru_cache(maxsize=4_096)
def _has_glyph(letter: str) -> bool:
    """Whether the font draws the letter as something other than its sign for what it lacks."""
    if "\ud800" <= letter <= "\udfff":
        return False
    font = font_of(20)
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


@lru_cache(maxsize=128)
def font_of(size: int) -> Font:
    """The font at a size in pixels."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=16_384)
def _letter_length(letter: str, size: int) -> float:
    return float(font_of(size).getlength(letter))


@lru_cache(maxsize=16_384)
def length_of(text: str, size: int) -> float:
    """Width of a text in pixels, without kerning: quick, and never much too small."""
    return sum(_letter_length(letter, size) for letter in text)
