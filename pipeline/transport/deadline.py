"""A deadline that never wins over an answer which is already here.

`asyncio.timeout` cancels: when the loop was blocked past the deadline, the answer lies in memory and is thrown away,
and so it is when a cancellation falls into the tick in which it came. For a paid call that is money.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from functools import partial
from typing import Final, TypeVar

T = TypeVar("T")

#: Turns of the loop in which what has arrived can get through to us.
_TURNS: Final = 20


async def in_time(work: Coroutine[object, object, T], timeout_s: float) -> T:
    """The result of `work`, which runs in a task of its own. *Raises* TimeoutError, and whatever `work` raises.

    A cancellation is raised only if nothing has come: an answer that is here is returned in its place.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    over = loop.create_future()
    task.add_done_callback(partial(_heard, over))
    timer = None if math.isinf(timeout_s) else loop.call_later(timeout_s, _end, over)
    try:
        await over
        called_off = False
    except asyncio.CancelledError:
        called_off = True
    finally:
        if timer is not None:
            timer.cancel()
    await _through(task)
    if task.done():
        return task.result()
    task.cancel()
    await _through(task)
    if task.done() and not task.cancelled():
        return task.result()
    raise asyncio.CancelledError if called_off else TimeoutError


async def _through(task: asyncio.Task[T]) -> None:
    """Let the loop turn a few times, whoever cancels meanwhile."""
    for _ in range(_TURNS):
        if task.done():
            return
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue


def _heard(over: asyncio.Future[None], task: asyncio.Task[T]) -> None:
    """An exception that nobody asks for would be printed, with its frames."""
    if not task.cancelled():
        task.exception()
    _end(over)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
