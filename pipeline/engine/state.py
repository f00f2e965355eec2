"""What the engine knows of a run: tasks that are not over, their attempts and pictures, accounts and lanes."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.engine import lifecycle
from pipeline.engine.facts import KNOWN_ALREADY, BudgetReached
from pipeline.engine.known import Operations
from pipeline.engine.lanes import LEFTOVER, Lane
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.retry import BACKLOG_MAX, DOUBT_RESUBMITS_MAX, FAILING_MIN, FETCHES_AT_ONCE
from pipeline.engine.stored import PENDING, STORED, Snapshot, StoredAccount, StoredAttempt, StoredTask
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.errors import Bug
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.task import Task

#: How many words of a task's story are kept for a Bug.
STORY_LENGTH: Final = 40
#: How long a download takes before any was seen (seconds).
FETCH_FIRST_S: Final = 5.0
#: A backlog is taken to need this many times the time that downloads took lately.
DRAIN_MARGIN: Final = 2.0


@dataclass(slots=True)
class LivePicture:
    """A picture of a settled attempt. What stands below `link` is memory, not durable."""

    index: int
    state: str
    link: str
    tries: int = 0
    renewals: int = 0
    #: When its download first failed in a way that may pass.
    broken_since: float | None = None
    #: A Fetch was commanded and is not answered; since when, and how many pictures were to be fetched then.
    asked: bool = False
    asked_at: float = 0.0
    ahead: int = 1


@dataclass(slots=True)
class LiveAttempt:
    """An attempt of a task that is not over. What stands below `memory` is not durable."""

    number: int
    task: int
    ordinal: int
    state: AttemptState
    currency: str
    #: Micro-units still held or in doubt for it.
    open: int
    operation: str = ""
    #: Used up one of `retry.attempts`, once it is VOID or SETTLED.
    counts: bool = True
    pictures: dict[int, LivePicture] = field(default_factory=dict)
    #: Micro-units put aside at first, and booked as spent; billed pictures.
    hold: int = 0
    settled: int = 0
    images: int = 0
    #: As the store has them, UTC microseconds.
    submitted_at: int | None = None
    ended_at: int | None = None
    #: From before a review rejected its pictures: they no longer make its task done.
    superseded: bool = False
    # memory
    #: When it was permitted, by the driver's clock.
    sent: float | None = None
    #: In doubt: nobody can say before this that it was not accepted.
    quiet_at: float | None = None
    #: In doubt: a listing late enough to prove its absence did not find it.
    looked: bool = False
    #: In doubt: books were read late enough, with nothing under way, and do not say what became of it: no more in this
    #: run.
    weighed: bool = False
    #: It is VOID because evidence said so.
    freed: bool = False
    #: When its links are expected to expire.
    links_until: float = math.inf
    #: When this process first knew it as accepted.
    since: float | None = None
    #: When it was accepted, if this process saw it, and when a poll last said that it was still running.
    began: float | None = None
    ran_at: float | None = None
    #: A Poll was commanded and is not answered.
    asked: bool = False
    #: The next poll is for fresh links.
    renewing: bool = False
    broken: int = 0
    broken_since: float | None = None
    gone: int = 0
    gone_since: float | None = None
    #: When the rest of its hold may be released.
    rest_at: float | None = None
    #: Why it is in doubt, or was released, for people.
    why: str = ""

    @property
    def pending(self) -> bool:
        """Whether pictures are still to be fetched."""
        return any(picture.state == PENDING for picture in self.pictures.values())

    @property
    def waiting(self) -> int:
        """How many pictures are still to be fetched."""
        return sum(picture.state == PENDING for picture in self.pictures.values())

    @property
    def live(self) -> bool:
        """Whether this attempt will still do something by itself."""
        match self.state:
            case AttemptState.RESERVED | AttemptState.SUBMITTING | AttemptState.ACCEPTED:
                return True
            case AttemptState.SETTLED:
                return self.pending
            case _:
                return False

    @property
    def late(self) -> bool:
        """Whether it is followed without a hold, because it had ended before its operation was found."""
        return self.state is AttemptState.ACCEPTED and self.open < self.hold

    @property
    def stored(self) -> int:
        """How many of its pictures are on disk."""
        return sum(picture.state == STORED for picture in self.pictures.values())

    @property
    def doubtful(self) -> bool:
        """Whether its money is in doubt."""
        return self.state in lifecycle.DOUBTFUL


@dataclass(slots=True)
class LiveTask:
    """A task that is not over, with all of its attempts in order."""

    task: Task
    phase: Phase
    attempts: dict[int, LiveAttempt] = field(default_factory=dict)
    #: WAITING or IN_DOUBT until this time; then it is tried again.
    due: float | None = None

    @property
    def live(self) -> bool:
        """Whether one of its attempts will still do something by itself."""
        return any(attempt.live for attempt in self.attempts.values())

    @property
    def used(self) -> int:
        """How many of its attempts used up one of `retry.attempts`."""
        return sum(attempt.counts and attempt.state in lifecycle.COUNTED for attempt in self.attempts.values())

    @property
    def doubts(self) -> int:
        """How many of its attempts are in doubt."""
        return sum(attempt.doubtful for attempt in self.attempts.values())

    def doubted_before(self, number: int) -> LiveAttempt | None:
        """The first attempt in doubt before this one, whose tag a repeat has; None when nothing is repeated."""
        doubts = (each for each in self.attempts.values() if each.state is AttemptState.DOUBT and each.number < number)
        return min(doubts, key=lambda each: each.number, default=None)

    @property
    def known(self) -> bool:
        """Whether the gateway said of a repeat that it has the purchase in doubt already."""
        return any(
            each.state is AttemptState.VOID
            and each.why.startswith(KNOWN_ALREADY)
            and self.doubted_before(each.number) is not None
            for each in self.attempts.values()
        )

    @property
    def over(self) -> bool:
        """Whether it can be forgotten: ended, nothing alive, nothing in doubt, no money open."""
        return self.phase in lifecycle.ENDED and not any(
            attempt.live or attempt.doubtful or attempt.open for attempt in self.attempts.values()
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that stands. *Units* - since: seconds of the driver's clock."""

    why: str
    since: float


