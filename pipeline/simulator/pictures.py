"""Input pictures as a gateway sees them: really decoded, judged by its rules, and kept as small thumbnails."""

from __future__ import annotations

import base64
import binascii
import io
import re
import warnings
from dataclasses import dataclass
from typing import Final

from PIL import Image

from pipeline.values.digest import sha256_hex

#: Longer side of a thumbnail, in pixels: enough to be recognised, small enough to be kept in a journal.
THUMBNAIL_SIDE: Final = 384

_DATA_URI: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.ASCII | re.IGNORECASE)
#: {Pillow's name: media types it may come under}. MPO is what some phones' JPEG files are.
_MEDIA_TYPES: Final = {
    "JPEG": ("image/jpeg", "image/jpg"),
    "MPO": ("image/jpeg", "image/jpg", "image/mpo"),
    "PNG": ("image/png",),
    "BMP": ("image/bmp", "image/x-ms-bmp"),
    "TIFF": ("image/tiff",),
    "WEBP": ("image/webp",),
    "GIF": ("image/gif",),
}


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What a gateway's manual asks of input pictures. *Units* - sides: pixels; bytes_max: bytes."""

    side_min: int
    side_max: int
    bytes_max: int
    formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """An input picture: its size as sent, and a WEBP thumbnail; both nothing (0, b"") for a URL we do not fetch."""

    #: 64 hex digits: the digest of what stood in the request.
    digest: str
    width: int
    height: int
    thumbnail: bytes


def look(text: str, limits: PictureLimits) -> SeenPicture | str:
    """A picture as it stands in a request (URL, data URI or bare Base64), or a sentence on what is wrong with it."""
    digest = sha256_hex(text.encode("utf-8", "surrogatepass"))
    if text.startswith(("http://", "https://")):
        return SeenPicture(digest, 0, 0, b"")
    head = _DATA_URI.match(text)
    if head is None and text[:5].lower() == "data:":
        return "must be a data URI of the form data:image/png;base64,..."
    try:
        data = base64.b64decode(text[head.end() if head else 0 :], validate=True)
    except (binascii.Error, ValueError):
        return "must be a public URL or Base64-encoded image data"
    return look_at(data, limits, head[1].lower() if head else None, digest)


def look_at(data: bytes, limits: PictureLimits, media_type: str | None = None, digest: str = "") -> SeenPicture | str:
    """A picture's own bytes, as an upload brings them, or a sentence on what is wrong with them."""
    if len(data) > limits.bytes_max:
        return f"must be no larger than {limits.bytes_max} bytes, has {len(data)}"
    return _decode(digest or sha256_hex(data), data, media_type, limits)


def media_type_of(data: bytes) -> str:
    """What a picture's own bytes say it is; empty when nobody can say."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return _MEDIA_TYPES.get(picture.format or "", ("",))[0]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def _decode(digest: str, data: bytes, media_type: str | None, limits: PictureLimits) -> SeenPicture | str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                sort, (width, height) = picture.format or "", picture.size
                if sort not in limits.formats:
                    return f"format must be one of {', '.join(limits.formats)}, is {sort}"
                if media_type is not None and media_type not in _MEDIA_TYPES.get(sort, ()):
                    return f"the request says {media_type}, the data is {sort}"
                if not (limits.side_min <= min(width, height) and max(width, height) <= limits.side_max):
                    return (
                        f"width and height must be between {limits.side_min} and {limits.side_max} pixels, "
                        f"are {width}*{height}"
                    )
                picture.load()
                thumbnail = _thumbnail(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"the image data cannot be decoded ({type(error).__name__})"
    return SeenPicture(digest, width, height, thumbnail)


def _thumbnail(picture: Image.Image) -> bytes:
    small = picture.convert("RGBA")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), reducing_gap=2.0)
    flat = Image.new("RGB", small.size, (255, 255, 255))
    flat.paste(small, mask=small.getchannel("A"))
    kept = io.BytesIO()
    flat.save(kept, "WEBP", quality=80, method=2)
    return kept.getvalue()
