"""One run of the product in a child process, for the campaigns about the disk: everything it does is recorded.

Real is all of it: command line, recovery, the thread that commits, store, ballast, manifest. Two ends are not: the
gateway is the emulator in this process, its book kept outside the recorded folder, and time is virtual.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import hashlib
import io
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image

import pipeline.manifest.table  # noqa: F401 - the same
import pipeline.runtime.run as run_module
import pipeline.simulator.world as world_module
from pipeline.cli import run as _command  # noqa: F401 - loaded before the fork, not after each
from pipeline.cli.main import cli
from pipeline.engine.messages import Accepted, Fact, PictureStored
from pipeline.runtime import wiring
from pipeline.runtime.clock import Clock, VirtualLoop, run_virtual, until
from pipeline.runtime.commits import ThreadCommitter
from pipeline.runtime.history import Result
from pipeline.runtime.perform import Performer
from pipeline.simulator.exchange import WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.pixels import Scene
from pipeline.store.journal import Journal
from pipeline.transport.door import Door
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.wire import DownloadOutcome, Outcome, Request
from tests.chaos.recorder import OTHERS, Event, Recorder, Unusable

#: A run that takes longer than this hangs (seconds of real time).
HANGS_S: Final = 60.0
RUN: Final = "run"
KILLED: Final = 137

SPEC: Final = """\
version: 1
name: disk
model: mulerouter/qwen-image-max
matrix:
  color: COLORS
prompt: "A {{ color }} mug"
size: 1328x1328
budget: 5.00 USD
"""
_COLORS: Final = ("red", "teal", "black", "white", "olive", "navy", "pink", "gold", "gray", "lime", "plum", "rust")


@dataclass(frozen=True, slots=True)
class Spoil:
    """The `number`-th operation (from 1; 0: none, they are only counted) fails, and with `sticky` all after it.

    Without an `error` the process dies there, as by kill -9.
    """

    number: int = 0
    error: int = 0
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What a child shall do. `place` exists and holds spec.yaml; `place/disk` is the disk that is recorded."""

    place: Path
    faults: Mapping[str, object] = field(default_factory=dict)
    seed: int = 1
    #: SQLite's `synchronous`, against the product's own.
    synchronous: str = ""
    spoil: Spoil | None = None
    #: {what is awaited, as "post 2": bytes left free when it comes; -1: give all back}. Awaited are post, answer,
    #: download, commit, stored.
    fill: Mapping[str, int] = field(default_factory=dict)
    #: Pictures of one colour, which cost no time to draw and little to look at.
    plain: bool = False
    #: Whether what was written is kept; without, only what happened.
    keep: bool = True

    @property
    def disk(self) -> Path:
        """The recorded folder, which holds the run folder."""
        return self.place / "disk"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.disk / RUN

    @property
    def filler(self) -> Path:
        """What fills the disk."""
        return self.disk / OTHERS

    @property
    def world(self) -> Path:
        """The vendor's own book."""
        return self.place / "world.jsonl"


@dataclass(frozen=True, slots=True)
class Played:
    """How the child ended. `code` is None when it hung and was ended."""

    code: int | None
    words: str
    events: Sequence[Event]
    #: I/O operations that could have failed.
    operations: int


def prepare(place: Path, tasks: int) -> Order:
    """A fresh place with a spec of so many tasks."""
    (place / "disk").mkdir(parents=True)
    (place / "spec.yaml").write_text(SPEC.replace("COLORS", f"[{', '.join(_COLORS[:tasks])}]"))
    return Order(place)


