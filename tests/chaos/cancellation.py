"""T16: cancelled at every await, in both orders; a sibling's bug; a loop that is blocked past the deadline.

In virtual time, a paid call and the run itself are cancelled at their N-th await, for every N until they end before it.
An answer that was read is never lost, nothing is bought twice, and the same command finishes the job.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pipeline
from pipeline import failpoints
from pipeline.plan.expand import Plan
from pipeline.runtime import prepare, wiring
from pipeline.runtime.clock import VirtualClock, VirtualLoop
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run, run_sync
from pipeline.runtime.serve import Server
from pipeline.simulator.faults import parse_faults
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import MemoryDoor, World, open_world
from pipeline.values.wire import Answered, Outcome, Request
from tests.chaos.jobs import Job
from tests.chaos.judge import Judge
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

#: How many awaits of the run itself are swept; of a paid call, all.
MAIN_AWAITS: Final = {"small": 6, "merge": 10_000}
TASKS: Final = {"small": 2, "merge": 6}
BLOCKS: Final = {"small": 4, "merge": 60}
SIBLINGS: Final = {"small": 3, "merge": 40}
MODES: Final = ("at once", "same tick")


class _SiblingsBug(Exception):  # noqa: N818 - it is one, and ours alone
    """Raised where no error of the product can be taken for it."""


class Swept(Coroutine[Any, Any, Any]):
    """A coroutine that is passed on to, and whose task is cancelled at its N-th await."""

    def __init__(self, inner: Coroutine[Any, Any, Any], number: int, mode: str) -> None:
        self.inner, self.number, self.mode = inner, number, mode
        self.awaits = 0
        self.struck = False
        self.task: asyncio.Task[Any] | None = None

    def send(self, value: Any) -> Any:
        """Go on, and cancel if this await is the one."""
        found = self.inner.send(value)
        self.awaits += 1
        if self.awaits == self.number and self.task is not None:
            self.struck = True
            if self.mode == "same tick" and asyncio.isfuture(found):
                # Called before the task hears of it: the result is there, and the cancellation comes first.
                found.add_done_callback(self._cancel)
            else:
                asyncio.get_running_loop().call_soon(self._cancel)
        return found

    def _cancel(self, _: object = None) -> None:
        assert self.task is not None
        self.task.cancel()

    def throw(self, *error: Any) -> Any:
        """As every coroutine's."""
        return self.inner.throw(*error)

    def close(self) -> None:
        """As every coroutine's."""
        self.inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        """As every coroutine's."""
        return self.inner.__await__()


class RecordingDoor(MemoryDoor):
    """Passes everything on, and remembers the answers to paid calls that were read to their end."""

    def __init__(self, door: MemoryDoor, read: list[Outcome]) -> None:
        self.__dict__.update(door.__dict__)
        self.read = read

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        outcome = await super()._exchange(request, timeout_s, body_max)
        if request.method == "POST" and isinstance(outcome, Answered):
            self.read.append(outcome)
        return outcome


def _is_submit(work: object) -> bool:
    frame = getattr(work, "cr_frame", None)
    inner = frame.f_locals.get("work") if frame is not None else None
    return getattr(getattr(inner, "func", None), "__qualname__", "") == "Driver._submit"


@contextmanager
def _recording(read: list[Outcome]) -> Generator[None, None, None]:
    usual = wiring.door

    def recorded(*given: Any) -> RecordingDoor:
        door = usual(*given)
        assert isinstance(door, MemoryDoor)
        return RecordingDoor(door, read)

    wiring.door = recorded  # type: ignore[assignment]  # one door for the campaign
    try:
        yield
    finally:
        wiring.door = usual


