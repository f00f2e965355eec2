"""One picture made small, in a worker process: a WebP, and cheap figures by which blank and repeated ones are found.

Imports little: every worker process imports it anew.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, ImageStat

#: The longest side of a thumbnail, and of an input picture's preview, in pixels.
THUMB, PREVIEW = 320, 1600
#: Pixels and bytes that are looked at, at most: what a gateway delivered is within them.
PIXELS_MAX: Final = 64 * 1024 * 1024
SIZE_BYTES_MAX: Final = 64 * 1024 * 1024
#: Below this standard deviation of its brightness (of 255) a picture shows nothing.
BLANK: Final = 2.0
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_PLAIN: Final = frozenset({"L", "LA", "RGB", "RGBA"})
_WIDE: Final = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
#: What is the matter with a picture that has no thumbnail.
MISSING, CHANGED, DAMAGED = "missing", "changed", "damaged"


@dataclass(frozen=True, slots=True)
class Job:
    """A picture to be made small; `previewed` is where a larger copy goes besides."""

    #: SHA-256 that it must have, as 64 hex digits.
    sha256: str
    source: Path | bytes
    thumb: Path
    previewed: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What was found. `problem` is empty, or why there is no thumbnail."""

    sha256: str
    problem: str = ""
    #: 64 bits: whether each of 8 x 8 fields is darker than its right neighbour.
    dhash: int = 0
    blank: bool = False


def make(job: Job) -> Made:
    """Make one thumbnail. Whatever is wrong with the picture is told, never raised.

    *Raises* OSError when the thumbnail cannot be written.
    """
    try:
        data = _read(job.source)
    except OSError:
        return Made(job.sha256, MISSING)
    if hashlib.sha256(data).hexdigest() != job.sha256:
        return Made(job.sha256, CHANGED)
    with warnings.catch_warnings():
        # A picture that is larger than Pillow likes is within our own bounds or refused by them.
        warnings.simplefilter("ignore")
        try:
            picture = _opened(data, PREVIEW if job.previewed else THUMB)
            thumb = _within(picture, THUMB)
            encoded, preview = _webp(thumb), _webp(_within(picture, PREVIEW)) if job.previewed else b""
            grey = thumb.convert("RGB").convert("L")
            blank, dhash = ImageStat.Stat(grey).stddev[0] < BLANK, dhash_of(grey)
        except Exception:  # noqa: BLE001 - whatever a decoder raises is the picture's fault
            return Made(job.sha256, DAMAGED)
    _write(job.thumb, encoded)
    if job.previewed:
        _write(job.previewed, preview)
    return Made(job.sha256, "", dhash, blank)


def make_all(jobs: list[Job]) -> list[Made]:
    """Several at once: a batch costs one message between processes."""
    return [make(job) for job in jobs]


def dhash_of(grey: Image.Image) -> int:
    """The difference hash: near pictures have near hashes, whatever their size and compression."""
    small = grey.resize((9, 8), Image.Resampling.BOX)
    cells = small.tobytes()
    bits = 0
    for line in range(8):
        for place in range(8):
            bits = bits << 1 | (cells[line * 9 + place] < cells[line * 9 + place + 1])
    return bits


def _read(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    # Not blocking: a pipe in the place of a picture would wait for ever.
    handle = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
        return file.read(SIZE_BYTES_MAX + 1)


def _opened(data: bytes, side: int) -> Image.Image:
    """The first frame, upright, in a plain mode. *Raises* whatever a decoder does."""
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.width * image.height > PIXELS_MAX or len(data) > SIZE_BYTES_MAX:
        raise ValueError("too large")
    # A JPEG can be read at an eighth of its size, which is most of what a thumbnail costs.
    image.draft("RGB", (2 * side, 2 * side))
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _WIDE:
        low, high = (float(each) for each in upright.getextrema()[:2])  # type: ignore[arg-type]  # one band: two numbers
        scale = 255 / (high - low) if high > low else 0.0
        upright = upright.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    if upright.mode == "P" or "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright if upright.mode in _PLAIN else upright.convert("RGB")


def _within(picture: Image.Image, side: int) -> Image.Image:
    if max(picture.size) <= side:
        return picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _webp(picture: Image.Image) -> bytes:
    made = io.BytesIO()
    # Nothing of the original's EXIF or colour profile goes along: a thumbnail is for looking.
    picture.save(made, "WEBP", quality=80, method=2)
    return made.getvalue()


def _write(path: Path, data: bytes) -> None:
    # Below report/thumbs/ab or report/inputs/ab: a link there would lead our files to another folder.
    if link := next((each for each in list(path.parents)[:3] if each.is_symlink()), None):
        raise OSError(errno.ELOOP, "a link where a folder belongs", str(link))
    path.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    fresh.replace(path)
