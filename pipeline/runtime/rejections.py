"""`retry --rejected`: done tasks whose pictures a review rejected are bought once more; what they made is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.engine.messages import RetryAsked
from pipeline.engine.phases import Phase
from pipeline.engine.stored import StoredTask
from pipeline.errors import RunError
from pipeline.plan.review import Review, parse_review
from pipeline.runtime.inspect import amending
from pipeline.runtime.remains import reading
from pipeline.runtime.resources import read_plain
from pipeline.store.journal import Journal
from pipeline.values.rows import ImageRow

#: A review of a hundred thousand pictures with long prompts is smaller (bytes).
REVIEW_MAX: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rejections:
    """What sending rejected pictures again means, before anything is done."""

    #: By number; all of them done and in the spec.
    tasks: tuple[StoredTask, ...]
    #: Pictures that they have now, rejected or not: a call is bought whole.
    pictures: int
    #: {currency: the most that it costs}, and {currency: what the caps leave}.
    cost_micros: Mapping[str, int]
    free_micros: Mapping[str, int]
    #: Tasks that send a seed: most models draw the same picture from the same seed.
    seeded: int
    #: {why: tasks that are rejected and stay as they are}
    left: Mapping[str, int]


def read_review_file(path: Path) -> Review:
    """A review.csv from anywhere: the person who names it may read it. *Raises* RunError with the line."""
    try:
        data = read_plain(path, REVIEW_MAX)
    except (OSError, ValueError) as error:
        raise RunError(f"the review cannot be read ({error}): {path}") from error
    try:
        return parse_review(_text(data))
    except ValueError as error:
        raise RunError(f"{path}:{error}") from error


def _text(data: bytes) -> str:
    """As spreadsheets save it: UTF-8, UTF-16 with its mark, or the old Western code, in which ids read the same."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def look(folder: Path, review: Review) -> Rejections:
    """What sending them again means; nothing is changed. *Raises* RunNotFound."""
    with reading(folder) as journal:
        asked, left = _asked(journal, review)
        tasks, pictures = [], 0
        for task_id, count in asked.items():
            stored = journal.task_of(task_id)
            if stored is None or stored.phase is not Phase.DONE:
                left["not done: `pipeline retry` sends those that failed"] += 1
            elif any(attempt.open_micros for attempt in stored.attempts):
                left["not settled yet: a call of it is in doubt, or a rest of its money is still held"] += 1
            elif stored.followed:
                left["an operation of it was found late: the next run follows it first"] += 1
            else:
                tasks.append(stored)
                pictures += count
        free = {each.currency: each.cap - each.spent - each.held - each.doubt for each in journal.accounts()}
    cost: Counter[str] = Counter()
    for stored in tasks:
        cost[stored.task.price.currency] += stored.task.price.hold(stored.task.n)
    tasks.sort(key=lambda stored: stored.task.number)
    seeded = sum(stored.task.seed is not None for stored in tasks)
    return Rejections(tuple(tasks), pictures, dict(cost), free, seeded, {why: n for why, n in left.items() if n})


def _asked(journal: Journal, review: Review) -> tuple[dict[str, int], Counter[str]]:
    """({task: its pictures that stand}, of tasks of which one is rejected), and why others are not among them."""
    standing: dict[str, list[ImageRow]] = {}
    again: set[str] = set()
    wanted = review.tasks
    for image in journal.image_rows():
        if image.task.id in wanted:
            (again.add(image.task.id) if image.superseded else standing.setdefault(image.task.id, []).append(image))
    asked: dict[str, int] = {}
    left: Counter[str] = Counter()
    left["not of this run"] = len(wanted - standing.keys() - again)
    for task, images in standing.items():
        # Without an index nobody knows which pictures were meant, so after the first time it means nothing more.
        rejected = any(
            (task, image.image_index) in review.pictures or ((task, None) in review.pictures and task not in again)
            for image in images
        )
        if not rejected:
            left["sent again before"] += 1
        elif not images[0].in_spec:
            left["no longer in the spec"] += 1
        else:
            asked[task] = len(images)
    left["sent again before"] += len(again - standing.keys())
    return asked, left


def send_again(folder: Path, found: Rejections) -> None:
    """Book it: the next run buys them under its budget. *Raises* RunError when one changed since it was looked at."""
    with amending(folder) as amend:
        for stored in found.tasks:
            if amend.journal.task_of(stored.task.id) != stored:
                raise RunError(f"{folder} changed meanwhile: say the same command again; nothing was booked")
        amend.record([RetryAsked(stored.task.number, rejected=True) for stored in found.tasks], found.tasks)
