"""Cells of a CSV file: what a spreadsheet would take for a formula is made plain text, and back."""

from __future__ import annotations

import re
from typing import Final

#: A byte order mark, without which spreadsheets read UTF-8 as something older.
MARK: Final = "\ufeff"
#: How a formula begins in one spreadsheet or another.
_FORMULA: Final = re.compile(r"[=+\-@\t\r]")


def guarded(cell: str) -> str:
    """A cell that no spreadsheet computes: an apostrophe before what would be a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """A cell as it was before `guarded`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell
