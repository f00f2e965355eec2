"""A run as the served page loads it: data files drawn from one read of the store, and which files belong to it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from pipeline.report.data import CHUNK, COLUMNS, Entry, Links, entries, row_chunk, script
from pipeline.report.gallery import Gallery
from pipeline.report.inputs import Sources
from pipeline.report.pages import META, chunk_name, replace
from pipeline.report.summary import Tally, meta
from pipeline.runtime import served
from pipeline.runtime.portrait import sources_of, told_of
from pipeline.runtime.remains import reading
from pipeline.runtime.sound import Rows, check_told, sound
from pipeline.store.inside import is_digest, is_picture_name
from pipeline.values.artifact import Artifact
from pipeline.values.folder import REPORT, STORE

#: Pictures that are shown by the browser itself; anything else would be served as what it is not.
SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp"})
#: Changed rows that a drawing remembers; a page that is further behind is loaded anew.
CHANGED_MAX: Final = 20_000
_ID: Final = COLUMNS.index("id")


@dataclass(slots=True)
class Book:
    """What may be served of a run folder, and what each row looked like last."""

    #: {path in the run folder: media type}, of stored pictures.
    pictures: dict[str, str] = field(default_factory=dict)
    #: {digest: its picture in the run folder, an input picture's file, or its bytes}.
    sources: dict[bytes, Path | bytes] = field(default_factory=dict)
    #: {row id: digest of the row}.
    looks: dict[str, bytes] = field(default_factory=dict)

    def add_picture(self, folder: Path, artifact: Artifact) -> None:
        """A stored picture may be asked for."""
        if artifact.media_type in SHOWN and is_picture_name(artifact.path) and is_digest(artifact.sha256):
            self.pictures[artifact.path] = artifact.media_type
            self.sources.setdefault(bytes.fromhex(artifact.sha256), folder / artifact.path)

    def heard(self, folder: Path, src: str, media_type: str, sha256: str) -> None:
        """As `add_picture`, of a row that a living run tells."""
        path = unquote(src.removeprefix("../"))
        if not (is_picture_name(path) and is_digest(sha256)):
            return
        self.pictures[path] = media_type
        self.sources.setdefault(bytes.fromhex(sha256), folder / path)

    def changed(self, row: list[Any]) -> bool:
        """Whether a row is not as it was last; it is from now on."""
        look = blake2b(json.dumps(row, default=str).encode(), digest_size=8).digest()
        name = row[_ID]
        if self.looks.get(name) == look:
            return False
        self.looks[name] = look
        return True


@dataclass(frozen=True, slots=True)
class Drawing:
    """One read of a store, drawn. *Units* - took_s, at: seconds (at: of the steady clock)."""

    place: Path
    meta: Mapping[str, Any]
    chunks: int
    signature: tuple[object, ...]
    at: float
    took_s: float

    def file(self, name: str) -> Path | None:
        """A data file by its name; None when there is no such file."""
        known = name == META or (name.startswith("data-") and name in {chunk_name(each) for each in range(self.chunks)})
        return self.place / name if known else None

    def files(self) -> list[Path]:
        """The data files with its rows, in order."""
        return [self.place / chunk_name(each) for each in range(self.chunks)]

    def drop(self) -> None:
        """Remove its files."""
        shutil.rmtree(self.place, ignore_errors=True)


def unwrapped(path: Path) -> str:
    """What a data file hands to the page, as JSON in one line."""
    text = path.read_text("ascii")
    return text[text.index("push(") + len("push(") : text.rindex(")")]


def signature(folder: Path) -> tuple[object, ...]:
    """Another one when the store's files have changed."""
    found: list[object] = []
    for name in (STORE, f"{STORE}-wal"):
        try:
            known = (folder / name).stat()
        except OSError:
            found.append(None)
        else:
            found += [known.st_ino, known.st_size, known.st_mtime_ns]
    return tuple(found)


def draw(folder: Path, book: Book, resume: str) -> tuple[Drawing, list[list[Any]] | None]:
    """Read and draw everything; for a thread of its own. `book` learns what may be served.

    Answers the rows as well that are not as the book had them; None when there are too many.
    *Raises* RunNotFound, StorageFailed.
    """
    begun = time.monotonic()
    seen = signature(folder)
    with reading(folder) as journal:
        place = Path(tempfile.mkdtemp(prefix="pipeline-view-"))
        try:
            with sound(folder):
                told, sources = check_told(told_of(folder, journal, resume)), sources_of(journal)
            rows = Rows(folder, journal)
            tally = Tally(told.created_at or told.updated_at, told.updated_at)
            placer = _Placer(folder, book, sources)
            changed: list[list[Any]] = []
            chunks = _chunks(rows, tally, placer, place, lambda row: _note(book, changed, row))
            found = meta(told, tally, rows.money_entries())
            replace(place / META, script(found))
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    now = time.monotonic()
    return Drawing(place, found, chunks, seen, now, now - begun), changed if len(changed) <= CHANGED_MAX else None


def _note(book: Book, changed: list[list[Any]], row: list[Any]) -> None:
    if book.changed(row) and len(changed) <= CHANGED_MAX:
        changed.append(row)


def _chunks(rows: Rows, tally: Tally, placer: _Placer, place: Path, note: Callable[[list[Any]], None]) -> int:
    found = _counted(entries(rows.task_rows(), rows.image_rows()), tally)
    chunks = 0
    while picked := list(islice(found, CHUNK)):
        drawn = row_chunk(picked, chunks, placer)
        for row in drawn["rows"]:
            note(row)
        replace(place / chunk_name(chunks), script(drawn))
        chunks += 1
    return chunks


def _counted(found: Iterator[Entry], tally: Tally) -> Iterator[Entry]:
    for entry in found:
        tally.add(entry)
        yield entry


class _Placer:
    """Finds a row's pictures, and enters them in the book."""

    def __init__(self, folder: Path, book: Book, sources: Sources) -> None:
        self._folder = folder
        self._book = book
        self._sources = sources
        self._gallery = Gallery(folder, folder / REPORT, sources)
        self._gallery.load()

    def __call__(self, entry: Entry) -> Links:
        """Links by name; what is missing or looks odd is told as the report does, as far as it was looked at."""
        known, found = self._gallery.links(entry), served.links(entry)
        if entry.image is not None:
            self._book.add_picture(self._folder, entry.image.artifact)
        for digest, source in self._sources.of(entry.task.task):
            self._book.sources.setdefault(bytes.fromhex(digest), source)
        there = known.src is not None
        return Links(known.src, found.thumb if there else None, known.flags, found.inputs)
