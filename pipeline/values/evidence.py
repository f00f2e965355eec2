"""Evidence about what is in doubt: what a gateway lists. Times are wall clocks', in microseconds of UTC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedOperation:
    """One operation as a gateway lists it. None: the list does not say."""

    operation: str
    submitted_at: int
    prompt: str | None
    n: int | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a gateway listed of one model at one moment.

    `complete`: every operation between `since` and `until` is in it. `exclusive`: nobody else uses the account.
    """

    taken_at: int
    since: int
    until: int
    complete: bool
    exclusive: bool
    operations: tuple[ListedOperation, ...]
