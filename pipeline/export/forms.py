"""The forms of a dataset, each a writer: pictures come one after the other, and little of them is in memory."""

from __future__ import annotations

import csv
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Protocol

from pipeline.export.arrow import Table
from pipeline.export.pictures import Spoilt, bytes_of, look_at, name_of
from pipeline.export.rows import Row, Survey, as_json, described
from pipeline.export.shards import Shards
from pipeline.manifest import schema
from pipeline.values.folder import IMAGES
from pipeline.values.sheet import MARK, guarded

#: What a row group of Parquet holds at most: readers take one into memory whole (pictures; bytes of them).
GROUP_MAX: Final = 256
GROUP_BYTES_MAX: Final = 32 * 1024 * 1024
#: How parts of a name begin that loaders skip.
_SKIPPED: Final = (".", "__")


class Form(Protocol):
    """One form of a dataset while it is written. Its files stand below a place that nobody else writes in."""

    def add(self, row: Row) -> None:
        """Take one picture. *Raises* Spoilt when it cannot be handed on; OSError."""
        ...

    def close(self) -> None:
        """Write what is left, durably. *Raises* OSError."""
        ...


def _ended(file: IO[bytes]) -> None:
    """Close a file whose bytes must stay."""
    try:
        file.flush()
        os.fsync(file.fileno())
    finally:
        file.close()


class ImageFolder:
    """Files under the names that the spec gave them, and metadata.jsonl, whose `file_name` says which is which."""

    #: What the card of the dataset names as its files.
    files: Final = ("metadata.jsonl", f"{IMAGES}/**")

    def __init__(self, folder: Path, place: Path) -> None:
        self._folder = folder
        self._place = place
        self._said = (place / "metadata.jsonl").open("xb")

    def add(self, row: Row) -> None:
        """Copy the picture, then say what it is."""
        data, name = bytes_of(self._folder, row), row["path"]
        if any(part.startswith(_SKIPPED) for part in name.split("/")):
            name = f"{IMAGES}/{name_of(row)}{Path(name).suffix}"
        target = self._place / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise Spoilt("two rows name this file") from None
        with file:
            file.write(data)
        self._said.write(described(row, file_name=name) + b"\n")

    def close(self) -> None:
        """The pictures are many and small: the disk is told once to keep all of them."""
        os.sync()
        _ended(self._said)


class WebDataset:
    """Shards, each a tar of pairs: KEY.png (jpg, webp) and KEY.json, KEY being task and index."""

    files: Final = ("*.tar",)

    def __init__(self, folder: Path, place: Path, shard_bytes: int, shards: Shards) -> None:
        self._folder = folder
        self._place = place
        self._most = shard_bytes
        self._shards = shards
        #: Of the shard that is open: its name, its pictures and their bytes.
        self._name, self._pictures, self._bytes = "", 0, 0
        self._file: IO[bytes] | None = None
        self._tar: tarfile.TarFile | None = None

    def add(self, row: Row) -> None:
        """Put a pair into the shard that is open, or into the next one when it would grow too long."""
        data, key = bytes_of(self._folder, row), name_of(row)
        said = described(row)
        # Each member has a header, and is padded to whole blocks.
        grows = sum(tarfile.BLOCKSIZE + -(-len(part) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for part in (data, said))
        if self._tar is not None and self._tar.offset and self._tar.offset + grows > self._most:
            self.close()
        tar = self._tar or self._next()
        _put(tar, f"{key}.{_ending(row)}", data)
        _put(tar, f"{key}.json", said)
        self._pictures += 1
        self._bytes += len(data)

    def _next(self) -> tarfile.TarFile:
        self._name, self._pictures, self._bytes = f"shard-{len(self._shards.files):06}.tar", 0, 0
        self._file = (self._place / self._name).open("xb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)
        # A million members that were written long ago are nobody's business.
        self._tar.members = _Forgetful()  # type: ignore[attr-defined]  # the stubs leave it out
        return self._tar

    def close(self) -> None:
        """End the shard that is open."""
        if self._tar is not None and self._file is not None:
            self._tar.close()
            _ended(self._file)
            self._tar = self._file = None
            self._shards.ended(self._name, self._pictures, self._bytes)


class _Forgetful(list[tarfile.TarInfo]):
    """A tar that is only written needs no list of its members."""

    def append(self, member: tarfile.TarInfo, /) -> None:
        """Keep nothing."""


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member without time, owner or machine: the same pictures give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


_ENDINGS: Final[Mapping[str, str]] = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def _ending(row: Row) -> str:
    """What loaders tell the kind of a member by; from the media type, never from a stranger's name."""
    return _ENDINGS.get(row["media_type"], "img")


class Parquet:
    """Parquet files with the pictures inside, as `datasets` reads them: struct<bytes, path>."""

    files: Final = ("*.parquet",)

    def __init__(self, folder: Path, place: Path, shard_bytes: int, shards: Shards) -> None:
        self._folder = folder
        self._table = Table(place, shard_bytes, shards)
        self._most = min(GROUP_BYTES_MAX, shard_bytes)
        self._group: list[Row] = []
        self._bytes = 0

    def add(self, row: Row) -> None:
        """Take a picture; a group of them is written at once."""
        data, name = bytes_of(self._folder, row), f"{name_of(row)}.{_ending(row)}"
        if len(self._group) >= GROUP_MAX or self._bytes + len(data) > self._most:
            self._write()
        self._group.append({**row, "image": {"bytes": data, "path": name}})
        self._bytes += len(data)

    def _write(self) -> None:
        if self._group:
            self._table.write(self._group, self._bytes)
            self._group, self._bytes = [], 0

    def close(self) -> None:
        """Write the last group and end the file."""
        self._write()
        self._table.close()


class Sheet:
    """One CSV file for spreadsheets: a line a picture, which is named and not copied."""

    files: Final = ()

    def __init__(self, folder: Path, file: IO[bytes], found: Survey) -> None:
        self._folder = folder
        self._file = file
        self._text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        self._lines = csv.writer(self._text, lineterminator="\r\n")
        self._plain = [column.name for column in schema.IMAGES if column.name not in ("axes", "row")]
        self._axes, self._row = tuple(found.axes), tuple(found.row)
        header = [*self._plain, *(f"axes.{name}" for name in self._axes), *(f"row.{name}" for name in self._row)]
        self._text.write(MARK)
        self._lines.writerow([guarded(name) for name in header])

    def add(self, row: Row) -> None:
        """A line."""
        look_at(self._folder, row)
        cells = [*(row[name] for name in self._plain), *(row["axes"].get(name) for name in self._axes)]
        self._lines.writerow([_cell(value) for value in (*cells, *(row["row"].get(name) for name in self._row))])

    def close(self) -> None:
        """Write what is left."""
        self._text.flush()
        os.fsync(self._file.fileno())
        self._text.detach()


def _cell(value: Any) -> str:  # noqa: ANN401 - a cell of any column
    """Numbers stay numbers; what somebody wrote cannot begin a formula."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case str():
            return guarded(value)
        case _:
            return as_json(value)
