"""The one door to the journal, `commit(facts)`: a writer thread with group commit, or inline in virtual time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from pipeline.engine.facts import Fact
from pipeline.errors import Bug, StorageFailed
from pipeline.values.rows import Placement

T = TypeVar("T")


class Journal(Protocol):
    """What makes facts durable. One thread at a time calls it."""

    def commit(self, facts: Sequence[Fact]) -> None:
        """Make all of these durable, in this order, or none. *Raises* StorageFailed."""
        ...

    def keep_placement(self, placement: Placement) -> None:
        """Keep where an uploaded picture stands, durably. *Raises* StorageFailed."""
        ...


@dataclass(frozen=True, slots=True)
class _Waiting:
    facts: tuple[Fact, ...]
    future: asyncio.Future[Any]
    placement: Placement | None = None
    #: Something else to do with the journal, after the facts of its batch, and what came of it.
    work: Callable[[], object] | None = None
    found: list[object] = field(default_factory=list)


_Batch: TypeAlias = list[_Waiting]


class _Doom:
    """Fail-stop: after one failed commit nobody knows what is on the disk, so nothing further is written."""

    def __init__(self) -> None:
        self._why = ""

    @property
    def came(self) -> bool:
        return bool(self._why)

    def come(self, error: Exception) -> None:
        if not self._why:
            self._why = str(error) if isinstance(error, StorageFailed) else f"a commit failed: {type(error).__name__}"

    def error(self) -> StorageFailed:
        """A new exception each time: one that is raised in several tasks would collect all of their tracebacks."""
        return StorageFailed(self._why)


def _write(journal: Journal, batch: _Batch, doom: _Doom) -> None:
    """Everything of a batch in one commit; a failure of whatever sort is remembered and never tried again."""
    if doom.came:
        return
    facts = [fact for waiting in batch for fact in waiting.facts]
    try:
        if facts:
            journal.commit(facts)
        for waiting in batch:
            if waiting.placement is not None:
                journal.keep_placement(waiting.placement)
    except Exception as error:  # noqa: BLE001 - whatever it was, the state of the disk is unknown
        doom.come(error)


def _looks(batch: _Batch, doom: _Doom) -> _Batch:
    """Do what a batch asks for besides its facts, once those are told; answers who is to be told now."""
    asked = [waiting for waiting in batch if waiting.work is not None]
    for waiting in asked:
        if doom.came or waiting.work is None:
            continue
        try:
            waiting.found.append(waiting.work())
        except Exception as error:  # noqa: BLE001 - whoever asked is told; the run is not concerned
            waiting.found.append(error)
    return asked


def _facts_of(batch: _Batch) -> _Batch:
    return [waiting for waiting in batch if waiting.work is None]


def _tell(batch: _Batch, doom: _Doom) -> None:
    for waiting in batch:
        if waiting.future.done():
            continue
        if doom.came:
            waiting.future.set_exception(doom.error())
            continue
        found = waiting.found[0] if waiting.found else None
        if isinstance(found, Exception):
            waiting.future.set_exception(found)
        else:
            waiting.future.set_result(found)


class ThreadCommitter:
    """Commits in one writer thread: whatever queues up while one commit runs goes into the next, in order."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._doom = _Doom()
        self._batch: _Batch = []
        self._closing = False
        #: Guards `_batch` and `_closing`; held for an instant only.
        self._news = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def commit(self, facts: Sequence[Fact]) -> asyncio.Future[None]:
        """Queue these facts now; the future is done once they are durable. It fails with StorageFailed, and so does
        every later one.
        """
        return self._queue(tuple(facts), None)

    def keep(self, placement: Placement) -> asyncio.Future[None]:
        """As `commit`, for where an uploaded picture stands."""
        return self._queue((), placement)

    def look(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do something short with the journal, in its thread, after what was queued before; answers what came of it."""
        return self._queue((), None, work)

    def _queue(
        self, facts: tuple[Fact, ...], placement: Placement | None, work: Callable[[], object] | None = None
    ) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        with self._news:
            if self._closing:
                raise Bug("a commit after the journal was closed")
            self._batch.append(_Waiting(facts, future, placement, work))
            self._news.notify()
        return future

    async def close(self) -> None:
        """Let everything that was queued be written, and end the thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        try:
            await asyncio.to_thread(self._thread.join)
        finally:
            # Called off or not: whoever closes the journal next must not meet the writer in it.
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._news:
                while not self._batch and not self._closing:
                    self._news.wait()
                if not self._batch:
                    return
                batch, self._batch = self._batch, []
            _write(self._journal, batch, self._doom)
            try:
                self._loop.call_soon_threadsafe(_tell, _facts_of(batch), self._doom)
                if asked := _looks(batch, self._doom):
                    self._loop.call_soon_threadsafe(_tell, asked, self._doom)
            except RuntimeError:
                # The loop was closed without closing the committer: nobody is left to be told.
                return


class InlineCommitter:
    """Commits on the loop itself, for virtual time, where a thread would hold the clock: one commit a turn."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._doom = _Doom()
        self._batch: _Batch = []
        self._closed = False

    def commit(self, facts: Sequence[Fact]) -> asyncio.Future[None]:
        """As `ThreadCommitter.commit`: what is queued in one turn of the loop becomes one commit at its end."""
        return self._queue(tuple(facts), None)

    def keep(self, placement: Placement) -> asyncio.Future[None]:
        """As `ThreadCommitter.keep`."""
        return self._queue((), placement)

    def look(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """As `ThreadCommitter.look`."""
        return self._queue((), None, work)

    def _queue(
        self, facts: tuple[Fact, ...], placement: Placement | None, work: Callable[[], object] | None = None
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise Bug("a commit after the journal was closed")
        loop = asyncio.get_running_loop()
        if not self._batch:
            loop.call_soon(self._flush)
        future = loop.create_future()
        self._batch.append(_Waiting(facts, future, placement, work))
        return future

    async def close(self) -> None:
        """Write what is still queued."""
        self._closed = True
        self._flush()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if batch:
            _write(self._journal, batch, self._doom)
            _tell(_facts_of(batch), self._doom)
            _tell(_looks(batch, self._doom), self._doom)