def play(order: Order) -> Played:
    """Run the product once, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    child = context.Process(target=_child, args=(order,))
    child.start()
    child.join(HANGS_S)
    code = child.exitcode
    if code is None:
        child.kill()
        child.join()
    words = (order.place / "words").read_text(errors="replace")
    try:
        events, operations, unusable = pickle.loads((order.place / "events").read_bytes())  # noqa: S301 - our child's
    except (FileNotFoundError, EOFError):
        events, operations, unusable = [], 0, ""
    if unusable:
        raise Unusable(unusable)
    return Played(code, words, events, operations)


def bill(order: Order) -> tuple[set[str], int]:
    """The vendor's own book when all has ended: ids of accepted operations, and micro-USD billed in the end."""
    world = open_world(order.world)
    world.handle("", WireRequest("GET", "/__bill", {}), world.clock + 1e6)
    told = world.bill(operations=True)
    assert isinstance(told["gateways"], dict)
    assert isinstance(told["operations"], list)
    micros = sum(book["micros"] for book in told["gateways"].values())
    return {str(entry["id"]) for entry in told["operations"]}, micros


# --- in the child -----------------------------------------------------------------------------------------------------


class _Counter:
    """Spoils the N-th operation, and counts."""

    def __init__(self, spoil: Spoil) -> None:
        self._spoil = spoil
        self.count = 0

    def __call__(self, call: str, _path: str) -> int:
        self.count += 1
        spoil = self._spoil
        if not spoil.number or self.count < spoil.number or (self.count > spoil.number and not spoil.sticky):
            return 0
        if not spoil.error:
            os._exit(KILLED)
        if spoil.sticky and spoil.error == errno.ENOSPC and call in {"unlink", "ftruncate", "rmdir", "fsync"}:
            return 0  # a full disk lets go of things
        return spoil.error


class _Filler:
    """Fills the disk when its moment comes, leaving so many bytes free, or gives all back."""

    def __init__(self, order: Order) -> None:
        self._plan = dict(order.fill)
        self._path = order.filler
        self._seen: dict[str, int] = {}

    def came(self, what: str) -> None:
        self._seen[what] = self._seen.get(what, 0) + 1
        free = self._plan.pop(f"{what} {self._seen[what]}", None)
        if free is not None:
            fill(self._path, free)


def fill(path: Path, free: int) -> None:
    """Leave so many bytes free on the disk of a path; -1: give back what was taken."""
    if free < 0:
        path.unlink(missing_ok=True)
        return
    told = os.statvfs(path.parent)
    taken = path.stat().st_size if path.exists() else 0
    size = max(0, taken + told.f_bavail * told.f_frsize - free)
    with path.open("ab") as file:
        if size > taken:
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


_ATTEMPT: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("attempt", default=0)


class _Watched:
    """A door that notes each paid POST before it leaves, and when its answer has come."""

    def __init__(self, door: Door, world: Path, recorder: Recorder, filler: _Filler) -> None:
        self._door = door
        self._world = world
        self._recorder = recorder
        self._filler = filler

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = 64 * 1024 * 1024) -> Outcome:
        paid = request.method == "POST"
        if paid:
            self._recorder.note("post", at=_ATTEMPT.get())
            self._filler.came("post")
        outcome = await self._door.exchange(request, timeout_s=timeout_s, body_max=body_max)
        if paid:
            self._recorder.note("answer", at=_ATTEMPT.get(), other=type(outcome).__name__)
            self._recorder.note("world", str(self._world.stat().st_size), at=_ATTEMPT.get())
            self._filler.came("answer")
        return outcome

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        self._filler.came("download")
        return await self._door.download(gateway, link, write, timeout_s=timeout_s, size_max=size_max)

    async def close(self) -> None:
        await self._door.close()


@dataclass(frozen=True, slots=True)
class _AnyThreadsClock:
    """Virtual time, told in any thread: the one that commits stamps what it writes."""

    loop: asyncio.AbstractEventLoop

    def now(self) -> float:
        return self.loop.time()

    def wall_micros(self) -> int:
        return round(self.loop.time() * 1e6)

    def steady(self) -> tuple[str, int]:
        return "virtual", self.wall_micros()

    async def until(self, when: float) -> None:
        await until(when)


