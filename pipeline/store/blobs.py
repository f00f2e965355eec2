"""Pictures on disk: received aside, made durable, then given their final name; never a half one under that name.

Every step below the run folder goes through folder handles that refuse symbolic links.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from pipeline.errors import Bug, StorageFailed
from pipeline.failpoints import reach
from pipeline.store.durable import open_private, sync_folder, write_all
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
_NOTES: Final = "kept.jsonl"
_OLD_NOTES: Final = "kept.old.jsonl"
#: The notes are rotated after this many pictures: only those not committed yet matter, and they are few.
_NOTES_MAX: Final = 1024


class KnownPictures(Protocol):
    """What the store knows of pictures: the journal."""

    def picture_paths(self) -> set[str]:
        """Paths of stored pictures."""
        ...

    def pending_pictures(self) -> set[tuple[int, int]]:
        """(attempt, index) of pictures still to be fetched."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that got its final name. *Units* - size_bytes: bytes."""

    attempt: int
    index: int
    path: str
    sha256: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a picture's bytes go."""

    handle: int

    def write(self, data: bytes) -> None:
        """Append all of it. *Raises* OSError."""
        write_all(self.handle, data)


class Part:
    """A picture on its way in: written, looked at, then kept or discarded."""

    __slots__ = ("attempt", "index", "path", "task_id")

    def __init__(self, path: Path, task_id: str, index: int, attempt: int) -> None:
        self.path = path
        self.task_id = task_id
        self.index = index
        self.attempt = attempt

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Write into it from the start; what an earlier try left is gone."""
        handle = open_private(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            # Unbuffered: what came through the door in one piece is written in one piece, and a failure is seen there.
            yield Sink(handle)
        finally:
            os.close(handle)

    def discard(self) -> None:
        """Drop it, if it was not kept."""
        self.path.unlink(missing_ok=True)


class Blobs:
    """The pictures of one run folder. `keep` may be called from several threads at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._taken = 0
        for path in (folder.images, folder.parts):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            if path.is_symlink() or not path.is_dir():
                raise StorageFailed(f"not a folder; move it away: {path}")
            path.chmod(0o700)
        sync_folder(folder.path)

    def part(self, task_id: str, index: int, attempt: int) -> Part:
        """Where a picture is received."""
        self._taken += 1
        if self._taken % _NOTES_MAX == 0:
            with suppress(FileNotFoundError):
                (self._folder.parts / _NOTES).replace(self._folder.parts / _OLD_NOTES)
        return Part(self._folder.parts / f"{attempt}-{index}.part", task_id, index, attempt)

    def keep(self, part: Part, task: Task, index: int, media_type: str) -> str:
        """Give a whole picture its final name, durably (W6); answers the path relative to the run folder.

        A name that is taken is never written over: the next free one is `NAME.ATTEMPT`, then `NAME.ATTEMPT.2` ...
        """
        folder_name, stem = _place(task)
        extension = EXTENSIONS.get(media_type, "bin")
        # A name that the spec gave has an index only where one call makes several pictures.
        number = f"-{index}" if not task.path or task.n > 1 or index else ""
        digest, size = _sealed(part.path)
        reach("keep.sealed")
        folder = self._open_folder(folder_name)
        try:
            for suffix in _suffixes(part.attempt):
                name = f"{stem}{number}{suffix}.{extension}"
                path = "/".join((IMAGES, *folder_name, name))
                note = Kept(part.attempt, index, path, digest, media_type, size)
                if _exists(folder, name):
                    if note in self._notes() and _same(folder, name, digest):
                        part.discard()  # kept before a crash, and fetched again
                        os.fsync(folder)
                        return path
                    continue
                # Before the name, so that after a kill the name explains itself. Evidence only, hence no fsync.
                self._note(note)
                reach("keep.noted")
                if self._name(part.path, folder, name):
                    reach("keep.named")
                    os.fsync(folder)
                    reach("keep.synced")
                    return path
        finally:
            os.close(folder)
        raise StorageFailed(f"no free name for a picture: {'/'.join((*folder_name, stem))}")

    def adoptable(self, known: KnownPictures) -> list[Kept]:
        """Pictures that have their final name and no row yet: a kill came between. Their hashes were compared."""
        paths, pending = known.picture_paths(), known.pending_pictures()
        found = {}
        for note in self._notes():
            wanted = (note.attempt, note.index) in pending and note.path not in paths
            path = self._folder.path / note.path
            if wanted and not path.is_symlink() and path.is_file() and _sha256(path) == note.sha256:
                found[note.attempt, note.index] = note
        return list(found.values())

    def recover(self, known: KnownPictures) -> list[str]:
        """Tidy up after an earlier life: unfinished parts go, files without a row are moved to quarantine/.

        What is `adoptable` stays where it is. Answers what was done, in words; repeating it changes nothing.
        """
        notes = []
        adoptable = {kept.path for kept in self.adoptable(known)}
        parts = sorted(self._folder.parts.glob("*.part"))
        for part in parts:
            reach("recover.part")
            part.unlink()
        if parts:
            were = "1 unfinished download was" if len(parts) == 1 else f"{len(parts):,} unfinished downloads were"
            notes.append(f"{were} dropped; what they were of is fetched again")
        if not adoptable:
            for name in (_NOTES, _OLD_NOTES):
                (self._folder.parts / name).unlink(missing_ok=True)
        owned = known.picture_paths() | adoptable
        moved = [path for path in self.files() if path not in owned]
        for path in moved:
            reach("recover.stray")
            self._quarantine(path)
        if moved:
            notes.append(f"{len(moved)} files that the store does not know were moved to {self._folder.quarantine}")
        return notes

    def files(self) -> Iterator[str]:
        """Everything below images/ that is no folder, relative to the run folder, in no order."""
        for place, folders, names in os.walk(self._folder.images, followlinks=False):
            links = [name for name in folders if (Path(place) / name).is_symlink()]
            for name in (*names, *links):
                yield (Path(place) / name).relative_to(self._folder.path).as_posix()

    def _quarantine(self, path: str) -> None:
        place = self._folder.quarantine
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)
        flat = path.removeprefix(f"{IMAGES}/").replace("/", "__")
        target, count = place / flat, 1
        while target.exists() or target.is_symlink():
            count += 1
            target = place / f"{flat}.{count}"
        (self._folder.path / path).rename(target)

    def _open_folder(self, names: tuple[str, ...]) -> int:
        """A handle of a folder below images/, made where missing, each step without following links."""
        handle = os.open(self._folder.images, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        for name in names:
            try:
                with suppress(FileExistsError):
                    os.mkdir(name, mode=0o700, dir_fd=handle)
                    os.chmod(name, 0o700, dir_fd=handle)  # the umask may have taken more
                    os.fsync(handle)
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as exc:
                if exc.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                place = self._folder.images.joinpath(*names)
                raise StorageFailed(f"a folder for pictures is no folder of ours; move it away: {place}") from exc
            finally:
                os.close(handle)
            handle = below
        return handle

    @staticmethod
    def _name(part: Path, folder: int, name: str) -> bool:
        """Move a part to its name in a folder; False when the name is taken."""
        try:
            # A link never writes over anything, even if two threads want the same name; a rename would.
            os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems have no links. The lock is ours, so nobody comes between the look and the rename.
            if _exists(folder, name):
                return False
            os.rename(part, name, dst_dir_fd=folder)
            return True
        reach("keep.linked")
        part.unlink()
        return True

    def _note(self, kept: Kept) -> None:
        handle = open_private(self._folder.parts / _NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(handle, b"\n" + json.dumps(asdict(kept)).encode() + b"\n")
        finally:
            os.close(handle)

    def _notes(self) -> list[Kept]:
        found = []
        for name in (_OLD_NOTES, _NOTES):
            try:
                lines = (self._folder.parts / name).read_bytes().splitlines()
            except FileNotFoundError:
                continue
            for line in lines:
                with suppress(ValueError, TypeError):  # torn by a crash, or empty
                    found.append(Kept(**json.loads(line)))
        return found


def _place(task: Task) -> tuple[tuple[str, ...], str]:
    """Folders below images/ and the name's stem: as the spec says, or by digest."""
    if not task.path:
        return (task.id[:2],), task.id[:16]
    parts = PurePosixPath(task.path).parts
    if task.path.startswith("/") or any(part in {"..", "."} or "\0" in part or "\\" in part for part in parts):
        raise Bug(f"a task's path leads out of images/: {task.path}")
    return parts[:-1], parts[-1]


def _suffixes(attempt: int) -> Iterator[str]:
    yield ""
    yield f".{attempt}"
    for count in range(2, 100):
        yield f".{attempt}.{count}"


def _sealed(path: Path) -> tuple[str, int]:
    """Make a part's bytes durable; its digest and size."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _same(folder: int, name: str, digest: str) -> bool:
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return False
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
