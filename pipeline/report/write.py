"""One report of a run, from one read of its store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Final

from pipeline.errors import StorageFailed
from pipeline.report.gallery import Gallery, Progress
from pipeline.report.inputs import Sources
from pipeline.report.pages import Store, Written, write_data, write_page
from pipeline.report.summary import Told
from pipeline.values.folder import REPORT

_LOCK: Final = ".lock"


def write(
    folder: Path,
    store: Store,
    told: Told,
    sources: Sources,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write RUN/report. *Raises* StorageFailed when the disk refuses, or for something strange in its place."""
    place = folder / REPORT
    try:
        with _alone(place):
            gallery = Gallery(folder, place, sources)
            made = gallery.make(store.image_rows(), progress)
            tally, shown = write_data(place, store, told, links=gallery.links, limit=limit)
            return Written(write_page(place), shown, tally.images, made)
    except OSError as exc:
        raise StorageFailed(f"the report cannot be written ({exc.strerror or exc}): {place}") from exc


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Two reports of one run at a time would mix their files; the second waits. *Raises* StorageFailed for a link."""
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise StorageFailed(f"not a folder; move it away: {place}")
    place.mkdir(mode=0o700, exist_ok=True)
    place.chmod(0o700)
    with (place / _LOCK).open("a") as lock:
        flock(lock, LOCK_EX)
        yield
