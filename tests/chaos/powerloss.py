"""T7: what a run promised before the power went is true of every disk that may be left (I1, I2, I4, I5, I6)."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from pyarrow import feather

import pipeline
from pipeline.engine.phases import AttemptState
from pipeline.runtime import prepare as preparing
from pipeline.runtime import wiring
from pipeline.runtime.session import Session
from pipeline.store.journal import Journal
from pipeline.store.room import Room
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.folder import IMAGES, PARTS
from tests.chaos import crash, disk_child
from tests.chaos.disk_child import RUN, Order, Spoil
from tests.chaos.nthio import judge_finish
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables
from tests.chaos.tape import Event

#: {size: (recorded runs, states of the product in all, states of each variant, runs finished from a state)}.
_SIZES: Final = {"small": (2, 300, 24, 4), "merge": (10, 20_000, 200, 200)}
_TASKS: Final = 6
#: Of the states of a broken variant, how many must be wrong, and how many must break a promise by name.
_CAUGHT: Final = {"small": 0.1, "merge": 0.25}
_BROKEN: Final = {"small": 0.05, "merge": 0.1}
#: {broken variant: the promises that it breaks}.
_BREAKS: Final = {
    "synchronous=OFF": ("I1", "I2", "I3", "I5"),
    "synchronous=NORMAL": ("I1", "I2", "I3", "I5"),
    "no sync of a picture's folder": ("I4",),
    "no sync of a picture": ("I4",),
}
_FAULTS: Final[tuple[dict[str, object], ...]] = (
    {},
    {"rate_limited": {"every": 4}, "cut_after": {"every": 5}, "cut_download": 0.3, "truncated_picture": 0.2},
    {"expired_links": 0.3, "malformed_submit": {"every": 4}, "server_error_poll": 0.3, "failed": 0.2},
)
_SENT: Final = frozenset(AttemptState) - {AttemptState.RESERVED}


@dataclass(frozen=True, slots=True)
class Recording:
    """One run's record. `spec` is where its spec stood, for the plan."""

    name: str
    spec: Path
    events: tuple[Event, ...]
    #: How it was played, and the vendor's book at its end.
    order: Order
    world: bytes


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the store says: {attempt: (state, operation)}, attempts with their hold, {path: sha256} of pictures."""

    attempts: dict[int, tuple[str, str]]
    holds: frozenset[int]
    pictures: dict[str, str]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Clock:
    """Stands still, a year later."""

    def now(self) -> float:
        return 1e6

    def wall_micros(self) -> int:
        return round((wiring.REHEARSAL_EPOCH_S + 366 * 86_400) * 1e6)

    def steady(self) -> tuple[str, int]:
        return "still", 0

    async def until(self, when: float) -> None:
        raise AssertionError(f"recovery waits until {when}")


class _Reopened(Session):
    """The run's own opening and recovery; the store is looked at between the two."""

    found: _Seen

    def _recover(self) -> None:
        self.found = _look(self.it.journal)
        super()._recover()


def _look(journal: Journal) -> _Seen:
    return _Seen(
        {row.attempt: (row.state, row.operation) for row in journal.attempt_rows()},
        frozenset(entry.attempt for entry in journal.money_entries() if entry.kind == "hold"),
        {row.artifact.path: row.artifact.sha256 for row in journal.image_rows()},
        tuple(journal.integrity_check()),
    )


@cache
def _plan(spec: Path) -> Any:
    return pipeline.plan(pipeline.load(spec))


@contextmanager
def _nobody_outside() -> Iterator[None]:
    """Recovery needs neither a gateway nor ballast: a door that nobody goes through, and no stock of 16 MB a state."""
    shared: Any = wiring
    door, stock = shared.door, Room.stock
    shared.door = lambda _plan, _options, _place, clock: MemoryDoor(open_world(None), clock)
    Room.stock = lambda room: room.ballast  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        shared.door, Room.stock = door, stock  # type: ignore[method-assign]


