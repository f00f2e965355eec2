"""S6: pictures that are made to hurt. None takes the runner down, and no part of one is taken for a picture."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.runtime.containers import gif_ends, webp_size
from pipeline.runtime.pictures import examine
from pipeline.values.wire import Answered, Broken, DownloadBroken, Downloaded
from tests.runtime.test_pictures import chunk, claims, noise
from tests.transport.servers import door_to, get, http, post, raw_server

SEED = int(os.environ.get("PIPELINE_SEED") or 1)
MEGABYTE = 1024 * 1024
#: Every kind of file that gateways send, of one picture.
KINDS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: noise("PNG", 24, 18),
    "PNG, interlaced palette": lambda: saved("PNG", "P", optimize=True),
    "PNG, animated": lambda: noise("PNG", 12, 9, frames=3),
    "JPEG": lambda: noise("JPEG", 48, 36),
    "JPEG, progressive": lambda: saved("JPEG", "RGB", progressive=True),
    "JPEG, CMYK with EXIF": lambda: saved("JPEG", "CMYK", exif=exif(b"x" * 2000)),
    "WEBP": lambda: noise("WEBP", 48, 36),
    "WEBP, lossless": lambda: saved("WEBP", "RGBA", lossless=True),
    "GIF, animated": lambda: noise("GIF", 16, 12, frames=3),
}


def saved(kind: str, mode: str, **how: Any) -> bytes:
    """A picture of noise, saved in a special way."""
    depth = {"P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    image = Image.frombytes(mode, (40, 30), random.Random(3).randbytes(40 * 30 * depth))
    if mode == "P":
        image.putpalette(random.Random(4).randbytes(768))
    sink = io.BytesIO()
    image.save(sink, kind, **how)
    return sink.getvalue()


def exif(payload: bytes) -> bytes:
    """An EXIF block with words in it."""
    tags = Image.Exif()
    tags[0x010E] = payload.decode("latin-1")
    return tags.tobytes()


def png(*chunks: bytes, width: int = 8, height: int = 8, data: bytes | None = None) -> bytes:
    """A PNG of one grey with these chunks between its head and its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = zlib.compress(b"\0" * (height * (width + 1))) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def check(data: bytes, folder: Path) -> str:
    """What is said of this picture; empty when it is taken. Anything but a ValueError goes through."""
    path = folder / "picture.part"
    path.write_bytes(data)
    try:
        examine(path)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_nine_hundred_cuts_are_all_refused(tmp_path: Path) -> None:
    """Nine kinds of file, each cut at a hundred places: 900 of 900 are noticed."""
    refused = 0
    for make in KINDS.values():
        data = make()
        assert check(data, tmp_path) == ""
        places = random.Random(SEED).sample(range(len(data)), 100)
        refused += sum(check(data[:place], tmp_path) != "" for place in places)
    assert refused == 900, f"PIPELINE_SEED={SEED}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_a_value_error_or_not_noticed(kind: str, tmp_path: Path) -> None:
    """300 files with flipped, cut-out, doubled and strange bytes: no decoder's exception gets out."""
    dice, whole = random.Random(SEED), KINDS[kind]()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            place, length = dice.randrange(len(data)), dice.randint(1, 8)
            match dice.randrange(4):
                case 0:
                    data[place] ^= 1 << dice.randrange(8)
                case 1:
                    data[place : place + length] = b""
                case 2:
                    data[place:place] = data[place : place + 4 * length]
                case _:
                    data[place : place + length] = dice.choice((b"\xff", b"\0", b"\x7f")) * length
        complaint = check(bytes(data), tmp_path)
        assert complaint == "" or complaint.startswith(("it ", "something ")), f"PIPELINE_SEED={SEED}"


