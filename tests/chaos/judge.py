"""The judge: an emulator's own books against a run folder that nobody is working on. It changes neither.

It trusts what the vendor wrote down (`world.jsonl`), reads the store's tables with plain SQLite, and counts money and
pictures by itself. What the product's own check of its store finds counts besides, and what it does
not find proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image
from pyarrow import feather, parquet

from pipeline.simulator.pixels import draw
from pipeline.simulator.results import scene
from pipeline.simulator.world import World
from pipeline.store.journal import Journal
from tests.chaos.jobs import PRICE, Job
from tests.chaos.tables import Attempt, Tables

#: A POST without an id that the gateway may have accepted all the same.
_OPEN: Final = ("SUBMITTING", "DOUBT", "WRITTEN_OFF")
_DOUBTS: Final = ("DOUBT", "VANISHED")
_ENDED: Final = ("done", "short", "failed", "skipped")


@dataclass(frozen=True, slots=True)
class Sold:
    """An operation in the vendor's book. *Units* - micros: what it costs once it has ended."""

    id: str
    prompt: str
    asked: int
    images: int
    end: str
    vanished: bool

    @property
    def micros(self) -> int:
        """Failed operations cost nothing; one that nobody knows when asked costs all the same."""
        return self.images * PRICE if self.end == "completed" else 0

    @property
    def extra(self) -> int:
        """What it costs above what was asked for."""
        return max(0, self.images - self.asked) * PRICE if self.end == "completed" else 0


@dataclass(frozen=True, slots=True)
class Books:
    """The vendor's book, read from its file."""

    lines: tuple[str, ...]
    sold: Mapping[str, Sold]
    #: POSTs that came in, whatever became of them.
    posts: int

    @classmethod
    def read(cls, path: Path) -> Books:
        """Whole lines only; no file is an empty book."""
        data = path.read_bytes() if path.exists() else b""
        lines = data[: data.rfind(b"\n") + 1].decode().splitlines()
        sold, posts = {}, {}
        for line in lines:
            entry = json.loads(line)
            if entry["kind"] == "accepted":
                order = entry["order"]
                sold[entry["id"]] = Sold(
                    entry["id"], order["prompt"], order["n"], entry["images"], entry["end"], entry["vanished"]
                )
            elif entry["kind"] == "seen":
                posts.update(entry["counts"])
        return cls(tuple(lines), sold, sum(posts.values()))

    @property
    def micros(self) -> int:
        """All that was sold will be billed at last: no instant's bill is above this."""
        return sum(one.micros for one in self.sold.values())

    def pictures(self, ids: Iterable[str]) -> dict[str, list[str]]:
        """{operation: digests of the pictures that were made}, drawn once more."""
        books = World.load(self.lines)._books
        return {
            one: [
                hashlib.sha256(draw(scene(books, books.operations[one], index))).hexdigest()
                for index in range(self.sold[one].images)
            ]
            for one in ids
        }


