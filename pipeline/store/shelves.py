"""Folders below images/ and the names in them; each step goes through handles that refuse symbolic links."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from types import TracebackType
from typing import Final, Self

from pipeline.errors import Bug, StorageFailed
from pipeline.store.folder import RunFolder
from pipeline.store.part import Part
from pipeline.store.syncing import Syncing
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
#: So many folders are remembered as durable.
_LASTING_MAX: Final = 4096


class Shelves:
    """The folders that a group of pictures goes into: each is opened once, made where missing, refused where not ours.

    It belongs to one thread; `lasting` is everybody's: folders whose own names are known to be durable. A new folder's
    name is made so with those of its pictures, in one go: 256 of them would take a slow disk ten seconds one by one.
    """

    __slots__ = ("_folder", "_fresh", "_handles", "_lasting")

    def __init__(self, folder: RunFolder, lasting: set[tuple[str, ...]]) -> None:
        self._folder = folder
        self._lasting = lasting
        #: Folders in use whose own names may not be durable yet.
        self._fresh: set[tuple[str, ...]] = set()
        self._handles: dict[tuple[str, ...], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._forget(list(self._handles))

    def handle(self, names: tuple[str, ...]) -> int:
        """A handle of a folder below images/. *Raises* OSError; StorageFailed where it is none of ours."""
        known = self._handles.get(names)
        if known is not None:
            return known
        try:
            opened = self._below(names) if names else os.open(self._folder.images, _FOLDER)
        except OSError as exc:
            if exc.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            place = self._folder.images.joinpath(*names)
            raise StorageFailed(f"a folder for pictures is no folder of ours; move it away: {place}") from exc
        self._handles[names] = opened
        return opened

    def give(self, part: Part, names: tuple[str, ...], name: str) -> bool:
        """Give a part its name in a folder; False when it is taken. *Raises* OSError, StorageFailed."""
        try:
            return part.give(self.handle(names), name)
        except FileNotFoundError:
            # Somebody took the folder away meanwhile.
            self._forget([each for each in self._handles if each and each == names[: len(each)]])
            return part.give(self.handle(names), name)

    def same(self, names: tuple[str, ...], name: str, digest: str) -> bool:
        """Whether a name stands for a plain file with these contents; then they are durable. *Raises* OSError."""
        folder = self.handle(names)
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return False
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
            os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest() == digest

    def sync(self, folders: Iterable[tuple[str, ...]], syncing: Syncing) -> dict[tuple[str, ...], Exception | None]:
        """Make the names in these folders durable, and their own above them; answers what went wrong with each."""
        places = list(folders)
        told: dict[tuple[str, ...], Exception | None] = {}
        handles = self._opened(places, told)
        handles |= self._opened([names[:-1] for names in self._fresh], told)
        told |= dict(zip(handles, syncing.each(list(handles.values())), strict=True))
        self._note({names for names in self._fresh if told[names[:-1]] is None})
        ways = {names: [told.get(names[:depth]) for depth in range(len(names), -1, -1)] for names in places}
        return {names: next((error for error in way if error is not None), None) for names, way in ways.items()}

    def _opened(
        self, folders: Iterable[tuple[str, ...]], told: dict[tuple[str, ...], Exception | None]
    ) -> dict[tuple[str, ...], int]:
        handles = {}
        for names in folders:
            try:
                handles[names] = self.handle(names)
            except (OSError, StorageFailed) as exc:
                told[names] = exc
        return handles

    def synced(self) -> None:
        """Everything was made durable by one sync of the whole file system."""
        self._note(self._fresh)

    def _note(self, lasting: Collection[tuple[str, ...]]) -> None:
        if len(self._lasting) + len(lasting) > _LASTING_MAX:
            self._lasting.clear()
        self._lasting.update(lasting)
        self._fresh = self._fresh.difference(lasting)

    def _forget(self, folders: Iterable[tuple[str, ...]]) -> None:
        for names in folders:
            os.close(self._handles.pop(names))

    def _below(self, names: tuple[str, ...]) -> int:
        above, name = self.handle(names[:-1]), names[-1]
        handle = -1
        try:
            try:
                handle = os.open(name, _FOLDER, dir_fd=above)
            except FileNotFoundError:
                self._lasting.discard(names)
                with suppress(FileExistsError):
                    os.mkdir(name, mode=0o700, dir_fd=above)
                    os.chmod(name, 0o700, dir_fd=above)  # the umask may have taken more
                handle = os.open(name, _FOLDER, dir_fd=above)
            if names not in self._lasting:
                # Also one that was there: whoever made it may not have come to the sync, earlier or just now.
                self._fresh.add(names)
        except BaseException:
            if handle >= 0:
                os.close(handle)
            raise
        return handle


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
