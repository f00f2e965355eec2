"""The manifest's three files, written from one read of the store: whole, durable, and the same for the same store."""

from __future__ import annotations

import gc
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageFailed
from pipeline.failpoints import reach
from pipeline.manifest.rows import BATCH, batch
from pipeline.manifest.schema import ManifestMeta, images_schema, tasks_schema
from pipeline.values.folder import IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW
from pipeline.values.rows import Columns, EntryRow

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FILES: Final = (IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW)
#: Where the store keeps each file's digest: `manifest:images.arrow` ...
KEY: Final = "manifest:"
_BUFFER_BYTES: Final = 256 * 1024
_DISTRIBUTION: Final = "image-batch-pipeline"


class Store(Protocol):
    """The store, as far as the manifest reads it: a journal satisfies this."""

    @property
    def writable(self) -> bool:
        """Whether `set_meta` is possible."""
        ...

    def columns(self, size: int) -> Iterator[Columns]:
        """Every task and every stored picture, so many at once."""
        ...

    def money_entries(self) -> Iterator[EntryRow]:
        """Every movement of money."""
        ...

    def get_meta(self, key: str) -> str | None:
        """Words by key."""
        ...

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Keep words by key."""
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """What the manifest holds. `sha256s`: {file name: 64 hex digits}; `changed`: the files that were replaced."""

    images: int
    tasks: int
    sha256s: Mapping[str, str]
    changed: tuple[str, ...] = ()


def meta_of(store: Store) -> ManifestMeta:
    """The schema metadata of a store's manifest, by this program's version."""
    try:
        ours = version(_DISTRIBUTION)
    except PackageNotFoundError:
        ours = "unknown"
    words = {key: store.get_meta(key) or "" for key in ("job", "spec_sha256", "plan_sha256")}
    return ManifestMeta(ours, words["job"], words["spec_sha256"], words["plan_sha256"])


def write_manifest(folder: Path, store: Store, meta: ManifestMeta | None = None) -> Written:
    """Write images.arrow, images.parquet and tasks.arrow; a file that would not change is not touched.

    *Raises* StorageFailed when the disk refuses.
    """
    try:
        reach("manifest.begun")
        fresh = {name: folder / f".{name}.new" for name in FILES}
        written = build(fresh, store, meta or meta_of(store))
        reach("manifest.built")
        changed = []
        for name in FILES:
            if _digest(folder / name) == written.sha256s[name]:
                fresh[name].unlink()
            else:
                fresh[name].replace(folder / name)
                reach("manifest.named")
                changed.append(name)
        if changed:
            _sync(folder)
            reach("manifest.synced")
    except OSError as exc:
        raise StorageFailed(f"the manifest cannot be written ({exc}): {folder}") from exc
    kept = {f"{KEY}{name}": digest for name, digest in written.sha256s.items()}
    if store.writable and any(store.get_meta(key) != digest for key, digest in kept.items()):
        store.set_meta(kept)
        reach("manifest.noted")
    return Written(written.images, written.tasks, written.sha256s, tuple(changed))


def build(paths: Mapping[str, Path], store: Store, meta: ManifestMeta) -> Written:
    """Write the three files durably at these paths ({file name: path}), mode 0600, without giving them their names."""
    with _uncollected():
        counts = _write(paths, store, meta)
    digests = {}
    for name in FILES:
        with paths[name].open("rb") as file:
            os.fsync(file.fileno())
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return Written(counts["images"], counts["tasks"], digests)


def _write(paths: Mapping[str, Path], store: Store, meta: ManifestMeta) -> Counter[str]:
    images, tasks = images_schema(meta), tasks_schema(meta)
    counts: Counter[str] = Counter()
    with (
        _private(paths[IMAGES_ARROW]) as arrow_sink,
        _private(paths[IMAGES_PARQUET]) as parquet_sink,
        _private(paths[TASKS_ARROW]) as tasks_sink,
        pa.ipc.new_file(arrow_sink, images, options=_options()) as arrow,
        pq.ParquetWriter(parquet_sink, images, compression="zstd") as parquet,
        pa.ipc.new_file(tasks_sink, tasks, options=_options()) as of_tasks,
    ):
        for told in store.columns(BATCH):
            counts[told.table] += told.count
            if told.table == "tasks":
                of_tasks.write_batch(batch(told, tasks))
            else:
                made = batch(told, images)
                arrow.write_batch(made)
                parquet.write_batch(made)
    return counts


@contextmanager
def _uncollected() -> Iterator[None]:
    """A batch is many small values and no cycles: to look through them for some takes a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _options() -> pa.ipc.IpcWriteOptions:
    return pa.ipc.IpcWriteOptions(compression="zstd")


class _Raw(io.RawIOBase):
    """Bytes to a file by plain `os.write`, as everything that must last is written: a test can see each of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        # What an earlier life, or somebody else, left under this name is not written into: it may be a link.
        path.unlink(missing_ok=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(self._handle, 0o600)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        return os.write(self._handle, data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


@contextmanager
def _private(path: Path) -> Iterator[pa.PythonFile]:
    with _Raw(path) as raw, io.BufferedWriter(raw, _BUFFER_BYTES) as buffered, pa.PythonFile(buffered, "w") as sink:
        yield sink


def _digest(path: Path) -> str | None:
    if path.is_symlink():
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
