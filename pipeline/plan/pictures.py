"""Input pictures: what a rendered entry of `images` names, resolved once and remembered."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.plan.flaw import Flaw, Flawed
from pipeline.plan.identity import json_of
from pipeline.plan.resources import ResourceMissing, Resources
from pipeline.values.card import PictureRule
from pipeline.values.digest import sha256_hex
from pipeline.values.task import InlineInput, Input, LocalInput, Picture, UrlInput, input_identity

#: What a picture becomes that an upload does not take as it is: without loss.
CONVERTED: Final = "image/png"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)


class Pictures:
    """Resolves what `images` names; each distinct text is looked at once."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._known: dict[str, tuple[Input, str] | Flaw] = {}
        self._inline: dict[str, str] = {}

    def resolve(self, written: str, path: str) -> tuple[Input, str]:
        """An input and its identity as JSON. *Raises* Flawed when there is no such picture."""
        found = self._known.get(written)
        if found is None:
            try:
                source = self._read(written)
                found = (source, json_of(input_identity(source)))
            except ResourceMissing as missing:
                found = Flaw(path, f"cannot use the picture '{missing.path[:120]}': {missing.why}")
            self._known[written] = found
        if isinstance(found, Flaw):
            raise Flawed(Flaw(path, found.what, found.remedy))
        return found

    def inline_bytes(self, sha256: str) -> bytes | None:
        """The bytes of a picture written as a data URI, if one with this digest was resolved."""
        written = self._inline.get(sha256)
        return None if written is None else _decode(written)

    def _read(self, written: str) -> Input:
        lower = written[:12].lower()
        if lower.startswith(("http://", "https://")):
            return _link(written)
        if lower.startswith("data:"):
            data = _decode(written)
            picture = self._resources.picture_of(data)
            self._inline[sha256_hex(data)] = written
            return InlineInput(f"data:{picture.media_type};sha256={picture.sha256}", picture)
        if _SCHEME.match(written):
            raise ResourceMissing(written, "only http, https and data URIs are known")
        return LocalInput(written, self._resources.picture(written))


def is_uploaded(rule: PictureRule, picture: Picture) -> bool:
    """Whether a local picture travels by an upload before the call, and not inside the call's body."""
    return rule.carry == "upload" or (rule.carry == "auto" and picture.size_bytes > (rule.inline_bytes_max or 0))


def sent_as(source: Input, rule: PictureRule) -> Input:
    """The input with the type that it is converted to where the upload does not take its own."""
    match source:
        case LocalInput() | InlineInput():
            fits = not rule.upload_formats or source.picture.media_type in rule.upload_formats
            return source if fits or not is_uploaded(rule, source.picture) else replace(source, sent_as=CONVERTED)
        case _:
            return source


def _link(written: str) -> UrlInput:
    try:
        parts = urlsplit(written)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ResourceMissing(written, "it is no URL") from error
    if not parts.hostname or not port_is_good or any(letter <= " " or letter == "\x7f" for letter in written):
        raise ResourceMissing(written.partition("?")[0], "it is no URL")
    if parts.username is not None or parts.password is not None:
        raise ResourceMissing(f"{parts.scheme}://{parts.hostname}", "a URL cannot carry a user name or password")
    return UrlInput(written)


def _decode(written: str) -> bytes:
    head, comma, body = written.partition(",")
    if not comma:
        raise ResourceMissing(head[:40], "a data URI needs a comma before its data")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ResourceMissing(head[:40], "its base64 is broken") from error
