"""review.csv as it is written: for spreadsheets, with nothing in it that one would take for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

from pipeline.plan.review import COLUMNS

#: How a formula begins in one spreadsheet or another.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")


def review_csv(lines: Iterable[Sequence[str]]) -> bytes:
    """The file, a line for each of these, UTF-8 with a byte order mark; `plan.review` reads it back.

    *Shape* - a line: one cell for each of `COLUMNS`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([guarded(cell) for cell in line] for line in lines)
    return ("\ufeff" + text.getvalue()).encode("utf-8", "backslashreplace")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet computes: an apostrophe before what would be a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """A cell as it was before `guarded`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell
