"""The three sorts of message around the ring: observations (told to us), facts (true from now on), commands (asked).

Times named `now` or `at` are float seconds of the driver's clock; nothing here reads one. Attempts are integers,
given out in admission order and never reused in a run folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from pipeline.engine.known import Operations
from pipeline.values.artifact import Artifact
from pipeline.values.evidence import QUIET_S, Listing
from pipeline.values.reply import Fault, PollReply, Reply
from pipeline.values.task import Task

#: How the reason begins when a gateway's meter has shown a sum.
BY_METER: Final = "the key's meter shows"
#: How the reason begins when a gateway knows a repeated purchase already: it is not asked for once more.
KNOWN_ALREADY: Final = "the gateway knows this purchase already"


class Phase(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    HELD = "held"
    SUBMITTING = "submitting"
    RUNNING = "running"
    FETCHING = "fetching"
    DONE = "done"
    SHORT = "short"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"


class OnDoubt(StrEnum):
    """What happens to a task whose attempt is in doubt."""

    HOLD = "hold"
    RESUBMIT = "resubmit"
    WRITE_OFF = "write_off"


# --- observations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offered:
    """The feed offers the next task of the plan.

    Answered by TaskAdmitted and Held; or not admitted, by BudgetReached (offer it again later), by LaneParked (pass
    over it in this run) or by Draining.
    """

    task: Task


@dataclass(frozen=True, slots=True)
class SlotNear:
    """The pacer of this lane will release a submit within 50 ms. Answered by Permitted, or by nothing."""

    lane: str


@dataclass(frozen=True, slots=True)
class SubmitAnswered:
    """What the one POST of this attempt came to mean."""

    attempt: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class PollAnswered:
    """What a poll of this attempt's operation came to mean."""

    attempt: int
    reply: PollReply


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture is stored under its final name, durably."""

    attempt: int
    index: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A download broke, or what came was no whole picture.

    `fault.kind` EXPIRED asks for a fresh link; so does REJECTED, an address that may not be asked, for one only.
    """

    attempt: int
    index: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class TimeCame:
    """A `WakeTask`, `WakeAttempt` or `WakeLane` fell due."""

    task: int | None = None
    attempt: int | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """Ctrl-C: no new submit; what is unanswered is awaited."""

    #: Who asked, where somebody did by another way than a signal: it is written down.
    why: str = ""


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """Somebody wants no new submit on this lane (None: on any) for now; polls and downloads go on."""

    lane: str | None
    why: str


@dataclass(frozen=True, slots=True)
class ContinueAsked:
    """Somebody lifts the pause of this lane; None lifts every pause."""

    lane: str | None
    why: str


@dataclass(frozen=True, slots=True)
class CapAsked:
    """The user sets a cap, in micro-units of `currency`."""

    currency: str
    cap: int
    why: str


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """The user sends a failed or short task again; `rejected`: also a done one, whose pictures a review rejected."""

    task: int
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A person's evidence (E5) about an attempt in doubt: `billed`, `not_billed`, or found under an operation id.

    Of an attempt that ended as not billed, or was written off, it can be said that it was billed after all.
    """

    attempt: int
    verdict: str
    why: str
    operation: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run folder was opened and its unfinished work loaded; black box answers were already told.

    The driver takes `Machine.resume_commands` once the facts of this step are durable.
    """

    #: What the wall clock says now, UTC microseconds: stored times are read by it, and only ever as a hint.
    wall: int | None = None


@dataclass(frozen=True, slots=True)
class DiskTold:
    """The disk has no room for another answer (`fault` says so), or has room again (None)."""

    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to a `Look`: the gateway's listing, taken twice. A look that failed answers incomplete listings."""

    gateway: str
    model: str
    first: Listing
    second: Listing


@dataclass(frozen=True, slots=True)
class BalanceTold:
    """What the gateway's own meter of this key says: before anything was bought there, and now, read twice alike.

    *Units* - used_before, used_after, grain: micro-units of `unit`; grain is the smallest step that the meter shows.
    """

    gateway: str
    unit: str
    used_before: int
    used_after: int
    #: Nobody and nothing else ever bought with this key since `used_before`.
    dedicated: bool
    #: Nothing of ours was under way at the gateway, from before the first reading until after the last.
    quiescent: bool
    grain: int = 100


Observation: TypeAlias = (
    Offered
    | SlotNear
    | SubmitAnswered
    | PollAnswered
    | Fetched
    | FetchFailed
    | TimeCame
    | DrainAsked
    | PauseAsked
    | ContinueAsked
    | CapAsked
    | RetryAsked
    | VerdictGiven
    | Resumed
    | DiskTold
    | Listed
    | BalanceTold
)


# --- facts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CapSet:
    """The cap of a currency. The store keeps the highest cap ever set for its CHECK."""

    currency: str
    cap: int
    why: str


