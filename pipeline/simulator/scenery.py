"""Seeded landscapes in greys: a sky, and five painters of what lies below it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Final

from PIL import Image, ImageChops, ImageDraw


def landscape(size: tuple[int, int], dice: random.Random) -> Image.Image:
    """A sky with something below it. *Units* - size: pixels."""
    canvas = _sky(size, dice)
    dice.choice(_PAINTERS)(canvas, dice)
    return canvas


def _sky(size: tuple[int, int], dice: random.Random) -> Image.Image:
    """A soft sky: lighter towards the horizon, with a little weather."""
    rows = 4
    levels = [min(235, max(20, round(70 + 42 * row + dice.uniform(-16, 16)))) for row in range(rows) for _ in range(5)]
    return Image.frombytes("L", (5, rows), bytes(levels)).resize(size, Image.Resampling.BICUBIC)


def _ridge(width: int, base: float, swing: float, dice: random.Random, waves: int = 3) -> list[tuple[float, float]]:
    """Points of a rolling line from left to right."""
    parts = [(dice.uniform(0.5, 2.4) * (k + 1), dice.uniform(0, math.tau), swing / (k + 1)) for k in range(waves)]
    return [
        (x, base + sum(high * math.sin(often * x / width * math.pi + at) for often, at, high in parts))
        for x in range(0, width + 6, 6)
    ]


def _sun(canvas: Image.Image, dice: random.Random, radius: float) -> None:
    width, height = canvas.size
    x, y = dice.uniform(0.2, 0.8) * width, dice.uniform(0.14, 0.36) * height
    brush = ImageDraw.Draw(canvas)
    for part, level in ((1.5, 200), (1.22, 222), (1.0, 252)):
        brush.ellipse((x - radius * part, y - radius * part, x + radius * part, y + radius * part), fill=level)


def _dunes(canvas: Image.Image, dice: random.Random) -> None:
    width, height = canvas.size
    _sun(canvas, dice, dice.uniform(0.08, 0.15) * height)
    brush, count = ImageDraw.Draw(canvas), dice.randint(4, 6)
    for layer in range(count):
        ridge = _ridge(width, height * (0.42 + 0.5 * layer / count), height * 0.06, dice)
        brush.polygon([(0, height), *ridge, (width, height)], fill=round(150 - 118 * layer / (count - 1)))


def _peaks(canvas: Image.Image, dice: random.Random) -> None:
    width, height = canvas.size
    _sun(canvas, dice, dice.uniform(0.06, 0.1) * height)
    brush, count = ImageDraw.Draw(canvas), 4
    for layer in range(count):
        base, level = height * (0.5 + 0.14 * layer), round(158 - 36 * layer)
        x, points = -width * 0.1, []
        while x < width * 1.1:
            points.append((x, base - dice.uniform(0.02, 0.3 - 0.04 * layer) * height))
            x += dice.uniform(0.07, 0.16) * width
            points.append((x, base + dice.uniform(0.0, 0.05) * height))
            x += dice.uniform(0.05, 0.12) * width
        brush.polygon([(-width, height), *points, (2 * width, height)], fill=level)
        for (left, low), (top, high), (right, low_right) in zip(points[1::2], points[2::2], points[3::2], strict=False):
            foot = max(low, low_right)
            shade = [(top, high), (right, low_right), (top + (right - left) * 0.08, foot)]
            brush.polygon(shade, fill=max(8, level - 16))


def _discs(canvas: Image.Image, dice: random.Random) -> None:
    width, height = canvas.size
    for _ in range(dice.randint(9, 14)):
        radius = dice.uniform(0.05, 0.3) * height
        x, y = dice.uniform(0, width), dice.uniform(0, height * 0.8)
        box = tuple(map(round, (x - radius, y - radius, x + radius, y + radius)))
        disc = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
        ImageDraw.Draw(disc).ellipse((0, 0, disc.width - 1, disc.height - 1), fill=dice.randint(22, 60))
        under = canvas.crop((box[0], box[1], box[2], box[3]))
        join = ImageChops.add if dice.random() < 0.65 else ImageChops.subtract
        canvas.paste(join(under, disc), (box[0], box[1]))


def _ribbons(canvas: Image.Image, dice: random.Random) -> None:
    width, height = canvas.size
    brush, count = ImageDraw.Draw(canvas), dice.randint(6, 9)
    levels = [round(232 - 205 * layer / (count - 1)) for layer in range(count)]
    tilt = dice.uniform(-0.3, 0.3) * height
    for layer, level in enumerate(levels):
        line = _ridge(width, height * (0.08 + 0.92 * layer / count), height * 0.07, dice, waves=2)
        tilted = [(x, y + tilt * (x / width - 0.5)) for x, y in line]
        brush.polygon([(0, height + abs(tilt)), *tilted, (width, height + abs(tilt))], fill=level)


def _rays(canvas: Image.Image, dice: random.Random) -> None:
    width, height = canvas.size
    x, y, reach = dice.uniform(0.3, 0.7) * width, height * dice.uniform(0.34, 0.46), width + height
    brush, count, turn = ImageDraw.Draw(canvas), dice.choice((14, 18, 22)), dice.uniform(0, math.tau)
    for ray in range(count):
        one, other = turn + math.tau * ray / count, turn + math.tau * (ray + 0.5) / count
        ends = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle in (one, other)]
        brush.polygon([(x, y), *ends], fill=112 + 10 * (ray % 2))
    for part, level in ((0.27, 190), (0.235, 150), (0.2, 248)):
        radius = part * height
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)
    for layer in range(3):
        ridge = _ridge(width, height * (0.62 + 0.12 * layer), height * 0.03, dice)
        brush.polygon([(0, height), *ridge, (width, height)], fill=92 - 30 * layer)


_PAINTERS: Final[tuple[Callable[[Image.Image, random.Random], None], ...]] = (_dunes, _peaks, _discs, _ribbons, _rays)
