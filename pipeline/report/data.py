"""The report's data as plain JSON values and as scripts: pure functions over rows of the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from pipeline.manifest.rows import image_cells, request_cells, task_cells
from pipeline.values.rows import ImageRow, TaskRow

#: Rows in one data file: a page of 100,000 pictures loads 20 of them, one after the other.
CHUNK: Final = 5000
#: What a row holds, in this order.
COLUMNS: Final = (
    "id",
    "task_id",
    "image_index",
    "state",
    "step",
    "row_id",
    "row",
    "axes",
    "sample",
    "gateway",
    "model",
    "prompt",
    "negative_prompt",
    "revised_prompt",
    "params",
    "seed",
    "n",
    "size",
    "width",
    "height",
    "media_type",
    "bytes",
    "sha256",
    "src",
    "thumb",
    "inputs",
    "cost_micros",
    "currency",
    "operation_id",
    "attempts",
    "in_spec",
    "fault",
    "fault_message",
    "submitted_at",
    "completed_at",
    "stored_at",
    "flags",
)
#: Whole numbers beyond this are rounded by a page.
_EXACT: Final = 2**53 - 1
START: Final = "(window.PIPELINE_DATA=window.PIPELINE_DATA||[]).push("
_END: Final = ");\n"
#: What could end a script element, or begin a comment in one, is written as an escape of JSON.
_ESCAPES: Final = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to be: a task, and one of its pictures; None when it has none."""

    task: TaskRow
    image: ImageRow | None

    @property
    def id(self) -> str:
        """`<task id>#<image index>`, or `<task id>#`."""
        return f"{self.task.task_id}#{'' if self.image is None else self.image.image_index}"


@dataclass(frozen=True, slots=True)
class Links:
    """Where a row's pictures stand, as URLs relative to the page; None for what is not there."""

    src: str | None = None
    thumb: str | None = None
    flags: tuple[str, ...] = ()
    #: {number of the input picture: (url of its preview, url of its thumbnail)}
    inputs: Mapping[int, tuple[str | None, str | None]] | None = None


#: Finds a row's pictures.
Placer = Callable[[Entry], Links]


def no_links(_entry: Entry) -> Links:
    """For rows without any picture to look at."""
    return Links()


def entries(tasks: Iterable[TaskRow], images: Iterable[ImageRow]) -> Iterator[Entry]:
    """One per picture and one per task without any; both readers of the store have the same order."""
    pictures = iter(images)
    image = next(pictures, None)
    for task in tasks:
        found = False
        while image is not None and image.task.id == task.task_id:
            yield Entry(task, image)
            found, image = True, next(pictures, None)
        if not found:
            yield Entry(task, None)


def row(entry: Entry, links: Links) -> list[Any]:
    """One row of the page, in the order of COLUMNS, from the manifest's own cells."""
    cells: dict[str, Any] = {**request_cells(entry.task.task), **task_cells(entry.task)}
    cells["cost_micros"] = cells["settled_micros"]
    if entry.image is not None:
        cells |= image_cells(entry.image)
    cells |= {
        "id": entry.id,
        "row": {key_of(name): text for name, text in cells["row"]},
        "axes": {key_of(name): text for name, text in cells["axes"]},
        "seed": _exact(cells["seed"]),
        "size": cells["size_requested"],
        "inputs": [_input(cell, (links.inputs or {}).get(place)) for place, cell in enumerate(cells["inputs"])],
        "in_spec": entry.task.in_spec,
        "src": links.src,
        "thumb": links.thumb,
        "flags": list(links.flags),
    }
    return [cells.get(name) for name in COLUMNS]


def key_of(name: str) -> str:
    """A user's name as a key of an object: this one would set the object's prototype in a script."""
    return "(__proto__)" if name == "__proto__" else name


def _exact(number: int | None) -> int | str | None:
    """A number that a page cannot hold exactly, as text."""
    return number if number is None or abs(number) <= _EXACT else str(number)


def _input(cell: Mapping[str, Any], urls: tuple[str | None, str | None] | None) -> dict[str, Any]:
    src, thumb = urls or (None, None)
    upstream = None if cell["task_id"] is None else f"{cell['task_id']}#{cell['image_index']}"
    return {"name": cell["uri"] or upstream or "", "src": src, "thumb": thumb, "sha256": cell["sha256"]}


def row_chunk(found: Iterable[Entry], chunk: int, place: Placer = no_links) -> dict[str, Any]:
    """The object of kind `rows` for these entries."""
    return {
        "kind": "rows",
        "chunk": chunk,
        "columns": list(COLUMNS),
        "rows": [row(entry, place(entry)) for entry in found],
    }


def rows(found: Iterable[Entry], first: int, count: int = CHUNK, place: Placer = no_links) -> dict[str, Any]:
    """The same for `count` entries from the `first` on."""
    return row_chunk(islice(found, first, first + count), first // max(1, count), place)


def script(value: object) -> bytes:
    """A classic script that hands one object to the page: ASCII, and nothing in it but JSON."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"{START}{text.translate(_ESCAPES)}{_END}".encode("ascii")
