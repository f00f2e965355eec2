"""`review.csv` of a run folder, as the served page saves it: what changed is put into what stands there."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Final

from pipeline.errors import RunError
from pipeline.plan.review import COLUMNS
from pipeline.report.review import review_csv
from pipeline.runtime.portrait import REVIEW
from pipeline.runtime.remains import reading
from pipeline.runtime.resources import read_plain
from pipeline.store.durable import replace
from pipeline.values.sheet import unguarded

#: One picture's id: its task and its index.
_ID: Final = re.compile(r"([0-9a-f]{64})#(\d{1,6})", re.ASCII)
_NOTE_MAX: Final = 10_000
_RATING_MAX: Final = 5
_FILE_MAX: Final = 256 * 1024 * 1024


def save_review(folder: Path, entries: object) -> int:
    """Put these entries (`id`, `rating`, `reject`, `note`) into RUN/review.csv; answers how many pictures it has then.

    *Raises* RunError for entries that are none, and for a file that this page did not write.
    """
    if not isinstance(entries, list):
        raise RunError("a review is a list of entries")
    told = [_entry(each) for each in entries]
    place = folder / REVIEW
    lines = _read(place)
    fresh = {key for key, line in told if line is not None and key not in lines}
    prompts = _prompts(folder, {task for task, _ in fresh}) if fresh else {}
    for key, line in told:
        if line is None:
            lines.pop(key, None)
        else:
            known = lines.get(key)
            prompt = known[-1] if known else prompts.get(key[0])
            if prompt is None:
                raise RunError(f"this run has no task {key[0]}")
            lines[key] = [*key, *line, prompt]
    replace(place, review_csv(lines.values()))
    return len(lines)


def _entry(entry: object) -> tuple[tuple[str, str], list[str] | None]:
    """((task, index), its cells between index and prompt); None for one that says nothing any more."""
    found = _ID.fullmatch(str(entry.get("id"))) if isinstance(entry, dict) else None
    if found is None or not isinstance(entry, dict):
        raise RunError("an entry of a review names a picture by its id")
    rating, reject, note = entry.get("rating"), entry.get("reject"), entry.get("note")
    rated = isinstance(rating, int) and not isinstance(rating, bool) and 1 <= rating <= _RATING_MAX
    if not (rated or rating is None) or not isinstance(reject, bool) or not isinstance(note, str):
        raise RunError("an entry of a review has a rating (1 to 5, or none), reject (yes or no) and a note")
    cells = [str(rating) if rated else "", "yes" if reject else "", note[:_NOTE_MAX]]
    return (found[1], found[2]), cells if any(cells) else None


def _read(place: Path) -> dict[tuple[str, str], list[str]]:
    if not place.exists() and not place.is_symlink():
        return {}
    try:
        rows = list(csv.reader(io.StringIO(read_plain(place, _FILE_MAX).decode("utf-8-sig"), newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{place} cannot be read; move it away: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows[1:]):
        raise RunError(f"{place} is not as this page writes it; move it away, or read it with `review` on the page")
    return {(row[0], row[1]): [unguarded(cell) for cell in row] for row in rows[1:]}


def _prompts(folder: Path, tasks: set[str]) -> dict[str, str]:
    found = {}
    with reading(folder) as journal:
        for task in tasks:
            stored = journal.task_of(task)
            if stored is not None:
                found[task] = stored.task.prompt or ""
    return found
