"""The two sorts of message between engine and driver: observations (told to us) and commands (asked of it).

Times named `now` or `at` are float seconds of the driver's clock; nothing here reads one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.values.artifact import Artifact
from pipeline.values.evidence import Listing
from pipeline.values.reply import Fault, PollReply, Reply
from pipeline.values.task import Task

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
