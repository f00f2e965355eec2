"""Lines of a simulated world's journal: how they are written, and what is read back from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from pipeline.simulator.orders import Operation, Order, Upload

#: Version of the lines.
VERSION: Final = 1


def line_of(kind: str, **entry: object) -> str:
    """One line, without its newline."""
    return json.dumps({"v": VERSION, "kind": kind, **entry}, separators=(",", ":"))


def read_line(line: str) -> Mapping[str, object]:
    """What a line holds. *Raises* ValueError or TypeError when it is none."""
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise TypeError("not an object")
    return entry


def read_operation(entry: Mapping[str, object]) -> Operation:
    """The operation of a line. *Raises* KeyError or TypeError."""
    values = _values(entry)
    order = values["order"]
    if not isinstance(order, dict):
        raise TypeError("no order")
    values["order"] = Order(**{**order, "inputs": tuple(order["inputs"])})
    return Operation(**values)  # type: ignore[arg-type]  # our own line, written from an Operation


def read_upload(entry: Mapping[str, object]) -> Upload:
    """The upload of a line. *Raises* TypeError."""
    return Upload(**_values(entry))  # type: ignore[arg-type]  # our own line, written from an Upload


def _values(entry: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in entry.items() if key not in {"v", "kind"}}