@dataclass(slots=True)
class Judge:
    """Judges one run folder over all its lives."""

    folder: Path
    world: Path
    job: Job
    #: Names of files that the campaign itself planted below images/.
    planted: frozenset[str] = frozenset()
    #: A person told `retry`, so tasks that were written off may be bought again.
    retried: bool = False
    #: {path: (size, time, digest)} of files that were decoded before.
    _decoded: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    # --- after every death ---

    def moment(self) -> list[str]:
        """Everything that holds whenever nobody is working on the folder."""
        try:
            tables = Tables.read(self.folder)
        except sqlite3.Error as error:
            return [f"the store cannot be read: {error}"]
        # Read last: a POST that outlived its sender may be accepted while we look, and is covered all the same.
        books = Books.read(self.world)
        if tables is None:
            return [f"{len(books.sold)} operations were accepted before there was a store"] if books.sold else []
        found = [*tables.faults(), *_second_opinion(self.folder)]
        found += _money(books, tables, self.job)
        found += _settled(books, tables.attempts)
        found += _coverage(books, tables.attempts, tables.prompts)
        if self.job.on_doubt != "resubmit" and not self.retried:
            found += _twice(books)
        found += self._files(tables.stored, tables.pending)
        found += _tables(self.folder)
        return found

    def _files(self, stored: Mapping[str, str], pending: frozenset[tuple[int, int]]) -> Iterator[str]:
        notes = _notes(self.folder)
        for path in sorted((self.folder / "images").rglob("*")):
            if path.is_dir() or path.name in self.planted:
                continue
            name = path.relative_to(self.folder).as_posix()
            try:
                digest = self._digest(name, path)
            except (OSError, ValueError, SyntaxError) as error:
                yield f"{name} does not decode: {error}"
                continue
            adoptable = any((note["attempt"], note["index"]) in pending for note in notes.get((name, digest), ()))
            if name in stored and stored[name] != digest:
                yield f"{name} has other bytes than the store says"
            elif name not in stored and not adoptable:
                yield f"{name} is neither in the store nor adoptable"
        for name in sorted(stored):
            if not (self.folder / name).is_file():
                yield f"{name} is in the store and not on the disk"

    def _digest(self, name: str, path: Path) -> str:
        known, stat = self._decoded.get(name), path.stat()
        if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
            return known[2]
        with Image.open(path) as image:
            image.load()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._decoded[name] = (stat.st_size, stat.st_mtime_ns, digest)
        return digest

    # --- at the end ---

    def end(self, code: int) -> list[str]:
        """Everything that holds once a run has ended in order with this exit code."""
        tables = Tables.read(self.folder)
        if tables is None:
            return [f"it ended with exit code {code}, and there is no store"]
        attempts, phases, total = tables.attempts, tables.phases, int(tables.meta.get("total") or 0)
        books = Books.read(self.world)
        found = list(self._pictures(books, attempts, code))
        waiting = sum(attempt.state in _DOUBTS for attempt in attempts)
        wanted = _exit_code(phases, total, waiting)
        if code not in (6, 130) and code != wanted:
            found.append(f"exit code {code} where {wanted} was due: {dict(phases)} of {total}")
        if code == 6 and wanted in (0, 4):
            found.append(f"parked, and there is nothing to wait for: {dict(phases)} of {total}")
        states = {attempt.state for attempt in attempts}
        if not states & {*_DOUBTS, "WRITTEN_OFF", "SUBMITTING", "ACCEPTED"} and tables.spent != books.micros:
            found.append(f"nothing is open, and settled is {tables.spent} where the vendor billed {books.micros}")
        return found

    def _pictures(self, books: Books, attempts: Sequence[Attempt], code: int) -> Iterator[str]:
        """Every picture of every known operation is in the manifest exactly once, with the bytes that were served."""
        due = []
        for attempt in attempts:
            sold = books.sold.get(attempt.operation)
            if attempt.state == "SETTLED" and sold is not None and sold.end == "completed":
                due.append(attempt.operation)
            elif attempt.state in ("RESERVED", "SUBMITTING", "ACCEPTED") and code not in (6, 130):
                yield f"attempt {attempt.attempt} is still {attempt.state} after an end with exit code {code}"
        table = feather.read_table(self.folder / "images.arrow", memory_map=False)
        told: defaultdict[str, list[str]] = defaultdict(list)
        columns = (table.column(name).to_pylist() for name in ("operation_id", "sha256"))
        for operation, digest in zip(*columns, strict=True):
            told[operation].append(digest)
        places = Counter(zip(*(table.column(name).to_pylist() for name in ("task_id", "image_index")), strict=True))
        yield from (f"{place} has {count} rows in the manifest" for place, count in places.items() if count > 1)
        for operation, made in books.pictures(due).items():
            if sorted(made) != sorted(told.pop(operation, [])):
                yield f"operation {operation} made {len(made)} pictures, and the manifest has others or other numbers"
        yield from (f"the manifest has pictures of {operation}, which sold none" for operation in told)

    def bytes_of_folder(self) -> dict[str, str]:
        """{path: digest} of everything in the run folder; times do not count."""
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


def _second_opinion(folder: Path) -> list[str]:
    journal = Journal.open_read_only(folder / "state.db")
    try:
        return journal.integrity_check()
    finally:
        journal.close(clean=False)


