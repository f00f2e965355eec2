"""Three comparisons: files against the manifest, the manifest against the store, money against entries.

Each side is read for itself: pictures from the disk, rows from the Arrow file, amounts from the single entries.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import feather

from pipeline.manifest.schema import ManifestMeta
from pipeline.manifest.table import FILES, KEY, Store, build, meta_of
from pipeline.values.folder import IMAGES, IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW
from pipeline.values.rows import MOVES

#: Links live for hours, and are not kept once their picture is there.
_REMEDY: Final = "put a copy of it back: it was paid for, and its link is gone"
#: Rows that are looked at together.
_ROWS: Final = 10_000
#: In the order of MOVES.
_AMOUNTS: Final = ("settled_micros", "held_micros", "doubt_micros")


def verify(folder: Path, store: Store, waiting: Collection[str] = ()) -> list[str]:
    """Every fault found in a run folder, in words; nothing is changed. The store's own checks are the store's.

    `waiting` are paths of pictures that a kill left without a row, and that the next run will give theirs. Of a million
    rows only the columns that are looked at are held, as Arrow has them.
    """
    there = [name for name in FILES if (folder / name).is_file()]
    faults = [f"{name}: missing; `pipeline manifest` writes it" for name in FILES if name not in there]
    images = _columns_of(folder / IMAGES_ARROW, ("path", "sha256", "bytes"))
    if images is not None:
        faults += _pictures(folder, images, waiting)
    faults += _against_store(folder, store, images, there)
    tasks = _columns_of(folder / TASKS_ARROW, ("currency", *_AMOUNTS))
    if tasks is not None:
        faults += _money(store, tasks)
    return faults


def _columns_of(path: Path, columns: Sequence[str]) -> pa.Table | None:
    """These columns of an Arrow file; None where it cannot be read, which comparing it with a fresh one tells."""
    try:
        return feather.read_table(path, columns=list(columns), memory_map=False)
    except (pa.ArrowException, OSError, ValueError, LookupError):
        return None


# --- files against the manifest ---


def _pictures(folder: Path, images: pa.Table, waiting: Collection[str]) -> Iterator[str]:
    paths = images.column("path").combine_chunks()
    named, strange = _files(folder)
    files = pa.array(named, pa.string())
    rows = images.append_column("there", pc.is_in(paths, value_set=files))
    found = pa.table({"path": files, "known": pc.is_in(files, value_set=paths)})
    for path in _paths(images.group_by("path").aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)):
        yield f"{path}: two rows name this file"
    unnamed = [*strange, *_paths(found.filter(~pc.field("known")))]
    faults = {path: f"{path}: no row names this file" for path in unnamed if path not in waiting}
    for batch in rows.filter(pc.field("there")).to_batches(max_chunksize=_ROWS):
        for row in batch.to_pylist():
            if fault := _picture(folder, row["path"], row["sha256"], row["bytes"]):
                faults[row["path"]] = fault
    yield from (faults[path] for path in sorted(faults))
    for path in _paths(rows.filter(~pc.field("there"))):
        yield f"{path}: missing, a row names it; {_REMEDY}"


def _paths(table: pa.Table) -> list[str]:
    return sorted(map(str, table.column("path").to_pylist()))


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """What lies below `images`, and what of it has a name that no row can have."""
    named: list[str] = []
    strange: list[str] = []
    for place, folders, names in os.walk(folder / IMAGES, followlinks=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        below = Path(place).relative_to(folder).as_posix()
        for name in (*names, *links):
            path = f"{below}/{name}"
            (named if _is_text(path) else strange).append(path)
    return named, strange


def _is_text(path: str) -> bool:
    """Whether a name is UTF-8: one of other bytes is held with surrogates, which Arrow has no place for."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _picture(folder: Path, path: str, sha256: str, size_bytes: int) -> str | None:
    file = folder / path
    if file.is_symlink() or not file.is_file():
        return f"{path}: is no ordinary file"
    size = file.stat().st_size
    if size != size_bytes:
        return f"{path}: has {size} bytes, its row says {size_bytes}; {_REMEDY}"
    if _digest(file) != sha256:
        return f"{path}: its content changed since it was stored; {_REMEDY} (SHA-256 {sha256})"
    return None


# --- the manifest against the store ---


def _against_store(folder: Path, store: Store, images: pa.Table | None, names: Sequence[str]) -> Iterator[str]:
    """Build it again and compare: byte for byte, and where another library wrote it, value for value."""
    with TemporaryDirectory(prefix="pipeline-verify-") as place:
        fresh = {name: Path(place) / name for name in FILES}
        # Another version of this program may have written it: its own word on that is taken.
        build(fresh, store, _meta(store, images))
        for name in names:
            if not filecmp.cmp(folder / name, fresh[name], shallow=False):
                yield from _file(folder / name, fresh[name], store.get_meta(f"{KEY}{name}"))


def _meta(store: Store, images: pa.Table | None) -> ManifestMeta:
    ours = meta_of(store)
    told = (images.schema.metadata or {}).get(b"pipeline.version") if images is not None else None
    if told is None:
        return ours
    return ManifestMeta(told.decode("utf-8", "replace"), ours.job, ours.spec_sha256, ours.plan_sha256)


def _file(path: Path, fresh: Path, kept: str | None) -> Iterator[str]:
    """What differs in a file whose bytes are not those of a fresh one."""
    try:
        table = _table(path)
    except (pa.ArrowException, OSError, ValueError) as exc:
        yield f"{path.name}: cannot be read ({(str(exc) or type(exc).__name__).splitlines()[0]})"
        return
    expected = _table(fresh)
    if not table.schema.equals(expected.schema, check_metadata=True):
        yield f"{path.name}: its columns or metadata are not those of this store; `pipeline manifest` writes it anew"
    elif table.num_rows != expected.num_rows:
        yield f"{path.name}: has {table.num_rows} rows, the store says {expected.num_rows}"
    elif not table.equals(expected):
        yield from _columns(path.name, table, expected)
    elif kept is not None and _digest(path) != kept:
        yield f"{path.name}: its bytes are not those that were written, though its rows read the same"


def _table(path: Path) -> pa.Table:
    return pq.read_table(path) if path.name == IMAGES_PARQUET else feather.read_table(path, memory_map=False)


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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
