"""The store as a model: facts folded into what a run folder would yield when it is opened. It decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import assert_never

from pipeline.engine.facts import (
    BY_METER,
    Accepted,
    BudgetReached,
    CapSet,
    Continued,
    DiskNoted,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Draining,
    DrainNoted,
    Fact,
    Held,
    LaneCooled,
    LaneParked,
    LateBilled,
    LateFound,
    LinksRenewed,
    Paused,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.known import Operations
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.stored import Snapshot, StoredAccount, StoredAttempt, StoredPicture, StoredTask
from pipeline.values.task import Task

S = AttemptState
ENDED = {Phase.DONE, Phase.SHORT, Phase.FAILED, Phase.SKIPPED}
OPEN = {S.RESERVED, S.SUBMITTING, S.ACCEPTED, S.DOUBT, S.VANISHED}


@dataclass
class FoldedAttempt:
    """One row of the attempt table with its pictures."""

    number: int
    task: int
    ordinal: int
    currency: str
    open: int
    state: AttemptState = S.RESERVED
    operation: str = ""
    counts: bool = True
    hold: int = 0
    settled: int = 0
    images: int = 0
    #: A review rejected its pictures, and its task was sent again.
    superseded: bool = False
    #: Booked as spent because the meter shows it.
    by_meter: bool = False
    #: The message of its fault.
    why: str = ""
    #: {index: (state, link)}
    pictures: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass
class Folded:
    """The tables after some facts."""

    accounts: dict[str, StoredAccount] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    phases: dict[int, Phase] = field(default_factory=dict)
    attempts: dict[int, FoldedAttempt] = field(default_factory=dict)
    #: What people told the run: (what, lane, who).
    said: list[tuple[str, str | None, str]] = field(default_factory=list)

    def copy(self) -> Folded:
        """An independent copy; tasks and accounts are values and are shared."""
        attempts = {number: replace(each, pictures=dict(each.pictures)) for number, each in self.attempts.items()}
        return Folded(dict(self.accounts), dict(self.tasks), dict(self.phases), attempts, list(self.said))

    def snapshot(self, asked: Iterable[int] = ()) -> Snapshot:
        """What opening the folder yields; `asked` are ended tasks that were asked for by number."""
        tasks = []
        for number, task in sorted(self.tasks.items()):
            attempts = [each for each in self.attempts.values() if each.task == number]
            if number in asked or self.phases[number] not in ENDED or any(map(_unfinished, attempts)):
                tasks.append(StoredTask(task, self.phases[number], tuple(map(_stored, attempts))))
        images = sum(state == "STORED" for each in self.attempts.values() for state, _ in each.pictures.values())
        return Snapshot(
            accounts=tuple(self.accounts[currency] for currency in sorted(self.accounts)),
            tasks=tuple(tasks),
            next_attempt=1 + max(self.attempts, default=0),
            counts=dict(Counter(self.phases.values())),
            images=images,
            operations=Operations(
                (self.tasks[each.task].gateway, each.operation) for each in self.attempts.values() if each.operation
            ),
            billed=self._billed(),
            guessed=self._guessed(),
        )

    def _billed(self) -> dict[tuple[str, str], int]:
        sums: Counter[tuple[str, str]] = Counter()
        for each in self.attempts.values():
            task = self.tasks[each.task]
            images = each.images if each.state is S.SETTLED else task.n if each.by_meter else 0
            sums[task.gateway, task.price.native_unit] += task.price.native_cost(images)
        return dict(sums)

    def _guessed(self) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for each in self.attempts.values():
            sums[self.tasks[each.task].gateway] += each.state is S.WRITTEN_OFF and not each.by_meter
        return dict(sums)


def fold(facts: Iterable[Fact], start: Folded | None = None) -> Folded:
    """The tables after these facts; `start` is left as it was."""
    folded = Folded() if start is None else start.copy()
    for fact in facts:
        _apply(folded, fact)
    return folded


def _unfinished(each: FoldedAttempt) -> bool:
    return each.open > 0 or each.state in OPEN or any(state == "PENDING" for state, _ in each.pictures.values())


def _stored(each: FoldedAttempt) -> StoredAttempt:
    pictures = tuple(StoredPicture(index, *known) for index, known in sorted(each.pictures.items()))
    return StoredAttempt(
        each.number,
        each.ordinal,
        each.state,
        each.currency,
        each.open,
        each.operation,
        each.counts,
        pictures,
        each.why,
        hold=each.hold,
        settled=each.settled,
        images=each.images,
        superseded=each.superseded,
    )


def _apply(folded: Folded, fact: Fact) -> None:
    match fact:
        case BudgetReached() | LaneCooled() | LaneParked() | Draining() | DiskNoted():
            pass
        case Paused(lane, why):
            folded.said.append(("pause", lane, why))
        case Continued(lane, why):
            folded.said.append(("continue", lane, why))
        case DrainNoted(why):
            folded.said.append(("drain", None, why))
        case CapSet(currency, cap):
            known = folded.accounts.get(currency, StoredAccount(currency, 0, 0, 0, 0, 0))
            folded.accounts[currency] = replace(known, cap=cap)
        case TaskAdmitted(task):
            folded.tasks[task.number] = task
            folded.phases[task.number] = Phase.WAITING
        case TaskMoved(number, phase):
            if phase is Phase.WAITING and folded.phases[number] in ENDED:
                for row in folded.attempts.values():
                    row.counts = row.counts and row.task != number
                    done = folded.phases[number] is Phase.DONE
                    row.superseded = row.superseded or (done and row.task == number)
            folded.phases[number] = phase
        case Held(number, task_number, ordinal, amount, currency):
            assert number not in folded.attempts
            folded.attempts[number] = FoldedAttempt(number, task_number, ordinal, currency, amount, hold=amount)
            _move(folded, currency, held=amount)
        case _:
            _of_attempt(folded, folded.attempts[fact.attempt], fact)


def _of_attempt(folded: Folded, row: FoldedAttempt, fact: Fact) -> None:
    match fact:
        case Permitted():
            row.state = S.SUBMITTING
        case Accepted(_, operation):
            row.state, row.operation = S.ACCEPTED, operation
        case Released(_, amount, fault, counts):
            row.why = fault.message
            row.state, row.counts, row.open = S.VOID, counts, row.open - amount
            _move(folded, row.currency, held=-amount)
        case Doubted(_, amount, _, vanished):
            row.state = S.VANISHED if vanished else S.DOUBT
            _move(folded, row.currency, held=-amount, doubt=amount)
        case DoubtLifted(_, amount):
            row.state = S.SUBMITTING
            _move(folded, row.currency, held=amount, doubt=-amount)
        case DoubtReleased(_, amount):
            row.state, row.open = S.VOID, row.open - amount
            _move(folded, row.currency, doubt=-amount)
        case WrittenOff(_, amount, why):
            row.by_meter = why.startswith(BY_METER)
            row.state, row.open, row.settled = S.WRITTEN_OFF, row.open - amount, row.settled + amount
            _move(folded, row.currency, doubt=-amount, spent=amount)
        case Settled(_, images, amount, overage, links):
            row.state, row.open = S.SETTLED, row.open - amount
            row.settled, row.images = row.settled + amount + overage, images
            row.counts = fact.counts and fact.fault is not None and not images
            row.pictures = {index: ("PENDING", link) for index, link in enumerate(links)}
            _move(folded, row.currency, held=-amount, spent=amount + overage, overage=overage)
        case LateFound(_, operation):
            row.state, row.operation, row.counts, row.pictures, row.by_meter = S.ACCEPTED, operation, True, {}, False
        case LateBilled(_, amount):
            row.state, row.settled = S.WRITTEN_OFF, row.settled + amount
            _move(folded, row.currency, spent=amount, overage=amount)
        case RestReleased(_, amount):
            row.open -= amount
            _move(folded, row.currency, held=-amount)
        case LinksRenewed(_, links):
            fresh = {index: ("PENDING", link) for index, link in enumerate(links)}
            row.pictures = {
                index: fresh.get(index, known) if known[0] == "PENDING" else known
                for index, known in row.pictures.items()
            }
        case PictureStored(_, index):
            row.pictures[index] = ("STORED", "")
        case PictureLost(_, index):
            row.pictures[index] = ("LOST", "")
        case (
            CapSet()
            | TaskAdmitted()
            | TaskMoved()
            | Held()
            | BudgetReached()
            | LaneCooled()
            | LaneParked()
            | Draining()
            | Paused()
            | Continued()
            | DrainNoted()
            | DiskNoted()
        ):
            raise AssertionError(fact)
        case _:
            assert_never(fact)


def _move(folded: Folded, currency: str, *, spent: int = 0, held: int = 0, doubt: int = 0, overage: int = 0) -> None:
    was = folded.accounts[currency]
    now = replace(
        was, spent=was.spent + spent, held=was.held + held, doubt=was.doubt + doubt, overage=was.overage + overage
    )
    assert min(now.spent, now.held, now.doubt, now.overage) >= 0, (was, now)
    folded.accounts[currency] = now
