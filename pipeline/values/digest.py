"""Digests: what makes two things the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

#: Made once: `json.dumps` makes an encoder for every call that asks for anything but its defaults.
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"


def canonical_json(value: JSON) -> bytes:
    """One spelling per value: sorted keys, no spaces, UTF-8, no NaN."""
    return _CANONICAL.encode(value).encode()


def sha256_hex(data: bytes) -> str:
    """*Shape* - 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: JSON) -> str:
    """SHA-256 of the canonical JSON of a value, as 64 hex digits."""
    return sha256_hex(canonical_json(value))
