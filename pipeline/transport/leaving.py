"""Who is told when a request leaves: a new connection takes its time, and a rate is counted where requests arrive."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

#: Called once the connection of an exchange stands, which is when its bytes leave; set in the task that asks for it.
LEAVING: Final[ContextVar[Callable[[], None] | None]] = ContextVar("LEAVING", default=None)
