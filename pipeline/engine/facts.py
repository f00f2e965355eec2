"""Facts: what `decide` found true, the journal made durable, and nobody takes back.

Attempts are integers, given out in admission order and never reused in a run folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from pipeline.engine.phases import Phase
from pipeline.values.artifact import Artifact
from pipeline.values.reply import Fault
from pipeline.values.task import Task

#: How the reason begins when a gateway's meter has shown a sum.
BY_METER: Final = "the key's meter shows"


#: How the reason begins when a gateway knows a repeated purchase already: it is not asked for once more.
KNOWN_ALREADY: Final = "the gateway knows this purchase already"


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
