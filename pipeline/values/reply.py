"""The meaning of an answer: to a submit, a poll and a question for evidence; and faults, which are values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from pipeline.values.evidence import ListedOperation
from pipeline.values.money import Money


class FaultKind(StrEnum):
    """What sort of thing the world did."""

    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    REJECTED = "rejected"
    MODERATED = "moderated"
    UNAUTHORIZED = "unauthorized"
    OUT_OF_CREDIT = "out_of_credit"
    #: A right or a quota of one model, or of its uploads, is missing: others of the gateway may be used.
    CLOSED = "closed"
    EXPIRED = "expired"
    LOST = "lost"
    NOT_SENT = "not_sent"
    SHORT = "short"
    UPSTREAM = "upstream"
    UNKNOWN = "unknown"


#: The `code` of a fault that is our disk's and not the world's: it uses up nothing.
DISK_FULL: Final = "disk_full"
#: The `code` of a fault that shows the price of a model to be too low: no hold is an upper bound until it is mended.
PRICE_TOO_LOW: Final = "price_too_low"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something the world did. *Units* - retry_after_s: seconds from the answer; message: 500 characters at most."""

    kind: FaultKind
    message: str
    #: The gateway's own code, as text; empty when it gave none.
    code: str = ""
    #: HTTP status; 0 when there was no answer.
    status: int = 0
    retry_after_s: float | None = None
    request_id: str = ""


def why_of(fault: Fault) -> str:
    """The reason of a doubt in words: the status of its answer, where there was one, and what was said."""
    return f"HTTP {fault.status}: {fault.message}" if fault.status else fault.message


@dataclass(frozen=True, slots=True)
class Unsent:
    """Proven: no byte of the request left. Money is released."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Ready:
    """Pictures are made. `billed_images` is the gateway's own count where it gives one, else the number of links."""

    links: tuple[str, ...]
    billed_images: int
    revised_prompt: str | None = None
    request_id: str = ""
    #: What the gateway itself says that it took; booked where it is more than the pictures cost by the price list.
    charged: Money | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The gateway has accepted: work goes on under this operation id."""

    operation: str
    #: The gateway says that this repeats its answer to an earlier POST with the same tag, and that nothing was bought.
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite answer from the not-billed table. Money is released; the kind says what to do next."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether this was accepted and billed. The hold becomes doubt."""

    fault: Fault
    #: The gateway says that the tag of this POST belongs to an earlier one with another body: it bought nothing, and
    #: what the earlier one bought is not said.
    repeats: bool = False


#: The meaning of a POST's outcome.
Reply: TypeAlias = Unsent | Ready | Pending | Refused | Unknown


@dataclass(frozen=True, slots=True)
class StillRunning:
    """The operation goes on."""


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """The operation ended without pictures. `billed` None: the vendor does not say, so the money is in doubt.

    From a provider, False says that it ended as failed and nothing more: what that costs is the card's
    `failed_billed`, which the runtime puts in its place.
    """

    fault: Fault
    billed: bool | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The gateway does not know this operation; evidence only after a grace."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class PollBroken:
    """No usable answer. Never evidence about the operation: ask again."""

    fault: Fault


#: The meaning of a poll's outcome.
PollReply: TypeAlias = Ready | StillRunning | OperationFailed | Gone | PollBroken


@dataclass(frozen=True, slots=True)
class ListedPage:
    """One page of a list of operations. `following`: what to ask for next; None when this was the last page.

    `whole`: the gateway's own word that nothing of the time asked for is missing from its pages.
    """

    operations: tuple[ListedOperation, ...]
    following: str | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Balance:
    """How much the key has used up so far. *Units* - used, grain: millionths of `unit`."""

    unit: str
    used: int
    #: The smallest step that the meter shows.
    grain: int = 100


@dataclass(frozen=True, slots=True)
class EvidenceBroken:
    """No usable answer to a question for evidence. It proves nothing, least of all absence."""

    fault: Fault


#: The meaning of an answer to a question for a list.
ListReply: TypeAlias = ListedPage | EvidenceBroken

#: The meaning of an answer to a question for a balance.
BalanceReply: TypeAlias = Balance | EvidenceBroken
