"""The engine's door: step an observation into facts, react to durable facts with commands, and ask how things stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine import lifecycle
from pipeline.engine.decide import decide
from pipeline.engine.evidence import expects_look
from pipeline.engine.evolve import evolve, forget
from pipeline.engine.facts import BudgetReached, Fact
from pipeline.engine.hear import hear
from pipeline.engine.lanes import AHEAD_TOTAL, LaneView
from pipeline.engine.messages import Command, Observation
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.react import follow, react, resume
from pipeline.engine.retry import DOUBT_RESUBMITS_MAX, GONE_GRACE_S
from pipeline.engine.state import Pause, State, load, restored
from pipeline.engine.stored import Snapshot, StoredAccount, StoredTask
from pipeline.engine.terms import Policy
from pipeline.errors import Bug
from pipeline.values.reply import FaultKind
from pipeline.values.task import Task


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt in doubt. *Units* - micros: micro-units of `currency`, the most it can have cost."""

    attempt: int
    #: 64 hex digits.
    task_id: str
    micros: int
    currency: str
    why: str
    #: The gateway's id of it, where it was accepted and is not known any more; of its answer, where there was one.
    operation: str = ""
    request_id: str = ""
    #: When its permission to send was durable, in UTC microseconds; None when it is not remembered.
    sent_at: int | None = None


@dataclass(frozen=True, slots=True)
class Unheard:
    """Operations of a lane that their gateway does not know when asked. *Units* - seconds of the driver's clock."""

    operations: int
    #: Since when the first of them.
    since: float
    #: When the last of them becomes a doubt again, unless the gateway knows it by then.
    until: float


@dataclass(frozen=True, slots=True)
class Again:
    """Tasks in doubt that `on_doubt: resubmit` buys again. *Units* - seconds of the driver's clock: first and last."""

    tasks: int
    first: float
    last: float