@dataclass(frozen=True, slots=True)
class TaskAdmitted:
    """A task entered the store."""

    task: Task


@dataclass(frozen=True, slots=True)
class Held:
    """Money put aside for one attempt: state RESERVED. `counts` False: it replaces a 429 or a proven NOT_SENT."""

    attempt: int
    task: int
    #: 1 for the first attempt of the task.
    ordinal: int
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Permitted:
    """The one POST of this attempt may leave once this is durable: state SUBMITTING."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway works on it under this operation id: state ACCEPTED."""

    attempt: int
    operation: str


@dataclass(frozen=True, slots=True)
class Released:
    """The whole hold is free again: state VOID. `counts`: whether the attempt used up one of `retry.attempts`."""

    attempt: int
    amount: int
    fault: Fault
    counts: bool


@dataclass(frozen=True, slots=True)
class Doubted:
    """The whole hold became doubt: state DOUBT, or VANISHED when an accepted operation is gone."""

    attempt: int
    amount: int
    fault: Fault
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class DoubtLifted:
    """Evidence found the operation: the doubt is a hold again, state ACCEPTED (or SUBMITTING's answer follows)."""

    attempt: int
    amount: int
    why: str


@dataclass(frozen=True, slots=True)
class DoubtReleased:
    """Evidence says that nothing was billed: doubt freed, state VOID."""

    attempt: int
    amount: int
    why: str


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """The doubt is booked as spent and its pictures are given up: state WRITTEN_OFF.

    A `why` that begins with `BY_METER` says that the gateway's meter shows this sum; any other is a guess.
    """

    attempt: int
    amount: int
    why: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The attempt ended with this many billed pictures: `amount` moves from held to spent, `overage` is booked on top.

    The rest of the hold stays held until RestReleased. `links` are the pictures to fetch; () with `fault` is a failure.
    """

    attempt: int
    images: int
    amount: int
    overage: int
    links: tuple[str, ...]
    revised_prompt: str | None
    fault: Fault | None
    request_id: str = ""
    #: A failure (`fault`, no images) used up one of `retry.attempts`.
    counts: bool = True


@dataclass(frozen=True, slots=True)
class LateFound:
    """An attempt that had ended turns out to be this operation: it is followed without a hold, state ACCEPTED."""

    attempt: int
    operation: str
    why: str


@dataclass(frozen=True, slots=True)
class LateBilled:
    """An attempt that had ended as not billed was billed: `amount` is booked as overage, state WRITTEN_OFF."""

    attempt: int
    amount: int
    why: str


@dataclass(frozen=True, slots=True)
class RestReleased:
    """The rest of a settled hold is free."""

    attempt: int
    amount: int


@dataclass(frozen=True, slots=True)
class LinksRenewed:
    """Fresh links for pictures whose old ones expired."""

    attempt: int
    links: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PictureStored:
    """A picture is on disk."""

    attempt: int
    index: int
    artifact: Artifact


@dataclass(frozen=True, slots=True)
class PictureLost:
    """A paid picture could not be had."""

    attempt: int
    index: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class TaskMoved:
    """The task is in this phase now; `fault` says why for FAILED, SHORT, IN_DOUBT and SKIPPED."""

    task: int
    phase: Phase
    fault: Fault | None = None
    #: WAITING, IN_DOUBT: nothing is bought for it before this time; None: at once, or never. Not durable.
    until: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """The next task's hold does not fit under the cap of its currency."""

    currency: str
    wanted: int
    free: int


@dataclass(frozen=True, slots=True)
class LaneCooled:
    """This lane submits nothing before `until`: a 429, a gateway that cannot be reached, or too many doubts."""

    lane: str
    until: float
    fault: Fault
    #: The doubt breaker opened: after `until`, one submit at a time until one is answered.
    probe: bool = False


@dataclass(frozen=True, slots=True)
class LaneParked:
    """This lane submits nothing more in this run."""

    lane: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class Draining:
    """No new submit from now on."""


@dataclass(frozen=True, slots=True)
class Paused:
    """This lane (None: every one) submits nothing until it is continued, or the process ends. Kept in the store."""

    lane: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Continued:
    """The pause of this lane (None: every pause) is over. Kept in the store."""

    lane: str | None
    why: str


@dataclass(frozen=True, slots=True)
class DrainNoted:
    """Somebody asked this run to drain. Kept in the store; Draining follows."""

    why: str


@dataclass(frozen=True, slots=True)
class DiskNoted:
    """The disk is full: nothing is held, permitted or downloaded; or it has room again (None)."""

    fault: Fault | None


Fact: TypeAlias = (
    CapSet
    | TaskAdmitted
    | Held
    | Permitted
    | Accepted
    | Released
    | Doubted
    | DoubtLifted
    | DoubtReleased
    | WrittenOff
    | Settled
    | LateFound
    | LateBilled
    | RestReleased
    | LinksRenewed
    | PictureStored
    | PictureLost
    | TaskMoved
    | BudgetReached
    | LaneCooled
    | LaneParked
    | Draining
    | Paused
    | Continued
    | DrainNoted
    | DiskNoted
)

