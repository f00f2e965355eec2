"""Rows of a store as the report reads them, made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.engine.stored import StoredAccount
from pipeline.report.data import Entry
from pipeline.report.summary import Told
from pipeline.values.artifact import Artifact
from pipeline.values.rows import EntryRow, ImageRow, TaskRow
from pipeline.values.task import Input, Price, Task

PRICE = Price("USD", 75_000, 0, "USD", 75_000, "price list, read 2026-01-01")
#: 2026-01-01, UTC microseconds.
START = 1_767_225_600_000_000


def task(number: int = 0, *, n: int = 1, inputs: Sequence[Input] = (), **given: object) -> Task:
    """A task; `given` are fields of Task."""
    start: dict[str, object] = {
        "id": hashlib.sha256(str(number).encode()).hexdigest(),
        "step": "image",
        "operation": "image.generate",
        "gateway": "mulerouter",
        "model": "qwen-image-max",
        "prompt": f"prompt {number}",
        "negative_prompt": None,
        "size": "1328x1328",
        "seed": number,
        "params": {},
        "price": PRICE,
    }
    return Task(number=number, n=n, inputs=tuple(inputs), **{**start, **given})  # type: ignore[arg-type]  # a test's words


def of_task(record: Task, phase: str = "done", **given: object) -> TaskRow:
    """The row of a task; `given` are fields of TaskRow."""
    start: dict[str, object] = {
        "in_spec": True,
        "held_micros": 0,
        "settled_micros": 75_000 if phase == "done" else 0,
        "doubt_micros": 0,
        "currency": "USD",
        "images_delivered": 1 if phase == "done" else 0,
        "attempts": 1,
        "fault": "",
        "fault_message": "",
        "operation_id": "op",
        "submitted_at": START + record.number * 1_000_000,
        "completed_at": START + record.number * 1_000_000 + 5_000_000,
    }
    return TaskRow(record, phase, **{**start, **given})  # type: ignore[arg-type]  # a test's words


def of_image(record: Task, index: int = 0, path: str = "", data: bytes = b"", **given: object) -> ImageRow:
    """The row of a picture; `given` are fields of ImageRow."""
    place = path or f"images/{record.id[:2]}/{record.id[:16]}-{index}.png"
    sent = START + record.number * 1_000_000
    artifact = Artifact(hashlib.sha256(data).hexdigest(), "image/png", len(data), 64, 48, place, sent + 5_000_000)
    start: dict[str, object] = {
        "in_spec": True,
        "image_index": index,
        "attempt": record.number + 1,
        "attempts": 1,
        "artifact": artifact,
        "revised_prompt": None,
        "cost_micros": 75_000,
        "currency": "USD",
        "operation_id": "op",
        "submitted_at": sent,
        "completed_at": sent + 4_000_000,
    }
    return ImageRow(record, **{**start, **given})  # type: ignore[arg-type]  # a test's words


@dataclass
class Store:
    """A store in memory."""

    tasks: Sequence[TaskRow] = ()
    images: Sequence[ImageRow] = ()
    money: Sequence[EntryRow] = ()

    def task_rows(self) -> Iterator[TaskRow]:
        """As the journal has it."""
        return iter(self.tasks)

    def image_rows(self) -> Iterator[ImageRow]:
        """As the journal has it."""
        return iter(self.images)

    def money_entries(self) -> Iterator[EntryRow]:
        """As the journal has it."""
        return iter(self.money)

    def entries(self) -> list[Entry]:
        """The rows to be."""
        from pipeline.report.data import entries

        return list(entries(self.tasks, self.images))


@dataclass
class Saying:
    """What is told of a run, with what a test changes."""

    given: Mapping[str, object] = field(default_factory=dict)

    def told(self) -> Told:
        """As the page gets it."""
        start: dict[str, object] = {
            "job": "mugs",
            "state": "complete",
            "simulate": False,
            "live": False,
            "folder": "mugs",
            "versions": {"pipeline": "1"},
            "commands": {
                "resume": "pipeline run mugs.yaml",
                "retry": "pipeline retry mugs",
                "report": "r",
                "resolve": None,
            },
            "tasks": {"total": 0},
            "accounts": [StoredAccount("USD", 1_000_000, 75_000, 0, 0, 0)],
            "created_at": START,
            "updated_at": START + 100_000_000,
        }
        return Told(**{**start, **self.given})  # type: ignore[arg-type]  # a test's words
