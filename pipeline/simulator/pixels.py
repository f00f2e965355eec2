"""Pictures of the asked size that show what was asked: a seeded poster with the prompt on it, or the inputs, changed.

Everything is painted in greys on one byte a pixel, and a seeded ramp of colours is laid over it at the end as the
PNG's palette: edges stay smooth, and a picture of 1664 x 928 takes a few milliseconds.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageOps

from pipeline.simulator.lettering import TEXT_MIN, drawable, fit, font_of, length_of
from pipeline.simulator.scenery import landscape

#: Ramps from the darkest to the lightest grey; text is light on dark in all of them.
RAMPS: Final = (
    ("#0b1026", "#3b2e72", "#d8577a", "#ffd9a0"),
    ("#06202b", "#0f5d63", "#6fb98f", "#f7f2cf"),
    ("#1a0b16", "#7a2340", "#e2703a", "#fbe6b5"),
    ("#0c1445", "#2b5dab", "#7fc4e8", "#fdf6e3"),
    ("#10210f", "#3f6b2c", "#b6c44f", "#fff6cf"),
    ("#1d1128", "#5b3a8c", "#b892d6", "#fdeef4"),
    ("#17181c", "#4a5568", "#b8a58c", "#f8f2e6"),
    ("#031d2e", "#00567a", "#f2a65a", "#fff1d0"),
    ("#220a2b", "#8a1c62", "#f0587e", "#ffe3d1"),
    ("#08221f", "#1c6e5c", "#e0b050", "#fff4d8"),
)
#: The caption takes at most this part of the picture's height.
_CAPTION_PART: Final = 0.52


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows. *Units* - width, height: pixels."""

    width: int
    height: int
    prompt: str
    negative_prompt: str
    model: str
    seed: str
    #: Which picture of its call, from 0, and of how many.
    index: int
    count: int
    #: Input pictures as WEBP thumbnails; b"" for one that only its gateway could fetch.
    inputs: tuple[bytes, ...]
    edits: bool


