"""Looking at pictures: the head of an input, every pixel of an output. Nothing is ever re-encoded."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from pipeline.values.task import Picture

#: Pixels over all frames of an output, and over the one frame of an input's head.
PIXELS_MAX: Final = 64 * 1024 * 1024
SIZE_BYTES_MAX: Final = 64 * 1024 * 1024
FRAMES_MAX: Final = 64

#: {Pillow's format: media type}. MPO is a JPEG with further pictures behind it, as telephones make.
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
_INPUTS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_OUTPUTS: Final = ("PNG", "JPEG", "WEBP", "GIF")

# Pillow only warns of pictures that are somewhat too large; here that is an error like the rest.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

#: What Pillow's decoders raise on damaged data. struct.error, EOFError and SyntaxError are theirs as well.
_DAMAGED: Final = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    KeyError,
    IndexError,
    TypeError,
)
_TOO_LARGE: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Examined:
    """A picture of which every pixel was decoded. *Units* - width, height: pixels."""

    media_type: str
    width: int
    height: int


def identify(source: bytes | Path) -> Picture:
    """What an input picture is, from its head and its digest. *Raises* ValueError with a plain sentence."""
    data = _read(source, SIZE_BYTES_MAX)
    with _opened(data, _INPUTS) as image:
        width, height = image.size
        _check_pixels(width, height, 1)
        media_type = _MEDIA_TYPES[image.format or ""]
    return Picture(hashlib.sha256(data).hexdigest(), media_type, len(data), width, height)


def examine(path: Path, *, pixels_max: int = PIXELS_MAX, size_bytes_max: int = SIZE_BYTES_MAX) -> Examined:
    """Decode a picture that came from a gateway, to its last pixel, and see that it is whole and nothing else.

    *Raises* ValueError with a plain sentence: too large, cut short, damaged, something behind its end, no picture.
    """
    data = _read(path, size_bytes_max)
    with _opened(data, _OUTPUTS) as image:
        kind = image.format or ""
        width, height = image.size
        frames = 1 if kind == "MPO" else _frames(image)
        _check_pixels(width, height, frames, pixels_max)
        _ENDS[kind](data)
        for number in range(frames):
            _decode(image, number)
    return Examined(_MEDIA_TYPES[kind], width, height)


def _read(source: bytes | Path, size_bytes_max: int) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        try:
            # A pipe or a device has no end, and opening one may wait forever.
            if not stat.S_ISREG(source.stat().st_mode):
                raise ValueError("it is not a regular file")
            with source.open("rb") as handle:
                data = handle.read(size_bytes_max + 1)
        except OSError as error:
            raise ValueError(f"it cannot be read: {error.strerror or type(error).__name__}") from error
    if not data:
        raise ValueError("it is empty")
    if len(data) > size_bytes_max:
        raise ValueError(f"it is larger than {size_bytes_max} bytes")
    return data


def _opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except _TOO_LARGE as error:
        raise ValueError("it has too many pixels") from error
    except UnidentifiedImageError as error:
        raise ValueError(_no_picture(data, formats)) from error
    except _DAMAGED as error:
        raise ValueError("it is damaged: its head cannot be read") from error


def _no_picture(data: bytes, formats: tuple[str, ...]) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<svg")):
        return "it is a page or markup, not a picture"
    if start.startswith((b"{", b"[")):
        return "it is JSON, not a picture"
    return f"it is no picture of a known kind ({', '.join(formats)}), or its head is damaged"


def _check_pixels(width: int, height: int, frames: int, pixels_max: int = PIXELS_MAX) -> None:
    if width < 1 or height < 1:
        raise ValueError(f"it has no pixels: {width}x{height}")
    if width * height * frames > pixels_max:
        times = f" in {frames} frames" if frames > 1 else ""
        raise ValueError(f"it has more than {pixels_max} pixels: {width}x{height}{times}")


def _frames(image: Image.Image) -> int:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except _TOO_LARGE as error:
        raise ValueError("it has too many pixels") from error
    except _DAMAGED as error:
        raise ValueError("it is cut short or damaged") from error
    if frames > FRAMES_MAX:
        raise ValueError(f"it has more than {FRAMES_MAX} frames: {frames}")
    return frames


def _decode(image: Image.Image, frame: int) -> None:
    try:
        if frame:
            image.seek(frame)
        # `verify` accepts nearly every truncated JPEG; only decoding finds out.
        image.load()
    except _TOO_LARGE as error:
        raise ValueError("it has too many pixels") from error
    except _DAMAGED as error:
        raise ValueError("it is cut short or damaged") from error


def _png_ends(data: bytes) -> None:
    """Walk the chunks: Pillow does not check the sums of those that hold the pixels, nor what comes after the end."""
    place = 8
    while place + 12 <= len(data):
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
    raise ValueError("it is cut short")


def _jpeg_ends(data: bytes) -> None:
    # Some encoders fill up with zeros; anything else after the end marker is not a picture's.
    if not data.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("it is cut short, or something stands behind its end")


def _webp_ends(data: bytes) -> None:
    size = 8 + int.from_bytes(data[4:8], "little")
    _check_end(len(data), size + size % 2 if len(data) != size else size)


def _gif_ends(data: bytes) -> None:
    if not data.endswith(b";"):
        raise ValueError("it is cut short, or something stands behind its end")


def _check_end(length: int, end: int) -> None:
    if length < end:
        raise ValueError("it is cut short")
    if length > end:
        raise ValueError(f"something stands behind its end: {length - end} bytes")


_ENDS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "PNG": _png_ends,
    "JPEG": _jpeg_ends,
    "MPO": _jpeg_ends,
    "WEBP": _webp_ends,
    "GIF": _gif_ends,
}
