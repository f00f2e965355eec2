"""The columns of the manifest: name, type, unit and meaning of each, which readers rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

_TEXT: Final = pa.string()
_MICROS: Final = pa.int64()
_TIME: Final = pa.timestamp("us", tz="UTC")
_PAIRS: Final = pa.map_(pa.string(), pa.string())
_INPUTS: Final = pa.list_(
    pa.struct(
        [
            pa.field("uri", pa.string()),
            pa.field("sha256", pa.string()),
            pa.field("task_id", pa.string()),
            pa.field("image_index", pa.int16()),
            pa.field("sent_as", pa.string()),
        ]
    )
)


@dataclass(frozen=True, slots=True)
class ManifestMeta:
    """What the schema's own metadata says: which program, job, spec and plan the rows come from."""

    version: str
    job: str
    spec_sha256: str
    plan_sha256: str

    def pairs(self) -> dict[bytes | str, bytes | str]:
        """As Arrow keeps it."""
        return {
            b"pipeline.version": self.version.encode(),
            b"pipeline.job": self.job.encode(),
            b"pipeline.spec_sha256": self.spec_sha256.encode(),
            b"pipeline.plan_sha256": self.plan_sha256.encode(),
        }


def _field(name: str, kind: pa.DataType, unit: str, meaning: str) -> pa.Field[pa.DataType]:
    return pa.field(name, kind, metadata={b"unit": unit.encode(), b"meaning": meaning.encode()})


_TASK_ID: Final = _field("task_id", _TEXT, "64 hex digits", "digest of everything that is sent for this task")
_STEP: Final = _field("step", _TEXT, "", "step of the job")
_ROW_ID: Final = _field("row_id", _TEXT, "", "id of the input row; null without a table")
_AXES: Final = _field("axes", _PAIRS, "", "matrix axes by name, in written order")
_SAMPLE: Final = _field("sample", pa.int32(), "count from 0", "which sample of its combination")
_GATEWAY: Final = _field("gateway", _TEXT, "", "HTTP service that was asked")
_MODEL: Final = _field("model", _TEXT, "", "generative model, by the gateway's name for it")
_PROMPT: Final = _field("prompt", _TEXT, "", "prompt as sent")
_SEED: Final = _field("seed", pa.int64(), "", "seed as sent; null when none was")
_N: Final = _field("n", pa.int16(), "images", "images asked for in one call")
_CURRENCY: Final = _field("currency", _TEXT, "", "unit of the amounts")
_OPERATION_ID: Final = _field("operation_id", _TEXT, "", "the gateway's id of the operation, else of the request")
_ATTEMPTS: Final = _field("attempts", pa.int16(), "count", "POSTs that were permitted for the task")
_SUBMITTED: Final = _field("submitted_at", _TIME, "UTC microseconds", "permission to send was durable")

IMAGES: Final = (
    _TASK_ID,
    _field("image_index", pa.int16(), "count from 0", "which picture of its task"),
    _STEP,
    _ROW_ID,
    _field("row", _PAIRS, "", "the input row's columns as text"),
    _AXES,
    _SAMPLE,
    _GATEWAY,
    _MODEL,
    _PROMPT,
    _field("negative_prompt", _TEXT, "", "negative prompt as sent; null when none was"),
    _field("revised_prompt", _TEXT, "", "prompt as the gateway rewrote it, where it says so"),
    _field("params", _TEXT, "JSON object", "further parameters as sent"),
    _SEED,
    _N,
    _field("size_requested", _TEXT, "WIDTHxHEIGHT", "size as sent; null for the model's own choice"),
    _field("width", pa.int32(), "pixels", "width of the stored picture"),
    _field("height", pa.int32(), "pixels", "height of the stored picture"),
    _field("media_type", _TEXT, "", "media type of the stored picture, by its content"),
    _field("bytes", pa.int64(), "bytes", "size of the stored file"),
    _field("sha256", _TEXT, "64 hex digits", "SHA-256 of the stored file"),
    _field("path", _TEXT, "", "file, relative to the run folder"),
    _field(
        "inputs",
        _INPUTS,
        "",
        "input pictures: where from (without query), digest, or task and image upstream; the type it was converted to",
    ),
    _field("cost_micros", _MICROS, "10^-6 of currency", "this picture's share of what its call cost"),
    _CURRENCY,
    _field("price_source", _TEXT, "", "where the price stands and when it was read"),
    _OPERATION_ID,
    _ATTEMPTS,
    _field("in_spec", pa.bool_(), "", "the spec as last run asks for this picture"),
    _SUBMITTED,
    _field("completed_at", _TIME, "UTC microseconds", "the gateway's result was durable"),
    _field("stored_at", _TIME, "UTC microseconds", "the picture was on disk under its name"),
    _field("superseded", pa.bool_(), "", "a review rejected its task, which was sent again after it"),
)

TASKS: Final = (
    _TASK_ID,
    _STEP,
    _ROW_ID,
    _AXES,
    _SAMPLE,
    _GATEWAY,
    _MODEL,
    _PROMPT,
    _SEED,
    _N,
    _field(
        "state", _TEXT, "", "waiting, held, submitting, running, fetching, done, short, failed, in_doubt or skipped"
    ),
    _field("held_micros", _MICROS, "10^-6 of currency", "put aside and neither settled nor released"),
    _field("settled_micros", _MICROS, "10^-6 of currency", "what its calls cost"),
    _field("doubt_micros", _MICROS, "10^-6 of currency", "may have been billed; nobody can say"),
    _CURRENCY,
    _field("images_delivered", pa.int16(), "images", "pictures on disk"),
    _ATTEMPTS,
    _field("fault", _TEXT, "", "kind of the fault that ended it; null when none did"),
    _field("fault_message", _TEXT, "", "the fault in words"),
    _OPERATION_ID,
    _SUBMITTED,
    _field("completed_at", _TIME, "UTC microseconds", "the task reached its end"),
)


def images_schema(meta: ManifestMeta) -> pa.Schema:
    """The schema of `images.arrow` and `images.parquet`."""
    return pa.schema(list(IMAGES), metadata=meta.pairs())


def tasks_schema(meta: ManifestMeta) -> pa.Schema:
    """The schema of `tasks.arrow`."""
    return pa.schema(list(TASKS), metadata=meta.pairs())
