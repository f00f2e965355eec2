"""The same door onto a simulated world, in this process and in the loop's own time; and the file of such a world."""

from __future__ import annotations

import asyncio
import math
import os
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from pipeline.errors import RunError, StorageFailed
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import FaultPlan
from pipeline.simulator.world import LINKS_BASE
from pipeline.simulator.world import World as SimulatedWorld
from pipeline.transport import breaks
from pipeline.transport.addresses import AddressGuard, unfit_location
from pipeline.transport.deadline import in_time
from pipeline.transport.door import ANSWER_MAX, account_of
from pipeline.values.card import GatewayCard
from pipeline.values.wire import (
    Answered,
    Broken,
    DownloadBroken,
    Downloaded,
    DownloadOutcome,
    DownloadRefused,
    Outcome,
    Request,
)

#: The emulators are as strict about a key as the vendors, and take any.
_KEY: Final = "rehearsal"
_ENCODING: Final = {"accept-encoding": "identity"}
_USER_AGENT: Final = "image-batch-pipeline (rehearsal)"
_GONE: Final = frozenset({403, 404, 410})
_OK: Final = 200


class World(Protocol):
    """The other end of the wire."""

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """Answer a request to a gateway."""
        ...

    def fetch(self, link: str, now: float) -> Exchange:
        """Answer a GET of a result link."""
        ...

    def lines(self) -> list[str]:
        """What must be kept since the last call, as lines without newlines."""
        ...


class WorldClock(Protocol):
    """What a world needs to know of time."""

    def now(self) -> float:
        """Seconds."""
        ...


