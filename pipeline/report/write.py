"""One report of a run, from one read of its store: a folder, one file for mailing, or an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as changed
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

from pipeline.errors import StorageFailed
from pipeline.report import single
from pipeline.report.archive import pack
from pipeline.report.gallery import Gallery, Progress
from pipeline.report.inputs import Sources
from pipeline.report.pages import INDEX, META, Store, Written, data_files, head_of, replace, write_data, write_page
from pipeline.report.summary import Tally, Told
from pipeline.store.durable import open_private
from pipeline.values.folder import REPORT

#: What stands in the run folder beside `report/` when it was asked for.
SINGLE: Final = "report.html"
ARCHIVE: Final = "report.zip"
_LOCK: Final = ".lock"
_PAGE_MAX: Final = 1024 * 1024


def write(
    folder: Path,
    store: Store,
    told: Told,
    sources: Sources,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    zipped: bool = False,
) -> Written:
    """Write RUN/report, and RUN/report.zip of it and the pictures if `zipped`.

    *Raises* StorageFailed when the disk refuses, or for something strange in its place.
    """
    place = folder / REPORT
    with _alone(place):
        gallery = Gallery(folder, place, sources)
        made = gallery.make(store.image_rows(), progress)
        tally, shown = write_data(place, store, told, gallery.links, limit)
        page = write_page(place)
        if zipped:
            page = pack(folder, folder / ARCHIVE, store.image_rows(), limit)
        return Written(page, shown, tally.images, made)


def write_single(
    folder: Path,
    store: Store,
    told: Told,
    sources: Sources,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write RUN/report.html, which needs no other file: the first 500 rows unless `limit` says otherwise.

    *Raises* StorageFailed, as `write` does.
    """
    place = folder / REPORT
    # Commands name folders of this machine, which are nobody's business in a mail.
    told = changed(told, single=True, commands=dict.fromkeys(told.commands))
    limit = limit or single.THUMBS_MAX
    with _alone(place):
        gallery = Gallery(folder, place, sources)
        made = gallery.make(store.image_rows(), progress)
        tally = Tally(told.created_at or told.updated_at, told.updated_at)
        data, shown = {}, 0
        for name, text, rows in data_files(store, told, tally, single.embedded(place, gallery.links), limit):
            data[name] = text
            shown += rows
        meta = data.pop(META)
        page = folder / SINGLE
        replace(page, single.page({META: meta, **data}))
        return Written(page, shown, tally.images, made)


def _refuse_others(place: Path) -> None:
    """A page of somebody else's in our place is not written over. *Raises* StorageFailed."""
    index = place / INDEX
    if os.path.lexists(index):
        try:
            ours = META.encode() in head_of(index, _PAGE_MAX)
        except OSError:
            ours = False
        if not ours:
            raise StorageFailed(f"this page is none of ours; move it away: {index}")


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Two reports of one run at a time would mix their files; the second waits. *Raises* StorageFailed."""
    try:
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise StorageFailed(f"not a folder; move it away: {place}")
        _refuse_others(place)
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
        handle = open_private(place / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            flock(handle, LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as exc:
        raise StorageFailed(f"the report cannot be written ({exc.strerror or exc}): {exc.filename or place}") from exc
