"""From a download to a picture on disk, in groups and off the loop: looked at, summed, written, synced, named.

While two groups are at work, whatever comes in waits for the next: so the system is asked to sync for many at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from pipeline.failpoints import reach
from pipeline.runtime.pictures import Examined, examine
from pipeline.store.blobs import Blobs, Seen, Wanted
from pipeline.store.part import Part, Sink
from pipeline.values.task import Task

#: A picture up to this size stays in memory until its group is written; a larger one goes to its part as it comes.
IN_MEMORY_MAX: Final = 2 * 1024 * 1024
#: Groups that are at work at once, and what one of them holds at most.
_GROUPS: Final = 2
_GROUP_BYTES: Final = 4 * 1024 * 1024
_GROUP_MAX: Final = 64


class Unfit(ValueError):  # noqa: N818 - caught in one place, where it becomes a fault
    """What came is no whole picture; the message is a plain sentence."""


@dataclass(slots=True)
class Incoming:
    """A picture that is being downloaded."""

    part: Part
    size_bytes: int = 0
    #: A thread has it: its file may be closed there and nowhere else, because the number would soon be another file's.
    at_work: bool = False
    _pieces: list[bytes] = field(default_factory=list)
    _opened: AbstractContextManager[Sink] | None = None
    _sink: Sink | None = None

    def write(self, data: bytes) -> None:
        """Take a piece. *Raises* OSError."""
        self.size_bytes += len(data)
        if self._sink is not None:
            self._sink.write(data)
            return
        self._pieces.append(data)
        if self.size_bytes > IN_MEMORY_MAX:
            self._opened = self.part.open()
            self._sink = self._opened.__enter__()
            self._sink.write(self._taken())

    def whole(self) -> bytes | None:
        """All of it, where it is still in memory."""
        return None if self._sink is not None else self._taken()

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """No more will come."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.__exit__(None, None, None)

    def discard(self) -> None:
        """Drop what came, of a picture in memory there is no file yet; what a thread has is dropped when it is done."""
        if self.at_work:
            return
        self.close()
        self._pieces.clear()
        self.part.discard()


@dataclass(frozen=True, slots=True)
class Shelved:
    """A picture that has its name, durably. *Units* - size_bytes: bytes."""

    seen: Examined
    sha256: str
    size_bytes: int
    path: str


@dataclass(slots=True)
class _Waiting:
    incoming: Incoming
    task: Task
    index: int
    future: asyncio.Future[Shelved]
    seen: Examined | None = None
    wanted: Wanted | None = None
    error: BaseException | None = None


class Shelf:
    """The way of pictures to their names. It belongs to one loop; the work is done in threads."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._waiting: list[_Waiting] = []
        self._at_work = 0

    def incoming(self, task: Task, index: int, attempt: int) -> Incoming:
        """Where a picture is received."""
        return Incoming(self._blobs.part(task.id, index, attempt))

    async def keep(self, incoming: Incoming, task: Task, index: int) -> Shelved:
        """Look at every pixel of a download and put it under its final name durably (W6).

        *Raises* Unfit for what is no whole picture, OSError and StorageFailed for what the disk refuses.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(incoming, task, index, loop.create_future())
        self._waiting.append(waiting)
        if self._at_work < _GROUPS and len(self._waiting) == 1:
            # At the end of this turn of the loop: what else comes in it belongs to the same group.
            loop.call_soon(self._begin)
        return await waiting.future

    def _begin(self) -> None:
        # Whose download was called off has dropped its part.
        self._waiting = [each for each in self._waiting if not each.future.done()]
        while self._waiting and self._at_work < _GROUPS:
            group, self._waiting = _first(self._waiting)
            self._at_work += 1
            for each in group:
                each.incoming.at_work = True
            work = asyncio.get_running_loop().run_in_executor(None, self._shelve, group)
            work.add_done_callback(partial(self._done, group))

    def _done(self, group: list[_Waiting], done: asyncio.Future[None]) -> None:
        self._at_work -= 1
        failed = asyncio.CancelledError() if done.cancelled() else done.exception()
        for each in group:
            each.incoming.at_work = False
            if each.future.done():
                # Called off meanwhile. If it has its name by now, that is found by its note.
                each.incoming.discard()
            else:
                _tell(each, failed)
        self._begin()

    # --- in a thread ---

    def _shelve(self, group: Sequence[_Waiting]) -> None:
        for each in group:
            try:
                _look(each)
            except Exception as error:  # noqa: BLE001 - told to whoever waits for it
                each.error = error
        whole = [each.wanted for each in group if each.wanted is not None and each.error is None]
        self._blobs.keep_all(whole)


def _first(waiting: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """The next group, and the rest."""
    size = count = 0
    for each in waiting[:_GROUP_MAX]:
        size += each.incoming.size_bytes
        if count and size > _GROUP_BYTES:
            break
        count += 1
    return waiting[:count], waiting[count:]


def _look(waiting: _Waiting) -> None:
    """Decode and sum a download; one that is in memory is written to its part."""
    incoming = waiting.incoming
    incoming.close()
    data = incoming.whole()
    try:
        waiting.seen = seen = examine(incoming.part.path if data is None else data)
    except ValueError as error:
        raise Unfit(str(error)) from error
    reach("fetch.examined")
    if data is None:
        with incoming.part.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        sha256 = hashlib.sha256(data).hexdigest()
        incoming.part.fill(data)
    found = Seen(seen.media_type, sha256, incoming.size_bytes)
    waiting.wanted = Wanted(incoming.part, waiting.task, waiting.index, found)


def _tell(waiting: _Waiting, failed: BaseException | None) -> None:
    wanted, seen = waiting.wanted, waiting.seen
    error = failed or waiting.error or (wanted.error if wanted is not None else None)
    if error is not None or wanted is None or seen is None:
        waiting.future.set_exception(error or asyncio.CancelledError())
    else:
        waiting.future.set_result(Shelved(seen, wanted.seen.sha256, wanted.seen.size_bytes, wanted.path))
