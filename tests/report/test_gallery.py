"""Thumbnails: made once by content, upright, of whatever is there; and what is wrong with a picture stops no report."""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from pipeline.report.gallery import NEAR, Gallery, _Alike
from pipeline.report.inputs import Sources
from pipeline.report.pixels import Job, dhash_of, make
from pipeline.values.rows import ImageRow
from pipeline.values.task import InlineInput, Input, LocalInput, Picture
from tests.report.rows import Store, of_image, of_task, task


def picture(kind: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (640, 400), seed: int = 1) -> bytes:
    """A picture of coarse noise."""
    noise = random.Random(seed).randbytes(8 * 5 * 3)
    image = Image.frombytes("RGB", (8, 5), noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
    made = io.BytesIO()
    image.save(made, kind)
    return made.getvalue()


def put(folder: Path, number: int, data: bytes) -> ImageRow:
    """A stored picture and its row."""
    row = of_image(task(number), data=data)
    path = folder / row.artifact.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return row


def gallery(folder: Path, sources: Sources | None = None) -> Gallery:
    """Of a run in this folder."""
    (folder / "report").mkdir(exist_ok=True)
    return Gallery(folder, folder / "report", sources or Sources())


def flags(made: Gallery, images: Sequence[ImageRow]) -> list[list[str]]:
    """What is flagged, row by row."""
    store = Store([of_task(each.task) for each in images], images)
    return [list(made.links(entry).flags) for entry in store.entries()]


def test_a_second_report_makes_no_thumbnail_anew(tmp_path: Path) -> None:
    """By content: the same picture under two names is made once."""
    images = [put(tmp_path, 0, picture(seed=1)), put(tmp_path, 1, picture(seed=2)), put(tmp_path, 2, picture(seed=1))]
    assert gallery(tmp_path).make(images) == 2
    second = gallery(tmp_path)
    assert second.make(images) == 0
    store = Store([of_task(each.task) for each in images], images)
    links = [second.links(entry) for entry in store.entries()]
    assert [each.flags for each in links] == [(), (), (f"near-duplicate:{images[0].task.id}#0",)]
    for each in links:
        assert each.thumb is not None
        with Image.open(tmp_path / "report" / each.thumb) as thumb:
            assert (thumb.format, thumb.size) == ("WEBP", (320, 200))


def test_what_a_kill_left_is_made_again(tmp_path: Path) -> None:
    """A torn line of facts, and a fact whose thumbnail is gone."""
    images = [put(tmp_path, n, picture(seed=n)) for n in range(3)]
    gallery(tmp_path).make(images)
    facts = tmp_path / "report" / "thumbs" / "facts.jsonl"
    facts.write_bytes(facts.read_bytes()[:-9])
    next((tmp_path / "report" / "thumbs").glob("*/*.webp")).unlink()
    assert gallery(tmp_path).make(images) in {1, 2}
    assert gallery(tmp_path).make(images) == 0


def _gone(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _other(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("harm", "flag"),
    [(_gone, "missing"), (_cut, "changed"), (_other, "changed"), (_link, "damaged"), (_pipe, "damaged")],
)
def test_a_harmed_picture_is_flagged_and_stops_nothing(harm: Callable[[Path], None], flag: str, tmp_path: Path) -> None:
    """The others have their thumbnails; the harmed one has none, and says why."""
    images = [put(tmp_path, 0, picture(seed=1)), put(tmp_path, 1, picture(seed=2))]
    harm(tmp_path / images[0].artifact.path)
    made = gallery(tmp_path)
    assert made.make(images) == 1
    assert flags(made, images) == [[flag], []]


def test_a_picture_that_was_cut_after_its_thumbnail_was_made_is_flagged(tmp_path: Path) -> None:
    """What is known of its content no longer speaks of the file that the page would open."""
    images = [put(tmp_path, 0, picture(seed=1))]
    gallery(tmp_path).make(images)
    _cut(tmp_path / images[0].artifact.path)
    again = gallery(tmp_path)
    assert again.make(images) == 0
    assert flags(again, images) == [["changed"]]


def test_facts_of_another_version_are_found_out_anew(tmp_path: Path) -> None:
    """Thumbnails of before may have another size, and their facts another meaning."""
    images = [put(tmp_path, 0, picture(seed=1))]
    gallery(tmp_path).make(images)
    facts = tmp_path / "report" / "thumbs" / "facts.jsonl"
    facts.write_text(facts.read_text().replace('"v": 1', '"v": 99'))
    assert gallery(tmp_path).make(images) == 1


@pytest.mark.parametrize("data", [b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture()[:300]])
def test_what_cannot_be_decoded_is_flagged(data: bytes, tmp_path: Path) -> None:
    """A store may hold it: an older program looked less closely."""
    images = [put(tmp_path, 0, data)]
    made = gallery(tmp_path)
    assert made.make(images) == 0
    assert flags(made, images) == [["damaged"]]


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "1"),
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
        ("PNG", "I;16"),
        ("JPEG", "CMYK"),
        ("JPEG", "L"),
        ("TIFF", "F"),
        ("GIF", "P"),
        ("WEBP", "RGBA"),
        ("BMP", "RGB"),
    ],
)
def test_every_kind_of_picture_has_a_thumbnail(kind: str, mode: str, tmp_path: Path) -> None:
    """Whatever its mode, and no larger than 320 pixels; a small one stays small."""
    for size, expected in (((640, 320), (320, 160)), ((20, 40), (20, 40))):
        data = picture(kind, "L" if mode == "I;16" else mode, size)
        if mode == "I;16":
            wide = io.BytesIO()
            with Image.open(io.BytesIO(data)) as plain:
                plain.convert("I").point(lambda value: value * 200).convert("I;16").save(wide, "PNG")
            data = wide.getvalue()
        (tmp_path / "in").write_bytes(data)
        made = make(Job(hashlib.sha256(data).hexdigest(), tmp_path / "in", tmp_path / "out.webp"))
        assert (made.problem, made.blank) == ("", False)
        with Image.open(tmp_path / "out.webp") as thumb:
            assert thumb.size == expected


