"""Looking at pictures: the head of an input, every pixel of an output. Nothing is ever re-encoded."""

from __future__ import annotations

import hashlib
import io
import stat
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.runtime.containers import FRAMES_MAX, gif_ends, jpeg_ends, png_ends, webp_ends, webp_size
from pipeline.runtime.plain_png import plain_size
from pipeline.values.task import Picture

#: Pixels of an input, of which only the head is read.
INPUT_PIXELS_MAX: Final = 64 * 1024 * 1024
#: Pixels over all frames of an output. It bounds what decoding takes, however well the file is compressed: 4 bytes a
#: pixel. A limit on the ratio would refuse plain white pictures, which are paid for as well.
PIXELS_MAX: Final = 32 * 1024 * 1024
SIZE_BYTES_MAX: Final = 64 * 1024 * 1024
#: Pictures that are decoded at once, whatever the number of downloads.
_DECODERS: Final = threading.BoundedSemaphore(2)

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
_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: What a PNG holds without a conversion of its colours.
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_INPUTS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_OUTPUTS: Final = ("PNG", "JPEG", "WEBP", "GIF")

# Pillow only warns of pictures that are somewhat too large; here that is an error like the rest.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

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
        _check_pixels(width, height, 1, INPUT_PIXELS_MAX)
        media_type = _MEDIA_TYPES[image.format or ""]
    return Picture(hashlib.sha256(data).hexdigest(), media_type, len(data), width, height)


def examine(source: bytes | Path, *, pixels_max: int = PIXELS_MAX, size_bytes_max: int = SIZE_BYTES_MAX) -> Examined:
    """Decode a picture that came from a gateway, to its last pixel, and see that it is whole and nothing else.

    It is decoded in this process: what a decoder may use is bounded beforehand, by bytes, pixels, frames and scans.
    *Raises* ValueError with a plain sentence: too large, cut short, damaged, something behind its end, no picture.
    """
    with _DECODERS:
        data = _read(source, size_bytes_max)
        # Before Pillow sees it: opening alone makes room for a WebP's canvas, and reads a million chunks of a PNG.
        if (canvas := webp_size(data)) is not None:
            _check_pixels(*canvas, 1, pixels_max)
        for start, ends in _ENDS.items():
            if data.startswith(start):
                ends(data)
        if data.startswith(_PNG) and (plain := plain_size(data)) is not None:
            _check_pixels(*plain, 1, pixels_max)
            return Examined("image/png", *plain)
        with _opened(data, _OUTPUTS) as image:
            kind = image.format or ""
            width, height = image.size
            _check_pixels(width, height, 1, pixels_max)
            frames = 1 if kind == "MPO" else _frames(image)
            _check_pixels(width, height, frames, pixels_max)
            for number in range(frames):
                _decode(image, number, pixels_max // frames)
        return Examined(_MEDIA_TYPES[kind], width, height)


def to_png(data: bytes) -> bytes:
    """The first frame of an input picture as PNG: the same pixels, upright. *Raises* ValueError when it is damaged."""
    with _DECODERS, _opened(data, _INPUTS) as image:
        _check_pixels(*image.size, 1, INPUT_PIXELS_MAX)
        try:
            upright = ImageOps.exif_transpose(image)
            plain = upright if upright.mode in _PNG_MODES else upright.convert("RGB")
            made = io.BytesIO()
            plain.save(made, "PNG", icc_profile=image.info.get("icc_profile"))
        except Exception as error:
            raise ValueError("it is cut short or damaged") from error
    return made.getvalue()


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
    except Exception as error:
        raise ValueError("it is damaged: its head cannot be read") from error


def _no_picture(data: bytes, formats: tuple[str, ...]) -> str:
    start = data[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<svg")):
        return "it is a page or markup, not a picture"
    if start.startswith((b"{", b"[")):
        return "it is JSON, not a picture"
    return f"it is no picture of a known kind ({', '.join(formats)}), or its head is damaged"


def _check_pixels(width: int, height: int, frames: int, pixels_max: int) -> None:
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
    except Exception as error:
        raise ValueError("it is cut short or damaged") from error
    if frames > FRAMES_MAX:
        raise ValueError(f"it has more than {FRAMES_MAX} frames: {frames}")
    return frames


def _decode(image: Image.Image, frame: int, pixels_max: int) -> None:
    try:
        if frame:
            image.seek(frame)
        # A frame of a GIF may be larger than the picture said to be.
        too_large = image.width * image.height > pixels_max
        if not too_large:
            # `verify` accepts nearly every truncated JPEG; only decoding finds out.
            image.load()
    except _TOO_LARGE as error:
        raise ValueError("it has too many pixels") from error
    except Exception as error:
        raise ValueError("it is cut short or damaged") from error
    if too_large:
        raise ValueError("it has too many pixels")


#: {how a file begins: what walks to its end}.
_ENDS: Final[Mapping[bytes, Callable[[bytes], None]]] = {
    _PNG: png_ends,
    b"\xff\xd8": jpeg_ends,
    b"RIFF": webp_ends,
    b"GIF8": gif_ends,
}
