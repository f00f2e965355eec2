"""The door to the journal: order, grouping, and the full stop after a failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import TypeAlias

import pytest

from pipeline.engine.facts import Fact, Permitted
from pipeline.errors import Bug, StorageFailed
from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.runtime.commits import InlineCommitter, ThreadCommitter
from pipeline.values.rows import Placement

Kind: TypeAlias = type[InlineCommitter] | type[ThreadCommitter]
KINDS = pytest.mark.parametrize("kind", [InlineCommitter, ThreadCommitter])


class Pages:
    """A journal in memory: one page a commit. It can be held up, and it can fail."""

    def __init__(self, fails_at: int | None = None, error: Exception | None = None) -> None:
        self.pages: list[list[int]] = []
        self.calls = 0
        self.threads: set[int] = set()
        self.started = threading.Event()
        self.go = threading.Event()
        self.go.set()
        self._fails_at = fails_at
        self._error = error or StorageFailed("the disk is full")

    def commit(self, facts: Sequence[Fact]) -> None:
        """Write a page."""
        self.calls += 1
        self.threads.add(threading.get_ident())
        self.started.set()
        assert self.go.wait(10)
        if self.calls - 1 == self._fails_at:
            raise self._error
        self.pages.append([fact.attempt for fact in facts if isinstance(fact, Permitted)])

    def keep_placement(self, placement: Placement) -> None:
        """Write a page of one number: how long the location is."""
        self.pages.append([len(placement.location)])


@KINDS
async def test_facts_are_durable_when_the_wait_is_over_and_in_order(kind: Kind) -> None:
    """Each wait ends after its facts are written, and facts keep their order."""
    journal = Pages()
    committer = kind(journal)
    for number in range(20):
        future = committer.commit([Permitted(2 * number), Permitted(2 * number + 1)])
        if number % 3 == 0:
            await future
            assert journal.pages[-1][-1] == 2 * number + 1
    await committer.close()
    assert [attempt for page in journal.pages for attempt in page] == list(range(40))


async def test_what_queues_up_during_a_commit_is_one_commit() -> None:
    """A slow disk makes groups larger, not the queue longer."""
    journal = Pages()
    journal.go.clear()
    committer = ThreadCommitter(journal)
    futures = [committer.commit([Permitted(0)])]
    await asyncio.to_thread(journal.started.wait, 10)
    futures += [committer.commit([Permitted(number)]) for number in range(1, 100)]
    assert not any(future.done() for future in futures)
    journal.go.set()
    await asyncio.gather(*futures)
    assert journal.pages == [[0], list(range(1, 100))]
    assert threading.get_ident() not in journal.threads
    await committer.close()


async def test_inline_commits_group_what_comes_in_one_turn_of_the_loop() -> None:
    """One commit a turn, in the loop's own thread."""
    journal = Pages()
    committer = InlineCommitter(journal)
    await asyncio.gather(*(committer.commit([Permitted(number)]) for number in range(5)))
    await committer.commit([Permitted(5)])
    assert journal.pages == [[0, 1, 2, 3, 4], [5]]
    assert journal.threads == {threading.get_ident()}
    await committer.close()


@KINDS
@pytest.mark.parametrize("error", [StorageFailed("the disk is full"), OSError(5, "I/O"), ValueError("x")])
async def test_after_a_failed_commit_nothing_is_written_again(kind: Kind, error: Exception) -> None:
    """Whoever waits, and whoever comes later, hears StorageFailed; the journal is not called again."""
    journal = Pages(fails_at=1, error=error)
    committer = kind(journal)
    await committer.commit([Permitted(0)])
    group = [committer.commit([Permitted(number)]) for number in (1, 2)]
    answers = await asyncio.gather(*group, return_exceptions=True)
    later = await asyncio.gather(committer.commit([Permitted(3)]), return_exceptions=True)
    await committer.close()
    assert all(isinstance(answer, StorageFailed) for answer in [answers[0], *later])
    assert journal.pages == [[0]]
    assert journal.calls == 2


@KINDS
async def test_closing_writes_what_is_queued_and_then_refuses(kind: Kind) -> None:
    """Nothing that was handed over is lost, and closing twice is harmless."""
    journal = Pages()
    committer = kind(journal)
    futures = [committer.commit([Permitted(number)]) for number in range(3)]
    await committer.close()
    await committer.close()
    assert [attempt for page in journal.pages for attempt in page] == [0, 1, 2]
    assert all(future.done() for future in futures)
    with pytest.raises(Bug, match="closed"):
        committer.commit([])


@KINDS
async def test_a_waiter_who_left_does_not_harm_the_others(kind: Kind) -> None:
    """A cancelled wait is passed over; its facts are written all the same."""
    journal = Pages()
    committer = kind(journal)
    left, stayed = committer.commit([Permitted(0)]), committer.commit([Permitted(1)])
    left.cancel()
    await stayed
    await committer.close()
    assert [attempt for page in journal.pages for attempt in page] == [0, 1]


@KINDS
async def test_a_look_sees_what_was_queued_before_it_and_its_failure_is_nobody_elses(kind: Kind) -> None:
    """Reads are done between commits, where the journal is; what goes wrong in one is told to whoever asked."""
    journal = Pages()
    committer = kind(journal)
    committer.commit([Permitted(0)])
    looked = committer.look(lambda: list(journal.pages))
    failed = committer.look(lambda: 1 // 0)
    committer.commit([Permitted(1)])
    assert await looked in ([[0]], [[0, 1]])
    with pytest.raises(ZeroDivisionError):
        await failed
    await committer.commit([Permitted(2)])
    await committer.close()
    assert [attempt for page in journal.pages for attempt in page] == [0, 1, 2]


@KINDS
async def test_nobody_looks_after_a_failed_commit(kind: Kind) -> None:
    """Memory is ahead of the disk then: whoever looks hears StorageFailed, as everybody does."""
    journal = Pages(fails_at=0)
    committer = kind(journal)
    told = committer.commit([Permitted(0)])
    with pytest.raises(StorageFailed):
        await told
    with pytest.raises(StorageFailed):
        await committer.look(lambda: 1)
    await committer.close()


def test_inline_commits_take_no_virtual_time() -> None:
    """A rehearsal's disk is infinitely fast, by its own clock."""

    async def work(clock: VirtualClock) -> float:
        committer = InlineCommitter(Pages())
        for number in range(100):
            await committer.commit([Permitted(number)])
        return clock.now()

    assert run_virtual(work, start=7.0) == 7.0
