"""What a lane learns from its gateway's answers: how fast it may go, when to stop and probe, when an operation ends.

All of it is memory: a new process starts without it, at the declared pace.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

#: A refusal that asks for less halves the lane's share of its declared rate, down to this share.
SHARE_MIN: Final = 0.125
#: In each period of the rate in which answers are good, so much of the declared rate comes back.
SHARE_BACK: Final = 0.05
#: So many refusals in a row, or so many of the latest answers, are a storm: the breaker opens.
STORM: Final = 5
STORM_OF: Final = 10
#: So many refusals of the latest answers are a brown-out: the lane slows down, whatever they say.
BROWN_OUT: Final = 2
#: Retries that may fail again before fresh tasks go first; a tenth of one is earned by each fresh task that is sent.
RETRIES_MOST: Final = 10.0
RETRY_SHARE: Final = 0.1
#: Operations by whose times polls go, and how many of them say nothing yet.
TIMES_OF: Final = 32
TIMES_MIN: Final = 5
#: The share of operations that may have ended before their first poll.
EARLIER: Final = 0.05


@dataclass(slots=True)
class Pace:
    """One lane's. *Units* - share: of the declared rate; cut_at, raised_at: seconds of the driver's clock."""

    share: float = 1.0
    cut_at: float = float("-inf")
    raised_at: float = float("-inf")
    #: Refusals in a row, and whether each of the latest answers was one.
    refusals: int = 0
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=STORM_OF))
    #: How many retries may be sent before fresh tasks.
    retries: float = RETRIES_MOST
    #: How long the latest operations took (seconds), latest last.
    took: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_OF))

    @property
    def storms(self) -> bool:
        """Whether the gateway refuses so much that it is asked one thing at a time."""
        return self.refusals >= STORM or sum(self.recent) >= STORM

    @property
    def may_retry(self) -> bool:
        """Whether a task that was sent before may go before a fresh one."""
        return self.retries >= 1.0

    def permitted(self, *, again: bool) -> None:
        """A POST may leave: one for a task that was sent before has its price until it is answered well."""
        self.retries = max(0.0, self.retries - 1.0) if again else min(RETRIES_MOST, self.retries + RETRY_SHARE)

    def refused(self, now: float, sent: float | None, *, limited: bool) -> None:
        """The gateway took nothing on: too many requests, or it is not well. `sent`: when the POST was permitted."""
        self.refusals += 1
        self.recent.append(True)
        if limited or self.storms or sum(self.recent) >= BROWN_OUT:
            self.cut(now, sent)

    def cut(self, now: float, sent: float | None = None) -> None:
        """Halve the share, once for all the POSTs that were out together."""
        if (now if sent is None else sent) > self.cut_at:
            self.share = max(SHARE_MIN, self.share / 2)
            self.cut_at = self.raised_at = now

    def answered(self, now: float, period_s: float, *, again: bool) -> None:
        """The gateway works: its share comes back slowly, by the time that passed, and never above what is declared."""
        self.refusals = 0
        self.recent.append(False)
        if again:
            self.retries = min(RETRIES_MOST, self.retries + 1.0)
        if self.share < 1.0:
            periods = min(1.0, (now - self.raised_at) / period_s)
            self.share = min(1.0, self.share + SHARE_BACK * max(0.0, periods))
        self.raised_at = now

    def calm(self) -> None:
        """The breaker closes: what was refused before it says nothing any more."""
        self.refusals = 0
        self.recent.clear()

    def ended(self, took_s: float) -> None:
        """An operation took so long."""
        self.took.append(took_s)

    def first_poll_s(self, least_s: float, patience_s: float) -> float:
        """Seconds after which a first poll is likely to find an end: soon after the quickest of those seen lately."""
        if len(self.took) < TIMES_MIN:
            return least_s
        early = sorted(self.took)[int(EARLIER * len(self.took))]
        return max(least_s, min(early, patience_s))
