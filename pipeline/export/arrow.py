"""Parquet files of a dataset: rows of the manifest and the pictures themselves, in groups that fit into memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.rows import Row, as_json
from pipeline.export.shards import Shards
from pipeline.manifest.schema import IMAGES

#: Columns that are JSON here: maps and lists of objects are read differently, or not at all, from loader to loader.
_AS_JSON: Final = frozenset({"row", "axes", "inputs"})
_IMAGE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def schema() -> pa.Schema:
    """The columns of the manifest but `path`, after the picture; what `datasets` must know stands in the metadata."""
    fields: list[pa.Field[Any]] = [pa.field("image", _IMAGE)]
    for column in IMAGES:
        if column.name == "path":
            continue
        kind = pa.string() if column.name in _AS_JSON or pa.types.is_timestamp(column.type) else column.type
        fields.append(pa.field(column.name, kind, metadata=column.metadata))
    features = {each.name: {"dtype": str(each.type), "_type": "Value"} for each in fields[1:]}
    told = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
    return pa.schema(fields, metadata={b"huggingface": json.dumps(told).encode()})


class Table:
    """The files, one after the other, each of about so many bytes."""

    def __init__(self, place: Path, shard_bytes: int, shards: Shards) -> None:
        self._place = place
        self._most = shard_bytes
        self._schema = schema()
        self._shards = shards
        #: Of the file that is open: its name, its pictures and their bytes.
        self._name, self._pictures, self._bytes = "", 0, 0
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None

    def write(self, group: list[Row], size_bytes: int) -> None:
        """Append a row group; a file that would grow too long is ended before it."""
        if self._bytes and self._bytes + size_bytes > self._most:
            self.close()
        writer = self._writer or self._next()
        values = {field.name: [_cell(field.name, row[field.name]) for row in group] for field in self._schema}
        arrays = [pa.array(values[field.name], type=field.type) for field in self._schema]
        writer.write_batch(pa.record_batch(arrays, schema=self._schema), row_group_size=len(group))
        self._pictures += len(group)
        self._bytes += size_bytes

    def _next(self) -> pq.ParquetWriter:
        self._name, self._pictures, self._bytes = f"data-{len(self._shards.files):06}.parquet", 0, 0
        self._file = (self._place / self._name).open("xb")
        # Pictures are compressed already.
        codecs: dict[str, Literal["none", "zstd"]] = dict.fromkeys(["image.path", *self._schema.names[1:]], "zstd")
        codecs["image.bytes"] = "none"
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression=codecs,  # type: ignore[arg-type]  # the stubs' dict is invariant
            use_dictionary=["gateway", "model", "step", "prompt"],  # type: ignore[arg-type]  # the stubs forget the list
        )
        return self._writer

    def close(self) -> None:
        """End the file that is open, durably."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._writer = self._file = None
            self._shards.ended(self._name, self._pictures, self._bytes)
            self._bytes = 0


def _cell(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    return as_json(value) if name in _AS_JSON else value
