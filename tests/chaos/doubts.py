"""T20: doubts resolved by evidence, against a gateway that knows the truth: no doubt that was billed is ever voided.

Each case is a short run with several doubts. The gateway's listing lags, stops short, is shared with strangers or
repeats little of a request; its meter is rounded; processes die between submit and look.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from random import Random
from typing import Final

from pipeline.engine.facts import Accepted, DoubtLifted, DoubtReleased, Fact, Permitted, WrittenOff
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    BalanceTold,
    CapAsked,
    Command,
    Fetch,
    Fetched,
    Listed,
    Look,
    Observation,
    Offered,
    Poll,
    PollAnswered,
    Resumed,
    SlotNear,
    Submit,
    SubmitAnswered,
    TimeCame,
    Wake,
)
from pipeline.engine.phases import AttemptState
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.errors import Bug
from pipeline.values.evidence import ListedOperation, Listing
from pipeline.values.reply import Fault, FaultKind, Pending, Ready, Refused, Unknown
from pipeline.values.task import Price, Task
from tests.chaos.report import Report, idle
from tests.engine.folding import Folded, fold
from tests.engine.worlds import LANE, TERMS, artifact, task

SIZES: Final = {"small": 3_000, "merge": 100_000}
CAP: Final = 10**9
#: The longest that a POST may lie around before it is accepted, and an accepted operation be missing from listings.
ACCEPTED_WITHIN_S: Final = 120.0
LISTED_WITHIN_S: Final = 300.0
#: Unix seconds at the driver's zero, and what the gateway's clock is off by at most (seconds).
WALL: Final = 1_767_225_600.0
SKEW_S: Final = 60.0
#: What was accepted shows on the meter this long after at most (seconds): it has to be made first.
BILLED_WITHIN_S: Final = 3_000.0
#: What has ended shows on the meter this long after at most (seconds).
METERED_WITHIN_S: Final = 200.0
#: What the meter counts in.
UNIT: Final = "credit"
LOST: Final = Fault(FaultKind.UNKNOWN, "the answer was lost")


@dataclass(frozen=True, slots=True)
class Kind:
    """What sort of gateway and account a case has."""

    name: str
    complete: bool = True
    exclusive: bool = True
    #: The listing repeats prompt, n and seed; else nothing.
    echo: bool = True
    #: Tells a meter besides, rounded to so many micro-units; 0: none.
    grain: int = 0
    #: The user says that the key is the run's alone.
    dedicated: bool = True
    #: Others buy on the account all the same, whatever the user says.
    strangers: bool = False
    #: Micro-units of the cap for one that the gateway bills in.
    rate: int = 1
    #: Prices differ from task to task.
    mixed: bool = False
    #: Every accepted doubt must be found.
    recovers: bool = False
    on_doubt: OnDoubt = OnDoubt.HOLD
    each: int = 75_000
    #: Lists another account, or a window that a wrong clock chose.
    blind: bool = False
    short_sighted: bool = False


KINDS: Final = (
    Kind("whole", recovers=True),
    Kind("whole, resubmitted", recovers=True, on_doubt=OnDoubt.RESUBMIT),
    Kind("no echo", echo=False),
    Kind("incomplete", complete=False),
    Kind("shared", exclusive=False, strangers=True),
    Kind("shared, no echo", exclusive=False, strangers=True, echo=False),
    Kind("shared, resubmitted", exclusive=False, strangers=True, on_doubt=OnDoubt.RESUBMIT),
    Kind("metered", complete=False, echo=False, grain=100),
    Kind("metered coarsely", complete=False, echo=False, grain=10_000, each=6_000),
    Kind("metered, shared key", complete=False, echo=False, grain=100, dedicated=False, strangers=True),
    Kind("metered in another unit", complete=False, echo=False, grain=100, rate=14),
    Kind("metered, different prices", complete=False, echo=False, grain=100, mixed=True, rate=14),
    Kind("metered, falsely called dedicated", complete=False, echo=False, grain=100, strangers=True),
    Kind("metered, resubmitted", complete=False, echo=False, grain=100, on_doubt=OnDoubt.RESUBMIT),
    Kind("falsely called dedicated", strangers=True),
    Kind("another account", blind=True),
    Kind("a wrong window", short_sighted=True),
)


@dataclass(slots=True)
class Operation:
    """What the gateway has accepted: whose it is (None: a stranger's), and from when it is listed."""

    name: str
    attempt: int | None
    task: Task
    at: float
    listed_at: float
    #: When it shows on the meter, and with how much of the gateway's unit; what it costs under the cap.
    metered_at: float
    native: int
    billed: int
    #: The gateway's own choice where none was asked for.
    seed: int


@dataclass(frozen=True, slots=True)
class Made:
    """A poll's answer that tells an operation's end."""

    attempt: int
    operation: str


@dataclass(slots=True)
class Case:
    """One run against one gateway."""

    kind: Kind
    random: Random
    machine: Machine
    durable: Folded
    now: float = 0.0
    queue: list[tuple[float, int, Command | str | Observation | Made]] = field(default_factory=list)
    count: int = 0
    operations: dict[str, Operation] = field(default_factory=dict)
    #: {attempt: when it was permitted}, and the attempts that were ever in doubt.
    sent: dict[int, float] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)
    facts: list[Fact] = field(default_factory=list)
    skew: float = 0.0
    looks: int = 0

    def later(self, at: float, what: Command | str | Observation | Made) -> None:
        """Put something on the queue."""
        self.count += 1
        heappush(self.queue, (at, self.count, what))

    def tell(self, observation: Observation) -> None:
        """One turn of the ring; everything is durable at once."""
        facts = self.machine.step(observation, self.now)
        self.durable = fold(facts, self.durable) if facts else self.durable
        self.facts += facts
        for fact in facts:
            if isinstance(fact, Permitted):
                self.sent[fact.attempt] = self.now
        for command in self.machine.follow_up():
            self.take(command)
        for fact in facts:
            for command in self.machine.react(fact, self.now):
                self.take(command)

    def take(self, command: Command) -> None:
        """Do a command when its time comes."""
        self.later(self.now if isinstance(command, Submit) else command.at, command)

    def accept(self, attempt: int | None, wanted: Task, at: float) -> str:
        """The gateway accepts a POST."""
        name = f"op-{len(self.operations)}"
        lag = self.random.choice((0.0, self.random.uniform(0, 30), self.random.uniform(0, LISTED_WITHIN_S)))
        billed = wanted.price.cost(wanted.n)
        seed = self.random.randrange(2**31) if wanted.seed is None else wanted.seed
        made = self.random.choice((0.0, self.random.uniform(0, 300), self.random.uniform(0, BILLED_WITHIN_S)))
        native = wanted.price.native_cost(wanted.n)
        self.operations[name] = Operation(name, attempt, wanted, at, at + lag, at + made, native, billed, seed)
        return name

    # --- what happens ---

    def submitted(self, command: Submit) -> None:
        """The POST leaves: answered, refused, or lost on one of the two ways."""
        wanted = self.machine.task(command.task)
        draw = self.random.random()
        if draw < 0.25:
            self.tell(SubmitAnswered(command.attempt, Pending(self.accept(command.attempt, wanted, self.now))))
        elif draw < 0.3:
            self.tell(SubmitAnswered(command.attempt, Refused(Fault(FaultKind.REJECTED, "no"))))
        else:
            if draw < 0.7:
                delay = self.random.choice((0.0, self.random.uniform(0, ACCEPTED_WITHIN_S)))
                self.accept(command.attempt, wanted, self.now + delay)
            self.doubted.add(command.attempt)
            self.later(self.now + self.random.uniform(0, 60), SubmitAnswered(command.attempt, Unknown(LOST)))

    def listing(self, reach_s: float) -> Listing:
        """What the gateway lists now."""
        reach_s = 430.0 if self.kind.short_sighted else reach_s + 300
        since, until = self.now - reach_s, self.now + 300
        shown = [
            each
            for each in self.operations.values()
            if each.listed_at <= self.now and since <= each.at + self.skew <= until and not self.kind.blind
        ]
        if not self.kind.complete:
            shown = [each for each in shown if self.random.random() < 0.5]
        listed = tuple(
            ListedOperation(
                each.name,
                _wall(each.at + self.skew),
                each.task.prompt if self.kind.echo else None,
                each.task.n if self.kind.echo else None,
                each.seed if self.kind.echo else None,
            )
            for each in shown
        )
        return Listing(_wall(self.now), _wall(since), _wall(until), self.kind.complete, self.kind.exclusive, listed)

    def meter(self) -> int:
        """What the key's meter shows now, rounded as vendors do: down, up or to the nearest."""
        used = 123_456_700 + sum(each.native for each in self.operations.values() if each.metered_at <= self.now)
        grain = self.kind.grain
        return (used + self.random.choice((0, grain // 2, grain - 1))) // grain * grain

    def looked(self, command: Look) -> None:
        """Books are read twice, half a minute apart."""
        self.looks += 1
        first = self.listing(command.reach_s)
        self.now += 30.0
        second = self.listing(command.reach_s)
        if self.kind.grain:
            before = 123_456_700 // self.kind.grain * self.kind.grain
            flight = any(view.in_flight for view in self.machine.lane_views().values())
            self.tell(
                BalanceTold(
                    command.gateway, UNIT, before, self.meter(), self.kind.dedicated, not flight, self.kind.grain
                )
            )
        self.now += self.random.uniform(0, 5)
        self.tell(Listed(command.gateway, command.model, first, second))

    def crash(self) -> None:
        """The process dies, and another one opens the folder."""
        snapshot = self.durable.snapshot()
        tasks = tuple(
            replace(
                stored,
                attempts=tuple(
                    replace(each, submitted_at=_wall(self.sent[each.attempt]) if each.attempt in self.sent else None)
                    for each in stored.attempts
                ),
            )
            for stored in snapshot.tasks
        )
        oldest = min((self.sent[each] for each in self.doubted), default=float("inf"))
        known = {
            each.operation: _wall(self.sent[each.number])
            for each in self.durable.attempts.values()
            if each.operation and self.sent[each.number] >= oldest
        }
        self.doubted |= {
            each.number for each in self.durable.attempts.values() if each.state is AttemptState.SUBMITTING
        }
        self.queue = [entry for entry in self.queue if isinstance(entry[2], str)]
        self.now += self.random.choice((1.0, 60.0, 3600.0, 90_000.0))
        again = replace(snapshot, tasks=tasks, sent={LANE: known})
        self.machine = Machine.restore(self.machine.state.policy, again, self.machine.state.seed)
        self.tell(Resumed(_wall(self.now)))
        for command in self.machine.resume_commands(self.now):
            self.take(command)

    def turn(self) -> None:
        """The next thing that is due."""
        at, _, what = heappop(self.queue)
        self.now = max(self.now, at)
        match what:
            case "slot":
                if self.machine.lane_ready(LANE, self.now):
                    self.tell(SlotNear(LANE))
                self.later(self.now + self.random.uniform(1, 60), "slot")
            case "crash":
                self.crash()
            case "stranger":
                theirs = self.random.choice((_prompt(self.random), "a stranger's wish"))
                price = Price("USD", self.kind.each, 0, UNIT, self.kind.each, "this campaign")
                wanted = replace(task(999, n=self.random.randint(1, 2), price=price), prompt=theirs)
                self.accept(None, wanted, self.now)
            case Submit():
                self.submitted(what)
            case Look():
                self.looked(what)
            case Poll():
                # Where it takes long, the answer that tells its end comes late: that saves asking meanwhile.
                made = self.random.choice((0.0, self.random.uniform(0, 4_000))) if self.kind.grain else 0.0
                self.later(self.now + made, Made(what.attempt, what.operation))
            case Made(attempt, name):
                operation = self.operations[name]
                within = self.now + self.random.uniform(0, METERED_WITHIN_S)
                self.operations[name] = replace(operation, metered_at=min(operation.metered_at, within))
                self.tell(PollAnswered(attempt, Ready(tuple("abc"[: operation.task.n]), operation.task.n)))
            case Fetch():
                self.tell(Fetched(what.attempt, what.index, artifact()))
            case Wake():
                self.tell(TimeCame(what.task, what.attempt, what.lane))
            case SubmitAnswered():
                self.tell(what)
            case _:
                raise AssertionError(what)


def _wall(at: float) -> int:
    return round((WALL + at) * 1e6)


def _prompt(random: Random) -> str:
    return f"a fox, {random.randint(0, 5)}"


def play(kind: Kind, seed: int) -> Case:
    """One run, to the end that the engine sees itself, and the looks that a day may bring."""
    random = Random(seed)
    policy = Policy(
        2, kind.on_doubt, {LANE: replace(TERMS, lists=True, meters=kind.grain > 0, in_flight_max=40, unanswered_max=40)}
    )
    case = Case(kind, random, Machine(policy, seed), Folded())
    case.skew = random.uniform(-SKEW_S, SKEW_S)
    case.tell(CapAsked("USD", CAP, "the campaign"))
    same = 1 if kind.grain and not kind.mixed else random.randint(1, 2)
    for number in range(random.randint(4, 10)):
        seeded = random.choice((None, random.randrange(2**31)))
        each = kind.each * random.choice((2, 3, 7)) // 2 if kind.mixed else kind.each
        price = Price("USD", -(-each // kind.rate), 0, UNIT, each, "this campaign")
        case.tell(Offered(replace(task(number, n=same, price=price), prompt=_prompt(random), seed=seeded)))
    case.later(0.0, "slot")
    if random.random() < 0.3:
        case.later(random.uniform(0, 600), "crash")
    if kind.strangers:
        for _ in range(random.randint(0, 4)):
            case.later(random.uniform(0, 400), "stranger")
    for _ in range(3_000):
        if case.now > 3 * 86_400 or (case.machine.idle() and not any(entry[2] == "crash" for entry in case.queue)):
            break
        case.turn()
    return case


def judge(case: Case) -> tuple[Counter[str], list[str]]:
    """What became of the doubts, and what must never be."""
    figures: Counter[str] = Counter()
    wrong: list[str] = []
    accepted = {each.attempt: each.name for each in case.operations.values() if each.attempt is not None}
    void = {fact.attempt for fact in case.facts if isinstance(fact, DoubtReleased)}
    off = {fact.attempt for fact in case.facts if isinstance(fact, WrittenOff)}
    lifted = {fact.attempt for fact in case.facts if isinstance(fact, DoubtLifted)}
    became = {fact.attempt: fact.operation for fact in case.facts if isinstance(fact, Accepted)}
    figures["doubts"] = len(case.doubted)
    figures["accepted"] = len(case.doubted & accepted.keys())
    figures["found"] = len(lifted)
    figures["voided"] = len(void)
    figures["written off"] = len(off)
    figures["looks"] = case.looks
    if case.kind.grain:
        figures["voided by the meter"], figures["booked by the meter"] = len(void), len(off)
    by_sum = case.kind.grain > 0
    # POSTs with the same wish are interchangeable: what matters is that each operation is somebody's.
    taken = {became[attempt] for attempt in lifted}
    wrong += [
        f"attempt {attempt} was billed as {accepted[attempt]} and is void"
        for attempt in sorted(void & accepted.keys())
        if not by_sum and accepted[attempt] not in taken
    ]
    for attempt in sorted(lifted):
        truth = case.operations[became[attempt]]
        if truth.attempt is None:
            figures["taken for a stranger's"] += 1
            if not case.kind.strangers:
                wrong.append(f"attempt {attempt} was taken for a stranger's {truth.name}")
        elif truth.attempt != attempt and truth.task.prompt != case.durable.tasks[_task(case, attempt)].prompt:
            wrong.append(f"attempt {attempt} was taken for {truth.name} of attempt {truth.attempt}")
    if case.kind.recovers:
        missing = (case.doubted & accepted.keys()) - lifted
        lost = [attempt for attempt in missing if accepted[attempt] not in taken]
        wrong += [f"attempt {attempt} was accepted as {accepted[attempt]} and not found" for attempt in sorted(lost)]
    account = case.durable.accounts["USD"]
    bill = sum(each.billed for each in case.operations.values() if each.attempt is not None)
    if bill > account.spent + account.held + account.doubt:
        wrong.append(f"the bill of {bill} is more than the books say: {account}")
    return figures, wrong


def _task(case: Case, attempt: int) -> int:
    return case.durable.attempts[attempt].task


def campaign(size: str, seed: int) -> Report:
    """So many doubts over all kinds of gateways and accounts."""
    figures: Counter[str] = Counter()
    violations: list[str] = []
    number = 0
    while figures["doubts"] < SIZES[size]:
        kind = KINDS[number % len(KINDS)]
        chosen = seed * 1_000_003 + number
        try:
            case = play(kind, chosen)
            case.machine.check()
            news, wrong = judge(case)
        except (Bug, AssertionError) as error:
            news, wrong = Counter[str](), [f"{type(error).__name__}: {error}"]
        figures += news
        figures["runs"] += 1
        violations += [f"seed {seed}, case {number} ({kind.name}, play seed {chosen}): {each}" for each in wrong]
        number += 1
        if len(violations) > 20:
            break
    figures["wrong voids"] = sum("is void" in each for each in violations)
    order = (
        "doubts",
        "accepted",
        "found",
        "voided",
        "written off",
        "voided by the meter",
        "booked by the meter",
        "looks",
        "runs",
        "wrong voids",
    )
    floors = {"doubts": SIZES[size], "accepted": 0.3 * SIZES[size], "found": 0.1 * SIZES[size]}
    floors |= {"voided": 0.02 * SIZES[size], "looks": figures["runs"]}
    violations += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("doubts", {name: figures[name] for name in order}, tuple(violations))
