"""Where a task stands, and where one of its attempts does: the names, as everybody writes them."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where a task stands."""

    WAITING = "waiting"
    HELD = "held"
    SUBMITTING = "submitting"
    RUNNING = "running"
    FETCHING = "fetching"
    DONE = "done"
    SHORT = "short"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    SKIPPED = "skipped"


class AttemptState(StrEnum):
    """The ledger's state machine (docs/reliability.md, attempts)."""

    RESERVED = "RESERVED"
    SUBMITTING = "SUBMITTING"
    ACCEPTED = "ACCEPTED"
    SETTLED = "SETTLED"
    VOID = "VOID"
    DOUBT = "DOUBT"
    VANISHED = "VANISHED"
    WRITTEN_OFF = "WRITTEN_OFF"
