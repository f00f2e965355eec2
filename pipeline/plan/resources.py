"""What the plan may ask of the disk: text, globs and facts about pictures; the runtime answers from real files."""

from __future__ import annotations

from typing import Protocol

from pipeline.values.task import Picture


class ResourceMissing(Exception):  # noqa: N818 - a word of the house
    """A file that the spec names cannot be read; `why` is a clause for the user."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path}: {why}")


class Resources(Protocol):
    """Reads below the spec's own folder. Every method raises ResourceMissing, saying why."""

    def text(self, path: str) -> str:
        """A UTF-8 text file's content."""
        ...

    def glob(self, pattern: str) -> tuple[str, ...]:
        """The files that match, sorted, relative to the spec."""
        ...

    def picture(self, path: str) -> Picture:
        """What is known of a picture file."""
        ...

    def picture_of(self, data: bytes) -> Picture:
        """What is known of a picture's bytes."""
        ...