@dataclass(slots=True)
class State:
    """Everything between two observations. Only `evolve` writes what is durable; `hear` and `react` write memory."""

    policy: Policy
    seed: int
    next_attempt: int = 1
    images: int = 0
    accounts: dict[str, StoredAccount] = field(default_factory=dict)
    #: {task number: task} and {attempt number: attempt}, of tasks that are not over.
    tasks: dict[int, LiveTask] = field(default_factory=dict)
    attempts: dict[int, LiveAttempt] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    counts: Counter[Phase] = field(default_factory=Counter)
    faults: Counter[FaultKind] = field(default_factory=Counter)
    operations: Operations = field(default_factory=Operations)
    #: {currency: {task number}}: tasks that may be held as soon as the money is there, in order.
    ready: dict[str, dict[int, None]] = field(default_factory=dict)
    #: {task number}: tasks with a `due` that will be tried again.
    timers: dict[int, None] = field(default_factory=dict)
    #: Attempts with pictures to fetch, with a rest to release, and those that nobody waits for any more.
    fetching: set[int] = field(default_factory=set)
    rests: set[int] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    blocked: dict[str, BudgetReached] = field(default_factory=dict)
    #: Tasks that ended, or changed after their end, within this step.
    ended: set[int] = field(default_factory=set)
    draining: bool = False
    #: {lane, None for all of them: its pause}; a new process starts without one.
    paused: dict[str | None, Pause] = field(default_factory=dict)
    #: The disk has no room.
    disk: Fault | None = None
    #: {(gateway, unit that it bills in): known to be billed}, and {gateway: attempts booked as spent by guess}.
    billed: Counter[tuple[str, str]] = field(default_factory=Counter)
    guessed: Counter[str] = field(default_factory=Counter)
    #: Gateways of which late bills have made these sums unsure in this process; memory.
    unsure: set[str] = field(default_factory=set)
    #: {lane: {operation: when it was permitted, UTC microseconds}} until Resumed says what time it is.
    restored_sent: dict[str, Mapping[str, int]] = field(default_factory=dict)
    #: How long a download took lately (seconds).
    fetch_s: float = FETCH_FIRST_S
    #: Restored, and not yet told Resumed: answers that are known already are told again.
    recovering: bool = False
    #: {task number: the names of its latest facts}, for the message of a Bug.
    stories: dict[int, deque[str]] = field(default_factory=dict)

    def account(self, currency: str) -> StoredAccount:
        """*Raises* Bug when no cap was ever set for it."""
        account = self.accounts.get(currency)
        if account is None:
            raise Bug(f"no cap is set for {currency}")
        return account

    def lane(self, name: str) -> Lane:
        """The lane of this name."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name, self.policy.lanes.get(name, LEFTOVER))
        return lane

    def lane_of(self, attempt: LiveAttempt) -> Lane:
        """The lane that an attempt runs on."""
        return self.lane(self.tasks[attempt.task].task.lane)

    def lanes_of_gateway(self, gateway: str) -> Iterator[Lane]:
        """Every lane of one gateway, by name; also those that have not been used yet."""
        for name in sorted({*self.policy.lanes, *self.lanes}):
            if name.split("/", 1)[0] == gateway:
                yield self.lane(name)

    @property
    def backlog(self) -> int:
        """How many pictures are still to be fetched, on all lanes."""
        return sum(lane.backlog for lane in self.lanes.values())

    def story(self, task: int) -> deque[str]:
        """What happened to a task, latest last."""
        story = self.stories.get(task)
        if story is None:
            story = self.stories[task] = deque(maxlen=STORY_LENGTH)
        return story

    def pauses(self, lane: str) -> bool:
        """Whether somebody wants nothing submitted on this lane for now."""
        return None in self.paused or lane in self.paused

    def may_submit(self, lane: Lane, now: float) -> bool:
        """Whether a held attempt of this lane could be permitted now."""
        allowed = not self.draining and self.disk is None and lane.ready(now)
        return allowed and self.keeps_up(lane) and self.drains_in_time(lane, now)

    def keeps_up(self, lane: Lane) -> bool:
        """Whether a lane's downloads keep up with what it buys; what nobody follows in this run does not count.

        Where pictures fail one after the other, their host is away: what else is bought there could be lost as well.
        """
        most = BACKLOG_MAX if len(lane.failing) < FAILING_MIN else 1
        if lane.backlog < most:
            return True
        stuck = (self.attempts[number] for number in self.stuck if number in self.attempts)
        return lane.backlog - sum(each.waiting for each in stuck if self.lane_of(each) is lane) < most

    def drains_in_time(self, lane: Lane, now: float) -> bool:
        """Whether all that waits to be downloaded could be, before the first of this lane's links expires."""
        for number, until in lane.expiring.items():
            if until > now and number not in self.stuck:
                rounds = -(-self.backlog // FETCHES_AT_ONCE)
                return now + rounds * self.fetch_s * DRAIN_MARGIN <= until
        return True

    def suspect(self, attempt: LiveAttempt) -> bool:
        """Whether a listing may find out about an attempt: in doubt, and never known under an operation id."""
        listed = self.lane_of(attempt).terms.lists
        return listed and attempt.state is AttemptState.DOUBT and not attempt.operation

    def metered(self, attempt: LiveAttempt) -> bool:
        """Whether the key's meter may say what became of an attempt's money: in doubt, with or without an id."""
        return attempt.doubtful and self.lane_of(attempt).terms.meters

    def resubmits(self, live: LiveTask) -> bool:
        """Whether a task with an attempt in doubt is to be bought again."""
        # One that was billed was bought as well, with or without pictures, and is no reason to buy a third.
        billed = sum(attempt.settled > 0 for attempt in live.attempts.values())
        allowed = live.doubts + billed <= DOUBT_RESUBMITS_MAX
        return self.policy.on_doubt is OnDoubt.RESUBMIT and live.doubts > 0 and allowed and not live.known


def restored(policy: Policy, snapshot: Snapshot, seed: int) -> State:
    """The state that an opened run folder stands for."""
    state = State(policy, seed, snapshot.next_attempt, snapshot.images, recovering=True)
    state.accounts = {account.currency: account for account in snapshot.accounts}
    state.counts.update(snapshot.counts)
    state.operations = snapshot.operations.copy()
    state.restored_sent.update(snapshot.sent)
    state.billed.update(snapshot.billed)
    state.guessed.update(snapshot.guessed)
    for stored in snapshot.tasks:
        load(state, stored)
    return state


def load(state: State, stored: StoredTask) -> None:
    """Take a task as the store has it."""
    live = LiveTask(stored.task, stored.phase)
    number = stored.task.number
    state.tasks[number] = live
    state.story(number).append(f"restored {stored.phase}")
    lane = state.lane(stored.task.lane)
    for known in stored.attempts:
        attempt = _attempt(number, known)
        live.attempts[attempt.number] = state.attempts[attempt.number] = attempt
        state.story(number).append(f"{attempt.number} {attempt.state}")
        if attempt.operation:
            state.operations.add((stored.task.gateway, attempt.operation))
        match attempt.state:
            case AttemptState.RESERVED:
                lane.again.append(attempt.number)
            case AttemptState.SUBMITTING:
                lane.unanswered.add(attempt.number)
            case AttemptState.ACCEPTED:
                lane.running.add(attempt.number)
            case AttemptState.SETTLED:
                if attempt.pending:
                    state.fetching.add(attempt.number)
                    lane.backlog += attempt.waiting
                if attempt.open:
                    state.rests.add(attempt.number)
            case _:
                pass
        if state.suspect(attempt):
            lane.suspects.add(attempt.number)
        if state.metered(attempt):
            lane.pooled.add(attempt.number)
    if stored.phase is Phase.WAITING:
        state.ready.setdefault(stored.task.price.currency, {})[number] = None


def _attempt(task: int, known: StoredAttempt) -> LiveAttempt:
    pictures = {each.index: LivePicture(each.index, each.state, each.link) for each in known.pictures}
    return LiveAttempt(
        known.attempt,
        task,
        known.ordinal,
        known.state,
        known.currency,
        known.open_micros,
        known.operation,
        known.counts,
        pictures,
        known.hold,
        known.settled,
        known.images,
        known.submitted_at,
        known.ended_at,
        superseded=known.superseded,
        why=known.why,
    )
