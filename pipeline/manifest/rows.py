"""Rows of the store as columns of the manifest, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never
from urllib.parse import urlsplit, urlunsplit

from pipeline.values.digest import canonical_json
from pipeline.values.rows import Columns, ImageRow, TaskRow
from pipeline.values.task import InlineInput, Input, LocalInput, Task, UpstreamInput, UrlInput

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows in a record batch: a run of any length is written in little memory.
BATCH: Final = 5000

Cell: TypeAlias = "str | int | bool | Sequence[tuple[str, str]] | Sequence[Mapping[str, str | int | None]] | None"


def public_uri(url: str) -> str:
    """A link without what may be secret in it: no query, no fragment, no user."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def batch(told: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """Columns of the store as a record batch."""
    import pyarrow as pa  # noqa: PLC0415 - 0.3 s, which those who only want cells need not wait

    return pa.record_batch([_array(told.values[field.name], field.type) for field in schema], schema=schema)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array[Any]:
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_map(kind):
        flat = list(chain.from_iterable(values))
        ends = pa.array([0, *accumulate(len(words) // 2 for words in values)], type=pa.int32())
        keys, items = pa.array(flat[::2], pa.string()), pa.array(flat[1::2], pa.string())
        return pa.MapArray.from_arrays(ends, keys, items)  # type: ignore[call-overload,no-any-return]  # the stubs want int64, Arrow int32
    if pa.types.is_list(kind):
        return pa.array([[input_cells(source) for source in inputs] for inputs in values], type=kind)
    return pa.array(values, type=kind)


def image_cells(row: ImageRow) -> dict[str, Cell]:
    """One row of `images.arrow`; the report shows these cells and no others."""
    artifact = row.artifact
    return request_cells(row.task) | {
        "image_index": row.image_index,
        "revised_prompt": row.revised_prompt,
        "width": artifact.width,
        "height": artifact.height,
        "media_type": artifact.media_type,
        "bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "path": artifact.path,
        "cost_micros": row.cost_micros,
        "currency": row.currency,
        "operation_id": row.operation_id or None,
        "attempts": row.attempts,
        "in_spec": row.in_spec,
        "submitted_at": row.submitted_at,
        "completed_at": row.completed_at,
        "stored_at": artifact.stored_at,
        "superseded": row.superseded,
    }


def request_cells(task: Task) -> dict[str, Cell]:
    """What was asked for, as `images.arrow` has it: the same whether a picture came or not."""
    return _labels(task) | {
        "row": list(task.row.items()),
        "negative_prompt": task.negative_prompt,
        "params": canonical_json(dict(task.params)).decode(),
        "size_requested": task.size,
        "inputs": [input_cells(source) for source in task.inputs],
        "price_source": task.price.source,
    }


def task_cells(row: TaskRow) -> dict[str, Cell]:
    """One row of `tasks.arrow`."""
    return _labels(row.task) | {
        "state": row.phase,
        "held_micros": row.held_micros,
        "settled_micros": row.settled_micros,
        "doubt_micros": row.doubt_micros,
        "currency": row.currency,
        "images_delivered": row.images_delivered,
        "attempts": row.attempts,
        "fault": row.fault or None,
        "fault_message": row.fault_message or None,
        "operation_id": row.operation_id or None,
        "submitted_at": row.submitted_at,
        "completed_at": row.completed_at,
    }


def _labels(task: Task) -> dict[str, Cell]:
    """What both tables say of a task."""
    return {
        "task_id": task.id,
        "step": task.step,
        "row_id": task.row_id,
        "axes": list(task.axes.items()),
        "sample": task.sample,
        "gateway": task.gateway,
        "model": task.model,
        "prompt": task.prompt,
        "seed": task.seed,
        "n": task.n,
    }


def input_cells(source: Input) -> dict[str, str | int | None]:
    """Where an input picture is from, without what may be secret in it."""
    match source:
        case LocalInput() | InlineInput():
            return {
                "uri": source.uri,
                "sha256": source.picture.sha256,
                "task_id": None,
                "image_index": None,
                "sent_as": source.sent_as,
            }
        case UrlInput():
            uri = public_uri(source.url)
            return {"uri": uri, "sha256": None, "task_id": None, "image_index": None, "sent_as": None}
        case UpstreamInput():
            task, index = source.task_id, source.image_index
            return {"uri": None, "sha256": None, "task_id": task, "image_index": index, "sent_as": None}
        case _ as never:
            assert_never(never)
