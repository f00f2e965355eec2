"""Places where a test may end the process: before and after every line of the write order, in recovery, in the end.

In a normal process `reach` looks at one global and returns. No option, variable or file arms it: only a test's own
child does, by calling `arm` before it calls the command line's main.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: Every name, by the part of a run's life and the line of docs/reliability.md that it belongs to; a test holds the code
#: and this list together.
NAMES: Final[tuple[str, ...]] = (
    # A folder is opened (W1).
    "open.locked",
    "open.agreed",
    "store.opening",
    "store.creating",
    "store.opened",
    "open.stocked",
    "open.settled",
    "plan.marked",
    "plan.kept",
    "plan.noted",
    # Recovery.
    "recover.begun",
    "recover.answer",
    "recover.resuming",
    "recover.resumed",
    "recover.cleared",
    "recover.adopted",
    "recover.part",
    "recover.stray",
    "recover.done",
    # A group of facts becomes durable (W2, W4, W5).
    "commit.begun",
    "commit.booked",
    "commit.sealing",
    "fold.begun",
    "fold.folded",
    "fold.done",
    "commit.done",
    "told.begun",
    "told.done",
    # One paid POST (W2, W3).
    "submit.permitted",
    "submit.sending",
    "submit.answered",
    "submit.kept",
    "submit.parsed",
    # One download (W5, W6).
    "poll.answered",
    "fetch.opened",
    "fetch.downloaded",
    "fetch.examined",
    "keep.sealed",
    "keep.noted",
    "keep.linked",
    "keep.named",
    "keep.synced",
    # The end of a run, and Ctrl-C.
    "drain.asked",
    "turn.left",
    "turn.closed",
    "turn.sends",
    "manifest.begun",
    "manifest.built",
    "manifest.named",
    "manifest.synced",
    "manifest.noted",
    "finish.marking",
    "finish.marked",
    "finish.cleared",
    # A person's word: retry and resolve.
    "amend.opened",
    "amend.marked",
    "amend.committed",
    "amend.told",
)

_action: Callable[[str], None] | None = None


def reach(name: str) -> None:
    """Say that the process has come to a place; nothing happens unless a test armed it."""
    if _action is not None:
        _action(name)


def arm(action: Callable[[str], None] | None) -> None:
    """Let every `reach` call this with its name (from whatever thread it is in); None is as before."""
    global _action  # noqa: PLW0603 - one process, one switch: a global that is None costs nothing
    _action = action
