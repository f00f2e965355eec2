"""The only door to the network, as a protocol: `transport.http` is the real one, `transport.memory` the rehearsal's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from pipeline.values.digest import sha256_hex
from pipeline.values.wire import DownloadOutcome, Outcome, Request

#: An answer of an API holds ids, links and words; twenty of this size at once still fit into memory (bytes).
ANSWER_MAX: Final = 4 * 1024 * 1024


def account_of(key: str) -> str:
    """What is kept of a key to tell accounts apart: 16 hex digits of a digest of its own."""
    return sha256_hex(b"pipeline placement\n" + key.encode())[:16]


class Door(Protocol):
    """Carries requests to gateways and pictures back. Adds the key itself; never follows a redirect of an API call."""

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = ANSWER_MAX) -> Outcome:
        """One request, one outcome; never raises for what the world does. NotSent only if no connection was made."""
        ...

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        """Stream a result link's body into `write`, without credentials."""
        ...

    def account(self, gateway: str) -> str:
        """Whose key it is, as a digest that gives nothing of it away: 16 hex digits."""
        ...

    def unfit(self, gateway: str, location: str) -> str:
        """Why a call to this gateway may not name a location that an upload was given; empty when it may."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
