"""review.csv as it is written: for spreadsheets, with nothing in it that one would take for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.plan.review import COLUMNS

#: How a formula begins in one spreadsheet or another.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Judged:
    """What a person said of one picture. `rating`: 1 to 5, None for none."""

    task_id: str
    image_index: int
    rating: int | None = None
    reject: bool = False
    note: str = ""
    prompt: str = ""


def review_csv(judged: Iterable[Judged]) -> bytes:
    """The file, UTF-8 with a byte order mark; `plan.review` reads it back."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for each in judged:
        rating, reject = "" if each.rating is None else str(each.rating), "yes" if each.reject else ""
        cells = (each.task_id, str(each.image_index), rating, reject, each.note, each.prompt)
        writer.writerow([guarded(cell) for cell in cells])
    return ("\ufeff" + text.getvalue()).encode("utf-8", "backslashreplace")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet computes: an apostrophe before what would be a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell
