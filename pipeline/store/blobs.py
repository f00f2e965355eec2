"""Pictures on disk: received aside, made durable, then given their final name; never a half one under that name.

A group of pictures shares its steps: all parts are synced, all are named, then each folder is synced once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.errors import StorageFailed
from pipeline.failpoints import reach
from pipeline.store.durable import open_private, sync_folder, write_all
from pipeline.store.folder import RunFolder
from pipeline.store.kept import Kept, Notes
from pipeline.store.shelves import Shelves, exists, give_name, names_for, place_of
from pipeline.values.folder import IMAGES
from pipeline.values.task import Task


class KnownPictures(Protocol):
    """What the store knows of pictures: the journal."""

    def has_picture(self, path: str) -> bool:
        """Whether a stored picture has this path."""
        ...

    def pending_pictures(self) -> set[tuple[int, int]]:
        """(attempt, index) of pictures still to be fetched."""
        ...


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


@dataclass(frozen=True, slots=True)
class Seen:
    """What a whole part is. *Units* - size_bytes: bytes."""

    media_type: str
    sha256: str
    size_bytes: int


@dataclass(slots=True)
class Wanted:
    """A whole part that wants its final name, and what became of it: a path, or what went wrong."""

    part: Part
    task: Task
    index: int
    seen: Seen
    path: str = ""
    error: BaseException | None = None
    names: Iterator[tuple[str, str]] = field(init=False)
    #: The name that is tried, and the handle of its folder.
    name: str = ""
    folder: int = -1

    def __post_init__(self) -> None:
        self.names = names_for(self.task, self.index, self.part.attempt, self.seen.media_type)

    @property
    def open(self) -> bool:
        """Whether nothing has become of it yet."""
        return self.error is None and not self.path

    def note(self, path: str) -> Kept:
        """What is written down before the name is given."""
        seen = self.seen
        return Kept(self.part.attempt, self.index, path, seen.sha256, seen.media_type, seen.size_bytes)


#: Makes files and folders durable, by handle; answers what went wrong with each, None where nothing did.
Syncs = Callable[[Sequence[int]], list[OSError | None]]


def one_by_one(handles: Sequence[int]) -> list[OSError | None]:
    """The plainest way: one fsync after the other."""
    return [synced(handle) for handle in handles]


def synced(handle: int) -> OSError | None:
    """One fsync, and what went wrong with it."""
    try:
        os.fsync(handle)
    except OSError as exc:
        return exc
    return None


class Blobs:
    """The pictures of one run folder. `keep` and `keep_all` may be called from several threads at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._notes = Notes(folder.parts)
        for path in (folder.images, folder.parts):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            if path.is_symlink() or not path.is_dir():
                raise StorageFailed(f"not a folder; move it away: {path}")
            path.chmod(0o700)
        sync_folder(folder.path)

    def part(self, task_id: str, index: int, attempt: int) -> Part:
        """Where a picture is received."""
        self._notes.rotate()
        return Part(self._folder.parts / f"{attempt}-{index}.part", task_id, index, attempt)

    def keep(self, part: Part, task: Task, index: int, media_type: str) -> str:
        """Give one whole picture its final name, durably (W6); answers the path relative to the run folder."""
        wanted = Wanted(part, task, index, Seen(media_type, _sha256(part.path), part.path.stat().st_size))
        self.keep_all([wanted])
        if wanted.error is not None:
            raise wanted.error
        return wanted.path

    def keep_all(self, group: Sequence[Wanted], sync: Syncs = one_by_one) -> None:
        """Give whole pictures their final names, durably (W6): parts synced, names given, folders synced.

        Each is told what became of it. A name that is taken is never written over: the next free one is
        `NAME.ATTEMPT`, then `NAME.ATTEMPT.2` ...
        """
        self._seal(group, sync)
        with Shelves(self._folder) as shelves:
            for each in group:
                with _of(each):
                    each.folder = shelves.handle(place_of(each.task)[0]) if each.open else -1
            while any(each.open for each in group):
                self._name_all([each for each in group if each.open])
            _sync_folders(group, sync)

    @staticmethod
    def _seal(group: Sequence[Wanted], sync: Syncs) -> None:
        """Make the bytes of the parts durable."""
        handles: list[int] = []
        opened: list[Wanted] = []
        try:
            for each in group:
                with _of(each):
                    handles.append(os.open(each.part.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
                    opened.append(each)
            for each, error in zip(opened, sync(handles), strict=True):
                each.error = error
                reach("keep.sealed")
        finally:
            for handle in handles:
                os.close(handle)

    def _name_all(self, group: Sequence[Wanted]) -> None:
        """Every picture's next name, if it is free: first all notes, then the names."""
        before: list[Kept] | None = None
        notes: list[Kept] = []
        ready: list[tuple[Wanted, str]] = []
        for each in group:
            with _of(each):
                each.name, path = _next_name(each)
                note = each.note(path)
                if exists(each.folder, each.name):
                    before = self._notes.read() if before is None else before
                    if note in before and _same(each.folder, each.name, each.seen.sha256):
                        each.part.discard()  # kept before a crash, and fetched again
                        each.path = path
                    continue
                notes.append(note)
                ready.append((each, path))
        if not ready:
            return
        try:
            self._notes.write(notes)
        except (OSError, StorageFailed) as exc:
            for each, _ in ready:
                each.error = exc
            return
        for each, path in ready:
            with _of(each):
                reach("keep.noted")
                if give_name(each.part.path, each.folder, each.name):
                    reach("keep.named")
                    each.path = path

    def adoptable(self, known: KnownPictures) -> list[Kept]:
        """Pictures that have their final name and no row yet: a kill came between. Their hashes were compared."""
        pending = known.pending_pictures()
        found = {}
        for note in self._notes.read():
            wanted = (note.attempt, note.index) in pending and not known.has_picture(note.path)
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
            self._notes.clear()
        moved = [path for path in self.files() if path not in adoptable and not known.has_picture(path)]
        for path in moved:
            reach("recover.stray")
            self._quarantine(path)
        if moved:
            notes.append(f"{len(moved)} files that the store does not know were moved to {self._folder.quarantine}")
        return notes

    def files(self) -> Iterator[str]:
        """Everything below images/ that is no folder, relative to the run folder, in no order."""
        root = len(os.fspath(self._folder.path)) + 1
        for place, folders, names in os.walk(self._folder.images, followlinks=False):
            links = [name for name in folders if (Path(place) / name).is_symlink()]
            for name in (*names, *links):
                yield f"{place[root:]}/{name}"

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


def _sync_folders(group: Iterable[Wanted], sync: Syncs) -> None:
    """Make the names durable: a folder that cannot be synced fails all that was named in it."""
    named = [each for each in group if each.error is None]
    folders = list(dict.fromkeys(each.folder for each in named))
    errors = dict(zip(folders, sync(folders), strict=True))
    for each in named:
        each.error = errors[each.folder]
        reach("keep.synced")


@contextmanager
def _of(wanted: Wanted) -> Iterator[None]:
    """What goes wrong with one picture is that picture's."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - told to whoever waits for it
        wanted.error = exc


def _next_name(wanted: Wanted) -> tuple[str, str]:
    for name, path in wanted.names:
        return name, path
    raise StorageFailed(f"no free name for a picture: {'/'.join((*place_of(wanted.task)[0], wanted.name))}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _same(folder: int, name: str, digest: str) -> bool:
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return False
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest() == digest
