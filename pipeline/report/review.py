"""review.csv as it is written: for spreadsheets, with nothing in it that one would take for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from pipeline.plan.review import COLUMNS
from pipeline.values.sheet import MARK, guarded


def review_csv(lines: Iterable[Sequence[str]]) -> bytes:
    """The file, a line for each of these, UTF-8 with a byte order mark; `plan.review` reads it back.

    *Shape* - a line: one cell for each of `COLUMNS`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([guarded(cell) for cell in line] for line in lines)
    return (MARK + text.getvalue()).encode("utf-8", "backslashreplace")
