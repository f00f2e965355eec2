"""The only door to the network, as a protocol: `transport.http` is the real one, `transport.memory` the rehearsal's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pipeline.values.wire import DownloadOutcome, Outcome, Request


class Door(Protocol):
    """Carries requests to gateways and pictures back. Adds the key itself; never follows a redirect of an API call."""

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = 64 * 1024 * 1024) -> Outcome:
        """One request, one outcome; never raises for what the world does. NotSent only if no connection was made."""
        ...

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        """Stream a result link's body into `write`, without credentials, hashing as it passes."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
