"""Worker processes that make thumbnails: spawned, bounded, and gone when their parent is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Final

from pipeline.report.pixels import DAMAGED, Job, Made, make_all

#: Pictures in one message to a worker.
BATCH: Final = 8
#: So few are made here: starting workers would take longer.
FEW: Final = 8
#: Workers, at most.
_WORKERS_MAX: Final = 8


def made_of(jobs: Iterable[Job], workers: int | None = None) -> Iterator[Made]:
    """Make them all, in no order. A decoder that takes its process along costs its own picture and no other."""
    rest = iter(jobs)
    first = list(islice(rest, FEW + 1))
    if len(first) <= FEW:
        yield from make_all(first)
        return
    yield from _pooled(_batches(_chained(first, rest)), workers or _cores())


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return min(_WORKERS_MAX, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _chained(first: Iterable[Job], rest: Iterator[Job]) -> Iterator[Job]:
    yield from first
    yield from rest


def _batches(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    while batch := list(islice(jobs, BATCH)):
        yield batch


def _pooled(batches: Iterator[list[Job]], workers: int) -> Iterator[Made]:
    suspects: list[Job] = []
    pool = spawned(workers)
    try:
        waiting: dict[Future[list[Made]], list[Job]] = {}
        while True:
            broken = False
            # A few batches ahead of the workers and no more: memory does not grow with the run.
            for batch in islice(batches, max(0, 3 * workers - len(waiting))):
                try:
                    waiting[pool.submit(make_all, batch)] = batch
                except BrokenProcessPool:
                    broken = True
                    suspects += batch
            if not waiting and not broken:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                batch = waiting.pop(future)
                try:
                    yield from future.result()
                except BrokenProcessPool:
                    broken = True
                    suspects += batch
            if broken:
                suspects += [job for batch in waiting.values() for job in batch]
                waiting = {}
                pool.shutdown(wait=False, cancel_futures=True)
                pool = spawned(workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    yield from _singly(suspects)


def _singly(suspects: list[Job]) -> Iterator[Made]:
    """One at a time, so that it is known which picture ended the process."""
    pool: ProcessPoolExecutor | None = None
    try:
        for job in suspects:
            pool = pool or spawned(1)
            try:
                yield from pool.submit(make_all, [job]).result()
            except BrokenProcessPool:
                yield Made(job.sha256, DAMAGED)
                pool = None
    finally:
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def spawned(workers: int) -> ProcessPoolExecutor:
    """Processes that make thumbnails by `make_all`; the caller shuts them down."""
    # Spawned: a fork would take along the parent's threads, locks and open store.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """In a worker: Ctrl-C is the parent's business, and its death is the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A worker holds both ends of its queue, so it would wait there for ever.
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
