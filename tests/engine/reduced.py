"""The large walk: the real engine, several tasks, every order of what can happen, worlds that differ in name only once.

`tests/engine/model.py` walks each single step; here steps that cannot influence each other are taken together, so that
three tasks of three tries and a crash fit. What is left out, and why nothing is lost by it:

- *Commit*: facts are durable at once. A commit that comes later only delays commands, and commands may be delayed
  anyway; a crash that loses facts leaves what a crash before their observation leaves, with the answer in the black box
  or not. `explicit=True` brings commits and sends back as steps of their own; a test compares what both reach.
- *Send*: a permitted POST leaves at once; one that never left is one that was lost.
- *The truth of a POST* is decided when somebody learns it (answer, black box, poll, evidence). Until then it is billed
  in full: the worst case for I1, I2 and I7.
- *Crash and recovery* are one step; each answer that is awaited may stand in the black box, in every combination.
- *Downloads* go first: nothing but a crash competes with them (not so under `resubmit`). They never fail here.
- *Time*: whatever waits for a time may come at any moment. Cooling, backoff and quiet periods are orders, not seconds.
- *Names*: attempts, tasks and operations are renamed, tasks of one kind are interchangeable; stories, counters of
  faults and of polls, and operation ids (never given twice here) are no part of a world.
- *Not here at all*: stuck operations, parked lanes, drain, the doubt breaker, changed caps, prices above the hold,
  expired links. tests/engine/test_money_laws.py has those.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from hashlib import blake2b
from itertools import product
from operator import attrgetter
from typing import Any, Final

from pipeline.engine import lifecycle
from pipeline.engine.facts import Fact
from pipeline.engine.known import Operations
from pipeline.engine.lanes import Lane
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
from pipeline.engine.phases import AttemptState
from pipeline.engine.state import LiveAttempt, LivePicture, LiveTask, State
from pipeline.engine.stored import PENDING
from pipeline.engine.terms import OnDoubt
from pipeline.errors import Bug
from pipeline.values.reply import (
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollReply,
    Ready,
    Refused,
    Reply,
    Unsent,
)
from pipeline.values.reply import Unknown as NoAnswer
from tests.engine.folding import ENDED, Folded, fold
from tests.engine.model import Violation
from tests.engine.worlds import EACH, LANE, TERMS, artifact, policy, task

LATER = 1e12
NO = Fault(FaultKind.REJECTED, "no")
SOON = Fault(FaultKind.TRANSIENT, "soon")
BUSY = Fault(FaultKind.RATE_LIMITED, "busy")
SILENCE = Fault(FaultKind.UNKNOWN, "silence")
NOBODY = Fault(FaultKind.NOT_SENT, "nobody there")
GONE = Fault(FaultKind.LOST, "gone")
PICTURE = artifact()
S = AttemptState

#: What the wire and the gateway may do, and which evidence is given.
WIRE: Final = frozenset({"accept", "refuse", "again", "silence"})
GATEWAY: Final = frozenset({"ends", "fails", "bills", "unsaid", "gone"})
EVIDENCE: Final = frozenset({"found", "absent", "billed", "late"})
EVERYTHING: Final = WIRE | GATEWAY | EVIDENCE
_OF_PROCESS: Final = frozenset(
    {"commit", "send", "offer", "slot", "wake", "fetch", "unsent", "busy", "pause", "continue"}
)

#: {type: its fields that are no part of a world}. A field that is neither here nor in `KEPT` makes the walk refuse.
DROPPED: Final[dict[type, str]] = {
    State: "policy seed next_attempt images counts faults operations stories ended recovering stuck rests fetching "
    "disk billed guessed unsure restored_sent fetch_s",
    LiveTask: "task",
    LiveAttempt: "number task ordinal currency operation since broken broken_since gone gone_since rest_at why images "
    "submitted_at ended_at superseded sent quiet_at looked weighed freed links_until began ran_at",
    LivePicture: "index link tries renewals broken_since asked_at ahead",
    Lane: "name terms unanswered running submits cooling_until rate_limited rate_limited_streak unsent_streak "
    "unsent_since doubted_at breaker probe limited_since doubtful expiring suspects pooled billed_at sent look_at "
    "looked_at looks lost pace backlog failing",
}
#: {type: its fields that are}.
KEPT: Final[dict[type, str]] = {
    State: "accounts tasks attempts lanes ready timers blocked draining paused",
    LiveTask: "phase attempts due",
    LiveAttempt: "state open counts pictures asked renewing hold settled",
    LivePicture: "state asked",
    Lane: "again fresh parked",
}


@dataclass(frozen=True)
class Limits:
    """What a walk may contain."""

    on_doubt: OnDoubt = OnDoubt.HOLD
    #: n of each task.
    tasks: tuple[int, ...] = (1, 1, 1)
    #: Permits of one task at most; what is held beyond stays held. Also its allowance of attempts.
    posts: int = 3
    crashes: int = 1
    #: Connections that may be refused, and POSTs that may be answered with 429, in all.
    unsent: int = 0
    busy: int = 0
    #: How often somebody may pause the lane (and, in another walk, all of them); it may be continued at any time.
    pauses: int = 0
    pause: str | None = None
    cap: int = 3 * EACH
    release_lag_s: float = 0.0
    happens: frozenset[str] = EVERYTHING
    #: Commits and sends are steps of their own.
    explicit: bool = False
    states_max: int = 20_000_000


@dataclass(slots=True)
class Post:
    """What is true of one POST, as far as anybody knows: micro-units it is billed for at most, and who waits for it."""

    task: int
    worst: int
    listening: bool = True
    accepted: bool = False
    #: Its operation ended, and the gateway did not say whether it bills it.
    unsaid: bool = False
    over: bool = False
    #: Its bill is known: no evidence says anything more.
    settled: bool = False


@dataclass(slots=True)
class World:
    """The process, the disk, and what is true outside."""

    machine: Machine
    durable: Folded
    queue: tuple[tuple[Fact, ...], ...] = ()
    commands: frozenset[Command] = frozenset()
    posts: dict[int, Post] = field(default_factory=dict)
    #: {task: its permits}, by position.
    sent: tuple[int, ...] = ()
    crashes: int = 0
    unsent: int = 0
    busy: int = 0
    pauses: int = 0
    offered: int = 0


Move = tuple[str, Callable[[World], None]]


class Walk:
    """Visits every world within the limits once, breadth first, and judges each."""

    def __init__(self, limits: Limits) -> None:
        """One policy and one list of tasks for all worlds."""
        _refuse_unknown_fields()
        self.limits = limits
        self.tasks = [task(number, n=n) for number, n in enumerate(limits.tasks)]
        terms = replace(TERMS, release_lag_s=limits.release_lag_s)
        self.policy = policy(limits.on_doubt, attempts_max=limits.posts, terms=terms)
        self.twice = 2 if limits.on_doubt is OnDoubt.RESUBMIT else 1
        self.states = self.steps_taken = 0
        self.taken: Counter[str] = Counter()
        #: Every durable state that was reached (tables without names), for comparing walks.
        self.tables: set[object] = set()

    def walk(self) -> None:
        """*Raises* Violation with a shortest trace."""
        limits = self.limits
        first = World(Machine(self.policy), Folded(), crashes=limits.crashes, unsent=limits.unsent, busy=limits.busy)
        first.pauses = limits.pauses
        first.sent = (0,) * len(self.tasks)
        self._tell(first, CapAsked("USD", limits.cap, "the walk"))
        self._commit_all(first)
        key = self.key(first)
        traces: dict[bytes, tuple[bytes | None, str]] = {key: (None, "start")}
        edge: deque[tuple[bytes, World]] = deque([(key, first)])
        while edge:
            key, world = edge.popleft()
            moves = list(self.moves(world))
            self._judge_rest(world, moves, partial(_trace, traces, key))
            self.tables.add(self.table(world))
            for name, move in moves:
                after = _clone(world)
                try:
                    move(after)
                    if not limits.explicit:
                        self._commit_all(after)
                        self._send_all(after)
                    self.judge(after)
                except (AssertionError, Bug, KeyError) as problem:
                    raise Violation(f"{problem!r}\n  {' > '.join([*_trace(traces, key), name])}") from problem
                self.taken[name.split()[0]] += 1
                self.steps_taken += 1
                reached = self.key(after)
                if reached not in traces:
                    traces[reached] = (key, name)
                    edge.append((reached, after))
                    if len(traces) > limits.states_max:
                        raise AssertionError("too many states: tighten the limits")
        self.states = len(traces)

    # --- moves ----------------------------------------------------------------------------------------------------

    def moves(self, world: World) -> list[Move]:
        """Everything that can happen next, by name."""
        crashes = list(self._crashes(world)) if world.crashes else []
        fetches: list[Move] = [
            (f"fetch {each.attempt}", partial(self._done, command=each, said=_fetched(each)))
            for each in sorted(world.commands, key=repr)
            if isinstance(each, Fetch)
        ]
        if fetches and not self.limits.explicit and self.limits.on_doubt is not OnDoubt.RESUBMIT:
            return [fetches[0], *crashes]
        happens = self.limits.happens | _OF_PROCESS
        process = [move for move in self._of_process(world) if move[0].split()[0] in happens]
        return [*fetches, *process, *crashes]

    def _of_process(self, world: World) -> Iterator[Move]:
        machine = world.machine
        if world.queue:
            yield "commit", self._commit
        if machine.wants_tasks() and world.offered < len(self.tasks):
            yield "offer", self._offer
        if machine.paused():
            yield "continue", partial(self._tell, said=ContinueAsked(self.limits.pause, "the walk"))
        elif world.pauses:
            yield "pause", self._pause
        if machine.lane_ready(LANE, LATER):
            assert not machine.pauses(LANE), "a paused lane buys nothing"
            first = machine.state.attempts[machine.state.lane(LANE).first()]
            if world.sent[first.task] < self.limits.posts:
                yield f"slot {first.number}", partial(self._slot, number=first.task)
        for command in sorted(world.commands, key=repr):
            match command:
                case Submit(attempt):
                    yield f"send {attempt}", partial(self._send, command=command)
                case Poll():
                    yield from self._polls(world, command)
                case Wake(_, number, ended):
                    said = TimeCame(number, ended)
                    yield f"wake {number} {ended}", partial(self._done, command=command, said=said, now=LATER)
                case _:
                    pass
        for attempt, post in world.posts.items():
            if post.listening:
                yield from self._answers(world, attempt)
        for each in machine.doubts():
            yield from self._evidence(world, each.attempt)
        for attempt, post in world.posts.items():
            if not world.queue and _findable(world, attempt, post):
                yield f"late {attempt}", partial(self._late, attempt=attempt)

    def _answers(self, world: World, attempt: int) -> Iterator[Move]:
        yield f"accept {attempt}", partial(self._answer, attempt=attempt, reply=Pending(f"op-{attempt}"))
        yield f"refuse {attempt}", partial(self._answer, attempt=attempt, reply=Refused(NO))
        yield f"again {attempt}", partial(self._answer, attempt=attempt, reply=Refused(SOON))
        yield f"silence {attempt}", partial(self._answer, attempt=attempt, reply=NoAnswer(SILENCE))
        if world.unsent:
            yield f"unsent {attempt}", partial(self._answer, attempt=attempt, reply=Unsent(NOBODY))
        if world.busy:
            yield f"busy {attempt}", partial(self._answer, attempt=attempt, reply=Refused(BUSY))

    def _polls(self, world: World, command: Poll) -> Iterator[Move]:
        number, post = command.attempt, world.posts[command.attempt]
        if post.unsaid:
            said: PollReply = OperationFailed(SOON, None)
            yield f"unsaid {number}", partial(self._polled, command=command, said=said, worst=post.worst)
            return
        for images in range(self.tasks[post.task].n + 1):
            ready = Ready(tuple(f"{number}.{index}" for index in range(images)), images)
            yield (
                f"ends {number} with {images}",
                partial(self._polled, command=command, said=ready, worst=images * EACH),
            )
        for name, billed in (("fails", False), ("bills", True), ("unsaid", None)):
            worst = 0 if billed is False else post.worst
            failed = OperationFailed(SOON, billed)
            yield f"{name} {number}", partial(self._polled, command=command, said=failed, worst=worst)
        yield f"gone {number}", partial(self._vanish, command=command)

    def _evidence(self, world: World, attempt: int) -> Iterator[Move]:
        post = world.posts.get(attempt)
        if post is None or not post.accepted:  # permitted and never sent, or nobody knows
            yield f"absent {attempt}", partial(self._verdict, attempt=attempt, verdict="not_billed")
        if post is None:
            return
        if post.unsaid:
            yield f"absent {attempt}", partial(self._verdict, attempt=attempt, verdict="not_billed")
            yield f"billed {attempt}", partial(self._verdict, attempt=attempt, verdict="billed")
        else:
            yield f"found {attempt}", partial(self._verdict, attempt=attempt, operation=f"op-{attempt}")
            yield f"billed {attempt}", partial(self._verdict, attempt=attempt, verdict="billed")

    def _crashes(self, world: World) -> Iterator[Move]:
        listening = [attempt for attempt, post in world.posts.items() if post.listening]
        written = ("-", *sorted(self.limits.happens & {"accept", "refuse", "again"}))
        for words in product(written, repeat=len(listening)):
            box: dict[int, Reply] = {}
            for attempt, word in zip(listening, words, strict=True):
                match word:
                    case "accept":
                        box[attempt] = Pending(f"op-{attempt}")
                    case "refuse":
                        box[attempt] = Refused(NO)
                    case "again":
                        box[attempt] = Refused(SOON)
                    case _:
                        pass
            name = "crash " + ",".join(words)
            yield name, partial(self._crash, box=box)
            if world.crashes > 1:
                for batches in range(1, len(box) + 1):
                    yield f"{name}, again after {batches} of its recovery", partial(self._crash, box=box, dies=batches)

    # --- what they do ---------------------------------------------------------------------------------------------

    def _tell(self, world: World, said: Observation, now: float = 0.0) -> None:
        facts = world.machine.step(said, now)
        self._command(world, world.machine.follow_up())
        if facts:
            world.queue = (*world.queue, tuple(facts))

    def _commit(self, world: World) -> None:
        facts, *rest = world.queue
        world.queue = tuple(rest)
        world.durable = fold(facts, world.durable)
        for fact in facts:
            self._command(world, world.machine.react(fact, 0.0))

    def _commit_all(self, world: World) -> None:
        while world.queue:
            self._commit(world)

    def _send_all(self, world: World) -> None:
        for command in sorted(world.commands, key=repr):
            if isinstance(command, Submit):
                self._send(world, command)

    def _command(self, world: World, commands: Sequence[Command]) -> None:
        # A lane that cools needs no wake: slots come LATER than any time.
        fresh = {replace(each, at=0.0) if isinstance(each, Wake | Poll | Fetch) else each for each in commands}
        world.commands |= {each for each in fresh if not isinstance(each, Wake) or each.lane is None}

    def _send(self, world: World, command: Submit) -> None:
        number, row = command.attempt, world.durable.attempts.get(command.attempt)
        world.commands -= {command}
        assert row is not None, "I2: a POST left before its intent was durable"
        assert row.state is not S.RESERVED, "I2: a POST left before its permit was durable"
        assert number not in world.posts, "I2: one attempt was sent twice"
        world.posts[number] = Post(command.task, self.tasks[command.task].n * EACH)

    def _slot(self, world: World, number: int) -> None:
        world.sent = tuple(times + (index == number) for index, times in enumerate(world.sent))
        self._tell(world, SlotNear(LANE), LATER)

    def _pause(self, world: World) -> None:
        world.pauses -= 1
        self._tell(world, PauseAsked(self.limits.pause, "the walk"))
        assert world.machine.wants_tasks() == 0, "nothing is offered to a paused run"

    def _offer(self, world: World) -> None:
        before = len(world.machine.state.tasks)
        self._tell(world, Offered(self.tasks[world.offered]))
        world.offered += len(world.machine.state.tasks) > before

    def _done(self, world: World, command: Command, said: Observation, now: float = 0.0) -> None:
        world.commands -= {command}
        self._tell(world, said, now)

    def _answer(self, world: World, attempt: int, reply: Reply) -> None:
        _learn(world, attempt, reply)
        world.unsent -= isinstance(reply, Unsent)
        world.busy -= isinstance(reply, Refused) and reply.fault is BUSY
        self._tell(world, SubmitAnswered(attempt, reply))

    def _polled(self, world: World, command: Poll, said: PollReply, worst: int) -> None:
        post = world.posts[command.attempt]
        post.worst = worst
        post.unsaid = isinstance(said, OperationFailed) and said.billed is None
        post.over = post.settled = not post.unsaid
        self._done(world, command, PollAnswered(command.attempt, said))

    def _vanish(self, world: World, command: Poll) -> None:
        """It is unknown to the gateway, often enough and for long enough."""
        attempt = world.machine.state.attempts[command.attempt]
        for minutes in range(0, 15, 2):
            world.commands -= {command}
            self._tell(world, PollAnswered(command.attempt, Gone(GONE)), now=60.0 * minutes)
            if attempt.state is not S.ACCEPTED:
                return
        raise AssertionError("I9: an operation that is gone is followed for ever")

    def _verdict(self, world: World, attempt: int, verdict: str = "", operation: str = "") -> None:
        post = world.posts.get(attempt)
        if post is not None:
            post.accepted = bool(operation) or post.accepted
            post.over = not operation
            post.settled = post.over and (verdict == "not_billed" or post.unsaid)
            post.worst = 0 if verdict == "not_billed" else post.worst
        self._tell(world, VerdictGiven(attempt, verdict, "it is so", operation))

    def _late(self, world: World, attempt: int) -> None:
        """An attempt that was written off turns out to be an operation; its task may be forgotten by then."""
        number = world.posts[attempt].task
        if number not in world.machine.state.tasks:
            asked = world.durable.snapshot(asked=[number]).tasks
            world.machine.remember(next(each for each in asked if each.task.number == number))
        self._verdict(world, attempt, operation=f"op-{attempt}")

    def _crash(self, world: World, box: dict[int, Reply], dies: int = 0) -> None:
        world.queue, world.commands = (), frozenset()
        world.crashes -= 1
        for attempt, post in world.posts.items():
            post.listening = False
            if attempt in box:
                _learn(world, attempt, box[attempt])
        self._recover(world, box, dies)
        if dies:
            world.queue, world.commands = (), frozenset()
            world.crashes -= 1
            self._recover(world, box, 0)

    def _recover(self, world: World, box: dict[int, Reply], dies: int) -> None:
        known = world.durable.snapshot()
        world.machine = Machine.restore(self.policy, known)
        world.offered = len(world.durable.tasks)
        told = 0
        for attempt, answer in sorted(box.items()):
            row = world.durable.attempts[attempt]
            if row.state in {S.SUBMITTING, S.DOUBT}:
                self._tell(world, SubmitAnswered(attempt, answer))
                self._commit_all(world)
                told += 1
                if told == dies:
                    return
        self._tell(world, Resumed())
        self._commit_all(world)
        self._command(world, world.machine.resume_commands(0.0))

    # --- judgement ------------------------------------------------------------------------------------------------

    def judge(self, world: World) -> None:
        """I1, I2, I6 and I7. *Raises* AssertionError that names the invariant."""
        world.machine.check()
        durable, posts = world.durable, world.posts
        account = world.machine.accounts().get("USD")
        bill = sum(post.worst for post in posts.values())
        for where, each in (("in memory", account), ("on disk", durable.accounts.get("USD"))):
            assert each is not None
            covered = each.spent + each.held + each.doubt
            assert covered <= each.cap, f"I1: {covered} promised under a cap of {each.cap} {where}"
            assert bill <= covered, f"I1: {bill} may be billed, and {covered} is spent, held or in doubt {where}"
            assert not each.overage, f"I1: overage {where} although no price was above its hold"
        bought = Counter(post.task for post in posts.values() if post.worst)
        assert max(bought.values(), default=0) <= self.twice, "I2: a task may have been bought too often"
        exposed: Counter[int] = Counter()
        held = doubt = 0
        for number, row in durable.attempts.items():
            late = row.state is S.ACCEPTED and row.open < row.hold
            exposed[row.task] += row.state in lifecycle.EXPOSED and not late
            held += row.open if row.state in lifecycle.HOLDING else 0
            doubt += row.open if row.state in lifecycle.DOUBTFUL else 0
            post = posts.get(number)
            if post is not None and post.worst:
                assert row.state is not S.VOID, "I7: the money of a POST that may be billed was freed"
            assert not row.open or row.state not in {S.VOID, S.WRITTEN_OFF}, "I6: money left behind"
        assert max(exposed.values(), default=0) <= self.twice, "I2: a task is exposed too often"
        assert (durable.accounts["USD"].held, durable.accounts["USD"].doubt) == (held, doubt), "I6: not the sums"
        if not world.queue:
            self._judge_memory(world)

    def _judge_memory(self, world: World) -> None:
        state, durable = world.machine.state, world.durable
        assert state.accounts == durable.accounts, "I6: memory and disk differ"
        for number, live in state.tasks.items():
            assert live.phase is durable.phases[number], "I6: memory and disk differ about a task"
            for each in live.attempts.values():
                row = durable.attempts[each.number]
                same = (each.state, each.open, each.counts) == (row.state, row.open, row.counts)
                assert same, "I6: memory and disk differ about an attempt"
        assert all(phase in ENDED for number, phase in durable.phases.items() if number not in state.tasks), "I5: lost"

    def _judge_rest(self, world: World, moves: list[Move], trace: Callable[[], list[str]]) -> None:
        """I9 and I3 where nothing moves by itself any more: the run is over, and what was paid and known is stored."""
        machine = world.machine
        if machine.paused() and any(machine.state.ready.values()) and machine.idle():
            raise Violation(f"I9: a paused run ended with work left\n  {' > '.join(trace())}")
        if {name.split()[0] for name, _ in moves} - EVIDENCE - {"crash"}:
            return
        problem = ""
        # A try beyond the limits stays held: that is this walk's doing.
        beyond = any(
            each.state is S.RESERVED and world.sent[each.task] >= self.limits.posts
            for each in machine.state.attempts.values()
        )
        if not machine.idle() and not beyond:
            problem = f"I9: nothing moves and the run is not over: {machine.counts()}"
        for each in world.durable.attempts.values():
            if any(state == PENDING for state, _ in each.pictures.values()):
                problem = "I3: a paid picture was not fetched"
        if world.offered < len(self.tasks) and not (machine.state.blocked or beyond):
            problem = "I9: a task was never offered"
        if problem:
            raise Violation(f"{problem}\n  {' > '.join(trace())}")

    # --- names --------------------------------------------------------------------------------------------------

    def key(self, world: World) -> bytes:
        """What may matter from now on: equal for worlds that differ only in names and in what is past."""
        _forget_the_past(world)
        state = world.machine.state
        tasks = [self._key_of(world, number) for number in range(len(self.tasks))]
        if not self.limits.explicit:
            tasks.sort(key=repr)
        account = state.accounts.get("USD")
        whole = (tasks, account, world.crashes, world.unsent, world.busy, sorted(state.blocked), state.draining)
        pauses = (world.pauses, sorted(state.paused, key=repr))
        queued: object = ()
        if self.limits.explicit:
            queued = (world.queue, self.table(world))
        return blake2b(repr((whole, pauses, queued)).encode(), digest_size=16).digest()

    def _key_of(self, world: World, number: int) -> tuple[object, ...]:
        state = world.machine.state
        live = state.tasks.get(number)
        posts = [(attempt, post) for attempt, post in world.posts.items() if post.task == number]
        if live is None:
            bills = sorted((post.worst, _findable(world, attempt, post)) for attempt, post in posts if post.worst)
            tried = sum(each.task == number and each.counts for each in world.durable.attempts.values())
            kept = (world.sent[number], tried) if any(late for _, late in bills) else ()
            return (self.tasks[number].n, number < world.offered, bills, kept)
        ready = list(state.ready.get("USD", {}))
        lane = state.lane(live.task.lane)
        attempts: list[tuple[object, ...]] = []
        #: Of tries that cost nothing only their use of the allowance counts, and that there were any.
        voids: Counter[bool] = Counter()
        for each in live.attempts.values():
            post = world.posts.get(each.number)
            truth = None
            if post is not None and (post.worst or not post.over):
                truth = (post.worst, post.listening, post.accepted, post.unsaid, post.over)
            row = world.durable.attempts.get(each.number)
            if each.state is S.VOID and truth is None and row is not None:
                voids[each.counts] += 1
                continue
            where = (_place(lane.again, each.number), _place(lane.fresh, each.number))
            pictures = tuple((index, picture.state, picture.asked) for index, picture in each.pictures.items())
            commands = sorted(
                (type(command).__name__, getattr(command, "index", 0))
                for command in world.commands
                if getattr(command, "attempt", None) == each.number
            )
            attempts.append(
                (
                    each.state.value,
                    each.open,
                    each.hold,
                    each.settled,
                    each.counts,
                    each.asked,
                    each.renewing,
                    pictures,
                    where,
                    truth,
                    commands,
                )
            )
        attempts.sort(key=repr)
        wakes = sum(isinstance(each, Wake) and each.task == number for each in world.commands)
        return (
            live.task.n,
            live.phase.value,
            live.used,
            live.due is not None,
            number in state.timers,
            _place(ready, number),
            world.sent[number],
            wakes,
            (voids[True], voids[False] > 0),
            attempts,
        )

    def table(self, world: World) -> object:
        """What is durable, without names: compared between walks."""
        rows: list[tuple[object, ...]] = []
        for number, phase in world.durable.phases.items():
            mine = [each for each in world.durable.attempts.values() if each.task == number]
            if phase in ENDED and not any(each.open for each in mine):
                rows.append(("over",))
                continue
            attempts = [
                (each.state.value, each.open, each.counts, sorted(state for state, _ in each.pictures.values()))
                for each in mine
                if each.state is not S.VOID or each.counts
            ]
            rows.append((phase.value, sorted(attempts)))
        account = world.durable.accounts["USD"]
        return repr((sorted(rows), account.spent, account.held, account.doubt))


def _learn(world: World, attempt: int, reply: Reply) -> None:
    """The truth of a POST, now that it is answered."""
    post = world.posts[attempt]
    post.listening = False
    if isinstance(reply, Pending):
        post.accepted = True
    elif isinstance(reply, Refused | Unsent):
        post.worst, post.over = 0, True


def _findable(world: World, attempt: int, post: Post) -> bool:
    """Whether late evidence may find the operation of an attempt that was written off."""
    written_off = world.durable.attempts[attempt].state is S.WRITTEN_OFF
    return written_off and bool(post.worst) and not post.unsaid and not post.settled


def _fetched(command: Fetch) -> Fetched:
    return Fetched(command.attempt, command.index, PICTURE)


def _place(queue: Sequence[int], number: int) -> int:
    return queue.index(number) if number in queue else -1


def _forget_the_past(world: World) -> None:
    state = world.machine.state
    state.stories.clear()
    state.faults.clear()
    for lane in state.lanes.values():
        lane.submits = lane.unsent_streak = lane.rate_limited = lane.rate_limited_streak = 0
        lane.unsent_since, lane.cooling_until = None, 0.0
        lane.doubted_at.clear()
        lane.doubtful.clear()
        lane.limited_since = None
        lane.pace = Pace()
    for live in state.tasks.values():
        live.due = live.due and 1.0
    for each in state.attempts.values():
        each.broken = each.gone = 0
        each.broken_since = each.gone_since = None
        each.since = each.since and 0.0
        each.rest_at = each.rest_at and 0.0

    world.commands = frozenset(each for each in world.commands if _stands(state, each))


def _stands(state: State, command: Command) -> bool:
    match command:
        case Submit(number) | Poll(number) | Fetch(number) | Wake(attempt=int(number)):
            return number in state.attempts
        case Wake(task=int(number)):
            return number in state.tasks
        case _:
            return False


# --- copies -----------------------------------------------------------------------------------------------------------


def _clone(world: World) -> World:
    new: World = _slots(world)
    new.machine = Machine.__new__(Machine)
    new.machine.__dict__.update(world.machine.__dict__)
    new.machine.state = _clone_state(world.machine.state)
    new.machine._follow = []
    new.posts = {number: _slots(post) for number, post in world.posts.items()}
    return new


_CONTAINERS: Final = {dict, set, list, deque, Counter, Operations}


#: {type: its fields' names, and what reads them all}.
_FIELDS: Final[dict[Any, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]]] = {}


def _slots(value: Any) -> Any:
    known = _FIELDS.get(type(value))
    if known is None:
        names = tuple(each.name for each in fields(value))
        known = _FIELDS[type(value)] = (names, attrgetter(*names))
    new = object.__new__(type(value))
    for name, each in zip(known[0], known[1](value), strict=True):
        setattr(new, name, each.copy() if type(each) in _CONTAINERS else each)
    return new


def _clone_state(state: State) -> State:
    new: State = _slots(state)
    new.tasks, new.attempts = {}, {}
    for number, live in state.tasks.items():
        task_copy: LiveTask = _slots(live)
        new.tasks[number] = task_copy
        for attempt, each in live.attempts.items():
            attempt_copy: LiveAttempt = _slots(each)
            attempt_copy.pictures = {index: _slots(picture) for index, picture in each.pictures.items()}
            task_copy.attempts[attempt] = new.attempts[attempt] = attempt_copy
    new.lanes = {name: _slots(lane) for name, lane in state.lanes.items()}
    for lane in new.lanes.values():
        lane.pace = _slots(lane.pace)
    new.ready = {currency: dict(numbers) for currency, numbers in state.ready.items()}
    return new


def _refuse_unknown_fields() -> None:
    for kind, dropped in DROPPED.items():
        unknown = {each.name for each in fields(kind)} ^ {*dropped.split(), *KEPT[kind].split()}
        assert not unknown, f"say in DROPPED or KEPT whether these fields of {kind.__name__} matter: {sorted(unknown)}"


def _trace(traces: dict[bytes, tuple[bytes | None, str]], key: bytes | None) -> list[str]:
    names: list[str] = []
    while key is not None:
        key, name = traces[key]
        names.append(name)
    return names[-2::-1]
