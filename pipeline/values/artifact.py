"""An artifact: a picture that was made, paid for and stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Artifact:
    """A stored picture. *Units* - size_bytes: bytes; width, height: pixels; stored_at: UTC microseconds."""

    sha256: str
    media_type: str
    size_bytes: int
    width: int
    height: int
    #: Relative to the run folder, with forward slashes.
    path: str
    stored_at: int