class WorldFile:
    """Where a world is kept across kills: its lines are written before the answer that they belong to leaves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def lines(self) -> list[str]:
        """What is written; [] when there is no file yet. Of a line that a kill tore, nothing is left."""
        self._refuse_links()
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            # Otherwise the next line would be glued to the torn one.
            os.truncate(self._path, whole)
        return data[:whole].decode().splitlines()

    def _refuse_links(self) -> None:
        """What stands here must be a plain file with one name: our lines would go where they do harm."""
        try:
            known = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(known.st_mode) or known.st_nlink > 1:
            raise StorageFailed(f"the simulated world is not a plain file with one name; move it away: {self._path}")

    def append(self, lines: list[str]) -> None:
        """Hand lines to the system, which keeps them through a kill. *Raises* StorageFailed."""
        if not lines:
            return
        data = memoryview("".join(f"{line}\n" for line in lines).encode())
        try:
            if self._descriptor is None:
                self._refuse_links()
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self._path, flags, 0o600)
                os.fchmod(self._descriptor, 0o600)
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise StorageFailed(f"the simulated world cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_world(
    path: Path | None, *, seed: int = 0, faults: FaultPlan | None = None, links_base: str = LINKS_BASE
) -> SimulatedWorld:
    """The world that `path` holds, or a new one. *Raises* RunError when the file cannot be read."""
    if path is None:
        return SimulatedWorld(seed, faults, links_base=links_base)
    try:
        return SimulatedWorld.load(WorldFile(path).lines(), seed=seed, faults=faults, links_base=links_base)
    except (ValueError, OSError) as error:
        raise RunError(f"the simulated world in {path} cannot be read: {error}") from error


class MemoryDoor:
    """A door onto a world in this process. It waits by the running loop, so in virtual time nothing really waits.

    The world is asked in one thread, in the order of the requests: drawing does not hold up the loop, and the same
    requests in the same order give the same world.
    """

    def __init__(
        self,
        world: World,
        clock: WorldClock,
        *,
        journal: Path | None = None,
        cards: Mapping[str, GatewayCard] | None = None,
    ) -> None:
        """`journal` is the world's file; `open_world` reads it. `cards` say where each gateway takes its key, and what
        stands before the paths; without one it is `Authorization: Bearer` and nothing.
        """
        self._world = world
        self._cards = cards or {}
        self._clock = clock
        self._file = WorldFile(journal) if journal is not None else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="world")

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = ANSWER_MAX) -> Outcome:
        """One request, one outcome; never raises for what the world does."""
        # As over the wire: being called off loses no answer that is here already.
        return await in_time(self._exchange(request, timeout_s, body_max), math.inf)

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        wire = self._wire(request)
        answer = await self._ask(lambda now: self._world.handle(request.gateway, wire, now))
        if (broken := await self._wait(answer, timeout_s)) is not None:
            return Broken(broken)
        # As over the wire: a connection that breaks before the gateway looked cannot be told from one that broke after.
        if answer.response is None or answer.cut != "none":
            return Broken(breaks.at("ServerDisconnectedError", request.gateway))
        if len(answer.response.body) > body_max:
            return Broken(f"the answer of {request.gateway} is larger than {body_max} bytes", too_large=True)
        return Answered(answer.response)

    async def download(
        self, gateway: str, link: str, write: Callable[[bytes], object], *, timeout_s: float, size_max: int
    ) -> DownloadOutcome:
        """Stream a result link's body into `write`."""
        if link.startswith("asset:"):
            key = quote(link.partition(":")[2].lstrip("/"), safe="/-_.~")
            asset = self._wire(Request(gateway, "GET", f"/{key}", base="asset"))
            answer = await self._ask(lambda now: self._world.handle(gateway, asset, now))
        else:
            answer = await self._ask(lambda now: self._world.fetch(link, now))
        if (broken := await self._wait(answer, timeout_s)) is not None:
            return DownloadBroken(broken)
        response = answer.response
        if response is None or answer.cut in {"before", "after"}:
            return DownloadBroken(breaks.at("ServerDisconnectedError", f"downloading from {gateway}"))
        if response.status != _OK:
            return DownloadRefused(response.status, gone=response.status in _GONE)
        if len(response.body) > size_max:
            return DownloadBroken(f"the picture is larger than {size_max} bytes")
        if answer.cut == "mid":
            write(response.body[: len(response.body) // 2])
            return DownloadBroken(f"ClientPayloadError while downloading from {gateway}")
        write(response.body)
        media_type = response.headers.get("content-type", "application/octet-stream").partition(";")[0]
        return Downloaded(response.status, media_type.strip().lower(), len(response.body))

    def account(self, gateway: str) -> str:
        """As of a key: there is one account in a rehearsal."""
        del gateway
        return account_of(_KEY)

    def unfit(self, gateway: str, location: str) -> str:
        """Why a call may not name this location, as at the real gateways."""
        del gateway
        return unfit_location(location, AddressGuard(loopback=False))

    def _wire(self, request: Request) -> WireRequest:
        """A request as the gateway gets it: with the key where it belongs, and below the base URL's own path."""
        card = self._cards.get(request.gateway)
        given = {name.lower(): value for name, value in request.headers}
        headers = {"user-agent": _USER_AGENT, **given, **_ENCODING}
        if request.url:
            return WireRequest(request.method, request.url, headers, request.body or b"")
        base = card.bases.get(request.base) if card is not None else None
        if card is None:
            headers["authorization"] = f"Bearer {_KEY}"
        elif base is None or base.keyed:
            headers[card.auth_header.lower()] = f"{card.auth_prefix}{_KEY}"
        address = "" if card is None else (base.url if base is not None else card.base_url)
        place = urlsplit(address)
        if place.netloc:
            headers["host"] = place.netloc
        target = place.path.rstrip("/") + request.path
        return WireRequest(request.method, target, headers, request.body or b"", request.base)

    async def close(self) -> None:
        """End the thread and let go of the world's file."""
        self._thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()

    async def _ask(self, question: Callable[[float], Exchange]) -> Exchange:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question, self._clock.now())

    def _answer(self, question: Callable[[float], Exchange], now: float) -> Exchange:
        """In the world's thread. What was accepted is written down before anyone hears of it."""
        answer = question(now)
        if self._file is not None:
            self._file.append(self._world.lines())
        return answer

    @staticmethod
    async def _wait(answer: Exchange, timeout_s: float) -> str | None:
        """Let the answer's delay pass; a sentence when it takes too long."""
        silent = answer.response is None and answer.cut == "none"
        if silent or answer.delay_s > timeout_s:
            await asyncio.sleep(timeout_s)
            return f"TimeoutError after {timeout_s:g} s"
        await asyncio.sleep(answer.delay_s)
        return None
