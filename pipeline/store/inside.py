"""Pictures of a run folder by the names that its store gives them: a folder may come from a stranger.

A store can name any file of this machine, and a link in the folder can lead to one. What is shown, served or packed for
mailing is a plain file among the run's own pictures, or nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from pipeline.values.folder import IMAGES

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_picture_name(path: str) -> bool:
    """Whether a name stays among the pictures: `images/...` without a step up, an empty part or a NUL."""
    first, *rest = path.split("/")
    return first == IMAGES and bool(rest) and not {"", ".", ".."} & set(rest) and "\0" not in path


def is_digest(text: str) -> bool:
    """Whether a text is a SHA-256 as we write it; anything else must not become a part of a file's name."""
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def open_picture(folder: Path, path: str) -> int:
    """Open a picture for reading, following no link on the way. *Raises* OSError for all but a plain file."""
    if not is_picture_name(path):
        raise FileNotFoundError(f"no name of a picture: {path[:200]!r}")
    *parts, name = path.split("/")
    place = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=place)
            os.close(place)
            place = below
        handle = os.open(name, _FILE, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(f"no plain file: {path[:200]!r}")
    return handle


class Pictures:
    """Looks at the pictures of one folder, many of them: each folder on the way is looked at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plain: dict[str, bool] = {"": True}

    def look(self, path: str) -> os.stat_result:
        """What `lstat` says of a picture. *Raises* OSError, as well for one behind a link or outside."""
        parent, _, _ = path.rpartition("/")
        if not is_picture_name(path) or not self._is_plain(parent):
            raise FileNotFoundError(f"no picture of this run: {path[:200]!r}")
        return (self._folder / path).lstat()

    def _is_plain(self, below: str) -> bool:
        known = self._plain.get(below)
        if known is None:
            try:
                mode = (self._folder / below).lstat().st_mode
            except OSError:
                return False
            known = self._plain[below] = stat.S_ISDIR(mode) and self._is_plain(below.rpartition("/")[0])
        return known
