"""The report's folder: data files in chunks, the page's own files, and nothing that an older report left over."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from pipeline.report.data import CHUNK, START, Entry, Placer, entries, row_chunk, script
from pipeline.report.summary import Tally, Told, meta
from pipeline.store.durable import open_private, write_all
from pipeline.values.rows import EntryRow, ImageRow, TaskRow

#: The page itself, as it is shipped.
SITE: Final = Path(__file__).with_name("site")
INDEX: Final = "index.html"
_KINDS: Final = frozenset({".html", ".js", ".css"})
META: Final = "data-meta.js"


class Store(Protocol):
    """One read of a store, as far as the report looks: a journal satisfies this."""

    def image_rows(self) -> Iterator[ImageRow]:
        """Every stored picture."""
        ...

    def task_rows(self) -> Iterator[TaskRow]:
        """Every task."""
        ...

    def money_entries(self) -> Iterator[EntryRow]:
        """Every movement of money."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """What a report holds."""

    page: Path
    rows: int
    images: int
    #: Thumbnails that were made anew.
    made: int


def chunk_name(number: int) -> str:
    """`data-000.js`."""
    return f"data-{number:03d}.js"


def src_of(path: str) -> str:
    """A picture of the run folder as a URL relative to the page, which stands one folder below."""
    return "../" + quote(path, safe="/", errors="replace")


def write_data(place: Path, store: Store, told: Told, links: Placer, limit: int | None = None) -> tuple[Tally, int]:
    """The data files, in one pass over the rows; the meta file last, so that it never promises what is not there.

    Answers the sums over all rows, and how many of the rows were written.
    """
    tally = Tally(told.created_at or told.updated_at, told.updated_at)
    shown = chunks = 0
    for name, data, rows in data_files(store, told, tally, links, limit):
        replace(place / name, data)
        shown += rows
        chunks += name != META
    _clear(place, chunks)
    return tally, shown


def data_files(
    store: Store, told: Told, tally: Tally, links: Placer, limit: int | None = None
) -> Iterator[tuple[str, bytes, int]]:
    """(name, script, rows in it) of each data file, the chunks first; the tally is whole when the last one has come."""
    found = _counted(entries(store.task_rows(), store.image_rows()), tally)
    kept = found if limit is None else islice(found, limit)
    shown = written = 0
    while picked := list(islice(kept, CHUNK)):
        yield chunk_name(written), script(row_chunk(picked, written, links)), len(picked)
        shown += len(picked)
        written += 1
    for _ in found:
        pass  # the sums are of all rows, whatever is shown
    yield META, script(meta(told, tally, store.money_entries(), shown)), 0


def _counted(found: Iterator[Entry], tally: Tally) -> Iterator[Entry]:
    for entry in found:
        tally.add(entry)
        yield entry


def _clear(place: Path, chunks: int) -> None:
    """Drop the data of an older and longer report."""
    for path in place.glob("data-*.js"):
        number = path.stem.removeprefix("data-")
        if number.isdecimal() and int(number) >= chunks and is_ours(path):
            path.unlink()


def is_ours(path: Path) -> bool:
    """Whether a file begins as a data file of a report does; what does not is somebody else's."""
    try:
        return head_of(path, len(START)).decode("ascii", "replace") == START
    except OSError:
        return False


def head_of(path: Path, size: int) -> bytes:
    """The beginning of a plain file. *Raises* OSError, for anything else as well."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return file.read(size)


def page_files() -> list[Path]:
    """The page's own files, as they are shipped."""
    return sorted(path for path in SITE.glob("*") if path.suffix in _KINDS)


def write_page(place: Path) -> Path:
    """Copy the page's own files beside the data; answers where the page stands."""
    for source in page_files():
        replace(place / source.name, source.read_bytes())
    return place / INDEX


def replace(path: Path, data: bytes) -> None:
    """Write a file whole, 0600, under its name at once. Not synced: a report can be made again."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    handle = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)
    fresh.replace(path)
