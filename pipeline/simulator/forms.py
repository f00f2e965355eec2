"""A form as a gateway reads it: multipart/form-data with files, by RFC 7578, or a sentence on what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: A form of more parts, or a longer boundary, is nonsense; RFC 2046 allows 70 characters.
_PARTS_MAX: Final = 64
_BOUNDARY: Final = re.compile(r"multipart/form-data\s*;\s*boundary=\"?([0-9A-Za-z'()+_,./:=?-]{1,70})\"?\s*", re.ASCII)
_DISPOSITION: Final = re.compile(r'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; a file has a name of its own."""

    name: str
    filename: str | None
    #: Empty when the part does not say.
    media_type: str
    data: bytes


def read_form(content_type: str, body: bytes) -> list[Part] | str:
    """The parts of a form in their order, or what is wrong with it."""
    found = _BOUNDARY.fullmatch(content_type)
    if found is None:
        return "Content-Type must be multipart/form-data with a boundary"
    mark = b"--" + found[1].encode()
    opening, *pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if opening or not pieces or pieces[-1] not in {b"--", b"--\r\n"} or len(pieces) > _PARTS_MAX:
        return "the form does not begin and end with its boundary"
    parts = [_part(piece) for piece in pieces[:-1]]
    wrong = next((part for part in parts if isinstance(part, str)), None)
    return wrong if wrong is not None else [part for part in parts if isinstance(part, Part)]


def _part(piece: bytes) -> Part | str:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n"):
        return "a part of the form has no headers"
    headers = {}
    for line in head[2:].decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon:
            return "a part of the form has a broken header"
        headers[name.strip().lower()] = value.strip()
    named = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if named is None:
        return "a part of the form has no name"
    return Part(named[1], named[2], headers.get("content-type", ""), data)
