"""A task as text, and back: what the store keeps of it besides its number."""

from __future__ import annotations

import json
from typing import Any, assert_never

from pipeline.values.digest import JSON, canonical_json
from pipeline.values.task import InlineInput, Input, LocalInput, Picture, Price, Task, UpstreamInput, UrlInput


def task_to_json(task: Task) -> str:
    """One spelling per task. `number` is left out: it is the plan's, and the table has it in a column."""
    record: dict[str, JSON] = {
        "id": task.id,
        "step": task.step,
        "operation": task.operation,
        "gateway": task.gateway,
        "model": task.model,
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt,
        "size": task.size,
        "n": task.n,
        "seed": task.seed,
        "params": dict(task.params),
        "inputs": [_input_to_json(source) for source in task.inputs],
        "price": _plain(task.price),
        "row_id": task.row_id,
        # Pairs, not objects: the written order of columns and axes is kept.
        "row": [[name, value] for name, value in task.row.items()],
        "axes": [[name, value] for name, value in task.axes.items()],
        "sample": task.sample,
        "path": task.path,
    }
    return canonical_json(record).decode()


def task_from_json(text: str, number: int) -> Task:
    """The task of a record, at this place of the plan."""
    record: dict[str, Any] = json.loads(text)
    record["inputs"] = tuple(_input_from_json(source) for source in record["inputs"])
    record["price"] = Price(**record["price"])
    record["row"] = {name: value for name, value in record["row"]}  # noqa: C416 - pairs are lists here, for the types
    record["axes"] = {name: value for name, value in record["axes"]}  # noqa: C416
    return Task(number=number, **record)


def _input_to_json(source: Input) -> JSON:
    match source:
        case LocalInput():
            return {"kind": "local", **_picture_to_json(source)}
        case InlineInput():
            return {"kind": "inline", **_picture_to_json(source)}
        case UrlInput():
            return {"kind": "url", "url": source.url}
        case UpstreamInput():
            return {"kind": "upstream", "task_id": source.task_id, "image_index": source.image_index}
        case _ as never:
            assert_never(never)


def _picture_to_json(source: LocalInput | InlineInput) -> dict[str, JSON]:
    made: dict[str, JSON] = {"uri": source.uri, "picture": _plain(source.picture)}
    return made if source.sent_as is None else {**made, "sent_as": source.sent_as}


def _input_from_json(record: dict[str, Any]) -> Input:
    match record["kind"]:
        case "local":
            return LocalInput(record["uri"], Picture(**record["picture"]), record.get("sent_as"))
        case "inline":
            return InlineInput(record["uri"], Picture(**record["picture"]), record.get("sent_as"))
        case "url":
            return UrlInput(record["url"])
        case "upstream":
            return UpstreamInput(record["task_id"], record["image_index"])
        case other:
            raise ValueError(f"unknown kind of input in the store: {other}")


def _plain(value: Price | Picture) -> dict[str, JSON]:
    # `asdict` copies deeply, which costs more than all the rest of a record.
    return {name: getattr(value, name) for name in value.__slots__}