ICC = zlib.compress(b"\0" * (100 * MEGABYTE), 9)
BOMBS: dict[str, Callable[[], bytes]] = {
    "12,000 x 12,000 that is really there": lambda: png(
        width=12_000, height=12_000, data=zlib.compress(bytes(12_000 * 12_001))
    ),
    "12,000 x 12,000 that is only claimed": lambda: claims(12_000, 12_000),
    "a profile of 100 MB": lambda: png(chunk(b"iCCP", b"x\0\0" + ICC)),
    "a note of 100 MB": lambda: png(chunk(b"zTXt", b"x\0\0" + ICC)),
    "an international note of 100 MB": lambda: png(chunk(b"iTXt", b"x\0\1\0\0\0" + ICC)),
    "300 notes of a megabyte": lambda: png(*[chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 1_000_000))] * 300),
    "a million empty pieces": lambda: png(chunk(b"tEXt", b"a\0") * 1_000_000),
    "a GIF of 65,535 x 65,535": lambda: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + gif_frame() + b";",
    "a frame larger than its GIF": lambda: gif(gif_frame(30_000, 30_000)),
    "a later frame larger than its GIF": lambda: gif(gif_frame(), gif_frame(30_000, 30_000)),
    "a GIF of 100,000 frames": lambda: gif(*[gif_frame()] * 100_000),
    "a WebP of 16,383 x 16,383": lambda: webp(16_383, 16_383),
    "a JPEG of 10,000 scans": lambda: scans(10_000),
    "a JPEG of 60,000 x 60,000": lambda: resized_jpeg(60_000, 60_000),
}


def gif_frame(width: int = 1, height: int = 1) -> bytes:
    """One frame of a GIF with next to nothing in it."""
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"


def gif(*frames: bytes) -> bytes:
    """A GIF of 1 x 1 with a palette and these frames."""
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0" * 6 + b"".join(frames) + b";"


