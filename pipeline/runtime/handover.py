"""How soon a thread hands the interpreter over while a run is alive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Python's own choice is 5 ms: each call to the system that the loop makes may cost it that long while the journal's
#: thread or a picture's is at work, and the loop makes some ten calls per task (seconds).
_HANDOVER_S: Final = 0.0005


@contextmanager
def quick_handovers() -> Iterator[None]:
    """Inside, a thread that wants the interpreter waits for half a millisecond at most; as before at the end."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _HANDOVER_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
