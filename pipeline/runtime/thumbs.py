"""Thumbnails and previews of a served page, made when they are first asked for, in processes of their own."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

from pipeline.report.gallery import INPUTS, THUMBS
from pipeline.report.pixels import Job, Made, make_all
from pipeline.report.pool import spawned
from pipeline.runtime.drawing import Book
from pipeline.values.folder import REPORT

_NAME: Final = re.compile(rf"({THUMBS}|{INPUTS})/([0-9a-f]{{2}})/(\2[0-9a-f]{{62}})\.webp", re.ASCII)
_WORKERS: Final = 2
#: Pictures of which no thumbnail could be made are not tried again at once; so many are remembered.
_FAILED_MAX: Final = 10_000


def digest_of(path: str) -> str | None:
    """The digest that a name such as `thumbs/ab/ab...webp` asks for; None when it is no such name."""
    match = _NAME.fullmatch(path)
    return match[3] if match else None


class Thumbs:
    """Makes each once, below RUN/report as the report does, and never more than a few at a time."""

    def __init__(self, folder: Path, book: Book) -> None:
        self._report = folder / REPORT
        self._book = book
        self._pool: ProcessPoolExecutor | None = None
        self._making: dict[str, asyncio.Task[bool]] = {}
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._suspects: set[str] = set()
        self._places = asyncio.Semaphore(_WORKERS)

    def known(self, digest: str) -> bool:
        """Whether a picture of this digest belongs to the run."""
        return bytes.fromhex(digest) in self._book.sources

    async def file(self, path: str, digest: str) -> Path | None:
        """Where it stands, made now if need be; None when it cannot be had."""
        place = self._report / path
        if place.is_file() and not place.is_symlink():
            return place
        if digest in self._failed:
            return None
        making = self._making.get(digest)
        if making is None:
            making = self._making[digest] = asyncio.create_task(self._make(digest, preview=path.startswith(INPUTS)))
            making.add_done_callback(lambda _: self._making.pop(digest, None))
        await asyncio.shield(making)
        return place if place.is_file() and not place.is_symlink() else None

    async def _make(self, digest: str, *, preview: bool) -> bool:
        source = self._book.sources.get(bytes.fromhex(digest))
        if source is None:
            return False
        tail = f"{digest[:2]}/{digest}.webp"
        job = Job(digest, source, self._report / THUMBS / tail, self._report / INPUTS / tail if preview else None)
        async with self._places:
            made = await self._made(job)
        if made.problem:
            self._failed[digest] = None
            if len(self._failed) > _FAILED_MAX:
                self._failed.popitem(last=False)
        return not made.problem

    async def _made(self, job: Job) -> Made:
        pool = self._pool = self._pool or spawned(_WORKERS)
        try:
            return (await asyncio.wrap_future(pool.submit(make_all, [job])))[0]
        except BrokenProcessPool:
            # A decoder that took its process along: this picture's, or that of one beside it, which gets another try.
            if self._pool is pool:
                self._pool = None
                pool.shutdown(wait=False, cancel_futures=True)
            if job.sha256 not in self._suspects:
                self._suspects.add(job.sha256)
                return await self._made(job)
            return Made(job.sha256, "damaged")
        except OSError:
            return Made(job.sha256, "unwritable")

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
