"""When to try again: backoff with jitter, from a seed and a key, so that the same run waits the same times."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from pipeline.values.reply import Fault, FaultKind

COOLING_MAX_S: Final = 60.0
RETRY_AFTER_MAX_S: Final = 3600.0
#: How often a task is bought again although an attempt is in doubt.
DOUBT_RESUBMITS_MAX: Final = 1
#: Downloads of one link before a fresh link is asked for, and fresh links of one picture.
FETCH_TRIES_MAX: Final = 6
RENEWALS_MAX: Final = 3
#: Failures of a download that the same link would meet again: it is gone, or leads where nobody may ask.
RENEWS: Final = frozenset({FaultKind.EXPIRED, FaultKind.REJECTED})
#: Before the second fresh link, doubling (seconds); the first is asked for at once.
RENEWAL_FIRST_S: Final = 20.0
#: An unknown operation is evidence only after this many answers over this long, in seconds.
GONE_ANSWERS_MIN: Final = 5
GONE_GRACE_S: Final = 600.0
#: After this long without an end, nobody waits for an operation any more (seconds).
STUCK_S: Final = 86_400.0
#: Polls for fresh links may fail this long before the pictures are left for the next run (seconds).
RENEWAL_PATIENCE_S: Final = 600.0
#: A picture host may be away this long, from a picture's first broken download, before the picture is lost (seconds):
#: what is paid outlives minutes of 503.
FETCH_PATIENCE_S: Final = 600.0
#: How many downloads a driver runs at once.
FETCHES_AT_ONCE: Final = 24
#: A lane buys nothing new while so many of its pictures wait to be downloaded: what is under way stays bounded, in
#: memory and in what a lost link could cost, however much faster a gateway answers than its pictures come.
BACKLOG_MAX: Final = 1024
#: After so many pictures whose downloads failed, and none that came, a lane buys nothing while one is waited for.
FAILING_MIN: Final = 8

_MASK: Final = 2**64 - 1


class After(Enum):
    """What a definite refusal leads to."""

    COOL = auto()
    PARK = auto()
    PARK_LANE = auto()
    AGAIN = auto()
    GIVE_UP = auto()


#: {kind of a refusal or of a failed operation: what follows}.
AFTER: Final[Mapping[FaultKind, After]] = {
    FaultKind.RATE_LIMITED: After.COOL,
    FaultKind.UNAUTHORIZED: After.PARK,
    FaultKind.OUT_OF_CREDIT: After.PARK,
    FaultKind.CLOSED: After.PARK_LANE,
    FaultKind.TRANSIENT: After.AGAIN,
    FaultKind.TIMEOUT: After.AGAIN,
    FaultKind.NOT_SENT: After.AGAIN,
    FaultKind.UPSTREAM: After.AGAIN,
    FaultKind.MALFORMED: After.AGAIN,
    FaultKind.UNKNOWN: After.AGAIN,
    FaultKind.REJECTED: After.GIVE_UP,
    FaultKind.MODERATED: After.GIVE_UP,
    # What was uploaded is gone: it is uploaded again.
    FaultKind.EXPIRED: After.AGAIN,
    FaultKind.LOST: After.GIVE_UP,
    FaultKind.SHORT: After.GIVE_UP,
}


def jitter(seed: int, key: int) -> float:
    """A number in [0.5, 1) that depends on seed and key alone. *Source* the splitmix64 finalizer."""
    mixed = (seed * 0x9E3779B97F4A7C15 + key * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return 0.5 + (mixed ^ (mixed >> 31)) / 2**65


def backoff_s(seed: int, key: int, tries: int, *, first_s: float = 1.0, most_s: float = COOLING_MAX_S) -> float:
    """Seconds before the next try: doubling from `first_s` up to `most_s`, times jitter."""
    return float(min(most_s, first_s * 2.0 ** min(max(tries, 0), 32)) * jitter(seed, key))


def asked_s(fault: Fault) -> float | None:
    """Seconds that the gateway itself asked us to wait, within 1 s and an hour; None when it named none."""
    if fault.retry_after_s is None:
        return None
    return min(RETRY_AFTER_MAX_S, max(1.0, fault.retry_after_s))


def wait_s(fault: Fault, seed: int, key: int, tries: int) -> float:
    """Seconds to wait after a fault: what the gateway asks for, else the backoff."""
    asked = asked_s(fault)
    return backoff_s(seed, key, tries) if asked is None else asked