class Machine:
    """One run's engine. The driver steps observations, commits the facts, then performs what `react` commands."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        """A run in which nothing has happened; caps are set by CapAsked."""
        self.state = State(policy, seed)
        self._follow: list[Command] = []

    @classmethod
    def restore(cls, policy: Policy, snapshot: Snapshot, seed: int = 0) -> Machine:
        """A run as its folder has it. Tell black box answers, then Resumed, then take `resume_commands`."""
        machine = cls(policy, seed)
        machine.state = restored(policy, snapshot, seed)
        return machine

    def remember(self, stored: StoredTask) -> None:
        """Load one more task, so that RetryAsked or VerdictGiven can name it; one that is loaded already stays."""
        if stored.task.number not in self.state.tasks:
            load(self.state, stored)

    def step(self, observation: Observation, now: float) -> list[Fact]:
        """Hear, decide and evolve in one tick. The facts are one transaction: all of them durable, or none.

        *Raises* Bug for what cannot happen, RunError for a verdict that does not apply; then nothing may be committed.
        """
        facts: list[Fact] = []
        hear(self.state, observation, now)
        for fact in decide(self.state, observation, now):
            evolve(self.state, fact, now)
            facts.append(fact)
        forget(self.state)
        self._follow.extend(follow(self.state, observation, now))
        return facts

    def react(self, fact: Fact, now: float) -> list[Command]:
        """The commands of one fact. Call it only once the fact is durable, once per fact, in order."""
        return list(react(self.state, fact, now))

    def follow_up(self) -> list[Command]:
        """Commands that rest on no new fact (polls and downloads to repeat): take them after every step."""
        commands, self._follow = self._follow, []
        return commands

    def resume_commands(self, now: float) -> list[Command]:
        """What was going on when the last process ended. Take them once the facts of Resumed are durable."""
        return list(resume(self.state, now))

    # --- questions ----------------------------------------------------------------------------------------------

    def wants_tasks(self) -> int:
        """How many tasks the feed may offer now."""
        state = self.state
        if state.draining or state.recovering or state.blocked or state.disk is not None:
            return 0
        held = room = 0
        for name in state.policy.lanes:
            lane = state.lane(name)
            held += lane.held
            room += 0 if state.pauses(name) else lane.room()
        return max(0, min(AHEAD_TOTAL - held, room))

    def lane_ready(self, lane: str, now: float) -> bool:
        """Whether SlotNear for this lane would permit a submit now."""
        return self.state.may_submit(self.state.lane(lane), now)

    def lane_share(self, lane: str) -> float:
        """The share of its declared rate at which a lane may submit now."""
        return self.state.lane(lane).pace.share

    def next_task(self, lane: str) -> Task | None:
        """The task that SlotNear for this lane would permit; None when none is held."""
        known = self.state.lane(lane)
        return self.state.tasks[self.state.attempts[known.first()].task].task if known.held else None

    def idle(self) -> bool:
        """Whether nothing will happen by itself any more in this run."""
        state = self.state
        lanes = state.lanes.values()
        if any(lane.unanswered for lane in lanes) or self._downloads():
            return False
        if state.draining:
            return True  # Operations, rests and backoffs are left for the next run.
        if any(lane.held or not lane.running <= state.stuck for lane in lanes) or state.rests or self._paused_work():
            return False
        # On a full disk nothing is bought again, so no backoff is waited for.
        return not expects_look(state) and (state.disk is not None or not state.timers)

    def _paused_work(self) -> bool:
        """Whether a task waits for nothing but that its lane is continued."""
        state = self.state
        return bool(state.paused) and any(
            number >= 0 and state.pauses(state.tasks[number].task.lane)
            for queue in state.ready.values()
            for number in queue
        )

    def _downloads(self) -> bool:
        """Whether a picture is still being fetched; those that wait for room on the disk are left for the next run."""
        state = self.state
        if state.disk is None:
            return not state.fetching <= state.stuck
        attempts = (state.attempts[number] for number in state.fetching)
        return any(picture.asked for attempt in attempts for picture in attempt.pictures.values())

    def budget_blocked(self) -> BudgetReached | None:
        """What did not fit under a cap, while no money came free since."""
        return next(iter(self.state.blocked.values()), None)

    def draining(self) -> bool:
        """Whether the run was asked to stop."""
        return self.state.draining

    def paused(self) -> Mapping[str | None, Pause]:
        """{lane: the pause that stands}; None is every lane."""
        return dict(self.state.paused)

    def pauses(self, lane: str) -> bool:
        """Whether what is to be bought on this lane waits for a person; on one that is parked it waits for nobody."""
        return self.state.pauses(lane) and self.state.lane(lane).parked is None

    def knows(self, number: int) -> bool:
        """Whether a task is not over yet: a command that comes late may name one that is."""
        return number in self.state.tasks

    def owns(self, gateway: str, operation: str) -> bool:
        """Whether an operation of a gateway is known to be one of this folder's."""
        return (gateway, operation) in self.state.operations

    def task(self, number: int) -> Task:
        """The task that a command names. *Raises* Bug when it is over."""
        live = self.state.tasks.get(number)
        if live is None:
            raise Bug(f"task {number} is over, or was never admitted")
        return live.task

    def counts(self) -> Mapping[Phase, int]:
        """{phase: tasks in it}, of all tasks ever admitted in this run folder; phases without a task are left out."""
        return {phase: count for phase, count in self.state.counts.items() if count}

    def images(self) -> int:
        """How many pictures are stored in this run folder."""
        return self.state.images

    def accounts(self) -> Mapping[str, StoredAccount]:
        """{currency: its account}."""
        return dict(self.state.accounts)

    def lane_views(self) -> Mapping[str, LaneView]:
        """{lane: how it stands}, for every lane of the policy and every other one in use."""
        for name in self.state.policy.lanes:
            self.state.lane(name)
        state = self.state
        return {name: lane.view(behind=not state.keeps_up(lane)) for name, lane in state.lanes.items()}

    def doubts(self) -> list[Doubt]:
        """Every attempt in doubt, by number."""
        return [
            Doubt(
                number,
                self.task(attempt.task).id,
                attempt.open,
                attempt.currency,
                attempt.why,
                attempt.operation,
                sent_at=attempt.submitted_at,
            )
            for number, attempt in sorted(self.state.attempts.items())
            if attempt.doubtful
        ]

    def unheard(self) -> Mapping[str, Unheard]:
        """{lane: operations that the gateway does not know}, while they are asked for again; no other lanes."""
        found: dict[str, list[float]] = {}
        for attempt in self.state.attempts.values():
            if attempt.state is AttemptState.ACCEPTED and attempt.gone_since is not None:
                found.setdefault(self.state.lane_of(attempt).name, []).append(attempt.gone_since)
        return {
            lane: Unheard(len(times), min(times), max(times) + GONE_GRACE_S) for lane, times in sorted(found.items())
        }

    def again(self) -> Again | None:
        """What waits for its quiet period to end, to be bought again; None when nothing does."""
        state = self.state
        waiting = (state.tasks[number] for number in state.timers)
        dues = [live.due for live in waiting if live.phase is Phase.IN_DOUBT and live.due is not None]
        return Again(len(dues), min(dues), max(dues)) if dues else None

    def may_learn(self) -> bool:
        """Whether a gateway's own books may still tell what became of a doubt, now or when they are read again."""
        return any(lane.suspects or lane.pooled for lane in self.state.lanes.values())

    def faults(self) -> Mapping[FaultKind, int]:
        """{kind: tasks that ended with it in this process}."""
        return dict(self.state.faults)

    # --- invariants ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """*Raises* Bug when an invariant does not hold (I1, I2 and I6, and our own indexes)."""
        _check_money(self.state)
        _check_tasks(self.state)
        _check_lanes(self.state)