#: Facts that change no durable state: told to the story and to listeners, not to the tables.
PASSING: tuple[type, ...] = (BudgetReached, LaneCooled, LaneParked, Draining, DiskNoted)


# --- commands -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the one POST of this attempt, at the lane's next slot."""

    attempt: int
    task: int
    #: The attempt in doubt that this one asks for once more, with the same tag.
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask how this operation stands, not before `at`."""

    attempt: int
    task: int
    operation: str
    at: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download one picture, not before `at`; of several that wait, the one whose link expires first comes first."""

    attempt: int
    task: int
    index: int
    link: str
    at: float
    #: When the link is expected to expire, by the driver's clock: a hint, it is tried in any case.
    expires_at: float = math.inf


@dataclass(frozen=True, slots=True)
class Wake:
    """Tell TimeCame with these names at `at`."""

    at: float
    task: int | None = None
    attempt: int | None = None
    lane: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the gateway what it has of this model, not before `at`: the whole time back to `reach_s` before now, twice.

    Answered by Listed, always; where the gateway has a meter, by BalanceTold just before it. Only for lanes whose
    terms say that they list or that their meter counts.
    """

    gateway: str
    model: str
    at: float
    #: The window begins at least this many seconds before the look.
    reach_s: float


Command: TypeAlias = Submit | Poll | Fetch | Wake | Look


# --- what the engine is told at the start -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What a lane allows, from its card and the spec. *Units* - seconds."""

    in_flight_max: int
    unanswered_max: int
    poll_first_s: float
    poll_every_s: float
    poll_patience_s: float
    release_lag_s: float
    #: How long result links live after their operation ended.
    links_live_s: float = math.inf
    #: The gateway can list what it was asked for.
    lists: bool = False
    #: The gateway tells what the key has used, and the user says that nobody else uses it.
    meters: bool = False
    #: So long after a POST nobody can say that it was not accepted: the client's timeout, and no less than `QUIET_S`.
    quiet_s: float = QUIET_S
    #: The period of its declared rate, and how far apart submits are at it.
    rate_period_s: float = 60.0
    slot_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The spec's own choices."""

    attempts_max: int
    on_doubt: OnDoubt
    #: {lane: its terms}
    lanes: Mapping[str, LaneTerms]


class AttemptState(StrEnum):
    """The ledger's state machine (docs/reliability.md, attempts)."""

    RESERVED = "RESERVED"
    SUBMITTING = "SUBMITTING"
    ACCEPTED = "ACCEPTED"
    SETTLED = "SETTLED"
    VOID = "VOID"
    DOUBT = "DOUBT"
    VANISHED = "VANISHED"
    WRITTEN_OFF = "WRITTEN_OFF"


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """One picture of a settled attempt, as the store knows it: PENDING with a link, STORED, or LOST."""

    index: int
    state: str
    link: str


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """An attempt, as the store knows it."""

    attempt: int
    ordinal: int
    state: AttemptState
    currency: str
    #: What is still held or in doubt for it, in micro-units (0 in an end state with its rest released).
    open_micros: int
    operation: str
    counts: bool
    pictures: tuple[StoredPicture, ...]
    #: The fault's message, where there was one.
    why: str = ""
    #: What was put aside at first, and what is booked as spent for it, in micro-units.
    hold: int = 0
    settled: int = 0
    #: Billed pictures.
    images: int = 0
    #: When it was permitted and when it ended, UTC microseconds.
    submitted_at: int | None = None
    ended_at: int | None = None
    #: From before a review rejected its pictures: they no longer make its task done.
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task that is unfinished, has money open (in doubt, or a rest to release), or is asked for.

    With all of its attempts, in order.
    """

    task: Task
    phase: Phase
    attempts: tuple[StoredAttempt, ...]


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """A currency's account. *Units* - micro-units of `currency`."""

    currency: str
    cap: int
    spent: int
    held: int
    doubt: int
    overage: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What opening a run folder yields: accounts, unfinished tasks, the next free attempt number, counts by phase."""

    accounts: tuple[StoredAccount, ...]
    tasks: tuple[StoredTask, ...]
    next_attempt: int
    counts: Mapping[Phase, int]
    images: int
    #: Every (gateway, operation id) accepted in this folder, of ended tasks too: an id seen twice is no acceptance.
    operations: Operations = field(default_factory=Operations)
    #: {lane: {operation id: when it was permitted, UTC microseconds}}, of those sent since the oldest doubt.
    sent: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: {(gateway, unit that it bills in): micro-units known to be billed}, where its meter was read at first.
    billed: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: {gateway: attempts booked as spent by guess}, of every gateway that money was ever held for.
    guessed: Mapping[str, int] = field(default_factory=dict)
