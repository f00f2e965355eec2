"""One run of the product in a child process, for the campaigns about the disk: everything it does is recorded.

Real is all of it: command line, recovery, the thread that commits, store, ballast, manifest. Two ends are not: the
gateway is the emulator in this process, its book kept outside the recorded folder, and time is virtual.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline.cli.main import cli
from pipeline.simulator.exchange import WireRequest
from pipeline.transport.memory import open_world
from tests.chaos.recorder import Recorder
from tests.chaos.tape import OTHERS, Event, Unusable

#: A run that takes longer than this hangs (seconds of real time).
HANGS_S: Final = 60.0
RUN: Final = "run"
KILLED: Final = 137
#: Instead of a number of free bytes: none, and the ballast is gone as well.
NO_BALLAST: Final = -2

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
    #: {what is awaited, as "post 2": bytes left free when it comes; -1: give all back; NO_BALLAST}. Awaited are post,
    #: answer, download, commit, stored.
    fill: Mapping[str, int] = field(default_factory=dict)
    #: Pictures of one colour, which cost no time to draw and little to look at.
    plain: bool = False
    #: Whether pictures have names on their way in, as large ones do, and whether one sync is asked for all of the disk.
    named: bool = False
    whole: bool = False
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
    context.set_forkserver_preload(["tests.chaos.disk_ears"])
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


def _child(order: Order) -> None:
    """Play, and leave events and exit code behind."""
    from tests.chaos import disk_ears

    words = os.open(order.place / "words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(words, 1)
    os.dup2(words, 2)
    (order.place / "events").unlink(missing_ok=True)
    keep = (order.place / "events").open("wb")
    counter = disk_ears.Counter(order.spoil or Spoil())
    recorder = Recorder(order.disk, spoil=counter, keep=order.keep)
    code: object = 1
    unusable = ""
    try:
        recorder.install()
        recorder.note("world_at_first", str(order.world.stat().st_size if order.world.exists() else 0))
        disk_ears.patch(order, recorder, disk_ears.Filler(order))
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