def test_a_picture_stands_upright(tmp_path: Path) -> None:
    """EXIF says how a camera was held; a thumbnail keeps nothing else of it."""
    image = Image.new("RGB", (600, 300), "white")
    image.paste("black", (0, 0, 300, 300))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret place"
    data = io.BytesIO()
    image.save(data, "JPEG", exif=exif)
    (tmp_path / "in").write_bytes(data.getvalue())
    make(Job(hashlib.sha256(data.getvalue()).hexdigest(), tmp_path / "in", tmp_path / "out.webp"))
    with Image.open(tmp_path / "out.webp") as thumb:
        assert thumb.size == (160, 320)
        cells = thumb.convert("L").tobytes()
    top, bottom = cells[20 * 160 + 80], cells[300 * 160 + 80]
    assert (top < 40, bottom > 200) == (True, True)
    assert b"secret" not in (tmp_path / "out.webp").read_bytes()


def test_blank_pictures_are_flagged(tmp_path: Path) -> None:
    """White, black, and white with the noise of a JPEG; not a thin line on white. Two blank ones are no duplicates."""
    images = []
    for number, (kind, ink) in enumerate([("PNG", None), ("JPEG", None), ("PNG", "black")]):
        image = Image.new("RGB", (300, 300), "white")
        if ink:
            image.paste(ink, (100, 0, 104, 300))
        data = io.BytesIO()
        image.save(data, kind)
        images.append(put(tmp_path, number, data.getvalue()))
    made = gallery(tmp_path)
    made.make(images)
    assert flags(made, images) == [["blank"], ["blank"], []]


def test_near_duplicates_laws() -> None:
    """Against every earlier one, whatever the order of bits; seed 7."""
    rng = random.Random(7)
    alike = _Alike()
    kept: list[tuple[int, str]] = []
    for number in range(600):
        known = rng.choice(kept)[0] if kept and rng.random() < 0.5 else rng.getrandbits(64)
        dhash = known
        for bit in rng.sample(range(64), rng.randint(0, 6)):
            dhash ^= 1 << bit
        near = [name for other, name in kept if (other ^ dhash).bit_count() <= NEAR]
        found = alike.seen(dhash, str(number))
        assert (found in near) if near else found is None
        if found is None:
            kept.append((dhash, str(number)))


def test_a_rescaled_picture_looks_alike() -> None:
    """The same picture as a small JPEG has nearly the same hash; another has not."""

    def dhash(data: bytes) -> int:
        with Image.open(io.BytesIO(data)) as image:
            return dhash_of(image.convert("L"))

    whole, small, other = picture(), picture("JPEG", size=(160, 100)), picture(seed=2)
    assert (dhash(whole) ^ dhash(small)).bit_count() <= NEAR
    assert (dhash(whole) ^ dhash(other)).bit_count() > 10


def _known(data: bytes) -> Picture:
    return Picture(hashlib.sha256(data).hexdigest(), "image/png", len(data), 640, 400)


def test_input_pictures_are_shown_beside_what_was_made_of_them(tmp_path: Path) -> None:
    """From beside the spec, or out of the spec's own text; not one that changed since, nor one that the gateway got."""
    run, here, changed = tmp_path / "run", picture(seed=3), picture(seed=4)
    inline = picture(size=(40, 40))
    (tmp_path / "photo.png").write_bytes(here)
    (tmp_path / "other.png").write_bytes(picture(seed=5))
    import base64

    text = f"images: ['data:image/png;base64,{base64.b64encode(inline).decode()}']"
    given: list[Input] = [
        LocalInput("photo.png", _known(here)),
        LocalInput("other.png", _known(changed)),
        LocalInput("gone.png", _known(picture(seed=6))),
        InlineInput("data:image/png;sha256=x", _known(inline)),
    ]
    data = picture(seed=9)
    row = of_image(task(inputs=given), data=data)
    (run / row.artifact.path).parent.mkdir(parents=True)
    (run / row.artifact.path).write_bytes(data)
    made = gallery(run, Sources(tmp_path, text))
    assert made.make([row]) == 3
    links = made.links(Store([of_task(row.task)], [row]).entries()[0])
    assert links.inputs is not None
    assert set(links.inputs) == {0, 3}
    assert links.flags == ("input-changed:2", "input-missing:3")
    for place in (0, 3):
        for url in links.inputs[place]:
            assert url is not None
            assert (run / "report" / url).is_file()
