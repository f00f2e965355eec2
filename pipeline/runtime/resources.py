"""The files a spec may read: below its own folder, or below a folder the user allowed, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
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
GLOB_MAX: Final = 1_000_000
#: A file touched this recently may change again within its time stamp's resolution, so its digest is not remembered.
FRESH_NS: Final = 2_000_000_000


#: What moves a cursor or turns the direction of a line; spaces and joiners of every kind do stand in names.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: What is no plain file, in words.
_KINDS: Final = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


def read_plain(path: Path, size_max: int) -> bytes:
    """A plain file's bytes. *Raises* OSError; ValueError for what is no plain file or too large, without waiting."""
    _check_plain(path.stat(), size_max)
    # Whatever stands there by now: a pipe is not waited for, and a device is refused again.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        _check_plain(os.fstat(file.fileno()), size_max)
        data = file.read(size_max + 1)
    if len(data) > size_max:
        raise ValueError(_too_large(size_max))
    return data


def _check_plain(found: os.stat_result, size_max: int) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise ValueError(_KINDS.get(kind, "it is no plain file"))
    if found.st_size > size_max:
        raise ValueError(_too_large(size_max))


def _too_large(size_max: int) -> str:
    return f"it is larger than {size_max // 2**20} MB"


class Files:
    """Reads for the plan. Refuses dot-files, links that lead out, devices and pipes; remembers digests of pictures."""

    def __init__(self, base: Path, allowed: Sequence[Path] = (), cache: DigestCache | None = None) -> None:
        self.base = base.resolve()
        self._allowed = (self.base, *(path.resolve() for path in allowed))
        #: The same folders as they were written, for paths that are judged without a look at the disk.
        self._named = (*self._allowed, *(Path(os.path.abspath(path)) for path in (base, *allowed)))  # noqa: PTH100
        self._cache = cache if cache is not None else DigestCache(None)

    def locate(self, written: str) -> Path:
        """The real path of what a spec calls `written`. *Raises* ResourceMissing, saying why.

        What is said of a path outside does not depend on whether anything stands there, or what.
        """
        if _CONTROL.search(written):
            raise ResourceMissing(_CONTROL.sub("?", written), "a path holds a control character")
        # By its letters first: normpath does not follow links, and does not ask the disk.
        named = Path(os.path.normpath(self.base / written))
        if not any(named.is_relative_to(root) for root in self._named):
            near = os.path.relpath(named.parent)
            raise ResourceMissing(written, f"it is outside the spec's folder; allow it with --allow-path {near}")
        try:
            real = (self.base / written).resolve()
        except (OSError, RuntimeError) as error:
            raise ResourceMissing(written, "it cannot be resolved") from error
        root = next((root for root in self._allowed if real.is_relative_to(root)), None)
        if root is None:
            why = "a link leads from it out of the spec's folder; allow where it leads with --allow-path DIR"
            raise ResourceMissing(written, why)
        if any(part.startswith(".") for part in real.relative_to(root).parts):
            raise ResourceMissing(written, "hidden files are not read")
        return real

    def _regular(self, written: str, size_max: int) -> tuple[Path, os.stat_result]:
        real = self.locate(written)
        try:
            found = real.stat()
        except OSError as error:
            raise ResourceMissing(written, "there is no such file") from error
        try:
            _check_plain(found, size_max)
        except ValueError as error:
            raise ResourceMissing(written, str(error)) from error
        return real, found

    def text(self, written: str) -> str:
        """A text file's content. *Raises* ResourceMissing."""
        real, _ = self._regular(written, TEXT_MAX)
        try:
            return read_plain(real, TEXT_MAX).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ResourceMissing(written, f"it is not UTF-8 text (byte {error.start})") from error
        except (OSError, ValueError) as error:
            raise ResourceMissing(written, "it cannot be read") from error

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Files that match, sorted, as paths relative to the spec; hidden ones never match."""
        lead, rest = _fixed_lead(pattern) if "*" in pattern else _name_apart(pattern)
        folder = self.locate(lead or ".")
        # A step up behind a star would tell by its matches what stands outside; two of `**` take time without end.
        if ".." in rest.split("/") or rest.split("/").count("**") > 1:
            raise ResourceMissing(pattern, "a pattern holds no '..' behind a star, and '**' once")
        found = []
        try:
            for path in folder.glob(rest):
                below = path.relative_to(folder)
                if any(part.startswith(".") for part in below.parts) or not path.is_file():
                    continue
                written = f"{lead}/{below.as_posix()}" if lead else below.as_posix()
                self.locate(written)
                found.append(written)
                if len(found) > GLOB_MAX:
                    raise ResourceMissing(pattern, f"more than {GLOB_MAX} files match")
        except (OSError, ValueError, NotImplementedError) as error:
            raise ResourceMissing(pattern, "it is no pattern of files") from error
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
        return read_plain(real, PICTURE_MAX)


def _fixed_lead(pattern: str) -> tuple[str, str]:
    """The folders before the first part with a star, and the rest."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if any(mark in part for mark in "*?["))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ""), "/".join(parts[first:])


def _name_apart(pattern: str) -> tuple[str, str]:
    lead, _, name = pattern.rpartition("/")
    return lead, name


def cache_folder() -> Path:
    """Where this program keeps what costs only time to lose: in $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "image-batch-pipeline"


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
        return cls(cache_folder() / "digests.json")

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