class _StillCommitter(ThreadCommitter):
    """The real thread that commits; virtual time stands still while it works."""

    def commit(self, facts: Sequence[Fact]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        future = super().commit(facts)
        loop._outside += 1
        future.add_done_callback(loop._came_back)
        return future


def _child(order: Order) -> None:
    """Play, and leave events and exit code behind."""
    words = os.open(order.place / "words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(words, 1)
    os.dup2(words, 2)
    (order.place / "events").unlink(missing_ok=True)
    keep = (order.place / "events").open("wb")
    counter = _Counter(order.spoil or Spoil())
    recorder = Recorder(order.disk, spoil=counter, keep=order.keep)
    code: object = 1
    unusable = ""
    try:
        recorder.install()
        recorder.note("world_at_first", str(order.world.stat().st_size if order.world.exists() else 0))
        _patch(order, recorder, _Filler(order))
        cli.main(["run", str(order.place / "spec.yaml"), "--run-dir", str(order.run), "--yes", "--display", "none"])
    except Unusable as error:
        unusable = str(error)
    except SystemExit as error:
        code = error.code
    recorder.spoil = None
    keep.write(pickle.dumps((recorder.events, counter.count, unusable)))
    keep.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def _patch(order: Order, recorder: Recorder, filler: _Filler) -> None:
    """Put the recorder's ears where the product passes: each passes on what it hears."""
    patched: Any = run_module
    patched.run_sync = lambda plan, options, listener=None, confirm=None: _run_virtual(
        order, plan, options, listener, confirm
    )
    patched.ThreadCommitter = _StillCommitter
    shared: Any = wiring

    def door(_plan: object, _options: object, _place: Path, clock: Clock) -> Door:
        world = open_world(order.world, seed=order.seed, faults=parse_faults(order.faults))
        return _Watched(MemoryDoor(world, clock, journal=order.world), order.world, recorder, filler)

    shared.door = door
    _hear_commits(recorder, filler)
    _hear_submits()
    if order.plain:
        drawing: Any = world_module
        drawing.draw = _plain_picture
    if order.synchronous:
        begin = Journal._begin

        def begun(journal: Journal, run_id: str) -> None:
            begin(journal, run_id)
            journal._db.execute(f"PRAGMA synchronous={order.synchronous}")

        Journal._begin = begun  # type: ignore[method-assign, assignment]


def _plain_picture(scene: Scene) -> bytes:
    colour = hashlib.sha256(repr(scene).encode()).digest()
    file = io.BytesIO()
    Image.new("RGB", (scene.width, scene.height), (colour[0], colour[1], colour[2])).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _hear_commits(recorder: Recorder, filler: _Filler) -> None:
    commit = Journal.commit

    def committed(journal: Journal, facts: Sequence[Fact]) -> None:
        try:
            commit(journal, facts)
        except BaseException:
            recorder.note("commit_failed")
            raise
        for fact in facts:
            match fact:
                case Accepted(attempt, operation):
                    recorder.note("known", operation, at=attempt)
                case PictureStored(attempt, _, artifact):
                    recorder.note("kept", artifact.path, other=artifact.sha256, at=attempt)
                    filler.came("stored")
                case _:
                    pass
        filler.came("commit")

    Journal.commit = committed  # type: ignore[method-assign, assignment]


def _hear_submits() -> None:
    submit = Performer.submit

    async def submitted(self: Performer, command: Any, *rest: Any, **named: Any) -> Any:
        _ATTEMPT.set(command.attempt)
        return await submit(self, command, *rest, **named)

    Performer.submit = submitted  # type: ignore[method-assign]


def _run_virtual(order: Order, plan: Any, options: Any, listener: Any, confirm: Any) -> Result:
    # Each life begins an hour after the one before, when all that was asked for has been made.
    lives = sum(1 for _ in order.place.glob("life.*"))
    (order.place / f"life.{lives}").touch()
    start = wiring.REHEARSAL_EPOCH_S + 3600.0 * lives

    async def work() -> Result:
        clock = _AnyThreadsClock(asyncio.get_running_loop())
        return await run_module.run(plan, options, listener, confirm, clock=clock)

    return run_virtual(lambda _clock: work(), start=start)
