"""What a run is held to, from cards and spec: what each lane allows, and what its user wants in a doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.values.evidence import QUIET_S


class OnDoubt(StrEnum):
    """What happens to a task whose attempt is in doubt."""

    HOLD = "hold"
    RESUBMIT = "resubmit"
    WRITE_OFF = "write_off"


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
