"""Folders below images/ and the names in them; each step goes through handles that refuse symbolic links."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from pipeline.errors import Bug, StorageFailed
from pipeline.failpoints import reach
from pipeline.store.folder import RunFolder
from pipeline.values.folder import IMAGES
from pipeline.values.task import Task

#: {media type: extension}.
EXTENSIONS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/svg+xml": "svg",
}
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Shelves:
    """Handles of the folders that a group of pictures goes into: each is opened once, and closed at the end."""

    __slots__ = ("_folder", "_handles")

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._handles: dict[tuple[str, ...], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def handle(self, names: tuple[str, ...]) -> int:
        """A handle of a folder below images/, made where missing. *Raises* StorageFailed where it is none of ours."""
        known = self._handles.get(names)
        if known is not None:
            return known
        try:
            opened = self._open(names)
        except OSError as exc:
            if exc.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            place = self._folder.images.joinpath(*names)
            raise StorageFailed(f"a folder for pictures is no folder of ours; move it away: {place}") from exc
        self._handles[names] = opened
        return opened

    def _open(self, names: tuple[str, ...]) -> int:
        if not names:
            return os.open(self._folder.images, _FOLDER)
        above = self.handle(names[:-1])
        with suppress(FileNotFoundError):
            return os.open(names[-1], _FOLDER, dir_fd=above)
        with suppress(FileExistsError):
            os.mkdir(names[-1], mode=0o700, dir_fd=above)
            os.chmod(names[-1], 0o700, dir_fd=above)  # the umask may have taken more
            os.fsync(above)
        return os.open(names[-1], _FOLDER, dir_fd=above)


def exists(folder: int, name: str) -> bool:
    """Whether a name is taken in a folder, if only by a link."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def give_name(part: Path, folder: int, name: str) -> bool:
    """Move a part to its name in a folder; False when the name is taken."""
    try:
        # A link never writes over anything, even if two threads want the same name; a rename would.
        os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no links. The lock is ours, so nobody comes between the look and the rename.
        if exists(folder, name):
            return False
        os.rename(part, name, dst_dir_fd=folder)
        return True
    reach("keep.linked")
    part.unlink()
    return True


def place_of(task: Task) -> tuple[tuple[str, ...], str]:
    """Folders below images/ and the name's stem: as the spec says, or by digest."""
    if not task.path:
        return (task.id[:2],), task.id[:16]
    parts = PurePosixPath(task.path).parts
    if task.path.startswith("/") or any(part in {"..", "."} or "\0" in part or "\\" in part for part in parts):
        raise Bug(f"a task's path leads out of images/: {task.path}")
    return parts[:-1], parts[-1]


def names_for(task: Task, index: int, attempt: int, media_type: str) -> Iterator[tuple[str, str]]:
    """(name, path relative to the run folder) by which a picture may go, the first that is free is taken."""
    folder, stem = place_of(task)
    # A name that the spec gave has an index only where one call makes several pictures.
    number = f"-{index}" if not task.path or task.n > 1 or index else ""
    extension = EXTENSIONS.get(media_type, "bin")
    for suffix in _suffixes(attempt):
        name = f"{stem}{number}{suffix}.{extension}"
        yield name, "/".join((IMAGES, *folder, name))


def _suffixes(attempt: int) -> Iterator[str]:
    yield ""
    yield f".{attempt}"
    for count in range(2, 100):
        yield f".{attempt}.{count}"
