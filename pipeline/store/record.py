"""A task as text, and back: what the store keeps of it besides its number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

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


@dataclass(frozen=True, slots=True)
class Shared:
    """What many tasks have in common, and what it takes longest to read."""

    model: str
    n: int
    negative_prompt: str | None
    operation: str
    #: As JSON; and read.
    params: str
    params_read: Mapping[str, JSON]
    inputs: tuple[Input, ...]
    price: Price


#: {its text: read}; some, since a job of pictures has inputs of its own in each task.
_SHARED: Final[dict[str, Shared]] = {}
_SHARED_MAX: Final = 1024
_READ: Final = json.JSONDecoder().raw_decode


def task_from_json(text: str, number: int) -> Task:
    """The task of a record, at this place of the plan."""
    own, shared = parts(text)
    return Task(
        number=number,
        id=own["id"],
        step=own["step"],
        operation=shared.operation,
        gateway=own["gateway"],
        model=shared.model,
        prompt=own["prompt"],
        negative_prompt=shared.negative_prompt,
        size=own["size"],
        n=shared.n,
        seed=own["seed"],
        params=shared.params_read,
        inputs=shared.inputs,
        price=shared.price,
        row_id=own["row_id"],
        row=dict(own["row"]),
        axes=dict(own["axes"]),
        sample=own["sample"],
        path=own["path"],
    )


def parts(text: str) -> tuple[dict[str, Any], Shared]:
    """A record in two: what is its own (id, prompt, row, axes ...), and what it shares, read once for all.

    Keys stand in alphabetical order, and in a string no quote stands bare: so these four places are found as text. A
    parameter with one of these names would leave both halves unbalanced; such a record is read in one.
    """
    first = text.find(',"inputs":')
    second = text.find(',"path":', first)
    third = text.find(',"price":', second)
    fourth = text.find(',"prompt":', third)
    if not 0 < first < second < third < fourth:
        return _in_one(text)
    told = text[first:second] + text[third:fourth]
    own = f"{text[:first]}{text[second:third]}{text[fourth:]}"
    try:
        shared = _SHARED.get(told)
        if shared is None:
            shared = _shared(_whole(f"{{{told[1:]}}}"))
            if len(_SHARED) >= _SHARED_MAX:
                _SHARED.clear()
            _SHARED[told] = shared
        return _whole(own), shared
    except ValueError:
        return _in_one(text)


def _whole(text: str) -> dict[str, Any]:
    value, end = _READ(text)
    if end != len(text):
        raise ValueError("more than one value")
    assert isinstance(value, dict)
    return value


def _in_one(text: str) -> tuple[dict[str, Any], Shared]:
    record: dict[str, Any] = json.loads(text)
    return record, _shared(record)


def _shared(record: Mapping[str, Any]) -> Shared:
    return Shared(
        record["model"],
        record["n"],
        record["negative_prompt"],
        record["operation"],
        canonical_json(record["params"]).decode(),
        record["params"],
        tuple(_input_from_json(source) for source in record["inputs"]),
        Price(**record["price"]),
    )


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
