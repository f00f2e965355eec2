"""A conversation with a living run over its control socket, for whoever serves its page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.runtime.control import ANSWER_MAX, DONE_S, address_of


class Line:
    """A conversation with a living run, from a loop. It ends with the first answer that does not come: later ones would
    be taken for answers to other questions.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closed = False

    @classmethod
    async def open(cls, path: Path) -> Line | None:
        """A new conversation; None when nobody is alive."""
        try:
            with address_of(path) as address:
                return cls(*await asyncio.open_unix_connection(address, limit=ANSWER_MAX))
        except OSError:
            return None

    @property
    def closed(self) -> bool:
        """Whether nothing more can be asked here; the run may be alive all the same."""
        return self._closed

    async def ask(self, request: Mapping[str, object], *, timeout_s: float = DONE_S) -> dict[str, object] | None:
        """The next answer; None when the run is gone or too late, which closes."""
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            await asyncio.wait_for(self._writer.drain(), timeout_s)
        except (OSError, TimeoutError):
            self.close()
            return None
        return await self.next(timeout_s=timeout_s)

    async def next(self, *, timeout_s: float = DONE_S) -> dict[str, object] | None:
        """The next line of a watch; None when the run is gone or too late, which closes."""
        if self._closed:
            return None
        try:
            answer = json.loads(await asyncio.wait_for(self._reader.readline(), timeout_s))
        except (OSError, ValueError, TimeoutError):
            answer = None
        if isinstance(answer, dict):
            return answer
        self.close()
        return None

    def close(self) -> None:
        """End it."""
        self._closed = True
        self._writer.close()