class Scenario:
    """One job in one folder: cancelled once, then run to its end, then judged."""

    def __init__(self, place: Path, job: Job) -> None:
        self.folder, self.world = place / "run", place / "run" / "world.jsonl"
        self.plan: Plan = pipeline.plan(pipeline.load(job.write(place)))
        self.options = Options(simulate=True, run_dir=self.folder, faults=place / "faults.yaml")
        self.judge = Judge(self.folder, self.world, job)
        self.read: list[Outcome] = []

    def cancelled(self, which: int | None, number: int, mode: str) -> Swept | None:
        """Run, and cancel the `which`-th paid call (None: the run itself) at its N-th await."""
        swept: list[Swept] = []
        submits = 0

        def factory(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
            nonlocal submits
            submit = _is_submit(work)
            submits += submit
            chosen = getattr(work, "__qualname__", "") == "run" if which is None else submit and submits == which
            if not chosen or swept:
                return asyncio.Task(work, loop=loop, **more)
            swept.append(Swept(work, number, mode))
            swept[0].task = asyncio.Task(swept[0], loop=loop, **more)
            return swept[0].task

        start = wiring.rehearsal_start(self.folder)
        clock = VirtualClock(round(start * 1e6), start)
        with _recording(self.read), asyncio.Runner(loop_factory=lambda: VirtualLoop(start)) as runner:
            runner.get_loop().set_task_factory(factory)
            with suppress(asyncio.CancelledError):
                runner.run(run(self.plan, self.options, clock=clock))
        return swept[0] if swept else None

    def finish(self) -> tuple[Result, list[str]]:
        """The same command once more, and everything that is wrong now."""
        found = self.judge.moment()
        found += self._lost()
        with _recording(self.read):
            result = run_sync(self.plan, self.options)
        found += self.judge.moment() + self.judge.end(result.exit_code) + self._lost()
        return result, found

    def _lost(self) -> list[str]:
        tables = Tables.read(self.folder)
        if tables is None:
            return [f"{len(self.read)} answers were read without a store"] if self.read else []
        known = {row.operation for row in tables.attempts}
        kept = (self.folder / "blackbox").read_bytes() if (self.folder / "blackbox").exists() else b""
        ids = {_id_of(outcome) for outcome in self.read} - known
        return [f"the answer with {one} was read and is lost" for one in sorted(ids) if not _kept(one, kept)]


def _id_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Answered)
    found = json.loads(outcome.response.body)
    return str(found["task_info"]["id"]) if "task_info" in found else ""


def _kept(one: str, blackbox: bytes) -> bool:
    """Whether the black box has it: the next start takes it from there."""
    return not one or any(
        one.encode() in base64.b64decode(piece.split(b'"')[0]) for piece in blackbox.split(b'"body":"')[1:]
    )


def _job(size: str) -> Job:
    return Job(TASKS[size], 0, "hold", 10_000_000, {"latency_s": 0.3, "generation_s": 2}, rate="2/s")


def _sweep(size: str, seed: int, figures: Counter[str]) -> list[str]:
    found: list[str] = []
    job = _job(size)
    targets: list[int | None] = [*range(1, TASKS[size] + 1), None]
    for which in targets:
        name = "the run" if which is None else f"paid call {which}"
        for mode in MODES:
            for number in range(1, MAIN_AWAITS[size] if which is None else 10_000):
                with tempfile.TemporaryDirectory() as place:
                    scenario = Scenario(Path(place), job)
                    swept = scenario.cancelled(which, number, mode)
                    if swept is None or not swept.struck:
                        if number == 1:
                            found.append(f"{name}, {mode}: it was never met, so nothing was cancelled")
                        break
                    result, wrong = scenario.finish()
                    if which is not None and mode == "same tick" and result.exit_code == 5:
                        wrong.append("its answer had come, and is in doubt")
                    found += [f"{name}, await {number}, {mode}: {each}" for each in wrong]
                    figures["cancellations"] += 1
                    figures["doubts"] += result.exit_code == 5
                    figures["answers read"] += len(scenario.read)
    return found


