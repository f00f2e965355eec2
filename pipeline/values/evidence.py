"""What a gateway says about its own books: a listing of operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: A POST that a dead process sent may be accepted this long after (seconds; docs/reliability.md, evidence).
QUIET_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class ListedOperation:
    """One operation that a gateway lists, with what it repeats of the request; None: it does not repeat that.

    *Units* - submitted_at: UTC microseconds of the gateway's clock.
    """

    operation: str
    submitted_at: int
    prompt: str | None
    n: int | None
    seed: int | None
    #: What to ask a listing for, in the place of a page, to learn what this one repeats; empty: it has said it all.
    page: str = ""
    #: It has ended, and the gateway says that it costs nothing.
    unbilled: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """A gateway's list of the operations of one model in a window. *Units* - times: UTC microseconds.

    A look that failed is a listing that is not complete.
    """

    taken_at: int
    since: int
    until: int
    #: Every page of the window was read.
    complete: bool
    #: Nobody else buys with this account: the user says so (`dedicated`).
    exclusive: bool
    operations: tuple[ListedOperation, ...]
