"""One lane per gateway and model: what is queued, unanswered and in flight, and why it may not submit just now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from pipeline.engine.pace import Pace
from pipeline.engine.retry import jitter
from pipeline.engine.terms import LaneTerms
from pipeline.values.reply import Fault, FaultKind, Pending, Ready, Refused, Reply, Unknown, Unsent

#: Beyond what is in flight, so many attempts are held ready per lane; and so many in all.
AHEAD: Final = 4
AHEAD_TOTAL: Final = 256
#: The doubt breaker: so many doubts within so many seconds; then a pause that doubles up to a limit (seconds).
DOUBTS_MAX: Final = 5
DOUBTS_WINDOW_S: Final = 60.0
BREAKER_FIRST_S: Final = 30.0
BREAKER_MOST_S: Final = 900.0
#: Or more than this share of so many submits.
DOUBTS_SHARE_MAX: Final = 0.03
DOUBTS_OF: Final = 200
#: A gateway that could not be reached for this long, or answered nothing but 429, is parked (seconds).
UNREACHABLE_S: Final = 600.0
LIMITED_S: Final = 600.0
#: While nothing is in doubt, operations are remembered this long, to be looked for in listings (seconds).
REMEMBERED_S: Final = 3600.0
#: The terms of a lane that the spec no longer names but that still has operations to follow.
LEFTOVER: Final = LaneTerms(
    in_flight_max=1, unanswered_max=1, poll_first_s=5.0, poll_every_s=5.0, poll_patience_s=600.0, release_lag_s=0.0
)


@dataclass(frozen=True, slots=True)
class LaneView:
    """How a lane stands. *Units* - cooling_until: seconds of the driver's clock, None when it never cooled."""

    held: int
    in_flight: int
    unanswered: int
    submits: int
    rate_limited: int
    cooling_until: float | None
    parked: Fault | None
    #: Why it cools: nothing reached the gateway, or too many answers were lost; neither: the gateway asked for it.
    unreachable: bool = False
    losing: bool = False
    #: Its share of the declared rate, and whether it sends one POST at a time until one is answered well.
    share: float = 1.0
    probing: bool = False
    #: Nothing leaves until more of what was bought is downloaded.
    behind: bool = False


