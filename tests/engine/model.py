"""An explicit-state model: the machine between a journal, a wire and a gateway that may do anything, and a crash.

Every interleaving of commit, send, accept, refuse, lose, time out, deliver late, finish with k of n, fail, fetch, crash
and recover is walked. The gateway keeps its own bill; evidence given in a doubt is true.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import blake2b

from pipeline.engine import facts, lifecycle, messages, phases, stored, terms
from pipeline.engine.facts import Fact, TaskAdmitted
from pipeline.engine.known import Operations
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    CapAsked,
    Command,
    ContinueAsked,
    Fetch,
    Fetched,
    Observation,
    Offered,
    PauseAsked,
    Poll,
    PollAnswered,
    Resumed,
    SlotNear,
    Submit,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
    Wake,
)
from pipeline.engine.pace import Pace
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.stored import StoredAccount
from pipeline.engine.terms import LaneTerms, OnDoubt, Policy
from pipeline.values import reply
from pipeline.values.artifact import Artifact
from pipeline.values.reply import (
    Fault,
    FaultKind,
    OperationFailed,
    Pending,
    PollReply,
    Ready,
    Refused,
    Reply,
    Unknown,
    Unsent,
)
from pipeline.values.task import Task
from tests.engine.folding import Folded, fold
from tests.engine.worlds import EACH, LANE, TERMS, artifact, policy, task

#: Later than any timer: whatever waits for time may come at any moment.
LATER = 1e12
NO = Fault(FaultKind.REJECTED, "no")
SOON = Fault(FaultKind.TRANSIENT, "soon")
SILENCE = Fault(FaultKind.UNKNOWN, "silence")
NOBODY = Fault(FaultKind.NOT_SENT, "nobody there")
PICTURE = artifact()
S = AttemptState


WORLD = frozenset({"refuse", "again", "accept", "lose", "finish", "fail", "fail-unsaid"})
EVIDENCE = frozenset({"found", "absent", "billed"})


class Violation(AssertionError):  # noqa: N818 - a word of the design
    """An invariant does not hold; the message names it and the way that led there."""


@dataclass(frozen=True)
class Bounds:
    """What a walk may contain."""

    on_doubt: OnDoubt = OnDoubt.HOLD
    #: n of each task.
    tasks: tuple[int, ...] = (1, 1)
    crashes: int = 1
    #: Connections that may be refused.
    unsent: int = 1
    #: Tries of one task.
    attempts_max: int = 2
    #: POSTs in all; further ones stay unsent.
    posts_max: int = 3
    #: How often somebody may pause the run; it may be continued at any time.
    pauses: int = 0
    cap: int = 2 * EACH
    #: What the gateway and the wire may do, and which evidence is given: the names of steps.
    world: frozenset[str] = WORLD | EVIDENCE
    #: A driver that acts before the commit returned: a mutant.
    hasty: bool = False
    states_max: int = 400_000


@dataclass(slots=True)
class Operation:
    """What the gateway knows of one accepted POST, and what it has billed for it so far (micro-units)."""

    task: int
    attempt: int
    bill: int
    #: None while it works on it; then what a poll answers.
    end: PollReply | None = None


@dataclass(slots=True)
class World:
    """Everything: process, disk, wire and gateway."""

    machine: Machine | None
    durable: Folded
    #: Batches of facts that are decided and not durable.
    queue: list[list[Fact]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    #: POSTs that may still reach the gateway: attempts.
    flying: set[int] = field(default_factory=set)
    #: {attempt: the answer on its way back}.
    coming: dict[int, Reply] = field(default_factory=dict)
    #: Attempts whose sender still listens.
    listening: set[int] = field(default_factory=set)
    #: {attempt: the answer as written down}, until it is committed.
    box: dict[int, Reply] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    posts: dict[int, int] = field(default_factory=dict)
    crashes: int = 0
    #: How often a connection may still be refused.
    unsent: int = 0
    pauses: int = 0
    offered: int = 0


Step = tuple[str, Callable[[World], None]]


class Model:
    """Walks every world that bounds allow, and judges each."""

    def __init__(self, bounds: Bounds) -> None:
        """The walk's tasks and policy are shared by all worlds."""
        self.bounds = bounds
        self.tasks = [task(number, n=n) for number, n in enumerate(bounds.tasks)]
        self.policy = policy(bounds.on_doubt, attempts_max=bounds.attempts_max)
        #: Worlds seen, and how often each kind of step was taken.
        self.states = 0
        self.taken: Counter[str] = Counter()

    # --- the walk -------------------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Visit every world once, breadth first. *Raises* Violation with a shortest trace."""
        first = World(Machine(self.policy), Folded(), crashes=self.bounds.crashes, unsent=self.bounds.unsent)
        first.pauses = self.bounds.pauses
        self._tell(first, CapAsked("USD", self.bounds.cap, "the model"))
        self._commit(first)
        frozen = freeze(first)
        traces: dict[bytes, tuple[bytes | None, str]] = {_key(frozen): (None, "start")}
        edge = [frozen]
        while edge:
            following = []
            for frozen in edge:
                key = _key(frozen)
                world = thaw(frozen)
                moves = [name for name, _ in self.steps(world)]
                self._judge_rest(world, moves, partial(_trace, traces, key))
                for index, name in enumerate(moves):
                    world = thaw(frozen)
                    try:
                        list(self.steps(world))[index][1](world)
                        self.judge(world)
                    except AssertionError as problem:
                        raise Violation(f"{problem}\n  {' > '.join([*_trace(traces, key), name])}") from problem
                    self.taken[name.split()[0]] += 1
                    after = freeze(world)
                    if _key(after) not in traces:
                        traces[_key(after)] = (key, name)
                        following.append(after)
            edge = following
            if len(traces) > self.bounds.states_max:
                raise AssertionError("too many states: tighten the bounds")
        self.states = len(traces)

    # --- steps ----------------------------------------------------------------------------------------------------

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that can happen next, by name."""
        machine = world.machine
        if machine is None:
            yield "recover", self._recover
        else:
            yield from self._of_process(world, machine)
            if world.crashes:
                yield "crash", _crash
        for name, step in self._of_world(world):
            if name.split()[0] in self.bounds.world:
                yield name, step

    def _of_evidence(self, world: World, machine: Machine) -> Iterator[Step]:
        for each in machine.doubts():
            found = [(name, known) for name, known in world.operations.items() if known.attempt == each.attempt]
            if not found and each.attempt not in world.flying:
                yield f"absent {each.attempt}", partial(self._verdict, attempt=each.attempt, verdict="not_billed")
            for name, known in found:
                if not isinstance(known.end, OperationFailed) or known.end.billed is not None:
                    yield f"found {each.attempt}", partial(self._verdict, attempt=each.attempt, operation=name)
                else:
                    yield f"billed {each.attempt}", partial(self._verdict, attempt=each.attempt, verdict="billed")

    def _of_world(self, world: World) -> Iterator[Step]:
        if world.machine is not None:
            yield from self._of_evidence(world, world.machine)
        for attempt in sorted(world.flying):
            for name, fault in (("refuse", NO), ("again", SOON)):
                yield f"{name} {attempt}", partial(_refuse, attempt=attempt, fault=fault)
            yield f"accept {attempt}", partial(self._accept, attempt=attempt)
            yield f"lose {attempt}", partial(_lose, attempt=attempt)
        for name, operation in sorted(world.operations.items()):
            if operation.end is None:
                for ending in range(self.tasks[operation.task].n + 1):
                    yield f"finish {name} with {ending}", partial(_finish, name=name, images=ending)
                yield f"fail {name}", partial(_fail, name=name, billed=False, said=True)
                yield f"fail-unsaid {name}", partial(_fail, name=name, billed=True, said=False)

    def _of_process(self, world: World, machine: Machine) -> Iterator[Step]:
        if world.queue:
            yield "commit", self._commit
        if machine.paused():
            yield "continue", partial(self._tell, observation=ContinueAsked(None, "the model"))
        elif world.pauses:
            yield "pause", self._pause
        if machine.wants_tasks() and world.offered < len(self.tasks):
            yield "offer", self._offer
        if machine.lane_ready(LANE, LATER):
            yield "slot", lambda each: self._tell(each, SlotNear(LANE), LATER)
        for command in world.commands:
            yield from self._of_command(world, command)
        for attempt in sorted(world.listening):
            if attempt in world.coming:
                yield f"deliver {attempt}", partial(self._deliver, attempt=attempt)
            yield f"silence {attempt}", partial(self._silence, attempt=attempt)

    def _of_command(self, world: World, command: Command) -> Iterator[Step]:
        match command:
            case Submit(attempt):
                if sum(world.posts.values()) < self.bounds.posts_max:
                    yield f"send {attempt}", partial(_send, command=command)
                if world.unsent:
                    yield f"unsent {attempt}", partial(self._unsent, command=command)
            case Poll(attempt, _, operation):
                end = world.operations[operation].end
                if end is not None:  # a poll of what still goes on changes nothing
                    yield f"poll {attempt}", partial(self._done, command=command, said=PollAnswered(attempt, end))
            case Fetch(attempt, _, index):
                said = Fetched(attempt, index, PICTURE)
                yield f"fetch {attempt}.{index}", partial(self._done, command=command, said=said)
            case Wake(_, number, ended):
                yield f"wake {number}", partial(self._done, command=command, said=TimeCame(number, ended))

    def _tell(self, world: World, observation: Observation, now: float = 0.0) -> None:
        machine = world.machine
        assert machine is not None
        facts = machine.step(observation, now)
        self._command(world, machine.follow_up())
        if facts:
            world.queue.append(facts)
            if self.bounds.hasty:
                for fact in facts:
                    self._command(world, machine.react(fact, 0.0))

    def _command(self, world: World, commands: list[Command]) -> None:
        # A lane that cools needs no wake: slots come LATER than any time. One order, so that equal worlds are one.
        fresh = {replace(each, at=0.0) if isinstance(each, Wake | Poll | Fetch) else each for each in commands}
        timely = {each for each in fresh if not isinstance(each, Wake) or each.lane is None}
        world.commands = sorted(timely.union(world.commands), key=repr)

    def _commit(self, world: World) -> None:
        facts = world.queue.pop(0)
        machine = world.machine
        assert machine is not None
        world.durable = fold(facts, world.durable)
        for attempt in [each for each in world.box if world.durable.attempts[each].state is not S.SUBMITTING]:
            del world.box[attempt]
        if not self.bounds.hasty:
            for fact in facts:
                self._command(world, machine.react(fact, 0.0))

    def _recover(self, world: World) -> None:
        known = world.durable.snapshot()
        world.machine = Machine.restore(self.policy, known)
        world.offered = len(world.durable.tasks)
        states = {each.attempt: each.state for stored in known.tasks for each in stored.attempts}
        for attempt, answer in sorted(world.box.items()):
            if states.get(attempt) in {S.SUBMITTING, S.DOUBT}:
                self._tell(world, SubmitAnswered(attempt, answer))
        self._tell(world, Resumed())
        # One step: a crash within it leaves the disk as it was, which is a crash before it.
        while world.queue:
            self._commit(world)
        self._command(world, world.machine.resume_commands(0.0))

    def _pause(self, world: World) -> None:
        world.pauses -= 1
        self._tell(world, PauseAsked(None, "the model"))

    def _offer(self, world: World) -> None:
        assert world.machine is not None
        before = len(world.machine.state.tasks)
        self._tell(world, Offered(self.tasks[world.offered]))
        world.offered += len(world.machine.state.tasks) > before

    def _done(self, world: World, command: Command, said: Observation) -> None:
        world.commands.remove(command)
        self._tell(world, said, LATER if isinstance(command, Wake) else 0.0)

    def _unsent(self, world: World, command: Submit) -> None:
        world.unsent -= 1
        self._done(world, command, SubmitAnswered(command.attempt, Unsent(NOBODY)))

    def _deliver(self, world: World, attempt: int) -> None:
        world.listening.discard(attempt)
        answer = world.coming.pop(attempt)
        world.box[attempt] = answer
        self._tell(world, SubmitAnswered(attempt, answer))

    def _silence(self, world: World, attempt: int) -> None:
        world.listening.discard(attempt)
        world.coming.pop(attempt, None)
        self._tell(world, SubmitAnswered(attempt, Unknown(SILENCE)))

    def _verdict(self, world: World, attempt: int, verdict: str = "", operation: str = "") -> None:
        self._tell(world, VerdictGiven(attempt, verdict, "it is so", operation))

    def _accept(self, world: World, attempt: int) -> None:
        world.flying.discard(attempt)
        number = world.durable.attempts[attempt].task if attempt in world.durable.attempts else 0
        name = f"op-{attempt}-{world.posts[attempt]}"
        world.operations[name] = Operation(number, attempt, self.tasks[number].n * EACH)
        if attempt in world.listening:
            world.coming[attempt] = Pending(name)

    # --- judgement ------------------------------------------------------------------------------------------------

    def judge(self, world: World) -> None:
        """I1, I2, I6 and I7 in this world. *Raises* AssertionError that names the invariant."""
        if world.machine is not None:
            world.machine.check()
            _judge_account(world, world.machine.accounts().get("USD"), "in memory")
        _judge_account(world, world.durable.accounts.get("USD"), "on disk")
        _judge_sums(world.durable)
        twice = 2 if self.bounds.on_doubt is OnDoubt.RESUBMIT else 1
        bought = Counter(each.task for each in world.operations.values() if each.bill)
        assert max(bought.values(), default=0) <= twice, "I2: a task was bought too often"
        rows = world.durable.attempts
        exposed = Counter(each.task for each in rows.values() if each.state in lifecycle.EXPOSED)
        assert max(exposed.values(), default=0) <= twice, "I2: a task may be bought too often"
        for attempt, times in world.posts.items():
            assert times <= 1, "I2: one attempt was sent twice"
            assert attempt in rows, "I2: a POST left before its intent was durable"
            assert rows[attempt].state is not S.RESERVED, "I2: a POST left before its permit was durable"
        for attempt in world.flying:
            assert rows[attempt].state is not S.VOID, "I7: the money of a POST on its way was freed"
        for operation in world.operations.values():
            state = rows[operation.attempt].state
            assert not operation.bill or state is not S.VOID, "I7: a billed operation is nowhere in the books"

    def _judge_rest(self, world: World, moves: list[str], trace: Callable[[], list[str]]) -> None:
        """I9 and I3 where nothing moves by itself any more: the run is over, and what was paid and known is stored."""
        if {name.split()[0] for name in moves} - EVIDENCE - {"crash"}:
            return
        machine = world.machine
        assert machine is not None
        problem = ""
        unsent = any(isinstance(command, Submit) for command in world.commands)
        if not machine.idle() and not unsent:
            problem = f"I9: nothing moves and the run is not over: {machine.counts()}"
        for each in world.durable.attempts.values():
            if any(state == "PENDING" for state, _ in each.pictures.values()):
                problem = "I3: a paid picture was not fetched"
        if set(world.durable.phases.values()) & {Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING} and not unsent:
            problem = f"I9: a task is left in the middle: {world.durable.phases}"
        if problem:
            raise Violation(f"{problem}\n  {' > '.join(trace())}")


# --- copies: worlds are pickled, and what never changes is shared -----------------------------------------------------


def freeze(world: World) -> bytes:
    """A world as bytes: what only tells the way that led there, or what time it is, is no part of a world."""
    if world.machine is not None:
        state = world.machine.state
        state.stories.clear()
        state.faults.clear()
        for lane in state.lanes.values():
            lane.submits = lane.unsent_streak = 0
            lane.unsent_since, lane.cooling_until = None, 0.0
            lane.doubted_at.clear()
            lane.pace = Pace()
        for live in state.tasks.values():
            live.due = live.due and 1.0
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=5)
    pickler.dispatch_table = SHARED
    pickler.dump(world)
    return out.getvalue()


def thaw(frozen: bytes) -> World:
    """The world of these bytes."""
    world = pickle.loads(frozen)  # noqa: S301 - our own bytes
    assert isinstance(world, World)
    return world


@cache
def _task(number: int, n: int) -> Task:
    return task(number, n=n)


@cache
def _policy(on_doubt: str, attempts_max: int) -> Policy:
    return policy(OnDoubt(on_doubt), attempts_max=attempts_max)


def _admitted(number: int, n: int) -> TaskAdmitted:
    return TaskAdmitted(_task(number, n))


def _terms() -> LaneTerms:
    return TERMS


def _picture() -> Artifact:
    return PICTURE


#: Values by number, so that a world's bytes name them instead of containing them.
_VALUES: list[object] = []
_NUMBERS: dict[object, int] = {}


def _value(number: int) -> object:
    return _VALUES[number]


def _by_number(value: object) -> tuple[Callable[[int], object], tuple[int]]:
    number = _NUMBERS.get(value)
    if number is None:
        number = _NUMBERS[value] = len(_VALUES)
        _VALUES.append(value)
    return _value, (number,)


def _operations(keys: tuple[int, ...]) -> Operations:
    known = Operations()
    known._fresh.update(keys)
    return known


SHARED: dict[type, Callable[..., tuple[Callable[..., object], tuple[object, ...]]]] = {
    **{
        each: _by_number
        for room in (messages, facts, phases, stored, terms, reply)
        for each in vars(room).values()
        if isinstance(each, type)
    },
    # Sorted: worlds in which the same ids came in another order are the same.
    Operations: lambda each: (_operations, (tuple(sorted(each._all())),)),
    TaskAdmitted: lambda each: (_admitted, (each.task.number, each.task.n)),
    Task: lambda each: (_task, (each.number, each.n)),
    Policy: lambda each: (_policy, (each.on_doubt.value, each.attempts_max)),
    LaneTerms: lambda _: (_terms, ()),
    Artifact: lambda _: (_picture, ()),
}

# --- what happens outside the process ---------------------------------------------------------------------------------


def _crash(world: World) -> None:
    world.machine = None
    world.queue.clear()
    world.commands.clear()
    world.listening.clear()
    world.coming.clear()
    world.crashes -= 1


def _send(world: World, command: Submit) -> None:
    world.commands.remove(command)
    world.posts[command.attempt] = world.posts.get(command.attempt, 0) + 1
    world.flying.add(command.attempt)
    world.listening.add(command.attempt)


def _refuse(world: World, attempt: int, fault: Fault) -> None:
    world.flying.discard(attempt)
    if attempt in world.listening:
        world.coming[attempt] = Refused(fault)


def _lose(world: World, attempt: int) -> None:
    world.flying.discard(attempt)


def _finish(world: World, name: str, images: int) -> None:
    operation = world.operations[name]
    operation.bill = images * EACH
    operation.end = Ready(tuple(f"{name}.{index}" for index in range(images)), images)


def _fail(world: World, name: str, *, billed: bool, said: bool) -> None:
    operation = world.operations[name]
    operation.bill = operation.bill if billed else 0
    operation.end = OperationFailed(SOON, billed if said else None)


def _judge_account(world: World, account: StoredAccount | None, where: str) -> None:
    if account is None:
        return
    covered = account.spent + account.held + account.doubt
    assert covered <= account.cap, f"I1: {covered} promised under a cap of {account.cap} {where}"
    bill = sum(operation.bill for operation in world.operations.values())
    assert bill <= covered, f"I1: billed {bill}, and {covered} is spent, held or in doubt {where}"


def _judge_sums(durable: Folded) -> None:
    for account in durable.accounts.values():
        rows = durable.attempts.values()
        held = sum(each.open for each in rows if each.state in lifecycle.HOLDING)
        doubt = sum(each.open for each in rows if each.state in lifecycle.DOUBTFUL)
        assert (account.held, account.doubt) == (held, doubt), f"I6: balances are not the sums: {account}"
        assert not any(each.open for each in rows if each.state in {S.VOID, S.WRITTEN_OFF}), "I6: money left behind"


def _key(frozen: bytes) -> bytes:
    return blake2b(frozen, digest_size=16).digest()


def _trace(traces: dict[bytes, tuple[bytes | None, str]], key: bytes | None) -> list[str]:
    names: list[str] = []
    while key is not None:
        key, name = traces[key]
        names.append(name)
    return names[-2::-1]
