"""Ctrl-C, SIGTERM and SIGHUP while a run is alive: the first drains, the second leaves, none is lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

#: A terminal that is closed drains a run as Ctrl-C does.
HEARD: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Hears signals from entry to exit, and gives the handlers back that stood before.

    Outside the main thread no process hears signals, and none are taken. One that was ignored from outside (nohup)
    stays ignored.
    """

    def __init__(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}
        self._heard = 0
        #: The loop no longer turns: the run is writing its last words, which a second signal cuts short.
        self.concluding = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in HEARD:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._heard += 1
        if self.concluding and self._heard > 1:
            raise KeyboardInterrupt
        # Not from here: the loop may be in the middle of anything. This wakes it as well.
        self._loop.call_soon_threadsafe(self._drain)
