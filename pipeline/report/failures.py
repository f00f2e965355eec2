"""What failed and why, grouped: what happened, whether money was taken, the one thing to do, and the command for it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.report.data import Entry
from pipeline.values.money import format_money
from pipeline.values.reply import FaultKind

#: Rows that a group names as examples.
EXAMPLES: Final = 5
#: States of tasks that stand in a group.
ENDS: Final = frozenset({"failed", "short", "skipped", "in_doubt"})
_RETRY: Final = "retry"
_RESUME: Final = "resume"

#: {fault: (what happened, what to do, which command does it)}.
_WORDS: Final[Mapping[str, tuple[str, str, str | None]]] = {
    FaultKind.RATE_LIMITED: (
        "The gateway said too often that it was being asked too fast",
        "Lower the rate under limits: in the spec, then send them again.",
        _RETRY,
    ),
    FaultKind.TRANSIENT: (
        "The gateway had trouble of its own, or could not be reached, at every try",
        "Send them again later.",
        _RETRY,
    ),
    FaultKind.TIMEOUT: ("No answer came in time, at every try", "Send them again later.", _RETRY),
    FaultKind.MALFORMED: (
        "The gateway answered with something that nobody can read",
        "Send them again; if it stays so, report the gateway's words.",
        _RETRY,
    ),
    FaultKind.REJECTED: (
        "The gateway refused the request as it was written",
        "Mend the prompt or the parameters that its words name in the spec, then run it: only what changed is bought.",
        _RESUME,
    ),
    FaultKind.MODERATED: (
        "The gateway's moderation refused the prompt or the picture",
        "Word the prompt differently in the spec, then run it: the same words would be refused again.",
        _RESUME,
    ),
    FaultKind.UNAUTHORIZED: (
        "The gateway did not take the key",
        "Put a key that it takes into the gateway's variable, then go on.",
        _RESUME,
    ),
    FaultKind.OUT_OF_CREDIT: (
        "The account at the gateway has no credit left",
        "Settle the account with the gateway, then go on.",
        _RESUME,
    ),
    FaultKind.CLOSED: (
        "The key has no right to this model, or its quota is used up",
        "See at the gateway to what its words name, then go on.",
        _RESUME,
    ),
    FaultKind.EXPIRED: (
        "The pictures were made, and their links expired before they were fetched",
        "Send them again; that is a new purchase.",
        _RETRY,
    ),
    FaultKind.LOST: (
        "The gateway ended the work, and pictures did not arrive",
        "Send them again; that is a new purchase.",
        _RETRY,
    ),
    FaultKind.NOT_SENT: ("The request never left this machine", "Send them again.", _RETRY),
    FaultKind.SHORT: (
        "Fewer pictures came than were asked for",
        "Keep what is there, or send them again; that is a new purchase of the whole call.",
        _RETRY,
    ),
    FaultKind.UPSTREAM: (
        "The step before delivered no picture to work on",
        "Send the step before again; these follow by themselves.",
        _RETRY,
    ),
    FaultKind.UNKNOWN: (
        "The gateway said something that fits nothing that is known of it",
        "Read its words below, then send them again.",
        _RETRY,
    ),
}
_OTHER: Final = ("It ended without all of its pictures", "Send them again.", _RETRY)
_DOUBT: Final = (
    "Nobody can say whether these calls were billed: their answers were lost",
    "Look into the gateway's own records, then say what they show.",
    "resolve",
)


@dataclass(slots=True)
class _Group:
    count: int = 0
    message: str = ""
    examples: list[str] = field(default_factory=list)
    settled: dict[str, int] = field(default_factory=dict)
    doubt: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Failures:
    """Tasks that ended without all of their pictures, or wait in doubt, by state and kind of fault."""

    _groups: dict[tuple[str, str], _Group] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Count the task of an entry, once a task."""
        task = entry.task
        if task.phase not in ENDS:
            return
        group = self._groups.setdefault((task.phase, task.fault), _Group())
        group.count += 1
        group.message = task.fault_message or group.message
        if len(group.examples) < EXAMPLES:
            group.examples.append(entry.id)
        for sums, micros in ((group.settled, task.settled_micros), (group.doubt, task.doubt_micros)):
            if micros:
                sums[task.currency] = sums.get(task.currency, 0) + micros

    def told(self, commands: Mapping[str, str | None]) -> list[dict[str, object]]:
        """The groups, the largest first."""
        found = sorted(self._groups.items(), key=lambda item: (-item[1].count, item[0]))
        return [_told(state, fault, group, commands) for (state, fault), group in found]


def _told(state: str, fault: str, group: _Group, commands: Mapping[str, str | None]) -> dict[str, object]:
    happened, remedy, name = _DOUBT if state == "in_doubt" else _WORDS.get(fault, _OTHER)
    command = None if name is None else commands.get(name)
    if command is not None and name == _RETRY and fault:
        # A store may come from a stranger, and this is copied into a shell.
        command = f"{command} --fault {shlex.quote(fault)}" if fault.isprintable() else None
    return {
        "state": state,
        "fault": fault,
        "count": group.count,
        "sentence": f"{happened}. {_money(group)} {remedy}",
        "command": command,
        "examples": list(group.examples),
        "message": group.message,
    }


def _money(group: _Group) -> str:
    """Whether money was taken, from what was booked and not from what is usual."""
    parts = []
    if group.settled:
        parts.append(f"{_sums(group.settled)} was charged")
    if group.doubt:
        parts.append(f"{_sums(group.doubt)} may have been charged and stays aside")
    return f"{' and '.join(parts)}." if parts else "Nothing was charged."


def _sums(amounts: Mapping[str, int]) -> str:
    return " + ".join(format_money(micros, unit) for unit, micros in sorted(amounts.items()))
