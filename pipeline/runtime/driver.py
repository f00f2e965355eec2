"""The ring, turning: observations into the machine, facts to the journal, commands out to the world."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Protocol, TypeAlias, assert_never

from pipeline.engine.facts import Fact, Held, LaneParked, Permitted, Released, TaskAdmitted, TaskMoved
from pipeline.engine.lifecycle import ENDED
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    Command,
    DiskTold,
    DrainAsked,
    Fetch,
    Fetched,
    Look,
    Observation,
    Offered,
    Poll,
    SlotNear,
    Submit,
    TimeCame,
    Wake,
)
from pipeline.engine.retry import FETCHES_AT_ONCE
from pipeline.errors import StorageFailed
from pipeline.failpoints import reach
from pipeline.runtime.audience import Audience
from pipeline.runtime.clock import Clock
from pipeline.runtime.disk import DiskWatch
from pipeline.runtime.evidence import Evidence
from pipeline.runtime.handover import quick_handovers
from pipeline.runtime.offers import Offers
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.paid import Paid
from pipeline.runtime.perform import DISK_FULL, NoRoom, Performer
from pipeline.runtime.turns import Turns
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.task import Task

#: Permission to send is committed for what the pacer releases within this time (seconds).
LEAD_S = 0.05
#: Unanswered POSTs of gateways that answer at once are awaited this long in the end (seconds).
DRAIN_S = 60.0

#: What a task does, as a call: a coroutine whose task is called off before it began would complain.
_Work: TypeAlias = Callable[[], Coroutine[None, None, None]]


class Committer(Protocol):
    """The small door to the journal."""

    def commit(self, facts: list[Fact]) -> asyncio.Future[None]:
        """Resolves once the facts are durable."""
        ...


class Driver:
    """Turns the ring until nothing is left to do. One thread owns the machine; only `_react` waits for the disk."""

    def __init__(
        self,
        machine: Machine,
        *,
        performer: Performer,
        evidence: Evidence,
        committer: Committer,
        clock: Clock,
        pacers: Mapping[str, Pacer],
        poll_pacers: Mapping[str, Pacer],
        offer: Iterator[Task],
        again: Callable[[int], Task],
        told: Callable[[list[Fact]], None],
        listener: Callable[[], None] | None,
        room: Callable[[int], str | None],
        grace_s: float = DRAIN_S,
    ) -> None:
        self.machine = machine
        self._performer = performer
        self._evidence = evidence
        self._committer = committer
        self._clock = clock
        self._pacers = pacers
        self._poll_pacers = poll_pacers
        self._offers = Offers(offer, again, machine.pauses)
        self.audience = Audience(told, listener, self._stop)
        self._disk = DiskWatch(room, self._under_way, clock, self._disk_told)
        #: After the first Ctrl-C, and after a fail-stop, unanswered POSTs are awaited this long.
        self._grace_s = grace_s
        #: Loops that wait for something to be told.
        self._waiters: list[asyncio.Future[None]] = []
        #: What the group runs, so that it can be called off at the end.
        self._tasks: set[asyncio.Task[None]] = set()
        #: A link that expires first is fetched first: a paid picture that expires is money lost.
        self._fetches = Turns(FETCHES_AT_ONCE)
        self._paid = Paid()
        #: {lane: attempts permitted whose slot is not taken yet}
        self._unslotted: dict[str, int] = dict.fromkeys(pacers, 0)
        self._committing = 0
        self._fed = False
        self._passed_over = False
        self._over: BaseException | None = None
        #: Nobody is told anything more: the journal is about to be closed.
        self._closed = False
        self._group: asyncio.TaskGroup | None = None
        self.draining = False
        self._leave_at: float | None = None
        #: Set when nobody waits for answers any more.
        self._left = asyncio.Event()
        self.last_fault: Fault | None = None
        self.last_fault_at: float | None = None

    # --- the ring ---

    def tell(self, observation: Observation) -> list[Fact]:
        """Decide and evolve in this tick; hand the facts to the journal; react once they are durable."""
        if self._over is not None or self._closed:
            return []  # A late answer is in the black box; the next run reads it there.
        facts = self.machine.step(observation, self._clock.now())
        for fact in facts:
            self._note(fact)
        if facts:
            self._committing += 1
            future = self._committer.commit(facts)
            future.add_done_callback(partial(self._durable, facts))
        for command in self.machine.follow_up():
            self._perform(command)
        self._touch()
        self.audience.show()
        return facts

    def _note(self, fact: Fact) -> None:
        if isinstance(fact, Held):
            self._place(self.machine.task(fact.task))
        if self.draining and isinstance(fact, Released) and fact.fault.kind is FaultKind.NOT_SENT:
            return  # Asked for, and no fault.
        if (isinstance(fact, TaskMoved) and fact.fault is not None) or isinstance(fact, Released):
            self.last_fault, self.last_fault_at = fact.fault, self._clock.now()

    def _durable(self, facts: list[Fact], future: asyncio.Future[None]) -> None:
        self._committing -= 1
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._stop(error)
            return
        if self._over is not None:
            return
        try:
            reach("told.begun")
            self.audience.say(facts)
            now = self._clock.now()
            for fact in facts:
                for command in self.machine.react(fact, now):
                    self._perform(command)
            reach("told.done")
        except BaseException as problem:  # noqa: BLE001 - a callback's exception would be lost otherwise
            self._stop(problem)
        self._touch()

    def _stop(self, error: BaseException) -> None:
        if self._over is None:
            if isinstance(error, OSError):
                error = StorageFailed(f"the disk refused a write: {error.strerror or type(error).__name__}")
            self._over = error
        self._touch()

    # --- commands ---

    def _perform(self, command: Command) -> None:
        match command:
            case Submit():
                self._paid.send(self._watched(partial(self._submit, command)))
            case Poll():
                self._spawn(partial(self._poll, command), command.at)
            case Fetch():
                self._spawn(partial(self._fetch, command), command.at)
            case Wake():
                self._spawn(partial(self._wake, command), command.at)
            case Look():
                self._spawn(partial(self._look, command), command.at)
            case _:
                assert_never(command)

    def _spawn(self, work: _Work, at: float = -math.inf) -> None:
        if self._group is None:
            return  # The run is leaving: what was due is left to the next one.
        task = self._group.create_task(self._watched(work, at))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: _Work, at: float = -math.inf) -> None:
        """Caught here, and only here: what the world does is a value by now, so whatever else escapes stops the run."""
        try:
            if at > self._clock.now():
                await self._clock.until(at)
            await work()
        except Exception as error:  # noqa: BLE001 - it stops the run, and is raised by `run`
            self._stop(error)

    def _place(self, task: Task) -> None:
        """Put what a task needs at the gateway, as far as nobody is at it already."""
        for work in self._performer.placements.missing(task):
            self._spawn(partial(self._placed, work))

    async def _placed(self, work: _Work) -> None:
        await work()
        self._touch()

    def _is_placed(self, lane: str) -> bool:
        """Whether what the lane would submit next has its pictures at the gateway, or cannot have them."""
        task = self.machine.next_task(lane)
        if task is None or self._performer.placements.ready(task):
            return True
        self._place(task)
        return False

    async def _submit(self, command: Submit) -> None:
        task = self.machine.task(command.task)
        pacer, slotted = self._pacers[task.lane], partial(self._slotted, task.lane)
        self.tell(await self._performer.submit(command, task, pacer, slotted))
        if self._performer.broken is not None:
            self._stop(self._performer.broken)

    def _slotted(self, lane: str) -> bool:
        """The slot has come. Whether the POST may still leave: not after Ctrl-C, and not after a failed commit."""
        self._unslotted[lane] -= 1
        self._pacers[lane].expected = self._unslotted[lane]
        self._touch()
        return self._over is None and not self.draining

    async def _poll(self, command: Poll) -> None:
        if self.machine.knows(command.task):
            task = self.machine.task(command.task)
            self.tell(await self._performer.poll(command, task, self._poll_pacers[task.gateway]))

    async def _fetch(self, command: Fetch) -> None:
        async with self._fetches.take(command.expires_at):
            if self.machine.knows(command.task):
                try:
                    told = await self._performer.fetch(command, self.machine.task(command.task))
                except NoRoom as full:
                    # The picture stays wanted; nothing new is bought before there is room again.
                    self._disk.refused(str(full))
                    told = full.observation
                else:
                    if isinstance(told, Fetched):
                        self._disk.kept()
                self.tell(told)

    async def _look(self, command: Look) -> None:
        began = self._standing(command.gateway)
        pacer = self._poll_pacers[command.gateway]
        told = await self._evidence.look(
            command,
            pacer,
            still=lambda: not began[0] and self._standing(command.gateway) == began,
            known=lambda operation: self.machine.owns(command.gateway, operation),
        )
        for observation in told:
            self.tell(observation)

    def _standing(self, gateway: str) -> tuple[int, int]:
        """What is under way at a gateway, and how many POSTs have ever left for it."""
        views = self.machine.lane_views()
        lanes = [view for name, view in views.items() if name.partition("/")[0] == gateway]
        return sum(lane.in_flight for lane in lanes), sum(lane.submits for lane in lanes)

    async def _wake(self, command: Wake) -> None:
        self.tell(TimeCame(command.task, command.attempt, command.lane))

    # --- room on the disk ---

    @property
    def full(self) -> str | None:
        """Why the disk is full; None when it has room."""
        return self._disk.full

    def _under_way(self) -> int:
        return sum(view.in_flight + view.held for view in self.machine.lane_views().values())

    def _disk_told(self, full: str | None) -> None:
        self.tell(DiskTold(None if full is None else Fault(FaultKind.TRANSIENT, full, DISK_FULL)))

    # --- loops ---

    async def run(self, first: list[Command]) -> None:
        """Turn until done. *Raises* StorageFailed (fail-stop) and Bug; submits that are out are awaited either way."""
        with quick_handovers():
            await self._run(first)

    async def _run(self, first: list[Command]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._turn(first)
                finally:
                    # What still waits for its time (polls of a drained run, wakes) is left to the next run.
                    self._group = None
                    for task in tuple(self._tasks):
                        task.cancel()
        finally:
            try:
                ends = self._clock.now() + self._grace_s if self._leave_at is None else self._leave_at
                await self._paid.answered(ends, self._clock, self._left)
            finally:
                reach("turn.left")
                self._closed = True
                self.audience.close()
        if self._over is not None:
            raise self._over

    async def _turn(self, first: list[Command]) -> None:
        for command in first:
            self._perform(command)
        for lane in self._pacers:
            self._spawn(partial(self._lane, lane))
        self._spawn(self._feed)
        self._spawn(self._disk.watch)
        while not self._done():
            await self._change()

    def _done(self) -> bool:
        if self._over is not None:
            return True
        if self._leave_at is not None and self._clock.now() >= self._leave_at:
            return True
        if self._committing or not self.machine.idle():
            return False
        return self._fed or self.draining or (self.machine.wants_tasks() == 0 and not self.machine.paused())

    async def _feed(self) -> None:
        """Offer tasks as the machine wants them; a task that does not fit is offered again when money comes free."""
        offered = 0
        while self._over is None:
            task = self._offers.next()
            if task is not None:
                await self._offer_one(task)
            elif self._offers.waits:
                await self._change()
            else:
                self._fed = True
                self._touch()
                return
            offered += 1
            if offered % 64 == 0:
                await asyncio.sleep(0)

    async def _offer_one(self, task: Task) -> None:
        while True:
            while self.machine.wants_tasks() <= 0:
                await self._change()
            if self.machine.pauses(task.lane):
                self._offers.put_aside(task)
                return
            facts = self.tell(Offered(task))
            # A parked lane's tasks are passed over in this run.
            self._passed_over |= any(isinstance(fact, LaneParked) for fact in facts)
            if self._over is not None or any(isinstance(fact, TaskAdmitted | LaneParked) for fact in facts):
                return

    async def _change(self) -> None:
        """Wait until something was told. Several may wait at once."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _touch(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _lane(self, lane: str) -> None:
        """Ask for permission as the pacer comes near, and never more than it releases within the lead."""
        pacer = self._pacers[lane]
        while True:
            while not self.machine.lane_ready(lane, self._clock.now()) or not self._may_permit(lane, pacer):
                await self._change()
            if not self._is_placed(lane):
                await self._change()
                continue
            pacer.pace(self.machine.lane_share(lane))
            await pacer.near(LEAD_S)
            if not self._is_placed(lane):
                continue
            self._disk.look()
            facts = self.tell(SlotNear(lane))
            permitted = sum(isinstance(fact, Permitted) for fact in facts)
            self._unslotted[lane] += permitted
            pacer.expected = self._unslotted[lane]
            if not permitted:
                await self._change()

    def _may_permit(self, lane: str, pacer: Pacer) -> bool:
        return self._unslotted[lane] == 0 or self._unslotted[lane] * pacer.spacing_s < LEAD_S

    # --- people ---

    def hear(self, observation: Observation) -> list[Fact]:
        """Tell what a person said while the run is alive; whatever goes wrong stops the run, as everywhere."""
        try:
            return self.tell(observation)
        except Exception as error:
            self._stop(error)
            raise

    # --- signals ---

    def drain(self) -> None:
        """First Ctrl-C: no new submit; unanswered POSTs and open downloads are awaited. The second one leaves."""
        if self.draining:
            self.leave()
            return
        self.draining = True
        self._leave_at = self._clock.now() + self._grace_s
        try:
            self.tell(DrainAsked())
        except Exception as error:  # noqa: BLE001 - a signal handler's exception would be lost otherwise
            self._stop(error)
        reach("drain.asked")
        asyncio.get_running_loop().call_later(self._grace_s + 0.01, self._touch)
        self._touch()

    def left_over(self) -> bool:
        """Whether a task was not offered, or stands where it is for the next run."""
        waits = any(count for phase, count in self.machine.counts().items() if phase not in ENDED)
        return waits or self._passed_over or not self._fed

    @property
    def left(self) -> bool:
        """Whether somebody was in a hurry."""
        return self._left.is_set()

    def leave(self) -> None:
        """Leave now; what is unanswered will be in doubt."""
        self._leave_at = self._clock.now()
        self._left.set()
        self._touch()
