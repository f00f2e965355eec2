"""Writing a form with one file: multipart/form-data, by RFC 7578, the same bytes for the same picture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.values.digest import sha256_hex
from pipeline.values.provider import CarriedBytes

#: What a file's name may hold; nothing in it can end the header that it stands in.
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)


def form(fields: Mapping[str, str], field: str, name: str, asset: CarriedBytes) -> tuple[bytes, str]:
    """The body and its Content-Type: texts first, in their order, then the file in `field` under this name.

    The texts must be printable and without quotes; what comes from a gateway is checked before.
    """
    boundary = _boundary(asset.data, fields.values())
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field}"; filename="{_NOT_IN_A_NAME.sub("-", name)}"\r\n'
        f"Content-Type: {asset.media_type}\r\n\r\n"
    )
    body = head.encode() + asset.data + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _boundary(data: bytes, texts: Iterable[str]) -> str:
    """What parts a form: it stands in none of its parts. RFC 2046 allows 70 characters."""
    whole, digest = "\n".join(texts).encode() + b"\n" + data, sha256_hex(data)
    while digest[:40].encode() in whole:
        digest = sha256_hex(digest.encode())
    return f"pipeline-{digest[:40]}"
