"""Tasks and pictures as columns, for the manifest: one walk through the tables, without a value for every row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

from pipeline.store.reading import cost_of
from pipeline.store.record import parts
from pipeline.values.rows import Columns

Row: TypeAlias = tuple[Any, ...]

_LABELS: Final = ("task_id", "step", "row_id", "axes", "sample", "gateway", "model", "prompt", "seed", "n")
_TASKS: Final = (
    *_LABELS,
    *("state", "held_micros", "settled_micros", "doubt_micros", "currency", "images_delivered", "attempts"),
    *("fault", "fault_message", "operation_id", "submitted_at", "completed_at"),
)
_IMAGES: Final = (
    *_LABELS,
    *("row", "negative_prompt", "params", "size_requested", "inputs", "price_source", "in_spec", "attempts"),
    *("image_index", "width", "height", "media_type", "bytes", "sha256", "path", "stored_at"),
    *("cost_micros", "revised_prompt", "currency", "operation_id", "submitted_at", "completed_at", "superseded"),
)
#: Every task, with its attempts, with their pictures: a row for each, or for nothing.
_SQL: Final = """
  SELECT t.number, t.record, t.phase, t.in_spec, t.fault, t.fault_message, t.submitted_at, t.completed_at,
    a.id, a.state, a.open, a.settled, a.images, a.currency, ifnull(a.operation, a.request_id), a.revised_prompt,
    a.submitted_at, a.ended_at,
    p.idx, p.state, p.sha256, p.media_type, p.bytes, p.w, p.h, p.path, p.stored_at
  FROM task t LEFT JOIN attempt a ON a.task = t.key LEFT JOIN picture p ON p.attempt = a.id
  WHERE {order}, a.id, p.idx
"""
#: As `reading.task_rows`: tasks of the spec, then those that it dropped.
_IN_ORDER: Final = ("t.number >= 0 ORDER BY t.number", "t.number < 0 ORDER BY t.number DESC")


def columns(db: sqlite3.Connection, size: int) -> Iterator[Columns]:
    """Both tables in the order of `task_rows` and `image_rows`, in batches of this size, the last ones shorter."""
    again = {str(key)[6:]: int(text) for key, text in db.execute("SELECT k, v FROM meta WHERE k LIKE 'again:%'")}
    tasks: list[Row] = []
    images: list[Row] = []
    rows = chain.from_iterable(db.execute(_SQL.format(order=order)) for order in _IN_ORDER)
    for _, group in groupby(rows, key=itemgetter(0)):
        task, made = _of_task(list(group), again)
        tasks.append(task)
        images += made
        if len(tasks) == size:
            yield Columns("tasks", size, _turned(_TASKS, tasks))
            tasks = []
        while len(images) >= size:
            yield Columns("images", size, _turned(_IMAGES, images[:size]))
            images = images[size:]
    if tasks:
        yield Columns("tasks", len(tasks), _turned(_TASKS, tasks))
    if images:
        yield Columns("images", len(images), _turned(_IMAGES, images))


def _turned(names: Sequence[str], rows: Sequence[Row]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def _of_task(rows: Sequence[Row], again: dict[str, int]) -> tuple[Row, list[Row]]:
    """A task's row, and those of its pictures."""
    _, record, phase, in_spec, fault, message, submitted, completed, *_ = rows[0]
    own, shared = parts(record)
    task_id = own["id"]
    labels: Row = (
        *(task_id, own["step"], own["row_id"], tuple(chain.from_iterable(own["axes"])), own["sample"]),
        *(own["gateway"], shared.model, own["prompt"], own["seed"], shared.n),
    )
    posts = sum({row[8]: row[16] is not None for row in rows}.values()) if len(rows) > 1 else rows[0][16] is not None
    asked: Row = (
        *(tuple(chain.from_iterable(own["row"])), shared.negative_prompt, shared.params, own["size"]),
        *(shared.inputs, shared.price.source, bool(in_spec), int(posts)),
    )
    held = settled_sum = doubt = 0
    currency = operation = ""
    images: list[Row] = []
    last, first, count = None, 0, 0
    for row in rows:
        attempt, state, left, settled, billed, paid_in, name, revised, sent, ended, index, *picture = row[8:]
        if attempt is None:
            continue
        if attempt != last:
            # Pictures of a second delivery count on.
            first += max(shared.n, count) if count else 0
            last, count = attempt, 0
            settled_sum += settled
            currency, operation = max(currency, paid_in), name or operation
            if state in ("DOUBT", "VANISHED"):
                doubt += left
            else:
                held += left
        if index is None:
            continue
        count += 1
        if picture[0] != "STORED":
            continue
        _, sha256, media_type, size, width, height, path, stored_at = picture
        images.append(
            (
                *labels,
                *asked,
                *(first + index, width, height, media_type, size, sha256, path, stored_at),
                *(cost_of(settled, billed, index), revised, paid_in, name or None, sent, ended),
                attempt <= again.get(task_id, 0),
            )
        )
    ends = (phase, held, settled_sum, doubt, currency or shared.price.currency, len(images), int(posts))
    return (*labels, *ends, fault or None, message or None, operation or None, submitted, completed), images
