"""Pictures on disk: received aside, made durable, then given their final name; never a half one under that name.

A group of pictures shares its steps: all parts are synced, all are named, then each folder is synced once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from pipeline.errors import StorageFailed
from pipeline.failpoints import reach
from pipeline.store.durable import sync_folder
from pipeline.store.folder import RunFolder
from pipeline.store.kept import Kept, Notes
from pipeline.store.part import Part
from pipeline.store.shelves import Shelves, names_for, place_of
from pipeline.store.syncing import Syncing
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
    #: The name that is tried, and notes of those that another file had.
    name: str = ""
    refused: list[Kept] = field(default_factory=list)

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


class Blobs:
    """The pictures of one run folder. `keep` and `keep_all` may be called from several threads at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._notes = Notes(folder.parts)
        #: Folders below images/ whose own names are durable.
        self._lasting: set[tuple[str, ...]] = set()
        #: Notes of names that another file had, of pictures that are still to come: they prove nothing.
        self._refused: set[Kept] = set()
        for path in (folder.images, folder.parts):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)
            if path.is_symlink() or not path.is_dir():
                raise StorageFailed(f"not a folder; move it away: {path}")
            path.chmod(0o700)
        # Said before anything is bought: no picture could get from there to here.
        if folder.images.stat().st_dev != folder.parts.stat().st_dev:
            raise StorageFailed(f"not on the file system of its run folder; move the whole folder: {folder.images}")
        sync_folder(folder.path)
        self._syncing = Syncing(folder.path)

    def close(self) -> None:
        """Let go of the threads."""
        self._syncing.close()

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

    def keep_all(self, group: Sequence[Wanted]) -> None:
        """Give whole pictures their final names, durably (W6): parts synced, names given, folders synced.

        Each is told what became of it. A name that is taken is never written over: the next free one is
        `NAME.ATTEMPT`, then `NAME.ATTEMPT.2` ...
        """
        try:
            self._seal(group)
            with Shelves(self._folder, self._lasting) as shelves:
                root = shelves.handle(())
                while any(each.open for each in group):
                    self._name_all(shelves, [each for each in group if each.open])
                self._sync_folders(shelves, root, [each for each in group if each.error is None])
        finally:
            for each in group:
                each.part.close()
                if each.error is not None:
                    self._refused.update(each.refused)

    def _seal(self, group: Sequence[Wanted]) -> None:
        """Make the bytes of the parts durable."""
        # A file's errors are those since it was opened: one that was closed in between may have lost some.
        handles: dict[int, int] = {}
        nameless = all(each.part.nameless for each in group)
        for number, each in enumerate(group):
            with _of(each):
                handles[number] = each.part.handle()
        first = next(iter(handles.values()), -1)
        whole = nameless and self._syncing.whole(first, len(handles))
        errors = [None] * len(handles) if whole else self._syncing.each(list(handles.values()))
        for number, error in zip(handles, errors, strict=True):
            group[number].error = error
            reach("keep.sealed")

    def _name_all(self, shelves: Shelves, group: Sequence[Wanted]) -> None:
        """Every picture's next name, if it is free: first all notes, then the names."""
        noted: list[tuple[Wanted, Kept]] = []
        for each in group:
            with _of(each):
                each.name, path = _next_name(each)
                noted.append((each, each.note(path)))
        notes = [note for _, note in noted]
        try:
            self._notes.write(notes)
        except (OSError, StorageFailed) as exc:
            for each, _ in noted:
                each.error = exc
            return
        before: list[Kept] | None = None
        for each, note in noted:
            with _of(each):
                reach("keep.noted")
                if shelves.give(each.part, place_of(each.task)[0], each.name):
                    reach("keep.named")
                    each.path = note.path
                    # Its folder is open instead: a large group keeps few files open.
                    each.part.close()
                    continue
                before = self._before(notes) if before is None else before
                if note in before and shelves.same(place_of(each.task)[0], each.name, each.seen.sha256):
                    each.part.discard()  # kept before a crash, and fetched again
                    each.path = note.path
                else:
                    each.refused.append(note)

    def _before(self, notes: Sequence[Kept]) -> list[Kept]:
        """What was noted before these, of names that were given then for all we know."""
        before = [note for note in self._notes.read() if note not in self._refused]
        for note in notes:
            with suppress(ValueError):
                before.remove(note)
        return before

    def _sync_folders(self, shelves: Shelves, root: int, named: Sequence[Wanted]) -> None:
        """Make the names durable: a folder that cannot be synced fails all that was named in it."""
        if not named:
            return
        if self._syncing.whole(root, len(named)):
            errors: dict[tuple[str, ...], Exception | None] = {}
            shelves.synced()
        else:
            errors = shelves.sync({place_of(each.task)[0] for each in named}, self._syncing)
        for each in named:
            each.error = errors.get(place_of(each.task)[0])
            reach("keep.synced")

    def adoptable(self, known: KnownPictures) -> list[Kept]:
        """Pictures that have their final name and no row yet: a kill came between. Their hashes were compared."""
        pending = set(known.pending_pictures())
        found: dict[str, Kept] = {}
        # The newest first: older notes of a picture are of names that other files had. And a file is one picture's,
        # even if two equal ones were noted for its name.
        for note in reversed(self._notes.read()):
            wanted = (note.attempt, note.index) in pending and note.path not in found
            if wanted and not known.has_picture(note.path) and self._is_kept(note):
                pending.discard((note.attempt, note.index))
                found[note.path] = note
        return list(reversed(found.values()))

    def adopt(self, known: KnownPictures) -> list[Kept]:
        """What is adoptable, its names durable (W6): the kill may have come before that. *Raises* the disk's error."""
        found = self.adoptable(known)
        with Shelves(self._folder, self._lasting) as shelves:
            folders = {PurePosixPath(note.path).parts[1:-1] for note in found}
            for error in shelves.sync(folders, self._syncing).values():
                if error is not None:
                    raise error
        return found

    def _is_kept(self, note: Kept) -> bool:
        """Whether a plain file of ours has this name and these contents."""
        names = PurePosixPath(note.path).parts
        if names[:1] != (IMAGES,) or ".." in names:
            return False
        path = self._folder.path / note.path
        ours = not any(each.is_symlink() for each in (path, *list(path.parents)[: len(names) - 1]))
        return ours and path.is_file() and _sha256(path) == note.sha256

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
