"""Whatever the world answers, in whatever order, the books agree with a ledger of a few lines (T2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pipeline.engine import answers, ledger, lifecycle
from pipeline.engine.facts import Fact
from pipeline.engine.late import open_to_evidence
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    CapAsked,
    Command,
    ContinueAsked,
    DrainAsked,
    Fetch,
    Fetched,
    FetchFailed,
    Observation,
    Offered,
    PauseAsked,
    Poll,
    PollAnswered,
    Resumed,
    RetryAsked,
    SlotNear,
    Submit,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
    Wake,
)
from pipeline.engine.phases import AttemptState
from pipeline.engine.stored import StoredAccount
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import (
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    StillRunning,
    Unknown,
    Unsent,
)
from tests.engine.folding import fold
from tests.engine.worlds import EACH, LANE, TERMS, artifact, policy, task

LANES = (LANE, "mule/lite", "other/pro")
DISTURBANCES = ["wait", "cap", "verdict", "verdict", "late", "late", "crash", "drain", "pause", "continue", "continue"]
DISTURBANCES += ["again"]
GRACE_S = 600.0
PARKING = (FaultKind.UNAUTHORIZED, FaultKind.OUT_OF_CREDIT, FaultKind.CLOSED)
FAULTS = st.builds(
    Fault,
    # What parks a gateway ends the run: one time in five is enough.
    st.sampled_from([*[kind for kind in FaultKind if kind not in PARKING] * 2, *PARKING]),
    st.just("what the world said"),
    retry_after_s=st.none() | st.sampled_from([-1.0, 0.0, 3.0, 1e9]),
)


@st.composite
def ready(draw: st.DrawFn) -> Ready:
    """Links and a bill that need not agree with each other or with what was asked for."""
    links = draw(st.integers(0, 4))
    return Ready(tuple(f"l{index}" for index in range(links)), draw(st.integers(0, 4)))


POLLS: st.SearchStrategy[PollReply] = st.one_of(
    ready(),
    st.just(StillRunning()),
    st.builds(OperationFailed, FAULTS, st.sampled_from([True, False, None])),
    st.builds(Gone, FAULTS),
    st.builds(PollBroken, FAULTS),
)


class Books:
    """The ledger in a few lines: what each sent attempt can still cost, what was paid, what nobody knows."""

    def __init__(self, on_doubt: OnDoubt) -> None:
        """Nothing has been sent."""
        self.on_doubt = on_doubt
        self.open: dict[int, int] = {}
        self.doubt: dict[int, int] = {}
        #: {attempt found after its end: (its hold, what is booked of it already)}.
        self.late: dict[int, tuple[int, int]] = {}
        self.spent = 0

    def paid(self, attempt: int, amount: int) -> None:
        """It ended with this bill."""
        self.open.pop(attempt)
        self.spent += amount

    def paid_late(self, attempt: int, amount: int) -> None:
        """It ended with this bill, of which some was booked before."""
        _, booked = self.late.pop(attempt)
        self.spent += max(0, amount - booked)

    def unknown(self, attempt: int) -> None:
        """Nobody knows what it costs."""
        amount = self.open.pop(attempt)
        if self.on_doubt is OnDoubt.WRITE_OFF:
            self.spent += amount
        else:
            self.doubt[attempt] = amount


class World(RuleBasedStateMachine):
    """A driver whose journal is a list, in a world that may answer anything."""

    def __init__(self) -> None:
        """The policy is drawn by `begin`."""
        super().__init__()
        self.now = 0.0
        self.offered = 0
        self.names = 0
        self.facts: list[Fact] = []
        self.commands: list[Command] = []
        self.sent: set[int] = set()

    @initialize(on_doubt=st.sampled_from(OnDoubt), cap=st.sampled_from([700, 10_000]), lag=st.sampled_from([0, 60]))
    def begin(self, on_doubt: OnDoubt, cap: int, lag: float) -> None:
        """A new run."""
        self.terms = policy(on_doubt, lanes=LANES, terms=replace(TERMS, release_lag_s=lag))
        self.machine = Machine(self.terms)
        self.books = Books(on_doubt)
        self.tell(CapAsked("USD", cap, "the spec"))

    def tell(self, observation: Observation) -> None:
        """One turn of the ring."""
        facts = self.machine.step(observation, self.now)
        self.facts.extend(facts)
        self.commands.extend(self.machine.follow_up())
        for fact in facts:
            self.commands.extend(self.machine.react(fact, self.now))

    def has(self, kind: type[Command]) -> bool:
        """Whether a command of this kind waits."""
        return any(isinstance(each, kind) for each in self.commands)

    def take(self, data: st.DataObject, kind: type[Command]) -> Command | None:
        """One of the commands of this kind, taken off the list."""
        fitting = [each for each in self.commands if isinstance(each, kind)]
        if not fitting:
            return None
        command = data.draw(st.sampled_from(fitting))
        self.commands.remove(command)
        return command

    @rule(data=st.data(), times=st.integers(1, 6))
    def go_on(self, data: st.DataObject, times: int) -> None:
        """The run goes on by some steps: whatever can happen next."""
        for _ in range(times):
            machine = self.machine
            steps = [
                (machine.wants_tasks() > 0 and self.offered < 12, self.offer),
                (bool(self.open_lanes()), self.send),
                (self.has(Submit), self.leave),
                (bool(self.waiting()), self.answer),
                (self.has(Poll), self.poll),
                (self.has(Fetch), self.fetch),
                (self.has(Wake), self.wake),
            ]
            able = [step for can, step in steps if can]
            if not able:
                return
            data.draw(st.sampled_from(able))(data)
            self.books_agree()

    @rule(data=st.data(), what=st.sampled_from(DISTURBANCES))
    def disturb(self, data: st.DataObject, what: str) -> None:
        """Something comes from outside: time, a person, or a crash."""
        match what:
            case "wait":
                self.now += data.draw(st.sampled_from([1.0, 700.0, 100_000.0]))
            case "cap":
                # Also to below what is spent.
                self.tell(CapAsked("USD", data.draw(st.sampled_from([0, 250, 1000, 20_000])), "--budget"))
            case "verdict" if self.books.doubt:
                self.verdict(data)
            case "late":
                self.late(data)
            case "again":
                self.again(data)
            case "crash":
                self.restart(data.draw(st.integers(1, 2)))
            case "pause":
                lane = data.draw(st.sampled_from([None, *LANES]))
                self.tell(PauseAsked(lane, "the law"))
                stopped = LANES if lane is None else (lane,)
                assert not any(self.machine.lane_ready(each, 1e12) for each in stopped), "a paused lane buys nothing"
            case "continue":
                self.tell(ContinueAsked(data.draw(st.sampled_from([None, *LANES])), "the law"))
            case "drain":
                self.tell(DrainAsked(data.draw(st.sampled_from(["", "the law"]))))
                assert self.machine.wants_tasks() == 0
                assert not any(self.machine.lane_ready(lane, 1e12) for lane in LANES)
                self.restart(1)
            case _:
                pass

    def offer(self, data: st.DataObject) -> None:
        """The feed has a task."""
        n, lane = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(LANES))
        self.tell(Offered(task(self.offered, n=n, lane=lane)))
        self.offered += 1

    def open_lanes(self) -> list[str]:
        """Lanes on which a POST could be permitted now."""
        return [lane for lane in LANES if self.machine.lane_ready(lane, self.now)]

    def send(self, data: st.DataObject) -> None:
        """The pacer is ready, the permit is durable, the POST leaves; or the process dies in between."""
        before = len(self.facts)
        self.tell(SlotNear(data.draw(st.sampled_from(self.open_lanes()))))
        assert len(self.facts) == before + 2, "a ready lane gives a permit"
        if data.draw(st.integers(0, 9)) < 9:
            self.leave(data)

    def leave(self, data: st.DataObject) -> None:
        """A permitted POST leaves."""
        command = self.take(data, Submit)
        assert isinstance(command, Submit)
        assert command.attempt not in self.sent, "one attempt was sent twice"
        self.sent.add(command.attempt)
        self.books.open[command.attempt] = self.machine.task(command.task).n * EACH

    def waiting(self) -> list[int]:
        """Attempts whose POST is out."""
        return sorted(self.sent & {number for lane in self.machine.state.lanes.values() for number in lane.unanswered})

    def answer(self, data: st.DataObject) -> None:
        """The POST is answered, or is not."""
        attempt = data.draw(st.sampled_from(self.waiting()))
        fault = data.draw(FAULTS)
        reply: Reply
        match data.draw(st.sampled_from(["pending", "pending", "pending", "ready", "no", "unsent", "unknown"])):
            case "pending":
                self.names += 1
                reply = Pending(f"op-{self.names}")
            case "ready":
                reply = data.draw(ready())
                self.books.paid(attempt, max(reply.billed_images, len(reply.links)) * EACH)
            case "unknown":
                reply = Unknown(fault)
                self.books.unknown(attempt)
            case kind:
                reply = Refused(fault) if kind == "no" else Unsent(fault)
                self.books.paid(attempt, 0)
        self.tell(SubmitAnswered(attempt, reply))

    def poll(self, data: st.DataObject) -> None:
        """A poll is answered."""
        command = self.take(data, Poll)
        assert isinstance(command, Poll)
        reply = data.draw(POLLS)
        # Now and then an operation is unknown for good.
        for _ in range(5 if isinstance(reply, Gone) and data.draw(st.booleans()) else 0):
            self.polled(command, reply)
            again = [each for each in self.commands if isinstance(each, Poll) and each.attempt == command.attempt]
            if not again:
                return
            command = again[0]
            self.commands.remove(command)
            self.now += 200.0
        self.polled(command, reply)

    def polled(self, command: Poll, reply: PollReply) -> None:
        """What one answer to a poll is in the books."""
        self.now = max(self.now, command.at)
        attempt = command.attempt
        before = self.machine.accounts()["USD"]
        self.tell(PollAnswered(attempt, reply))
        if attempt in self.books.late:
            self.ends_late(attempt, reply)
        if attempt not in self.books.open:
            return
        match reply:
            case Ready(links, billed):
                self.books.paid(attempt, max(billed, len(links)) * EACH)
            case OperationFailed(_, True):
                self.books.paid(attempt, self.books.open[attempt])
            case OperationFailed(_, False):
                self.books.paid(attempt, 0)
            case OperationFailed(_, None):
                self.books.unknown(attempt)
            case Gone() if replace(self.machine.accounts()["USD"], held=before.held) != before:
                assert self.now >= GRACE_S, "gone is evidence only after its grace"
                self.books.unknown(attempt)
            case _:
                pass

    def fetch(self, data: st.DataObject) -> None:
        """A download ends; it moves no money."""
        command = self.take(data, Fetch)
        assert isinstance(command, Fetch)
        fault = data.draw(st.none() | FAULTS)
        before = self.machine.images()
        if fault is None:
            self.tell(Fetched(command.attempt, command.index, artifact()))
        else:
            self.tell(FetchFailed(command.attempt, command.index, fault))
        assert self.machine.images() == before + (fault is None)

    def wake(self, data: st.DataObject) -> None:
        """A timer falls due."""
        command = self.take(data, Wake)
        assert isinstance(command, Wake)
        self.now = max(self.now, command.at)
        self.tell(TimeCame(command.task, command.attempt, command.lane))

    def verdict(self, data: st.DataObject) -> None:
        """Evidence about a doubt comes in."""
        attempt = data.draw(st.sampled_from(sorted(self.books.doubt)))
        verdict = data.draw(st.sampled_from(["billed", "not_billed", "found"]))
        amount = self.books.doubt.pop(attempt)
        self.names += 1
        if verdict == "found":
            self.books.open[attempt] = amount
            self.tell(VerdictGiven(attempt, "", "listed", f"op-{self.names}"))
        else:
            self.books.spent += amount if verdict == "billed" else 0
            self.tell(VerdictGiven(attempt, verdict, "the bill says so"))

    def late(self, data: st.DataObject) -> None:
        """Evidence about an attempt that had ended as not billed, or was written off; its task may be forgotten."""
        folded = fold(self.facts)
        ended = {AttemptState.VOID, AttemptState.WRITTEN_OFF, AttemptState.SETTLED}
        fitting = [each for each in folded.attempts.values() if each.state in ended and not each.open]
        if not fitting:
            return
        row = data.draw(st.sampled_from(fitting))
        kept = next(each for each in folded.snapshot(asked=[row.task]).tasks if each.task.number == row.task)
        forgotten = not self.machine.knows(row.task)
        self.machine.remember(kept)
        if not open_to_evidence(self.machine.state.attempts[row.number]):
            if forgotten:
                self.restart(1)  # Only a person's command remembers; it would have ended here.
            return
        self.names += 1
        if row.state is AttemptState.WRITTEN_OFF or data.draw(st.booleans()):
            self.books.late[row.number] = (row.hold, row.settled)
            self.tell(VerdictGiven(row.number, "", "listed late", row.operation or f"op-{self.names}"))
        else:
            self.books.spent += row.hold
            self.tell(VerdictGiven(row.number, "billed", "the bill says so after all"))

    def again(self, data: st.DataObject) -> None:
        """A person sends an ended task again, done ones too: a command of its own, and the next run goes on."""
        whole = fold(self.facts).snapshot(asked=range(self.offered)).tasks
        able = [
            each for each in whole if each.phase in lifecycle.ENDED and not any(a.open_micros for a in each.attempts)
        ]
        if able:
            asked = data.draw(st.sampled_from(able))
            self.machine.remember(asked)
            self.tell(RetryAsked(asked.task.number, rejected=True))
            self.restart(1)

    def ends_late(self, attempt: int, reply: PollReply) -> None:
        """An operation that nobody had counted on ends: without a hold there is nothing to put in doubt."""
        hold, booked = self.books.late[attempt]
        match reply:
            case Ready(links, billed):
                self.books.paid_late(attempt, max(billed, len(links)) * EACH)
            case OperationFailed(_, billed):
                self.books.paid_late(attempt, booked if billed is False else max(hold, booked))
            case Gone() if attempt not in {
                number for lane in self.machine.state.lanes.values() for number in lane.running
            }:
                self.books.paid_late(attempt, booked)
            case _:
                pass

    def restart(self, times: int) -> None:
        """The process dies: what was durable is all that is left."""
        for _ in range(times):
            self.commands.clear()
            self.machine = Machine.restore(self.terms, fold(self.facts).snapshot())
            for attempt in self.waiting():
                self.books.unknown(attempt)
            permitted = {each for lane in self.machine.state.lanes.values() for each in lane.unanswered} - self.sent
            for attempt in sorted(permitted):
                # Permitted and not sent: the process cannot know, so it is a doubt like any other.
                self.sent.add(attempt)
                self.books.open[attempt] = self.machine.state.attempts[attempt].open
                self.books.unknown(attempt)
            self.tell(Resumed())
            self.commands.extend(self.machine.resume_commands(self.now))

    @invariant()
    def books_agree(self) -> None:
        """Spent and doubt are what the world says; held is what is out, what waits, and what is still lagging."""
        if not hasattr(self, "machine"):
            return
        self.machine.check()
        account = self.machine.accounts()["USD"]
        assert account.doubt == sum(self.books.doubt.values())
        assert account.spent == self.books.spent
        state = self.machine.state
        unsent = sum(each.open for number, each in state.attempts.items() if each.live and number not in self.sent)
        resting = sum(state.attempts[number].open for number in state.rests)
        assert account.held == sum(self.books.open.values()) + unsent + resting

    @invariant()
    def tables_agree(self) -> None:
        """Folding the facts gives the same accounts and counts as the machine has."""
        if not hasattr(self, "machine"):
            return
        snapshot = fold(self.facts).snapshot()
        assert {each.currency: each for each in snapshot.accounts} == self.machine.accounts()
        assert {phase: count for phase, count in snapshot.counts.items() if count} == self.machine.counts()
        assert snapshot.images == self.machine.images()
        assert {each.task.number for each in snapshot.tasks} == set(self.machine.state.tasks)

    @invariant()
    def nothing_is_left_by_nothing(self) -> None:
        """While the run is not over, some command, POST, slot or timer will move it (I9)."""
        if not hasattr(self, "machine") or self.machine.idle():
            return
        if self.machine.paused() and not self.machine.draining():
            return  # Somebody must continue it; that it then goes on, `go_on` sees to.
        slots = any(self.machine.lane_ready(lane, 1e12) for lane in LANES)
        blocked = all(isinstance(each, Wake) and each.lane for each in self.commands)
        assert slots or self.waiting() or not blocked, "nothing will ever move this run"


LIMITS = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_the_books_agree_with_the_world_laws() -> None:
    """Random lives of a run: money conserved, tables and memory equal, nothing sent twice, nothing stuck."""
    run_state_machine_as_test(World, settings=LIMITS)


def _overage_is_dropped(account: StoredAccount, amount: int, _overage: int) -> StoredAccount:
    return replace(account, held=account.held - amount, spent=account.spent + amount)


def _settled_twice(account: StoredAccount, amount: int, overage: int) -> StoredAccount:
    return replace(account, spent=account.spent + 2 * amount + overage, overage=account.overage + overage)


@pytest.mark.parametrize("mutant", [_overage_is_dropped, _settled_twice])
def test_a_wrong_ledger_is_found_laws(mutant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The law can fail: two seeded mutants of settling."""
    monkeypatch.setattr(ledger, "settle", mutant)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(World, settings=settings(LIMITS, phases=[Stage.generate]))


def test_one_answer_of_gone_is_found_to_be_no_evidence_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law can fail: a machine that believes the first 404."""
    monkeypatch.setattr(answers, "GONE_ANSWERS_MIN", 1)
    monkeypatch.setattr(answers, "GONE_GRACE_S", 0.0)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(World, settings=settings(LIMITS, phases=[Stage.generate]))