def draw(scene: Scene) -> bytes:
    """The picture as a PNG of exactly the scene's size. Same scene, same bytes."""
    names = (scene.prompt, scene.negative_prompt, scene.model, scene.seed, str(scene.index), *map(len, scene.inputs))
    dice = random.Random(_digest(*names))  # noqa: S311 - pictures, not secrets
    ramp = RAMPS[(_digest(scene.prompt, scene.seed) + 3 * scene.index) % len(RAMPS)]
    caption = _plan_caption(scene)
    canvas = _collage(scene, dice, caption) if scene.edits else _landscape(scene, dice)
    _write(canvas, scene, caption)
    canvas.putpalette(_palette(ramp))
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _digest(*names: object) -> int:
    text = "\x1f".join(map(str, names)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


@lru_cache(maxsize=len(RAMPS))
def _palette(ramp: tuple[str, ...]) -> list[int]:
    """256 colours between the ramp's stops."""
    stops = [tuple(bytes.fromhex(stop[1:])) for stop in ramp]
    colours = []
    for level in range(256):
        place = level / 255 * (len(stops) - 1)
        low = min(int(place), len(stops) - 2)
        pairs = zip(stops[low], stops[low + 1], strict=True)
        colours += [round(one + (other - one) * (place - low)) for one, other in pairs]
    return colours


# --- backgrounds, painted at half the size ------------------------------------------------------------------------


def _landscape(scene: Scene, dice: random.Random) -> Image.Image:
    small = (scene.width + 1) // 2, (scene.height + 1) // 2
    canvas = landscape(small, dice)
    return canvas.resize((scene.width, scene.height), Image.Resampling.BILINEAR)


# --- edits: the inputs as mirrored prints on a soft enlargement of the last one -----------------------------------


def _collage(scene: Scene, dice: random.Random, caption: _Caption) -> Image.Image:
    prints = [_print(data) for data in scene.inputs]
    last = prints[-1]
    small = (scene.width + 1) // 2, (scene.height + 1) // 2
    if last is None:
        canvas = landscape(small, dice)
    else:
        tiny = ImageOps.fit(last, (20, max(4, round(20 * small[1] / small[0]))))
        canvas = tiny.point([round(36 + 0.42 * level) for level in range(256)]).resize(small, Image.Resampling.BICUBIC)
    canvas = canvas.resize((scene.width, scene.height), Image.Resampling.BILINEAR)
    _lay_out(canvas, prints, dice, caption)
    return canvas


@lru_cache(maxsize=64)
def _print(data: bytes) -> Image.Image | None:
    """An input in greys, mirrored and with its contrast stretched: the same motif, visibly changed."""
    if not data:
        return None
    with Image.open(io.BytesIO(data)) as picture:
        return ImageOps.autocontrast(ImageOps.mirror(picture.convert("L")), cutoff=1)


def _lay_out(canvas: Image.Image, prints: list[Image.Image | None], dice: random.Random, caption: _Caption) -> None:
    """Prints in the grid that shows them largest, each with a white border and a shadow."""
    margin = caption.margin
    room = canvas.width - 2 * margin, max(canvas.height // 4, caption.top - 2 * margin - margin // 2)
    sizes = [picture.size if picture else (4, 3) for picture in prints]
    columns = max(range(1, len(prints) + 1), key=lambda count: _shown(_cell(room, len(prints), count, margin), sizes))
    cell = _cell(room, len(prints), columns, margin)
    for number, picture in enumerate(prints):
        size = _within(cell, sizes[number])
        row, column = divmod(number, columns)
        in_row = min(columns, len(prints) - row * columns)
        start = (room[0] - in_row * cell[0] - (in_row - 1) * margin) // 2
        left = margin + start + column * (cell[0] + margin) + (cell[0] - size[0]) // 2
        top = margin + row * (cell[1] + margin) + (cell[1] - size[1]) // 2
        inside = _stand_in(size, number, dice) if picture is None else picture
        _hang(canvas, inside, (left, top), size)


def _hang(canvas: Image.Image, picture: Image.Image, at: tuple[int, int], size: tuple[int, int]) -> None:
    """One print with its border and shadow."""
    brush, border = ImageDraw.Draw(canvas), max(3, round(0.009 * min(canvas.size)))
    left, top, right, low = at[0] - border, at[1] - border, at[0] + size[0] + border - 1, at[1] + size[1] + border - 1
    brush.rectangle((left + 2 * border, top + 2 * border, right + 2 * border, low + 2 * border), fill=14)
    brush.rectangle((left, top, right, low), fill=252)
    # Fewer levels: a third off the file, and off the time that packing takes.
    canvas.paste(picture.resize(size, Image.Resampling.BILINEAR).point([level & 0xF8 for level in range(256)]), at)


def _stand_in(size: tuple[int, int], number: int, dice: random.Random) -> Image.Image:
    """For an input that only its gateway could fetch: a scene that says so."""
    inside = landscape(size, dice)
    letters = max(TEXT_MIN, round(0.09 * min(size)))
    text = f"Image {number + 1}, by URL"
    ImageDraw.Draw(inside).text((letters, letters // 2), text, font=font_of(letters), fill=8)
    return inside


def _cell(room: tuple[int, int], count: int, columns: int, margin: int) -> tuple[int, int]:
    rows = -(-count // columns)
    return (room[0] - margin * (columns - 1)) // columns, (room[1] - margin * (rows - 1)) // rows


def _shown(cell: tuple[int, int], sizes: list[tuple[int, int]]) -> int:
    """Pixels that the prints would cover."""
    return sum(math.prod(_within(cell, size)) for size in sizes)


def _within(room: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    scale = min(room[0] / size[0], room[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


# --- the caption --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Caption:
    """Where the words stand. *Units* - pixels."""

    lines: list[str]
    size: int
    top: int
    margin: int
    note_size: int


def _plan_caption(scene: Scene) -> _Caption:
    """The prompt as large as fits the foot of the picture; an edit leaves more of the height to its prints."""
    shorter = min(scene.width, scene.height)
    margin, note_size = round(0.05 * shorter), max(TEXT_MIN - 2, round(0.024 * shorter))
    room = round(scene.height * _CAPTION_PART) - 3 * margin // 2 - note_size
    largest = round((0.06 if scene.edits else 0.085) * shorter)
    lines, size = fit(drawable(scene.prompt), scene.width - 2 * margin, room, largest)
    top = scene.height - margin - round(note_size * 1.7) - round(size * 1.24) * len(lines)
    return _Caption(lines, size, top, margin, note_size)


def _write(canvas: Image.Image, scene: Scene, caption: _Caption) -> None:
    """The prompt over a darkened foot of the picture, and a line that says what made it."""
    _darken(canvas, max(0, caption.top - caption.margin), caption.margin)
    brush, font = ImageDraw.Draw(canvas), font_of(caption.size)
    for number, line in enumerate(caption.lines):
        brush.text((caption.margin, caption.top + number * round(caption.size * 1.24)), line, font=font, fill=255)
    _note(brush, scene, caption.margin, caption.note_size)


def _darken(canvas: Image.Image, top: int, fade: int) -> None:
    """Darken everything below `top`, over a soft edge of some strips."""
    strips, width, height = 12, canvas.width, canvas.height
    edges = [top + round(fade * strip / strips) for strip in range(strips)]
    for number, (start, end) in enumerate(zip(edges, [*edges[1:], height], strict=True), start=1):
        if end > start:
            keep = 1 - 0.8 * number / strips
            table = [round(level * keep) for level in range(256)]
            canvas.paste(canvas.crop((0, start, width, end)).point(table), (0, start))


def _note(brush: ImageDraw.ImageDraw, scene: Scene, margin: int, size: int) -> None:
    parts = [f"{scene.model} (simulated)", f"{scene.width} x {scene.height}", f"seed {scene.seed}"]
    if scene.count > 1:
        parts.append(f"image {scene.index + 1} of {scene.count}")
    if scene.negative_prompt:
        parts.append(f"without: {drawable(scene.negative_prompt)}")
    text, room = "   |   ".join(parts), scene.width - 2 * margin
    if length_of(text, size) > room:
        while text and length_of(text + "...", size) > room:
            text = text[: -max(1, len(text) // 40)]
        text += "..."
    brush.text((margin, scene.height - margin - size), text, font=font_of(size), fill=176)
