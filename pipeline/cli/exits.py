"""Every exit code, once, with its meaning: scripts rely on these numbers."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a command ended."""

    COMPLETE = 0
    UNEXPECTED = 1
    INVALID = 2
    BUDGET_REACHED = 3
    FAILED_TASKS = 4
    IN_DOUBT = 5
    PARKED = 6
    STORAGE_FAILED = 70
    RUN_LOCKED = 75
    STOPPED = 130


MEANINGS: Final = {
    Exit.COMPLETE: "complete",
    Exit.UNEXPECTED: "unexpected error (a bug: resume is safe)",
    Exit.INVALID: "invalid spec, plan or usage; a missing key",
    Exit.BUDGET_REACHED: "stopped at the budget",
    Exit.FAILED_TASKS: "finished with failed tasks; verify found a fault",
    Exit.IN_DOUBT: "attempts in doubt are waiting",
    Exit.PARKED: "parked: a gateway refused or went away; run again later",
    Exit.STORAGE_FAILED: "fail-stop: storage failed",
    Exit.RUN_LOCKED: "the run folder is in use",
    Exit.STOPPED: "stopped by Ctrl-C, SIGTERM or SIGHUP",
}

#: Where several hold, the first of these is the exit code.
PRECEDENCE: Final = (
    Exit.STORAGE_FAILED,
    Exit.RUN_LOCKED,
    Exit.STOPPED,
    Exit.PARKED,
    Exit.IN_DOUBT,
    Exit.BUDGET_REACHED,
    Exit.FAILED_TASKS,
)


def worst(codes: Iterable[Exit]) -> Exit:
    """The one code for several endings: a usage fault or a bug before all, then `PRECEDENCE`, then complete."""
    found = set(codes)
    for code in (Exit.UNEXPECTED, Exit.INVALID, *PRECEDENCE):
        if code in found:
            return code
    return Exit.COMPLETE


def table() -> str:
    """The codes and their meanings, one a line, for `--help`."""
    return "\n".join(f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
