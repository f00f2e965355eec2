"""One report of a run, from one read of its store."""

from __future__ import annotations

from pathlib import Path

from pipeline.report.pages import Store, Written, write_data, write_page
from pipeline.report.summary import Told
from pipeline.values.folder import REPORT


def write(folder: Path, store: Store, told: Told, *, limit: int | None = None) -> Written:
    """Write RUN/report. *Raises* OSError when the disk refuses, StorageFailed for something strange in its place."""
    place = folder / REPORT
    place.mkdir(mode=0o700, exist_ok=True)
    tally, shown = write_data(place, store, told, limit=limit)
    return Written(write_page(place), shown, tally.images, 0)
