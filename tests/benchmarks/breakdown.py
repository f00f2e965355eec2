"""Where a task's life goes: each part of the product alone, so that the sum can be held against the whole.

`python -m tests.benchmarks.breakdown KIND --tasks N`, with base URLs and keys in the environment, prints CPU
milliseconds a task, all threads together. The parts do the same work as in a run, on the same facts, one after the
other instead of at once. What the whole takes beyond their sum is what holds them together: the loop's tasks and
timers, the pace, threads and their waiting for each other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pipeline.engine.facts import Fact, Settled
from pipeline.manifest.table import write_manifest
from pipeline.providers import PROVIDERS
from pipeline.runtime import prepare, wiring
from pipeline.runtime.session import Session
from pipeline.runtime.shelf import Shelf
from pipeline.values.reply import Pending, Ready
from pipeline.values.task import Task
from pipeline.values.wire import Answered, Downloaded, Outcome
from tests.benchmarks.built import lives
from tests.benchmarks.pictures import picture
from tests.benchmarks.project import Job

#: Facts of so many tasks in one commit: about what comes while one fsync runs, with 64 in flight.
COMMITTED_AT_ONCE: Final = 16
IN_FLIGHT: Final = 64


class Parts:
    """CPU seconds by part."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    def took(self, name: str, began: float) -> None:
        """A part has ended that began at this reading of the process's clock."""
        self.cpu_s[name] = time.process_time() - began


async def measure(kind: str, tasks: int) -> dict[str, float]:
    """{part: CPU milliseconds a task}."""
    parts = Parts()
    with TemporaryDirectory(prefix="benchmark-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "spec.yaml").write_text(Job(kind, tasks).text())
        began = time.process_time()
        plan = prepare.plan(prepare.load(folder / "spec.yaml"))
        planned = list(plan.tasks())
        parts.took("plan: rendering and identity", began)
        options = prepare.Options(run_dir=folder / "run", yes=True)
        caps = prepare.caps(plan, options, folder / "run")
        session = Session(plan, options, caps=caps, place=folder / "run", stack=stack, clock=wiring.real_clock())
        session.open(None)
        began = time.process_time()
        answers = await _transport(session, planned)
        parts.took("transport: requests, answers, downloads", began)
        _language(session, planned, answers, parts)
        _engine(session, planned, kind, parts)
        await _pictures(session, planned, parts)
        began = time.process_time()
        write_manifest(folder / "run", session.it.journal)
        parts.took("row: manifest of three files", began)
        await session.door.close()
    return {name: 1e3 * seconds / tasks for name, seconds in parts.cpu_s.items()}


async def _each(tasks: Sequence[Task], work: Callable[[Task], Coroutine[None, None, None]]) -> None:
    waiting = iter(tasks)

    async def worker() -> None:
        for task in waiting:
            await work(task)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())


async def _transport(session: Session, tasks: Sequence[Task]) -> dict[int, list[Outcome]]:
    """Every request of every life through the product's door; a download goes nowhere."""
    door, answers = session.door, dict[int, list[Outcome]]()

    async def life(task: Task) -> None:
        provider = PROVIDERS[task.gateway]
        outcome = await door.exchange(provider.submit(task, ()), timeout_s=60)
        answers[task.number] = [outcome]
        reply = provider.submitted(task, outcome, session.plan.cards[task.gateway].not_billed)
        if isinstance(reply, Pending):
            told = await door.exchange(provider.poll(task, reply.operation), timeout_s=60)
            answers[task.number].append(told)
            polled = provider.polled(task, told)
            assert isinstance(polled, Ready)
            (link,) = polled.links
        else:
            assert isinstance(reply, Ready)
            (link,) = reply.links
        got = await door.download(task.gateway, link, len, timeout_s=60, size_max=1 << 24)
        assert isinstance(got, Downloaded)

    await _each(tasks, life)
    return answers


def _language(session: Session, tasks: Sequence[Task], answers: dict[int, list[Outcome]], parts: Parts) -> None:
    """Requests written and answers read once more, without a wire: it is part of `transport` above."""
    began = time.process_time()
    for task in tasks:
        provider = PROVIDERS[task.gateway]
        provider.submit(task, ())
        first, *others = answers[task.number]
        reply = provider.submitted(task, first, session.plan.cards[task.gateway].not_billed)
        for told in others:
            assert isinstance(reply, Pending)
            provider.poll(task, reply.operation)
            provider.polled(task, told)
    language = time.process_time() - began
    parts.cpu_s["transport: requests, answers, downloads"] -= language
    parts.cpu_s["language: requests written, answers read"] = language
    began = time.process_time()
    for task in tasks:
        outcome = answers[task.number][0]
        assert isinstance(outcome, Answered)
        session.it.blackbox.append(task.number + 1, outcome.response)
    parts.took("black box: answers written down", began)


def _engine(session: Session, tasks: Sequence[Task], kind: str, parts: Parts) -> None:
    """Facts made, committed, told: the engine, the store and the log on the same facts."""
    (lane,) = session.lanes
    began = time.process_time()
    wall = session.clock.wall_micros()
    facts = list(lives(session.machine, iter(tasks), lane, wall, kind=kind, reacts=True))
    parts.took("engine: facts decided and applied, commands", began)
    began = time.process_time()
    groups: list[list[Fact]] = [
        [fact for each in facts[at : at + COMMITTED_AT_ONCE] for fact in each]
        for at in range(0, len(facts), COMMITTED_AT_ONCE)
    ]
    for group in groups:
        session.it.journal.commit(group)
    parts.took("store: commits", began)
    began = time.process_time()
    for each in facts:
        session.it.story.tell(each)
        for fact in each:
            if isinstance(fact, Settled):
                session.it.blackbox.committed(fact.attempt)
    parts.took("log: lines", began)


async def _pictures(session: Session, tasks: Sequence[Task], parts: Parts) -> None:
    """Bytes to a part, looked at, hashed, synced, named."""
    shelf, data = Shelf(session.it.blobs), picture("1KB").data

    async def keep(task: Task) -> None:
        incoming = shelf.incoming(task, 0, task.number + 1)
        incoming.write(data)
        await shelf.keep(incoming, task, 0)

    began = time.process_time()
    await _each(tasks, keep)
    parts.took("picture: written, looked at, synced, named", began)


def main() -> int:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.breakdown", description=__doc__)
    parser.add_argument("kind", choices=["sync", "async3"])
    parser.add_argument("--tasks", type=int, default=2000)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.kind, given.tasks))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
