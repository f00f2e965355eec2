"""Which pictures go into a dataset, and what a dataset says of each: the columns of the manifest as plain values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Protocol, TypeAlias

from pipeline.manifest import table as manifest
from pipeline.manifest.rows import BATCH, input_cells
from pipeline.plan.review import Review
from pipeline.values.rows import Columns

#: {column of `images.arrow`: its value}, in the order of that file; `axes` and `row` are objects, `inputs` a list.
Row: TypeAlias = dict[str, Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = frozenset({"submitted_at", "completed_at", "stored_at"})
_PAIRS: Final = frozenset({"axes", "row"})
#: More names of columns than this in one job are a stranger's joke (count).
_NAMES_MAX: Final = 2000


class Store(manifest.Store, Protocol):
    """The store, as far as an export reads it: a journal satisfies this."""

    @property
    def run_id(self) -> str:
        """The id that the store was created with."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the stored pictures are wanted."""

    #: Pictures that a person rejected stay out.
    review: Review | None = None
    #: Superseded pictures and those that the spec asks for no more as well.
    every: bool = False

    def why_not(self, task_id: str, index: int, row_id: str | None, *, in_spec: bool, superseded: bool) -> str:
        """Why this picture stays out; empty when it does not."""
        if self.review is not None and (
            self.review.rejects(task_id, index) or (row_id is not None and row_id in self.review.rows)
        ):
            return "rejected by the review"
        if not self.every and superseded:
            return "superseded: rejected before, and its task was sent again"
        if not self.every and not in_spec:
            return "no longer in the spec"
        return ""


@dataclass(slots=True)
class Survey:
    """What an export will hold, before a byte of it is written. *Units* - size_bytes: bytes of pictures."""

    pictures: int = 0
    size_bytes: int = 0
    #: {why: pictures that stay out}
    left_out: Counter[str] = field(default_factory=Counter)
    #: Names that `axes` and `row` have anywhere, in the order of their appearance.
    axes: dict[str, None] = field(default_factory=dict)
    row: dict[str, None] = field(default_factory=dict)
    #: Says which pictures, in which order: another one when another is among them.
    digest: str = ""


def survey(store: Store, choice: Choice) -> Survey:
    """One quick walk through the store."""
    found, hashed = Survey(), sha256()
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for told in _of_images(store):
        values = told.values
        for number in _wanted(told, choice, found.left_out):
            found.pictures += 1
            found.size_bytes += values["bytes"][number]
            which = (values["task_id"][number], values["image_index"][number], values["sha256"][number])
            hashed.update(json.dumps([*which, values["path"][number]]).encode())
            names = (tuple(values["axes"][number][::2]), tuple(values["row"][number][::2]))
            if names not in seen and len(seen) < _NAMES_MAX:
                seen.add(names)
                found.axes.update(dict.fromkeys(names[0]))
                found.row.update(dict.fromkeys(names[1]))
    found.digest = hashed.hexdigest()
    return found


def rows(store: Store, choice: Choice) -> Iterator[Row]:
    """The chosen pictures, tasks by number and pictures by index: a batch of them is in memory at a time."""
    for told in _of_images(store):
        for number in _wanted(told, choice, Counter()):
            yield {name: _plain(name, values[number]) for name, values in told.values.items()}


def _of_images(store: Store) -> Iterator[Columns]:
    return (told for told in store.columns(BATCH) if told.table == "images")


def _wanted(told: Columns, choice: Choice, left_out: Counter[str]) -> Iterator[int]:
    names = ("task_id", "image_index", "row_id", "in_spec", "superseded")
    for number, (task_id, index, row_id, in_spec, superseded) in enumerate(
        zip(*(told.values[name] for name in names), strict=True)
    ):
        if why := choice.why_not(task_id, index, row_id, in_spec=bool(in_spec), superseded=bool(superseded)):
            left_out[why] += 1
        else:
            yield number


def _plain(name: str, value: Any) -> Any:  # noqa: ANN401 - a cell of any column
    if name in _PAIRS:
        return dict(zip(value[::2], value[1::2], strict=True))
    if name == "inputs":
        return [input_cells(source) for source in value]
    if name in _TIMES and value is not None:
        return f"{_EPOCH + timedelta(microseconds=value):%Y-%m-%dT%H:%M:%S.%fZ}"
    return value


def as_json(value: object) -> str:
    """One spelling for one value: keys sorted, no spaces; halves of pairs, which no file can hold, are written out."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def encoded(text: str) -> bytes:
    """UTF-8, whatever a stranger's store holds."""
    return text.encode("utf-8", "backslashreplace")


def described(row: Row, **more: object) -> bytes:
    """What a file beside the picture says of it: one JSON object; what it has not is left out."""
    said = {name: value for name, value in row.items() if value not in (None, {}, []) and name != "path"}
    return encoded(as_json({**said, **more}))
