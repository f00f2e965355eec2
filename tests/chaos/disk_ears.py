"""What a child of the disk's campaigns puts between the product and the world: ears, spoilers, and virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

import pipeline.manifest.table  # noqa: F401 - loaded before the fork, not after each
import pipeline.runtime.run as run_module
import pipeline.runtime.shelf as shelf_module
import pipeline.simulator.results as results_module
import pipeline.store.file as file_module
import pipeline.store.syncing as syncing_module
from pipeline.cli import run as _command  # noqa: F401 - the same
from pipeline.engine.facts import Accepted, Fact, PictureStored
from pipeline.runtime import wiring
from pipeline.runtime.clock import Clock, VirtualLoop, run_virtual, until
from pipeline.runtime.commits import ThreadCommitter
from pipeline.runtime.history import Result
from pipeline.runtime.perform import Performer
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.pixels import Scene
from pipeline.store.journal import Journal
from pipeline.transport.door import Door
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.folder import BALLAST
from pipeline.values.wire import DownloadOutcome, Outcome, Request
from tests.chaos.child import FOLD_AT
from tests.chaos.disk_child import KILLED, NO_BALLAST, Order, Spoil, fill
from tests.chaos.recorder import Recorder


class Counter:
    """Spoils the N-th operation, and counts."""

    def __init__(self, spoil: Spoil) -> None:
        self._spoil = spoil
        self.count = 0

    def __call__(self, call: str, _path: str) -> int:
        """The errno of this operation; 0: it goes through."""
        self.count += 1
        spoil = self._spoil
        if not spoil.number or self.count < spoil.number or (self.count > spoil.number and not spoil.sticky):
            return 0
        if not spoil.error:
            os._exit(KILLED)
        if spoil.sticky and spoil.error == errno.ENOSPC and call in {"unlink", "ftruncate", "rmdir", "fsync"}:
            return 0  # a full disk lets go of things
        return spoil.error


class Filler:
    """Fills the disk when its moment comes, leaving so many bytes free, or gives all back."""

    def __init__(self, order: Order) -> None:
        self._plan = dict(order.fill)
        self._path = order.filler
        self._ballast = order.run / BALLAST
        self._seen: dict[str, int] = {}

    def came(self, what: str) -> None:
        """One more of these has come."""
        self._seen[what] = self._seen.get(what, 0) + 1
        free = self._plan.pop(f"{what} {self._seen[what]}", None)
        if free == NO_BALLAST:
            self._ballast.unlink(missing_ok=True)
            free = 0
        if free is not None:
            fill(self._path, free)


_ATTEMPT: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("attempt", default=0)


class _Watched:
    """A door that notes each paid POST before it leaves, and when its answer has come."""

    def __init__(self, door: Door, world: Path, recorder: Recorder, filler: Filler) -> None:
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

    def account(self, gateway: str) -> str:
        return self._door.account(gateway)

    def unfit(self, gateway: str, location: str) -> str:
        return self._door.unfit(gateway, location)

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


def patch(order: Order, recorder: Recorder, filler: Filler) -> None:
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
    _hear_folds(recorder)
    if order.named:
        keeping: Any = shelf_module
        keeping.IN_MEMORY_MAX = 10
    if order.whole:
        syncs: Any = syncing_module
        syncs.WHOLE_MIN, syncs.DIRTY_MAX = 1, 1 << 62
    if order.plain:
        drawing: Any = results_module
        assert hasattr(drawing, "draw"), "pictures are drawn elsewhere: all the time would go there"
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


def _hear_commits(recorder: Recorder, filler: Filler) -> None:
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


def _hear_folds(recorder: Recorder) -> None:
    small: Any = file_module
    small._FOLD_AT = FOLD_AT
    fold = Journal._fold

    def folded(journal: Journal) -> None:
        wal = journal._path.with_name(f"{journal._path.name}-wal")
        before = wal.stat().st_size if wal.is_file() else 0
        fold(journal)
        if wal.is_file() and wal.stat().st_size < before:
            recorder.note("folded")

    Journal._fold = folded  # type: ignore[method-assign, assignment]


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