def judge(disk: Path, spec: Path, events: Sequence[Event]) -> list[str]:
    """Open what is left with the product, let it recover, and say every promise that is broken."""
    plan = _plan(spec)
    options = preparing.Options(run_dir=disk / RUN, yes=True)
    posts = [event.at for event in events if event.kind == "post"]
    published = _published(disk / RUN)
    try:
        with _nobody_outside(), ExitStack() as stack:
            session = _Reopened(plan, options, caps=dict(plan.caps), place=disk / RUN, stack=stack, clock=_Clock())
            session.open(None)
            before, after = session.found, _look(session.it.journal)
    except Exception as error:  # noqa: BLE001 - whatever it is, a run that cannot be opened again is a broken promise
        refused = f"it cannot be opened any more, after {len(posts)} POSTs: {type(error).__name__}: {error}"
        return [refused, *_lost(disk / RUN, events)]
    wrong = [*before.faults, *after.faults, *published]
    for attempt in posts:
        state = before.attempts.get(attempt, ("nothing", ""))[0]
        if state not in _SENT or attempt not in before.holds:
            wrong.append(f"I1, I2c: attempt {attempt} was sent, and the disk knew {state} of it")
    answered = {event.at for event in events if event.kind == "answer" and event.other == "Answered"}
    for attempt, (state, _) in after.attempts.items():
        if state == "VOID" and attempt in posts and before.attempts[attempt][0] != "VOID" and attempt not in answered:
            wrong.append(f"I1: attempt {attempt} was sent and never answered, and recovery let its hold go")
    for event in events:
        if event.kind == "known" and before.attempts.get(event.at, ("", ""))[1] != event.path:
            wrong.append(f"I5: operation {event.path} was committed and is not known any more")
        if event.kind == "kept" and before.pictures.get(event.path) != event.other:
            wrong.append(f"I3: picture {event.path} was committed as stored and is not known any more")
    for path, digest in {**before.pictures, **after.pictures}.items():
        wrong.extend(_file_is(disk / RUN / path, digest, "I4: a stored picture's file"))
    return wrong


def _lost(run: Path, events: Sequence[Event]) -> list[str]:
    """What a store that the product refuses has really lost, as plain SQLite shows it."""
    try:
        tables = Tables.read(run)
    except (sqlite3.Error, ValueError, LookupError, TypeError):
        tables = None  # So damaged that a row is no row any more: nothing of it is known.
    known = {} if tables is None else {row.attempt: (row.state, row.operation) for row in tables.attempts}
    stored = {} if tables is None else tables.stored
    wrong = []
    for event in events:
        state, operation = known.get(event.at, ("nothing", ""))
        if event.kind == "post" and state not in _SENT:
            wrong.append(f"I1, I2c: attempt {event.at} was sent, and the disk knew {state} of it")
        if event.kind == "known" and operation != event.path:
            wrong.append(f"I5: operation {event.path} was committed and is not known any more")
        if event.kind == "kept" and stored.get(event.path) != event.other:
            wrong.append(f"I3: picture {event.path} was committed as stored and is not known any more")
    return wrong


def _published(run: Path) -> list[str]:
    """Each row of the manifest that stood there when the power went has its file."""
    path = run / "images.arrow"
    if not path.is_file():
        return []
    try:
        table = feather.read_table(io.BytesIO(path.read_bytes()), columns=["path", "sha256"])
    except Exception as error:  # noqa: BLE001 - a manifest under its name is whole
        return [f"I4: images.arrow cannot be read: {error}"]
    return [
        fault for row in table.to_pylist() for fault in _file_is(run / row["path"], row["sha256"], "I4: a row's file")
    ]


def _file_is(path: Path, digest: str, words: str) -> list[str]:
    if not path.is_file():
        return [f"{words} is missing: {path.name}"]
    return (
        [] if hashlib.sha256(path.read_bytes()).hexdigest() == digest else [f"{words} holds other bytes: {path.name}"]
    )


# --- recording --------------------------------------------------------------------------------------------------------


def record(place: Path, number: int, seed: int, synchronous: str = "") -> Recording:
    """Record a run; every third one goes on where a killed one ended."""
    order = disk_child.prepare(place, _TASKS)
    order = replace(order, faults=_FAULTS[number % len(_FAULTS)], seed=seed, synchronous=synchronous)
    # Each way by which pictures get to their names, whatever their size and number.
    order = replace(order, named=number % 4 == 3, whole=number % 4 == 1)
    name = f"run {number}"
    if number % 3 == 1 and not synchronous:
        cut = random.Random(seed).randint(60, 500)
        disk_child.play(replace(order, spoil=Spoil(cut)))
        name += f" after a kill at operation {cut}"
    played = disk_child.play(order)
    if played.code not in {0, 4, 5, 6}:
        raise AssertionError(f"the recorded run failed with exit {played.code}: {played.words}")
    # A state of its disk is the only such run that there is: nobody is asked about a copy beside its original.
    (order.disk / RUN).rename(place / "recorded")
    return Recording(name, place / "spec.yaml", tuple(played.events), order, order.world.read_bytes())


def _without(recording: Recording, drop: Callable[[Event], bool]) -> Recording:
    return replace(recording, events=tuple(event for event in recording.events if not drop(event)))


def no_folder_sync(event: Event) -> bool:
    """The product forgets to sync the folders that pictures get their names in."""
    return event.kind in {"sync_folder", "sync_all"} and event.path.startswith(f"{RUN}/{IMAGES}")


def no_picture_sync(event: Event) -> bool:
    """The product forgets to sync pictures before it names them."""
    return event.kind in {"sync", "sync_all"} and event.path.startswith(f"{RUN}/{PARTS}/")


# --- the campaign -----------------------------------------------------------------------------------------------------


