"""Kinds of faults in people's words: what happened, what it means for the task, and what is done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault, as a failed task has it."""

    #: What happened, in a few words, without the gateway's own.
    what: str
    #: What to do: one clause; empty where the last lines of the run say it all.
    remedy: str
    #: `pipeline retry` is worth it without a change of anything.
    again: bool = True


_RETRY: Final = "a retry may help"
_BACK: Final = "ask the vendor for it back (tasks.arrow has the operation ids); a retry buys it again"

#: {kind: its words}; a test compares the keys with FaultKind, and docs/troubleshooting.md with each.
KINDS: Final = {
    "rate_limited": Kind("told to wait again and again", _RETRY),
    "transient": Kind("the gateway had trouble, in every attempt", _RETRY),
    "timeout": Kind("no end came in time", _RETRY),
    "malformed": Kind("the gateway's answers could not be understood", _RETRY),
    "rejected": Kind("the gateway does not take what was asked", "", again=False),
    "moderated": Kind("the vendor's filter refused the prompt or the picture", "", again=False),
    "unauthorized": Kind("the gateway refused the key", "mend the key, then a retry may help"),
    "out_of_credit": Kind("the account has no credit left", "settle the account, then a retry may help"),
    "closed": Kind("the gateway does not open this model to the key", "ask for the right to it, then a retry may help"),
    "expired": Kind("the links to paid pictures expired", _BACK),
    "lost": Kind("", _BACK),
    "not_sent": Kind("the gateway could not be reached, in every attempt", _RETRY),
    "short": Kind("fewer pictures came than were asked for", "a retry buys the whole task again"),
    "upstream": Kind("the vendor could not make them, in every attempt", _RETRY),
    "unknown": Kind("nobody knows what the gateway did", _RETRY),
}
_OTHER: Final = Kind("", _RETRY)


def kind_of(name: str) -> Kind:
    """The words of a kind; one that a newer version wrote has none."""
    return KINDS.get(name, _OTHER)
