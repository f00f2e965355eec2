"""The report and its pictures in one archive, which opens like the folder once it is unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from pipeline.store.durable import open_private
from pipeline.store.inside import open_picture
from pipeline.values.folder import REPORT
from pipeline.values.rows import ImageRow

#: What is worth compressing; pictures are compressed already.
_TEXT: Final = frozenset({".html", ".js", ".css"})
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: A moment for every entry: an archive of the same report is the same.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, target: Path, images: Iterable[ImageRow], limit: int | None = None) -> Path:
    """Write the archive under its name at once, 0600. What is no plain file is left out. *Raises* OSError."""
    top = folder.absolute().name
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    handle = open_private(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(handle, "w+b") as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for path in _report_files(folder):
                _add(archive, partial(os.open, folder / path, _PLAIN), f"{top}/{path}")
            # Names and links of a folder that came from elsewhere could lead to any file of whoever packs it.
            for row in islice(images, limit):
                _add(archive, partial(open_picture, folder, row.artifact.path), f"{top}/{row.artifact.path}")
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def _report_files(folder: Path) -> Iterator[str]:
    """Everything of the report but what it keeps for itself."""
    for place, folders, names in os.walk(folder / REPORT, followlinks=False):
        folders.sort()
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(".jsonl"):
                yield (Path(place) / name).relative_to(folder).as_posix()


def _add(archive: zipfile.ZipFile, opened: Callable[[], int], name: str) -> None:
    try:
        handle = opened()
    except OSError:
        return  # a picture that is gone has its flag in the report
    with os.fdopen(handle, "rb") as source:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.external_attr = 0o600 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED if Path(name).suffix in _TEXT else zipfile.ZIP_STORED
        with archive.open(entry, "w", force_zip64=True) as sink:
            while piece := source.read(1024 * 1024):
                sink.write(piece)
