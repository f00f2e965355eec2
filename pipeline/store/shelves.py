"""Folders below images/ and the names in them; each step goes through handles that refuse symbolic links."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Final

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
#: So many folders are remembered as ours.
_READY_MAX: Final = 4096


class Shelves:
    """The folders below images/, each looked at when it is first used: made where missing, refused where not ours.

    It may be used from several threads at once.
    """

    __slots__ = ("_folder", "_ready")

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        #: Folders that were found to be ours; some are forgotten now and then, so that it does not grow.
        self._ready: set[tuple[str, ...]] = set()

    @contextmanager
    def root(self) -> Iterator[int]:
        """A handle of images/. *Raises* OSError, StorageFailed."""
        handle = self._opened(())
        try:
            yield handle
        finally:
            os.close(handle)

    def ready(self, names: tuple[str, ...]) -> None:
        """See that a folder is there. *Raises* OSError; StorageFailed where it is none of ours."""
        if names not in self._ready:
            os.close(self._opened(names))
            if len(self._ready) >= _READY_MAX:
                self._ready.clear()
            self._ready.add(names)

    def give(self, root: int, part: Part, names: tuple[str, ...], name: str) -> bool:
        """Give a part its name in a folder that is ready; False when it is taken. *Raises* OSError, StorageFailed."""
        path = "/".join((*names, name))
        try:
            return part.give(root, path)
        except FileNotFoundError:
            # Somebody took the folder away meanwhile.
            self._ready.discard(names)
            self.ready(names)
            return part.give(root, path)

    def same(self, names: tuple[str, ...], name: str, digest: str) -> bool:
        """Whether a name stands for a plain file with these contents; then they are durable. *Raises* OSError."""
        folder = self._opened(names)
        try:
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return False
            with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
                os.fsync(file.fileno())
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
        finally:
            os.close(folder)

    def sync(self, folders: Iterable[tuple[str, ...]], syncing: Syncing) -> dict[tuple[str, ...], Exception | None]:
        """Make the names in these folders durable; answers what went wrong with each."""
        errors: dict[tuple[str, ...], Exception | None] = {}
        handles: dict[tuple[str, ...], int] = {}
        try:
            for names in folders:
                try:
                    handles[names] = self._opened(names)
                except (OSError, StorageFailed) as exc:
                    errors[names] = exc
            errors.update(zip(handles, syncing.each(list(handles.values())), strict=True))
        finally:
            for handle in handles.values():
                os.close(handle)
        return errors

    def _opened(self, names: tuple[str, ...]) -> int:
        try:
            handle = os.open(self._folder.images, _FOLDER)
            for name in names:
                above, handle = handle, -1
                try:
                    handle = _below(above, name)
                finally:
                    os.close(above)
        except OSError as exc:
            if exc.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            place = self._folder.images.joinpath(*names)
            raise StorageFailed(f"a folder for pictures is no folder of ours; move it away: {place}") from exc
        return handle


def _below(above: int, name: str) -> int:
    with suppress(FileNotFoundError):
        return os.open(name, _FOLDER, dir_fd=above)
    with suppress(FileExistsError):
        os.mkdir(name, mode=0o700, dir_fd=above)
        os.chmod(name, 0o700, dir_fd=above)  # the umask may have taken more
        os.fsync(above)
    return os.open(name, _FOLDER, dir_fd=above)


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