@dataclass(slots=True)
class Lane:
    """The state of one lane. What stands below `memory` is not durable: a new process starts without it."""

    name: str
    terms: LaneTerms
    #: Held attempts in the order in which they will be permitted: tries after the first come first.
    again: deque[int] = field(default_factory=deque)
    fresh: deque[int] = field(default_factory=deque)
    #: SUBMITTING attempts and ACCEPTED attempts.
    unanswered: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)
    parked: Fault | None = None
    submits: int = 0
    # memory
    cooling_until: float = float("-inf")
    rate_limited: int = 0
    rate_limited_streak: int = 0
    unsent_streak: int = 0
    unsent_since: float | None = None
    #: Since when nothing but 429 came, to submits and polls alike.
    limited_since: float | None = None
    doubted_at: deque[float] = field(default_factory=deque)
    #: Whether each of the latest submits came into doubt.
    doubtful: deque[bool] = field(default_factory=lambda: deque(maxlen=DOUBTS_OF))
    #: How often the doubt breaker opened in a row; 0 is closed.
    breaker: int = 0
    probe: int | None = None
    #: Whether lost answers opened it, and not refusals.
    lost: bool = False
    #: What it has learnt from the gateway's answers.
    pace: Pace = field(default_factory=Pace)
    #: {attempt with pictures to fetch: when its links expire}, earliest first.
    expiring: dict[int, float] = field(default_factory=dict)
    #: How many pictures are still to be fetched, and (attempt, index) of some whose downloads failed since one came.
    backlog: int = 0
    failing: set[tuple[int, int]] = field(default_factory=set)
    #: Attempts in doubt that a listing may find, and {operation: when it was permitted}; of lanes that list.
    suspects: set[int] = field(default_factory=set)
    #: Attempts in doubt of which the key's meter may say whether they were billed.
    pooled: set[int] = field(default_factory=set)
    sent: dict[str, float] = field(default_factory=dict)
    #: When something was billed last.
    billed_at: float = float("-inf")
    #: The time of a Look that is commanded and not answered, of the last that was answered, and how many were in vain.
    look_at: float | None = None
    looked_at: float = float("-inf")
    looks: int = 0

    @property
    def held(self) -> int:
        """How many attempts wait for their permit."""
        return len(self.again) + len(self.fresh)

    @property
    def in_flight(self) -> int:
        """What the gateway works on, or may work on."""
        return len(self.unanswered) + len(self.running)

    def ready(self, now: float) -> bool:
        """Whether a held attempt could be permitted now."""
        return (
            self.held > 0
            and self.parked is None
            and now >= self.cooling_until
            and self.in_flight < self.terms.in_flight_max
            and len(self.unanswered) < (1 if self.careful else self.terms.unanswered_max)
        )

    @property
    def careful(self) -> bool:
        """Whether it sends one POST at a time: the breaker is open, or too many retries failed and nothing is fresh."""
        return self.breaker > 0 or not (self.fresh or self.pace.may_retry)

    def view(self, *, behind: bool = False) -> LaneView:
        """How it stands, for status and display; `behind`: its downloads do not keep up."""
        cooling = None if self.cooling_until == float("-inf") else self.cooling_until
        waiting = len(self.unanswered)
        return LaneView(
            self.held,
            self.in_flight,
            waiting,
            self.submits,
            self.rate_limited,
            cooling,
            self.parked,
            unreachable=self.unsent_since is not None,
            losing=self.breaker > 0 and self.lost,
            share=self.pace.share,
            probing=self.breaker > 0,
            behind=behind,
        )

    def first(self) -> int:
        """The attempt to permit next: what was begun is finished first, unless retries fail too often."""
        return self.again[0] if self.again and (self.pace.may_retry or not self.fresh) else self.fresh[0]

    def room(self) -> int:
        """How many more attempts may be held ahead; 0 when parked."""
        return 0 if self.parked else max(0, self.terms.in_flight_max + AHEAD - self.held)

    def drop_held(self, attempt: int) -> None:
        """A held attempt is held no longer: permitted or released, most often the first."""
        for queue in (self.again, self.fresh):
            if queue and queue[0] == attempt:
                queue.popleft()
                return
        (self.again if attempt in self.again else self.fresh).remove(attempt)

    def hear(self, attempt: int, reply: Reply, now: float, *, sent: float | None = None, again: bool = False) -> None:
        """Remember how the gateway answers submits. `sent`: when it was permitted; `again`: it was no first try."""
        match reply:
            case Unsent():
                if now >= self.cooling_until:
                    # Several POSTs that fail together are one event.
                    self.unsent_streak += 1
                self.unsent_since = now if self.unsent_since is None else self.unsent_since
                self.pace.refused(now, sent, limited=False)
            case Unknown():
                self.reached()
                self.limited_since = None
                self.doubtful.append(True)
                self.doubted_at.append(now)
                while self.doubted_at[0] < now - DOUBTS_WINDOW_S:
                    self.doubted_at.popleft()
            case Refused(fault=Fault(kind=FaultKind.RATE_LIMITED)):
                self.reached()
                self.doubtful.append(False)
                self.limited_since = now if self.limited_since is None else self.limited_since
                self.rate_limited += 1
                if now >= self.cooling_until:
                    self.rate_limited_streak += 1
                self.pace.refused(now, sent, limited=True)
            case Refused(fault=Fault(kind=FaultKind.TRANSIENT | FaultKind.UPSTREAM)):
                # The gateway is not well: an answer, and no good one.
                self.reached()
                self.doubtful.append(False)
                self.limited_since = None
                self.pace.refused(now, sent, limited=False)
            case Pending() | Ready() | Refused():
                self.reached()
                self.doubtful.append(False)
                self.limited_since = None
                self.rate_limited_streak = 0
                self.pace.answered(now, self.terms.rate_period_s, again=again)
                if attempt == self.probe:
                    self.breaker = 0
                    self.doubted_at.clear()
                    self.doubtful.clear()
                    self.pace.calm()

    @property
    def storms(self) -> bool:
        """Whether the refusal just heard opens the breaker."""
        return self.breaker == 0 and self.pace.storms

    def reached(self) -> None:
        """Something came back from the gateway."""
        self.unsent_streak = 0
        self.unsent_since = None

    def breaker_trips(self, attempt: int) -> bool:
        """Whether the doubt just heard opens the breaker: one too many, or the probe's own."""
        if self.breaker:
            return attempt == self.probe
        return len(self.doubted_at) >= DOUBTS_MAX or sum(self.doubtful) > DOUBTS_SHARE_MAX * DOUBTS_OF

    def breaker_pause_s(self, seed: int, attempt: int) -> float:
        """How long the breaker stays open if it opens now; jitter makes it up to half as long again."""
        pause = BREAKER_FIRST_S * 2.0 ** min(self.breaker, 16) * (0.5 + jitter(seed, attempt))
        return float(min(BREAKER_MOST_S, pause))

    def only_limited(self, now: float) -> bool:
        """Whether the gateway has answered nothing but 429 for so long that trying on is pointless."""
        return self.limited_since is not None and now - self.limited_since >= LIMITED_S

    def remember(self, operation: str, sent: float) -> None:
        """Keep in mind an operation that a listing must show; old ones only while something is in doubt."""
        self.sent[operation] = sent
        if not self.suspects:
            for old in list(takewhile(lambda each: self.sent[each] < sent - REMEMBERED_S, self.sent)):
                del self.sent[old]
