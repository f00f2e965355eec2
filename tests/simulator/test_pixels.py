"""Drawn pictures: real PNG files of the asked size that differ when something else was asked."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.simulator.lettering import drawable
from pipeline.simulator.pixels import Scene, draw

SCENE = Scene(
    width=1664,
    height=928,
    prompt="A lighthouse at dusk",
    negative_prompt="",
    model="qwen-image-max",
    seed="7",
    index=0,
    count=1,
    inputs=(),
    edits=False,
)


def thumbnail(part: float, size: tuple[int, int] = (320, 200)) -> bytes:
    """An input picture: bright on the left up to a part of its width, dark on the right."""
    picture = Image.new("RGB", size, (10, 10, 10))
    picture.paste((255, 255, 255), (0, 0, round(size[0] * part), size[1]))
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True)
    return file.getvalue()


def decoded(scene: Scene) -> Image.Image:
    """The drawn picture, decoded whole."""
    with Image.open(io.BytesIO(draw(scene))) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.convert("RGB")


@pytest.mark.parametrize(
    "scene",
    [
        SCENE,
        replace(SCENE, width=928, height=1664, prompt="x" * 800),
        replace(SCENE, width=512, height=2048, prompt="word " * 160),
        replace(SCENE, width=257, height=255, prompt="墨水 " * 100 + "\ud800 \x00"),
        replace(SCENE, prompt=" "),
        replace(SCENE, width=2048, height=512, edits=True, inputs=(thumbnail(0.5), b"", thumbnail(0.5, (40, 320)))),
    ],
)
def test_any_scene_is_a_png_of_its_size(scene: Scene) -> None:
    """Long words, many words, foreign letters, no words, pictures by URL: all are drawn."""
    assert decoded(scene).size == (scene.width, scene.height)


def test_the_same_scene_is_the_same_file_and_any_change_another() -> None:
    """Seed, prompt, model, number in the call and inputs all show."""
    edit = replace(SCENE, edits=True, inputs=(thumbnail(0.5),))
    scenes = [
        SCENE,
        replace(SCENE, seed="8"),
        replace(SCENE, prompt="A lighthouse at dawn"),
        replace(SCENE, model="qwen-image"),
        replace(SCENE, index=1, count=2),
        replace(SCENE, negative_prompt="fog"),
        edit,
        replace(edit, inputs=(thumbnail(0.4),)),
        replace(edit, inputs=(thumbnail(0.5), thumbnail(0.4))),
    ]
    files = [draw(scene) for scene in scenes]
    assert files == [draw(scene) for scene in scenes]
    assert len({*files}) == len(scenes)


def test_an_edit_shows_its_input_mirrored() -> None:
    """What was bright on the left is bright on the right."""
    picture = decoded(replace(SCENE, width=1024, height=1024, edits=True, inputs=(thumbnail(0.4),))).convert("L")
    width, height = picture.size
    left, right = picture.crop((100, 250, 450, 450)), picture.crop((width - 450, 250, width - 100, 450))
    assert left.resize((1, 1)).getpixel((0, 0)) < right.resize((1, 1)).getpixel((0, 0))  # type: ignore[operator]
    assert height == 1024


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain,  text", "plain, text"),
        ("naïve Öl", "naive Ol"),
        ("墨水 strokes", "[2 CJK characters] strokes"),
        ("a 墨", "a [1 CJK character]"),
        ("\ud800", "[1 other character]"),
    ],
)
def test_letters_the_font_lacks_are_named(text: str, shown: str) -> None:
    """No boxes: the plain letter under an accent, or the count and script."""
    assert drawable(text) == shown


def test_drawing_takes_about_20_ms() -> None:
    """A soft figure: printed, and far away from it is an error."""
    draw(SCENE)
    start = time.process_time()
    for number in range(10):
        draw(replace(SCENE, seed=str(number)))
    spent_ms = (time.process_time() - start) * 100
    print(f"{spent_ms:.1f} ms a picture of 1664 x 928")
    assert spent_ms < 200