def states(recording: Recording, seeds: Iterable[int]) -> list[tuple[int, list[str]]]:
    """Judge one state for each seed: (seed, broken promises)."""
    found = []
    if os.access("/dev/shm", os.W_OK):
        # Nothing of this must last; the product's own private copies go there as well.
        tempfile.tempdir = "/dev/shm"
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            disk = Path(place)
            events = _cut(recording, seed)
            crash.after_power_loss(events, seed).build(disk)
            found.append((seed, judge(disk, recording.spec, events)))
    return found


def finish(recording: Recording, place: Path, seed: int) -> list[str]:
    """Let the same command go on from one state, at the gateway that saw every POST; its bill is the judge."""
    events = _cut(recording, seed)
    order = replace(recording.order, place=place, keep=False)
    order.disk.mkdir(parents=True)
    shutil.copy(recording.spec, place / "spec.yaml")
    (place / "life.0").touch()
    crash.after_power_loss(events, seed).build(order.disk)
    posted = {event.at for event in events if event.kind == "post"}
    # Whoever was sent a POST has it, whether or not we lived to read the answer.
    told = [int(event.path) for event in recording.events if event.kind == "world" and event.at in posted]
    before = [int(event.path) for event in recording.events if event.kind == "world_at_first"]
    order.world.write_bytes(recording.world[: max(told + before, default=0)])
    faults = judge_finish(order, disk_child.play(order), frozenset({0, 4, 5}))
    shutil.rmtree(place)
    return faults


def _cut(recording: Recording, seed: int) -> tuple[Event, ...]:
    """What had happened when the power went; not before the recording began."""
    begun = next(number for number, event in enumerate(recording.events) if event.kind == "begun")
    cut = random.Random(seed).randint(begun, len(recording.events))
    return recording.events[:cut]


def campaign(size: str, seed: int) -> Report:
    """20,000 states of whole runs (merge), and four broken variants, each of which must be caught."""
    runs, count, each, finished = _SIZES[size]
    jobs = int(os.environ.get("CHAOS_JOBS", "2"))
    place = Path(tempfile.mkdtemp(prefix="powerloss-"))
    try:
        recordings = [record(place / f"run{number}", number, seed + number) for number in range(runs)]
        variants = {
            "synchronous=OFF": record(place / "off", 0, seed, "OFF"),
            "synchronous=NORMAL": record(place / "normal", 0, seed, "NORMAL"),
            "no sync of a picture's folder": _without(recordings[0], no_folder_sync),
            "no sync of a picture": _without(recordings[0], no_picture_sync),
        }
        with ProcessPoolExecutor(jobs, get_context("forkserver")) as pool:
            work = [
                (
                    recording,
                    range(seed * 1_000_000 + number * 100_000 + start, seed * 1_000_000 + number * 100_000 + end),
                )
                for number, recording in enumerate(recordings)
                for start, end in _chunks(count // runs)
            ]
            broken = dict(
                zip(variants, pool.map(states, variants.values(), [range(each)] * len(variants)), strict=True)
            )
            done = list(pool.map(states, [item[0] for item in work], [item[1] for item in work]))

        def ended(number: int) -> list[str]:
            recording = recordings[number % runs]
            faults = finish(recording, place / f"finish{number}", seed + number)
            return [
                f"{recording.name} of seed {seed}, finished from state {seed + number}: {fault}" for fault in faults
            ]

        with ThreadPoolExecutor(jobs) as lanes:
            unfinished = [fault for faults in lanes.map(ended, range(finished)) for fault in faults]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    violations = unfinished + [
        f"{recording.name} of seed {seed}, state {state}: {fault}"
        for (recording, _), results in zip(work, done, strict=True)
        for state, faults in results
        for fault in islice(faults, 3)
    ]
    figures: dict[str, int | float | str] = {
        "states": sum(len(results) for results in done),
        "recorded runs": runs,
        "runs finished": finished,
        "logs folded": sum(event.kind == "folded" for recording in recordings for event in recording.events),
    }
    floors = {"logs folded": runs}
    violations += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    caught = {name: [faults for _, faults in results if faults] for name, results in broken.items()}
    for name, hits in caught.items():
        promises = sum(1 for faults in hits if any(fault.startswith(_BREAKS[name]) for fault in faults))
        figures[f"of {each} states wrong with {name}"] = len(hits)
        figures[f"break {' or '.join(_BREAKS[name])} with {name}"] = promises
        # Not only the seal's refusal of a store that lost a commit: the promise itself is seen to be broken.
        if len(hits) < _CAUGHT[size] * each or promises < _BROKEN[size] * each:
            violations.append(f"seed {seed}: {name} was noticed in {len(hits)} of {each} states, {promises} by promise")
    return Report("powerloss", figures, tuple(violations))


def _chunks(count: int, size: int = 50) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]
