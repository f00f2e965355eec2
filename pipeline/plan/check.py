"""Checks: every task against its model's card, and against all others, before any money moves."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.plan.bounds import check_task, constant_flaws
from pipeline.plan.expand import Plan
from pipeline.plan.flaw import Flaw, FlawBook, Flawed
from pipeline.plan.naming import names_of
from pipeline.plan.pictures import is_uploaded
from pipeline.plan.places import too_many
from pipeline.plan.summary import Summary, Sums, count, summarise
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.task import InlineInput, LocalInput, Task

#: Bytes of a stored picture per pixel, about; lossless photographs are near this.
BYTES_PER_PIXEL: Final = 1.5
#: Tasks of a job. Each is built and checked before any money moves, which takes minutes for so many.
TASKS_MAX: Final = 10_000_000
#: How many tasks are checked between two calls of `tell`.
_TELL_EVERY: Final = 1024
_PIXELS_UNSIZED: Final = 1024 * 1024
_BUCKETS: Final = 256


@dataclass(slots=True)
class _Seen:
    """Eight bytes of a digest and a task number each, in buckets, so that a million tasks are 16 MB."""

    keys: list[array[int]] = field(default_factory=lambda: [array("Q") for _ in range(_BUCKETS)])
    numbers: list[array[int]] = field(default_factory=lambda: [array("Q") for _ in range(_BUCKETS)])

    def add(self, key: int, number: int) -> None:
        bucket = key & (_BUCKETS - 1)
        self.keys[bucket].append(key)
        self.numbers[bucket].append(number)

    def repeated(self) -> Iterator[list[int]]:
        """The numbers that share a key, in order."""
        for keys, numbers in zip(self.keys, self.numbers, strict=True):
            if len(set(keys)) == len(keys):
                continue
            groups: dict[int, list[int]] = {}
            for key, number in zip(keys, numbers, strict=True):
                groups.setdefault(key, []).append(number)
            yield from (group for group in groups.values() if len(group) > 1)


def check(plan: Plan, tell: Callable[[int], None] | None = None) -> Summary:
    """Build and check every task of a plan. *Raises* PlanError with every flaw, each told once with a count.

    `tell` hears now and then how many tasks are checked.
    """
    book = FlawBook()
    if len(plan) > TASKS_MAX:
        book.add(too_many(TASKS_MAX))
        book.stop(plan.job)
    sums: dict[str, Sums] = {}
    ids, paths = _Seen(), _Seen()
    first_prompt = ""
    pixels = 0.0
    cards = {f"{g.name}/{m.name}": m for g in plan.cards.values() for m in g.models.values()}
    uploads: dict[str, set[str]] = {}
    converted: set[str] = set()
    named = plan.job.output_path is not None
    for number in range(len(plan)):
        if tell is not None and number % _TELL_EVERY == 0:
            tell(number)
        try:
            task = plan.build(number)
            flaws = check_task(task, cards[task.lane])
        except Flawed as flawed:
            for flaw in flawed.flaws:
                book.add(flaw, plan.label(number))
            continue
        for flaw in flaws:
            book.add(replace(flaw, path=plan.origin(number, flaw.path)), plan.label(number))
        first_prompt = first_prompt or task.prompt
        count(sums, task, 1)
        _count_uploads(uploads, task, plan.cards[task.gateway], cards[task.lane])
        pixels += task.n * _pixels(task.size)
        converted |= {each.uri for each in task.inputs if isinstance(each, LocalInput | InlineInput) and each.sent_as}
        ids.add(int(task.id[:16], 16), number)
        if named:
            for name in names_of(task.path, task.n):
                paths.add(hash(name) & 0xFFFF_FFFF_FFFF_FFFF, number)
    for path in plan.unmatched:
        if not book:
            book.add(Flaw(f"{path}.when", "the override matches no task", "mend it, or remove it"))
    repeats = _drop_duplicates(plan, ids, sums) if not book else {}
    if named and not book:
        _check_paths(plan, paths, book)
    if book:
        for flaw in constant_flaws(plan.job, plan.cards):
            book.add_constant(flaw)
    book.stop(plan.job)
    made = summarise(plan, sums, len(repeats), first_prompt, int(pixels * BYTES_PER_PIXEL))
    notes = (*made.notes, *_upload_notes(plan, uploads), *_converted_notes(converted))
    return replace(made, repeats=repeats, notes=notes)


def _count_uploads(uploads: dict[str, set[str]], task: Task, gateway: GatewayCard, model: ModelCard) -> None:
    """{gateway: digests of what is uploaded there}, of gateways that keep so many files and no more."""
    rule = model.pictures
    if gateway.uploads_max is None or rule is None or rule.carry == "inline":
        return
    bound = f"{task.model}/" if gateway.placement_scope == "model" else ""
    for source in task.inputs:
        if isinstance(source, LocalInput | InlineInput) and is_uploaded(rule, source.picture):
            uploads.setdefault(gateway.name, set()).add(bound + source.picture.sha256)


def _converted_notes(converted: set[str]) -> Iterator[str]:
    if converted:
        first, more = min(converted)[:120], f" and {len(converted) - 1:,} more" if len(converted) > 1 else ""
        yield f"{first}{more}: sent as PNG, for the upload takes no such format; the manifest says so"


def _upload_notes(plan: Plan, uploads: Mapping[str, set[str]]) -> Iterator[str]:
    for name, pictures in uploads.items():
        card = plan.cards[name]
        most = card.uploads_max
        if most is not None and most.value is not None and len(pictures) > most.value:
            lives = (
                "" if card.upload_lives_s is None else f", or gone, {card.upload_lives_s / 3600:g} h after their upload"
            )
            yield (
                f"{len(pictures)} pictures are uploaded to {card.title}, which keeps {most.value:g} files for an "
                f"account at once ({most.certainty}: {most.source}, {most.date}), yours of before among them: uploads "
                f"beyond that park the run, which goes on with the same command once files are deleted there{lives}"
            )


def _drop_duplicates(plan: Plan, ids: _Seen, sums: dict[str, Sums]) -> dict[int, int]:
    """Take tasks that are bought already by an earlier one out of the sums, and say which is which."""
    dropped: dict[int, int] = {}
    for numbers in ids.repeated():
        seen: dict[str, int] = {}
        for number in numbers:
            task = plan.build(number)
            if task.id in seen:
                dropped[number] = seen[task.id]
                count(sums, task, -1)
            else:
                seen[task.id] = number
    return dropped


def _check_paths(plan: Plan, paths: _Seen, book: FlawBook) -> None:
    for numbers in paths.repeated():
        owners: dict[str, str] = {}
        for number in dict.fromkeys(numbers):
            task = plan.build(number)
            for name in names_of(task.path, task.n):
                if owners.setdefault(name, task.id) != task.id:
                    what = "different pictures would have one name"
                    remedy = "put what tells them apart into outputs.path, such as an axis or {{ sample }}"
                    book.add(Flaw("outputs.path", what, remedy, task.path), plan.label(number))
                    break


def _pixels(size: str | None) -> int:
    width, times, height = (size or "").partition("x")
    return int(width) * int(height) if times else _PIXELS_UNSIZED
