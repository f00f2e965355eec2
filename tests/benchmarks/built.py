"""Finished folders in minutes instead of hours: the real engine's facts in the real journal, without a wire.

`python -m tests.benchmarks.built SPEC RUN_DIR [--stop N] [--pictures]` opens a run folder as the product does, tells
its engine what a healthy gateway would have answered, and commits the facts in large groups, synced. With `--pictures`
each task's file is there (one picture, linked), under the name that the product gives it. Nothing is concluded: the
product's next run over the folder sees that all is done, writes the manifest and marks the run as finished.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from pipeline.engine.facts import Fact, Held, Permitted, PictureStored
from pipeline.engine.machine import Machine
from pipeline.engine.messages import Fetched, Observation, Offered, PollAnswered, SlotNear, SubmitAnswered
from pipeline.runtime import prepare, wiring
from pipeline.runtime.session import Session
from pipeline.store.shelves import names_for
from pipeline.values.artifact import Artifact
from pipeline.values.reply import Pending, Ready
from pipeline.values.task import Task
from tests.benchmarks.gateways import operation_id
from tests.benchmarks.pictures import picture

#: Facts are committed in groups of so many tasks: one sync for all of them.
GROUP: Final = 512
#: A file may have so many names, and no more on common file systems.
_NAMES_MAX: Final = 50_000


def lives(
    machine: Machine, tasks: Iterator[Task], lane: str, at: int, *, kind: str = "sync", reacts: bool = False
) -> Iterator[list[Fact]]:
    """The facts of whole lives by the engine alone, one task after the other; with `reacts` its commands as well."""
    png = picture("1KB")
    digest = hashlib.sha256(png.data).hexdigest()
    now = 0.0

    def step(observation: Observation) -> list[Fact]:
        told = machine.step(observation, now)
        if reacts:
            for fact in told:
                machine.react(fact, now)
        return told

    for task in tasks:
        facts = step(Offered(task))
        attempt = next(fact.attempt for fact in facts if isinstance(fact, Held))
        facts += step(SlotNear(lane))
        assert any(isinstance(fact, Permitted) for fact in facts), "the lane gave no permission"
        ready = Ready((f"http://127.0.0.1:1/pictures/{task.number}.png",), 1, None, f"{task.number:032x}")
        if kind == "async3":
            facts += step(SubmitAnswered(attempt, Pending(operation_id(task.number))))
            facts += step(PollAnswered(attempt, ready))
        else:
            facts += step(SubmitAnswered(attempt, ready))
        _, path = next(names_for(task, 0, attempt, "image/png"))
        facts += step(
            Fetched(attempt, 0, Artifact(digest, "image/png", len(png.data), png.width, png.height, path, at))
        )
        machine.follow_up()
        yield facts
        now += 0.001


def build(spec: Path, place: Path, *, stop: int | None, pictures: bool) -> dict[str, float]:
    """Fill a run folder; seconds and CPU seconds of what was done."""
    plan = prepare.plan(prepare.load(spec))
    options = prepare.Options(run_dir=place, yes=True)
    began, cpu = time.monotonic(), time.process_time()

    async def fill() -> int:
        count = 0
        with ExitStack() as stack:
            caps = prepare.caps(plan, options, place)
            session = Session(plan, options, caps=caps, place=place, stack=stack, clock=wiring.real_clock())
            session.open(None)
            (lane,) = session.lanes
            links = _Links(place) if pictures else None
            group: list[Fact] = []
            for facts in lives(session.machine, iter(plan.tasks()), lane, session.clock.wall_micros()):
                group += facts
                if links is not None:
                    links.add(next(fact.artifact.path for fact in facts if isinstance(fact, PictureStored)))
                count += 1
                done = count == stop
                if done or count % GROUP == 0:
                    session.it.journal.commit(group)
                    group = []
                if done:
                    break
            session.it.journal.commit(group)
            session.clean = True
            await session.door.close()
        return count

    count = asyncio.run(fill())
    return {"tasks": count, "seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


class _Links:
    """The one picture, under as many names as there are tasks."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made: set[Path] = set()
        self._names = 0
        self._first: Path | None = None
        self._data = picture("1KB").data

    def add(self, path: str) -> None:
        """Give the picture this name as well, relative to the run folder."""
        target = self._place / path
        if target.parent not in self._made:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made.add(target.parent)
        if self._first is None or self._names % _NAMES_MAX == 0:
            target.write_bytes(self._data)
            target.chmod(0o600)
            self._first = target
        else:
            os.link(self._first, target)
        self._names += 1


def main() -> int:
    """Read the options, build, print what it took."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.built", description=__doc__)
    parser.add_argument("spec", type=Path)
    parser.add_argument("place", type=Path)
    parser.add_argument("--stop", type=int, help="after so many tasks")
    parser.add_argument("--pictures", action="store_true", help="give each task its file")
    given = parser.parse_args()
    print(json.dumps(build(given.spec, given.place, stop=given.stop, pictures=given.pictures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