def _check(holds: bool, promise: str) -> None:  # noqa: FBT001 - the condition is the argument
    if not holds:
        raise Bug(promise)


def _check_money(state: State) -> None:
    held: Counter[str] = Counter()
    doubt: Counter[str] = Counter()
    for attempt in state.attempts.values():
        _check(attempt.open >= 0, f"attempt {attempt.number} has {attempt.open} open")
        if attempt.state in lifecycle.HOLDING:
            held[attempt.currency] += attempt.open
        elif attempt.doubtful:
            doubt[attempt.currency] += attempt.open
        else:
            _check(not attempt.open, f"attempt {attempt.number} is {attempt.state} with {attempt.open} open")
    for currency, account in state.accounts.items():
        _check(account.held == held[currency], f"held is not the sum of the open holds ({held[currency]}): {account}")
        _check(account.doubt == doubt[currency], f"doubt is not the sum of the doubts ({doubt[currency]}): {account}")
        _check(account.spent >= account.overage >= 0, f"overage above what is spent: {account}")


def _check_tasks(state: State) -> None:
    for number, live in state.tasks.items():
        states = [attempt.state for attempt in live.attempts.values()]
        unsettled = states.count(AttemptState.RESERVED) + states.count(AttemptState.SUBMITTING)
        _check(unsettled <= 1, f"task {number} has {unsettled} attempts before their answers")
        exposed = sum(each.state in lifecycle.EXPOSED and not each.late for each in live.attempts.values())
        _check(exposed <= 1 + DOUBT_RESUBMITS_MAX, f"task {number} has {exposed} attempts that may be accepted")
        if live.phase is Phase.HELD and not state.recovering:
            _check(AttemptState.RESERVED in states, f"task {number} is held without a hold")
        if live.phase is Phase.IN_DOUBT:
            _check(live.doubts > 0, f"task {number} is in doubt without a doubt")
        _check(all(state.attempts.get(each) is known for each, known in live.attempts.items()), f"index of {number}")
    _check(sum(len(live.attempts) for live in state.tasks.values()) == len(state.attempts), "attempts without a task")
    backlog = sum(each.waiting for each in state.attempts.values() if each.number in state.fetching)
    _check(state.backlog == backlog, f"the backlog is {backlog} and not {state.backlog}")
    _check(all(count >= 0 for count in state.counts.values()), f"counts below zero: {state.counts}")
    held = [lane.name for lane in state.lanes.values() if lane.held and state.pauses(lane.name)]
    _check(not held or state.recovering, f"held on a lane that is paused: {held}")


def _check_lanes(state: State) -> None:
    placed: dict[int, AttemptState] = {}
    for lane in state.lanes.values():
        placed |= dict.fromkeys((*lane.again, *lane.fresh), AttemptState.RESERVED)
        placed |= dict.fromkeys(lane.unanswered, AttemptState.SUBMITTING)
        placed |= dict.fromkeys(lane.running, AttemptState.ACCEPTED)
    known = {
        number: attempt.state
        for number, attempt in state.attempts.items()
        if attempt.state in {AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED}
    }
    _check(placed == known, f"the lanes have {placed}, the attempts are {known}")