def webp(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is this large, around a small picture."""
    inner = noise("WEBP", 16, 16)[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0" * 4 + canvas + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved("JPEG", "RGB", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def resized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG that says it is this large."""
    data = bytearray(noise("JPEG", 16, 16))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


#: A child that may use half a gigabyte and ten seconds, and says what it used above its imports.
JUDGE = """
import resource, sys
from pathlib import Path
from pipeline.runtime.pictures import examine
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
def used(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
before = used("VmRSS")
try:
    examine(Path(sys.argv[1]))
    said = "taken"
except ValueError as error:
    said = str(error)
print((used("VmHWM") - before) // 1024, said)
"""


def judged(path: Path) -> tuple[int, str]:
    """What a child of its own says of a picture, and how many megabytes it took for that."""
    command = [sys.executable, "-c", JUDGE, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    used, _, said = done.stdout.strip().partition(" ")
    return int(used), said


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_for_little(bomb: str, tmp_path: Path) -> None:
    """Refused, with less than 100 MB and within ten seconds of work."""
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[bomb]())
    used, said = judged(path)
    print(f"{bomb}: {path.stat().st_size:,} bytes, {used} MB more, {said}")
    assert said.startswith(("it ", "something ")), said
    assert used < 100


@pytest.mark.slow
def test_the_largest_picture_that_is_taken_fits_into_memory(tmp_path: Path) -> None:
    """32 million pixels in a file of some kilobytes: 4 bytes a pixel at most, whatever the ratio."""
    path = tmp_path / "white"
    Image.new("RGBA", (8192, 4096), "white").save(path, "PNG")
    assert path.stat().st_size < 200_000
    used, said = judged(path)
    print(f"the largest: {path.stat().st_size:,} bytes, {used} MB more, {said}")
    assert (said, used < 200) == ("taken", True)


@pytest.mark.parametrize("kind", ["WEBP", "WEBP, lossless", "extended"])
def test_a_canvas_is_known_before_a_decoder_makes_room_for_it(kind: str) -> None:
    """All three sorts of WebP, as Pillow sees them; a GIF's frames are counted without it."""
    data = saved("WEBP", "RGBA", quality=80) if kind == "extended" else KINDS[kind]()
    assert data[12:16] == {"WEBP": b"VP8 ", "WEBP, lossless": b"VP8L", "extended": b"VP8X"}[kind]
    with Image.open(io.BytesIO(data)) as image:
        assert webp_size(data) == image.size
    assert webp_size(webp(321, 123)) == (321, 123)
    assert webp_size(noise("PNG")) is None
    gif_ends(gif(*[gif_frame()] * 64))
    with pytest.raises(ValueError, match="64 frames"):
        gif_ends(gif(*[gif_frame()] * 65))


PLAIN = {kind: noise(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")}
TAILS = {
    "a page": b"<script>alert(1)</script>",
    "an archive": b"PK\x05\x06" + b"\0" * 18,
    "a page that ends like the picture": b"<script></script>",
    "one byte": b"\x01",
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", PLAIN)
def test_a_file_that_is_two_things_is_refused(kind: str, tail: str, tmp_path: Path) -> None:
    """What stands behind the picture is found even if it ends in the picture's own last bytes."""
    last = {"PNG": b"\0\0\0\0IEND\xaeB`\x82", "JPEG": b"\xff\xd9", "WEBP": b"", "GIF": b";"}[kind]
    assert "behind its end" in check(PLAIN[kind] + TAILS[tail] + last, tmp_path)


def test_a_telephones_jpeg_and_zeros_behind_one_are_taken(tmp_path: Path) -> None:
    """Several JPEGs in one file, and filling, are what honest encoders make."""
    assert check(PLAIN["JPEG"] + b"\0" * 500, tmp_path) == ""
    sink = io.BytesIO()
    frames = [Image.frombytes("RGB", (32, 24), random.Random(n).randbytes(32 * 24 * 3)) for n in range(2)]
    frames[0].save(sink, "MPO", save_all=True, append_images=frames[1:])
    assert check(sink.getvalue(), tmp_path) == ""


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', "markup"),
        (b"  <svg onload='alert(1)'/>", "markup"),
        (b"\x89PNG\r\n\x1a\n" + noise("JPEG"), "^it "),
        (b"GIF89a" + noise("PNG"), "^it "),
        (b"RIFF\x10\0\0\0WEBPjunk", "^it "),
        (b"%PDF-1.7\n", "no picture"),
        (b"\x00\x00\x00\x1cftypavif" + b"\0" * 64, "no picture"),
        (b"8BPS" + b"\0" * 64, "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no picture"),
        (b"\x00\x00\x01\x00" + b"\0" * 64, "no picture"),
    ],
)
def test_other_formats_meet_no_decoder(data: bytes, complaint: str, tmp_path: Path) -> None:
    """Markup, documents and rarer formats, or one kind's beginning before another's rest."""
    said = check(data, tmp_path)
    assert said.startswith("it ")
    assert complaint.strip("^") in said


def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    """64 MB and one byte: refused by size."""
    path = tmp_path / "picture.part"
    with path.open("wb") as handle:
        handle.write(noise("PNG"))
        handle.truncate(64 * MEGABYTE + 1)
    with pytest.raises(ValueError, match="larger than"):
        examine(path)


# --- on the wire --------------------------------------------------------------------------------------------------

BOMB = gzip.compress(b"\0" * (200 * MEGABYTE), 9)
ENCODED = http("200 OK", BOMB, "Content-Encoding: gzip", "Content-Type: image/png")


@pytest.mark.slow
async def test_an_answer_that_grows_a_thousandfold_is_cut_off() -> None:
    """200 MB in 200 KB, in an encoding that nobody asked for: neither call nor download takes more than 16 MB."""
    assert len(BOMB) < 210_000
    async with raw_server(lambda _: ENCODED) as seen, door_to(seen.port) as door:
        tracemalloc.start()
        try:
            submit = await door.exchange(post(), timeout_s=20)
            poll = await door.exchange(get(), timeout_s=20)
            download = await door.download("acme", seen.link, len, timeout_s=20, size_max=4 * MEGABYTE)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(submit, Broken)
    assert isinstance(poll, Broken)
    assert isinstance(download, DownloadBroken)
    assert peak < 16 * MEGABYTE


async def test_an_honest_answer_in_an_encoding_is_read() -> None:
    """A proxy on the way may compress what was not asked to be: the answer to a paid call counts."""
    answer = http("202 Accepted", gzip.compress(b'{"id": 1}'), "Content-Encoding: gzip")
    picture = noise("PNG")
    async with raw_server(lambda _: answer) as seen, door_to(seen.port) as door:
        outcome = await door.exchange(post(), timeout_s=5)
    assert isinstance(outcome, Answered)
    assert outcome.response.body == b'{"id": 1}'
    kept = bytearray()
    encoded = http("200 OK", gzip.compress(picture), "Content-Encoding: gzip")
    async with raw_server(lambda _: encoded) as seen, door_to(seen.port) as door:
        download = await door.download("acme", seen.link, kept.extend, timeout_s=5, size_max=MEGABYTE)
    assert isinstance(download, Downloaded)
    assert bytes(kept) == picture
