"""Where the input pictures of a run are found again, to be shown beside what was made of them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.values.task import InlineInput, Input, LocalInput, Task

#: A picture that was written into the spec itself.
_INLINE: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,([A-Za-z0-9+/\s]+=*)", re.ASCII)


class Sources:
    """Input pictures by their digest: files beside the spec, and those that the spec as run holds itself."""

    def __init__(self, spec_folder: Path | None = None, spec_text: str = "") -> None:
        self._folder = spec_folder
        self._text = spec_text
        self._inline: dict[str, bytes] | None = None

    @staticmethod
    def digest(source: Input) -> str | None:
        """SHA-256 of a picture that may be here; None for what the gateway fetches or another task makes."""
        return source.picture.sha256 if isinstance(source, LocalInput | InlineInput) else None

    def of(self, task: Task) -> Iterator[tuple[str, Path | bytes]]:
        """(digest, where it is) of a task's inputs. Whether the file still has that content, its reader looks."""
        for source in task.inputs:
            match source:
                case LocalInput() if self._folder is not None:
                    yield source.picture.sha256, self._folder / source.uri
                case InlineInput():
                    data = self._written().get(source.picture.sha256)
                    if data is not None:
                        yield source.picture.sha256, data
                case _:
                    pass

    def _written(self) -> dict[str, bytes]:
        if self._inline is None:
            found = (_decoded(match[1]) for match in _INLINE.finditer(self._text))
            self._inline = {hashlib.sha256(data).hexdigest(): data for data in found}
        return self._inline


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()))
    except ValueError:
        return b""