def _settled(books: Books, attempts: Sequence[Attempt]) -> Iterator[str]:
    """Each attempt of a known operation against that operation's own price: no sum hides one behind another."""
    for attempt in attempts:
        sold = books.sold.get(attempt.operation)
        if sold is None:
            continue
        if attempt.state == "SETTLED" and attempt.settled != sold.micros:
            yield f"attempt {attempt.attempt} is settled with {attempt.settled}, its operation costs {sold.micros}"
        if attempt.state == "VOID" and sold.micros:
            yield f"attempt {attempt.attempt} is void, and its operation costs {sold.micros}"
        if attempt.state == "WRITTEN_OFF" and sold.micros > attempt.settled + sold.extra:
            yield f"attempt {attempt.attempt} is written off with {attempt.settled}, its operation costs {sold.micros}"


def _money(books: Books, tables: Tables, job: Job) -> Iterator[str]:
    account = tables.accounts.get("USD")
    kept = 0 if account is None else account.spent + account.held + account.doubt
    settled = {attempt.operation for attempt in tables.attempts if attempt.state == "SETTLED"}
    # What was never asked for cannot be held before it is known; from then on it is booked in full.
    unknown = sum(one.extra for one in books.sold.values() if one.id not in settled)
    if books.micros > kept + unknown:
        yield f"the vendor bills {books.micros}; settled, held and doubt are {kept} (+ {unknown} not asked for)"
    extra = sum(one.extra for one in books.sold.values())
    if books.micros > job.cap + extra:
        yield f"the vendor's bill comes to {books.micros}, above the cap of {job.cap}"
    if account is not None and kept > account.cap + account.overage:
        yield f"settled, held and doubt are {kept}, above the cap of {account.cap}"
    if account is not None and account.cap != job.cap:
        yield f"the store's cap is {account.cap}, the spec's {job.cap}"


def _coverage(books: Books, attempts: Sequence[Attempt], prompts: Mapping[str, str]) -> Iterator[str]:
    known = {attempt.operation for attempt in attempts if attempt.operation}
    unknown = Counter(one.prompt for one in books.sold.values() if one.id not in known)
    covering = Counter(
        prompts[attempt.task] for attempt in attempts if not attempt.operation and attempt.state in _OPEN
    )
    for prompt, count in unknown.items():
        if covering[prompt] < count:
            yield f"{count} accepted operations for {prompt!r} are unknown, {covering[prompt]} attempts cover them"
    for attempt in attempts:
        if attempt.operation and attempt.operation not in books.sold:
            yield f"attempt {attempt.attempt} has an operation that the vendor never gave out"


def _twice(books: Books) -> Iterator[str]:
    bought = Counter(one.prompt for one in books.sold.values() if one.end in ("completed", "stuck"))
    yield from (f"{prompt!r} was accepted {count} times" for prompt, count in bought.items() if count > 1)


def _notes(folder: Path) -> dict[tuple[str, str], list[Any]]:
    """{(path, digest): the notes that were taken before a file got its name}."""
    found: dict[tuple[str, str], list[Any]] = {}
    for path in (folder / ".parts").glob("kept*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                note = json.loads(line)
            except ValueError:
                continue
            found.setdefault((note["path"], note["sha256"]), []).append(note)
    return found


def _tables(folder: Path) -> Iterator[str]:
    """What stands under the manifest's names is whole, whenever one looks, and its pictures are there."""
    for name in ("images.arrow", "tasks.arrow", "images.parquet"):
        path = folder / name
        if not path.exists():
            continue
        try:
            table = parquet.read_table(path) if name.endswith("parquet") else feather.read_table(path, memory_map=False)
        except (OSError, ValueError) as error:
            yield f"{name} cannot be read: {error}"
            continue
        if name == "images.arrow":
            columns = (table.column(name).to_pylist() for name in ("path", "sha256"))
            for place, digest in zip(*columns, strict=True):
                file = folder / place
                if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                    yield f"images.arrow has {place}, whose file is missing or another"


def _exit_code(phases: Mapping[str, int], total: int, doubts: int) -> int:
    """The first that holds (docs/commands.md), for an end that was neither parked nor drained.

    Written out here and not taken from the product: a judge does not ask the accused.
    """
    if doubts:
        return 5
    if sum(phases.get(phase, 0) for phase in _ENDED) < total:
        return 3
    return 4 if any(phases.get(phase, 0) for phase in ("short", "failed", "skipped")) else 0