def _siblings(size: str, seed: int, figures: Counter[str]) -> list[str]:
    """A bug in a poll or a download tears the group down: POSTs that are out are still awaited."""
    found: list[str] = []
    places = ("poll.answered", "fetch.opened", "fetch.examined")
    for number in range(SIBLINGS[size]):
        where, after = places[number % 3], number // 3
        with tempfile.TemporaryDirectory() as place:
            scenario = Scenario(
                Path(place), Job(8, 0, "hold", 10_000_000, {"latency_s": 0.9, "generation_s": 1}, "4/s")
            )
            visits = 0

            def act(name: str, where: str = where, after: int = after) -> None:
                nonlocal visits
                visits += name == where
                if name == where and visits > after:
                    raise _SiblingsBug

            failpoints.arm(act)
            try:
                with _recording(scenario.read):
                    run_sync(scenario.plan, scenario.options)
                found.append(f"{where} {after}: the bug was not heard")
            except _SiblingsBug:
                pass
            finally:
                failpoints.arm(None)
            result, wrong = scenario.finish()
            if result.exit_code != 0:
                wrong.append(f"a POST was not awaited: exit code {result.exit_code}")
            found += [f"sibling at {where}, visit {after + 1}: {each}" for each in wrong]
            figures["sibling bugs"] += 1
    return found


@contextmanager
def _served(latency_s: float) -> Generator[int, None, None]:
    """The emulators over HTTP on a loop in another thread, which no blocked loop of ours holds up."""
    ready, port = threading.Event(), 0
    stop: Callable[[], object] = bool

    async def serve() -> None:
        nonlocal port, stop
        plan = parse_faults({"latency_s": latency_s, "generation_s": 0})

        def make(links_base: str) -> World:
            return open_world(None, faults=plan, links_base=links_base)

        stopped = asyncio.Event()
        stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        async with Server(make) as server:
            port = server.port
            ready.set()
            await stopped.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(20)
    try:
        yield port
    finally:
        stop()
        thread.join(20)


def _blocked(size: str, dice: random.Random, figures: Counter[str]) -> list[str]:
    """The loop is blocked past the deadline while the answer arrives: the answer is taken."""
    found: list[str] = []
    deadline_s, latency_s = 0.15, 0.04
    with _served(latency_s) as port:
        environ = {
            "MULEROUTER_API_KEY": "key-of-a-campaign",
            "MULEROUTER_BASE_URL": f"http://127.0.0.1:{port}/mulerouter",
        }
        door_cards = {"mulerouter": prepare.cards()["mulerouter"]}

        async def once(blocked_s: float) -> Outcome:
            door = HttpDoor(door_cards, environ, {})
            try:
                body = b'{"prompt": "a blocked cup"}'
                path = "/vendors/alibaba/v1/qwen-image-max/generation"
                request = Request("mulerouter", "POST", path, body, (("content-type", "application/json"),))
                # A first call makes the connection, so that only the answer is awaited in the second.
                await door.exchange(request, timeout_s=20)
                asyncio.get_running_loop().call_later(latency_s / 2, time.sleep, blocked_s)
                return await door.exchange(request, timeout_s=deadline_s)
            finally:
                await door.close()

        for number in range(BLOCKS[size]):
            blocked_s = 0.15 + (dice.random() * (2.0 if size == "merge" else 0.4))
            outcome = asyncio.run(once(blocked_s))
            figures["blocked loops"] += 1
            if not isinstance(outcome, Answered):
                found.append(f"blocked for {blocked_s:.3f} s (run {number}): {outcome}")
    return found


def campaign(size: str, seed: int) -> Report:
    """Sweep, siblings and blocked loops."""
    os.environ.setdefault("PIPELINE_SEED", str(seed))
    figures: Counter[str] = Counter()
    found = _sweep(size, seed, figures)
    found += _siblings(size, seed, figures)
    found += _blocked(size, random.Random(seed), figures)
    floors = {
        "cancellations": len(MODES) * (TASKS[size] + 3),
        "answers read": TASKS[size],
        "sibling bugs": SIBLINGS[size],
        "blocked loops": BLOCKS[size],
    }
    found += idle(figures, floors)
    return Report("cancellation", dict(figures), tuple(f"seed {seed}: {each}" for each in found))
