"""A review: which pictures a person rejected, read back from review.csv as a page or a spreadsheet wrote it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.plan.flaw import Flaw, Flawed
from pipeline.plan.resources import ResourceMissing, Resources
from pipeline.plan.scalar import text_of
from pipeline.plan.table import Table
from pipeline.values.sheet import unguarded

PATH: Final = "inputs.exclude_from"
#: The columns of a review, as it is written.
COLUMNS: Final = ("task_id", "image_index", "rating", "reject", "note", "prompt")
_YES: Final = frozenset({"yes", "y", "true", "1", "x", "reject", "rejected"})
_NO: Final = frozenset({"", "no", "n", "false", "0"})
_TASK_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: Lines of a review, at most.
_ROWS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Review:
    """What was rejected."""

    #: (task id, image index), the index None for all pictures of the task.
    pictures: frozenset[tuple[str, int | None]]
    #: Ids of input rows that were rejected as such, without a task.
    rows: frozenset[str] = frozenset()
    #: Tasks of which a picture was rejected; kept, since each row of a table and each task of a plan is looked up.
    tasks: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", frozenset([task for task, _ in self.pictures]))

    def rejects(self, task_id: str, image_index: int) -> bool:
        """Whether this picture was rejected."""
        return (task_id, image_index) in self.pictures or (task_id, None) in self.pictures


def parse_review(text: str) -> Review:
    """A review.csv: comma, semicolon or tab, with or without a byte order mark, quoted as usual.

    *Raises* ValueError that begins with the line.
    """
    body = text.removeprefix("\ufeff")
    head = body.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if "reject" not in header or not {"task_id", "row_id"} & set(header):
            raise ValueError("1: a review has the columns task_id (or row_id) and reject")
        place = {name: number for number, name in enumerate(header)}
        word_at, rejections = place["reject"], _Rejections(place)
        for cells in reader:
            if reader.line_num > _ROWS_MAX:
                raise ValueError(f"{reader.line_num}: a review has {_ROWS_MAX:,} lines at most")
            # Most lines of a review reject nothing: they are looked at in one place only.
            if len(cells) > word_at and (word := cells[word_at]) and _rejects(word, reader.line_num):
                rejections.take(cells, reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{reader.line_num}: not csv: {error}") from error
    return Review(frozenset(rejections.pictures), frozenset(rejections.rows))


def _rejects(word: str, number: int) -> bool:
    plain = _plain(word).lower()
    if plain in _YES:
        return True
    if plain in _NO:
        return False
    raise ValueError(f"{number}: reject is yes or empty, not {plain[:40]!r}")


def _plain(cell: str) -> str:
    return unguarded(cell).strip()


class _Rejections:
    """What the lines of a review that reject something name."""

    def __init__(self, place: Mapping[str, int]) -> None:
        self.pictures: set[tuple[str, int | None]] = set()
        self.rows: set[str] = set()
        self._places = tuple(place.get(name) for name in ("task_id", "image_index", "row_id"))

    def take(self, cells: Sequence[str], number: int) -> None:
        """One line. *Raises* ValueError that begins with its number."""
        task, index, row = [
            _plain(cells[place]) if place is not None and place < len(cells) else "" for place in self._places
        ]
        if task:
            if not _TASK_ID.fullmatch(task):
                raise ValueError(f"{number}: a task_id has 64 hexadecimal digits: {task[:80]!r}")
            if index and not (index.isascii() and index.isdecimal() and len(index) <= 6):
                raise ValueError(f"{number}: an image_index is a number from 0: {index[:40]!r}")
            self.pictures.add((task, int(index) if index else None))
        elif row:
            self.rows.add(row)
        else:
            raise ValueError(f"{number}: rejected, and neither task_id nor row_id says what")


def unheeded(source: str, review: Review) -> str:
    """What is said of a review that rejects something, and nothing of this job."""
    counts = ((len(review.tasks), "task"), (len(review.rows), "row"))
    of = [f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in counts if number]
    return (
        f"{source}: {' and '.join(of)} rejected, 0 of them of this spec, so nothing is left out: a review names tasks "
        "of the run that it was written for, by their ids, and a changed prompt or parameter is another task"
    )


def read_review(source: str | None, resources: Resources) -> Review | None:
    """The review that `inputs.exclude_from` names. *Raises* Flawed."""
    if source is None:
        return None
    try:
        return parse_review(resources.text(source))
    except ResourceMissing as missing:
        raise Flawed(Flaw(PATH, f"cannot read '{missing.path}': {missing.why}")) from missing
    except ValueError as error:
        remedy = "the gallery writes it: `pipeline report`, or `pipeline view`"
        raise Flawed(Flaw(PATH, f"{source}:{error}", remedy)) from error


def without_rejected(table: Table, review: Review) -> Table:
    """Rows that the review rejected are left out: by their id, or as pictures that their own columns name.

    A table that was exported from a run has columns `task_id` and `image_index`. *Raises* Flawed when none is left.
    """
    places = {name: table.columns.index(name) for name in ("task_id", "image_index") if name in table.columns}

    def rejected(number: int) -> bool:
        if table.ids[number] in review.rows:
            return True
        if "task_id" not in places:
            return False
        task = text_of(table.cells[number][places["task_id"]])
        if "image_index" not in places:
            return task in review.tasks
        index = text_of(table.cells[number][places["image_index"]])
        return index.isdecimal() and review.rejects(task, int(index))

    kept = [number for number in range(len(table)) if not rejected(number)]
    if not kept:
        raise Flawed(Flaw(PATH, "the review rejects every row", "nothing is left to make"))
    return table if len(kept) == len(table) else table.only(kept)
