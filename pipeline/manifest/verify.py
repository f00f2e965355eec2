"""Three comparisons: files against the manifest, the manifest against the store, money against entries.

Each side is read for itself: pictures from the disk, rows from the Arrow file, amounts from the single entries.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

from pipeline.manifest.schema import ManifestMeta
from pipeline.manifest.table import FILES, KEY, Store, build, meta_of
from pipeline.values.folder import IMAGES, IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW
from pipeline.values.rows import MOVES

#: Links live for hours, and are not kept once their picture is there.
_REMEDY: Final = "put a copy of it back: it was paid for, and its link is gone"
#: In the order of MOVES.
_AMOUNTS: Final = ("settled_micros", "held_micros", "doubt_micros")


def verify(folder: Path, store: Store, waiting: Collection[str] = ()) -> list[str]:
    """Every fault found in a run folder, in words; nothing is changed. The store's own checks are the store's.

    `waiting` are paths of pictures that a kill left without a row, and that the next run will give theirs.
    """
    faults: list[str] = []
    tables = {name: _table(folder / name, faults) for name in FILES}
    images, tasks = tables[IMAGES_ARROW], tables[TASKS_ARROW]
    if images is not None:
        faults += _pictures(folder, images, waiting)
    faults += _against_store(folder, store, tables)
    if tasks is not None:
        faults += _money(store, tasks)
    return faults


def _table(path: Path, faults: list[str]) -> pa.Table | None:
    if not path.is_file():
        faults.append(f"{path.name}: missing; `pipeline manifest` writes it")
        return None
    try:
        return pq.read_table(path) if path.name == IMAGES_PARQUET else feather.read_table(path, memory_map=False)
    except (pa.ArrowException, OSError, ValueError) as exc:
        faults.append(f"{path.name}: cannot be read ({str(exc).splitlines()[0]})")
        return None


# --- files against the manifest ---


@dataclass(frozen=True, slots=True)
class _Row:
    sha256: str
    size_bytes: int


def _pictures(folder: Path, images: pa.Table, waiting: Collection[str]) -> Iterator[str]:
    rows: dict[str, _Row] = {}
    columns = (images.column(name).to_pylist() for name in ("path", "sha256", "bytes"))
    for path, digest, size in zip(*columns, strict=True):
        if path in rows:
            yield f"{path}: two rows name this file"
        rows[path] = _Row(digest, size)
    seen = set()
    for path in sorted(_files(folder)):
        seen.add(path)
        if path in rows:
            yield from _picture(folder, path, rows[path])
        elif path not in waiting:
            yield f"{path}: no row names this file"
    for path in sorted(rows.keys() - seen):
        yield f"{path}: missing, a row names it; {_REMEDY}"


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder / IMAGES, followlinks=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*names, *links):
            yield (Path(place) / name).relative_to(folder).as_posix()


def _picture(folder: Path, path: str, row: _Row) -> Iterator[str]:
    file = folder / path
    if file.is_symlink() or not file.is_file():
        yield f"{path}: is no ordinary file"
        return
    size = file.stat().st_size
    if size != row.size_bytes:
        yield f"{path}: has {size} bytes, its row says {row.size_bytes}; {_REMEDY}"
        return
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != row.sha256:
        yield f"{path}: its content changed since it was stored; {_REMEDY} (SHA-256 {row.sha256})"


# --- the manifest against the store ---


def _against_store(folder: Path, store: Store, tables: dict[str, pa.Table | None]) -> Iterator[str]:
    """Build it again and compare: byte for byte, and where another library wrote it, value for value."""
    with TemporaryDirectory(prefix="pipeline-verify-") as place:
        fresh = {name: Path(place) / name for name in FILES}
        # Another version of this program may have written it: its own word on that is taken.
        build(fresh, store, _meta(store, tables[IMAGES_ARROW]))
        for name in FILES:
            table = tables[name]
            if table is not None:
                yield from _file(folder / name, fresh[name], table, store.get_meta(f"{KEY}{name}"))


def _meta(store: Store, images: pa.Table | None) -> ManifestMeta:
    ours = meta_of(store)
    told = (images.schema.metadata or {}).get(b"pipeline.version") if images is not None else None
    if told is None:
        return ours
    return ManifestMeta(told.decode("utf-8", "replace"), ours.job, ours.spec_sha256, ours.plan_sha256)


def _file(path: Path, fresh: Path, table: pa.Table, kept: str | None) -> Iterator[str]:
    data = path.read_bytes()
    if data == fresh.read_bytes():
        return
    expected = _table(fresh, [])
    assert expected is not None
    if not table.schema.equals(expected.schema, check_metadata=True):
        yield f"{path.name}: its columns or metadata are not those of this store; `pipeline manifest` writes it anew"
    elif table.num_rows != expected.num_rows:
        yield f"{path.name}: has {table.num_rows} rows, the store says {expected.num_rows}"
    elif not table.equals(expected):
        yield from _columns(path.name, table, expected)
    elif kept is not None and hashlib.sha256(data).hexdigest() != kept:
        yield f"{path.name}: its bytes are not those that were written, though its rows read the same"


def _columns(name: str, table: pa.Table, expected: pa.Table) -> Iterator[str]:
    for column in expected.column_names:
        if not table.column(column).equals(expected.column(column)):
            yield f"{name}: column {column} differs from the store"


# --- money against entries ---


def _money(store: Store, tasks: pa.Table) -> Iterator[str]:
    entered: Counter[tuple[str, str]] = Counter()
    for entry in store.money_entries():
        for name, sign in zip(_AMOUNTS, MOVES[entry.kind], strict=True):
            entered[entry.currency, name] += sign * entry.amount_micros
    for name in _AMOUNTS:
        grouped = tasks.group_by("currency").aggregate([(name, "sum")])
        sums = zip(grouped.column("currency").to_pylist(), grouped.column(f"{name}_sum").to_pylist(), strict=True)
        told = {str(currency): amount for currency, amount in sums}
        for currency in sorted({*told, *(each for each, _ in entered)}):
            has, should = told.get(currency, 0), entered[currency, name]
            if has != should:
                yield f"money: tasks.arrow adds up to {has} {name} of {currency}, the entries to {should}"
