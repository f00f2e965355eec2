"""The files a spec may read: below its own folder, or below a folder the user allowed, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pipeline.plan.resources import ResourceMissing
from pipeline.runtime.pictures import identify
from pipeline.values.task import Picture

TEXT_MAX: Final = 256 * 1024 * 1024
PICTURE_MAX: Final = 64 * 1024 * 1024
#: A file touched this recently may change again within its time stamp's resolution, so its digest is not remembered.
FRESH_NS: Final = 2_000_000_000


class Files:
    """Reads for the plan. Refuses dot-files, links that lead out, devices and pipes; remembers digests of pictures."""

    def __init__(self, base: Path, allowed: Sequence[Path] = (), cache: DigestCache | None = None) -> None:
        self.base = base.resolve()
        self._allowed = (self.base, *(path.resolve() for path in allowed))
        self._cache = cache if cache is not None else DigestCache(None)

    def locate(self, written: str) -> Path:
        """The real path of what a spec calls `written`. *Raises* ResourceMissing, saying why."""
        if "\0" in written:
            raise ResourceMissing(written.replace("\0", "?"), "a path cannot hold a NUL")
        try:
            real = (self.base / written).resolve()
        except (OSError, RuntimeError) as error:
            raise ResourceMissing(written, "cannot be resolved") from error
        root = next((root for root in self._allowed if real.is_relative_to(root)), None)
        if root is None:
            raise ResourceMissing(
                written, f"it is outside the spec's folder; allow it with --allow-path {self._near(real)}"
            )
        if any(part.startswith(".") for part in real.relative_to(root).parts):
            raise ResourceMissing(written, "hidden files are not read")
        return real

    def _near(self, real: Path) -> str:
        return os.path.relpath(real.parent)

    def _regular(self, written: str, size_max: int) -> tuple[Path, os.stat_result]:
        real = self.locate(written)
        try:
            found = real.stat()
        except OSError as error:
            raise ResourceMissing(written, "there is no such file") from error
        if not stat.S_ISREG(found.st_mode):
            raise ResourceMissing(written, "it is not a regular file")
        if found.st_size > size_max:
            raise ResourceMissing(written, f"it is larger than {size_max} bytes")
        return real, found

    def text(self, written: str) -> str:
        """A text file's content. *Raises* ResourceMissing."""
        real, _ = self._regular(written, TEXT_MAX)
        try:
            return real.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ResourceMissing(written, f"it is not UTF-8 text (byte {error.start})") from error
        except OSError as error:
            raise ResourceMissing(written, "it cannot be read") from error

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Files that match, sorted, as paths relative to the spec; hidden ones never match."""
        lead, _, rest = pattern.rpartition("/") if "*" not in pattern else _fixed_lead(pattern)
        folder = self.locate(lead or ".")
        found = []
        for path in folder.glob(rest):
            written = f"{lead}/{path.relative_to(folder).as_posix()}" if lead else path.relative_to(folder).as_posix()
            if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
                continue
            self.locate(written)
            found.append(written)
        return tuple(sorted(found))

    def picture(self, written: str) -> Picture:
        """What is known of a picture file; its digest is remembered by size, time and inode."""
        real, found = self._regular(written, PICTURE_MAX)
        known = self._cache.get(real, found)
        if known is not None:
            return known
        try:
            picture = identify(real)
        except ValueError as error:
            raise ResourceMissing(written, str(error)) from error
        self._cache.put(real, found, picture)
        return picture

    def picture_of(self, data: bytes) -> Picture:
        """What is known of a picture's bytes. *Raises* ResourceMissing."""
        try:
            return identify(data)
        except ValueError as error:
            raise ResourceMissing("data URI", str(error)) from error

    def data(self, written: str) -> bytes:
        """A picture's bytes, for the body of a request."""
        real, _ = self._regular(written, PICTURE_MAX)
        return real.read_bytes()


def _fixed_lead(pattern: str) -> tuple[str, str, str]:
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if any(mark in part for mark in "*?["))
    return "/".join(parts[:first]), "/", "/".join(parts[first:])


class DigestCache:
    """Digests of picture files by path, size, mtime and inode, in the user's cache; losing it costs only time."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known: dict[str, list[object]] = {}
        self._dirty = False
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                loaded = json.loads(file.read_text())
                if isinstance(loaded, dict):
                    self._known = loaded

    @classmethod
    def of_user(cls) -> DigestCache:
        """The cache in $XDG_CACHE_HOME or ~/.cache."""
        home = os.environ.get("XDG_CACHE_HOME")
        base = Path(home) if home else Path.home() / ".cache"
        return cls(base / "image-batch-pipeline" / "digests.json")

    def get(self, path: Path, found: os.stat_result) -> Picture | None:
        """The remembered picture, if the file has not changed since."""
        entry = self._known.get(str(path))
        if not isinstance(entry, list) or entry[:3] != [found.st_size, found.st_mtime_ns, found.st_ino]:
            return None
        try:
            return Picture(**entry[3])  # type: ignore[arg-type]  # a foreign shape raises TypeError
        except TypeError:
            return None

    def put(self, path: Path, found: os.stat_result, picture: Picture) -> None:
        """Remember, unless the file is so fresh that it could change unseen."""
        if time.time_ns() - found.st_mtime_ns > FRESH_NS:
            self._known[str(path)] = [found.st_size, found.st_mtime_ns, found.st_ino, asdict(picture)]
            self._dirty = True

    def save(self) -> None:
        """Write it down, replacing atomically; failing is no fault."""
        if self._file is None or not self._dirty:
            return
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent)
            with os.fdopen(handle, "w") as sink:
                json.dump(self._known, sink)
            Path(name).replace(self._file)
            self._dirty = False
