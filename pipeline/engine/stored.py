"""What opening a run folder yields: accounts, unfinished tasks with their attempts, and what is known besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.engine.known import Operations
from pipeline.engine.phases import AttemptState, Phase
from pipeline.values.task import Task

#: The states of a picture.
PENDING: Final = "PENDING"
STORED: Final = "STORED"
LOST: Final = "LOST"


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

    @property
    def followed(self) -> bool:
        """Whether an operation of it runs, or a billed picture is still to be fetched: it may yet be whole."""
        return any(
            each.state is AttemptState.ACCEPTED or any(picture.state == PENDING for picture in each.pictures)
            for each in self.attempts
        )


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """A currency's account. *Units* - micro-units of `currency`."""

    currency: str
    cap: int
    spent: int
    held: int
    doubt: int
    #: The part of what is spent that was billed above holds, or after they were gone.
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
