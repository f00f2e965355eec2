"""T12: every way in which a wire can fail, at every place of a message: `python -m tests.chaos wire`.

A cell is one call (a paid one, one on a used connection, a poll, a download) with one harm at one spot of its request
or response, between the real door and the emulator over HTTP. What the call comes to mean must be what the table says,
the emulator must have seen the paid call at most once, and no download may hand over a short file. A sample of cells
is then met by whole runs, whose folder is judged by the emulator's own bill.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.providers import mulerouter
from pipeline.runtime import prepare
from pipeline.runtime.serve import Server
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World
from pipeline.transport.http import HttpDoor
from pipeline.values.card import GatewayCard
from pipeline.values.reply import Pending, PollBroken, Ready, Unknown
from pipeline.values.wire import Answered, Broken, DownloadBroken, Downloaded
from tests.chaos.proxy import Harm, Kind, Proxy, Side, Spot
from tests.chaos.report import Report, idle
from tests.chaos.wire_runs import KEY, QUICK, try_runs
from tests.providers.tongues import task

CALLS: Final = ("submit", "submit again", "poll", "download")
#: {size: (every how many-th cell, whole runs)}.
SIZES: Final = {"small": (4, 3), "merge": (1, 40)}
#: Spots that are one and the same in a message without a body.
_OF_A_BODY: Final = frozenset({Spot.HEAD_END, Spot.BODY_FIRST, Spot.MID_BODY})
_LANES: Final = 6
#: What ends a hanging call, and what never ends one that is merely slow on a busy machine (seconds).
_SOON_S, _LATE_S = 0.3, 60.0
_TASK: Final = task("mulerouter", "qwen-image-max", operation="image.generate", size="1104x1472", seed=1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One call and what is done to it."""

    call: str
    harm: Harm

    @property
    def whole(self) -> bool:
        """The table: a call ends whole if every byte of its answer arrives, however slowly; else nobody knows."""
        return self.harm.leaves_whole

    def __str__(self) -> str:
        return f"{self.call}, {self.harm}"


def cells() -> list[Cell]:
    """Every cell once."""
    return [
        Cell(call, Harm(side, spot, kind))
        for call in CALLS
        for side in Side
        for spot in Spot
        for kind in Kind
        if not (side is Side.REQUEST and spot in _OF_A_BODY and call in {"poll", "download"})
    ]


@dataclass(slots=True)
class Counting:
    """A world that counts the paid calls that reached it, by prompt, and passes everything on."""

    world: World
    posts: Counter[str] = field(default_factory=Counter)

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """Count and pass on."""
        if request.method == "POST":
            self.posts[request.body.decode(errors="replace")] += 1
        return self.world.handle(gateway, request, now)

    def fetch(self, link: str, now: float) -> Exchange:
        """Pass on."""
        return self.world.fetch(link, now)

    def lines(self) -> list[str]:
        """Pass on."""
        return self.world.lines()

    def accepted(self) -> int:
        """How many paid calls the vendor's book has."""
        gateways = self.world.bill()["gateways"]
        assert isinstance(gateways, dict)
        return int(gateways.get("mulerouter", {"accepted": 0})["accepted"])


def _card() -> GatewayCard:
    return prepare.cards()["mulerouter"]


def _door(port: int) -> HttpDoor:
    return HttpDoor({"mulerouter": _card()}, {**KEY, "MULEROUTER_BASE_URL": f"http://127.0.0.1:{port}/mulerouter"}, {})


@dataclass(slots=True)
class _Bench:
    """What the cells share: an emulator, a finished operation and its picture."""

    server: Server
    counting: Counting
    operation: str
    link: str
    sha256: str
    found: list[str] = field(default_factory=list)

    async def try_cell(self, cell: Cell) -> None:
        async with Proxy(self.server.port) as proxy:
            door = _door(proxy.port)
            try:
                wrong = await self._meet(cell, proxy, door)
            finally:
                await door.close()
        # The client may ask once more for what is free, and is hurt once more.
        if not 1 <= proxy.struck <= (1 if cell.call.startswith("submit") else 2):
            wrong = [*wrong, f"{proxy.struck} messages were hurt"]
        self.found += [f"{cell}: {what}" for what in wrong]

    async def _meet(self, cell: Cell, proxy: Proxy, door: HttpDoor) -> list[str]:
        timeout_s = _LATE_S if cell.whole or cell.harm.kind is not Kind.HANG else _SOON_S
        match cell.call:
            case "submit" | "submit again":
                return await self._submit(cell, proxy, door, timeout_s)
            case "poll":
                proxy.strike(cell.harm, times=2)
                outcome = await door.exchange(mulerouter.poll(_TASK, self.operation), timeout_s=timeout_s)
                reply = mulerouter.polled(_TASK, outcome)
                right = isinstance(reply, Ready) if cell.whole else isinstance(outcome, Broken)
                right = right and (cell.whole or isinstance(reply, PollBroken))
                return [] if right else [f"the poll came to mean {reply} by {type(outcome).__name__}"]
            case _:
                return await self._download(cell, proxy, door, timeout_s)

    async def _submit(self, cell: Cell, proxy: Proxy, door: HttpDoor, timeout_s: float) -> list[str]:
        if cell.call == "submit again":
            before = await door.exchange(mulerouter.submit(replace(_TASK, prompt=f"before {cell}"), ()), timeout_s=60)
            if not isinstance(before, Answered):
                return [f"the call before it ended {before}"]
        proxy.strike(cell.harm)
        task = replace(_TASK, prompt=str(cell))
        request = mulerouter.submit(task, ())
        outcome = await door.exchange(request, timeout_s=timeout_s)
        reply = mulerouter.submitted(task, outcome, _card().not_billed)
        wrong = []
        right = isinstance(outcome, Answered) and isinstance(reply, Pending)
        if not cell.whole:
            right = isinstance(outcome, Broken) and isinstance(reply, Unknown)
        if not right:
            wrong.append(f"the submit came to mean {reply} by {type(outcome).__name__}")
        if cell.call == "submit again" and proxy.connections != 1:
            wrong.append(f"{proxy.connections} connections where the used one was due")
        sent = sum(line.startswith("POST") for line in proxy.requests) - (cell.call == "submit again")
        if sent != 1:
            wrong.append(f"the paid call left {sent} times")
        return wrong

    async def _download(self, cell: Cell, proxy: Proxy, door: HttpDoor, timeout_s: float) -> list[str]:
        proxy.strike(cell.harm, times=2)
        kept = bytearray()
        link = self.link.replace(f":{self.server.port}/", f":{proxy.port}/")
        outcome = await door.download("mulerouter", link, kept.extend, timeout_s=timeout_s, size_max=64 * 1024 * 1024)
        if not cell.whole:
            right = isinstance(outcome, DownloadBroken) and not outcome.blocked
            return [] if right else [f"the download came to be {outcome}"]
        whole = isinstance(outcome, Downloaded) and outcome.size_bytes == len(kept)
        if not whole or hashlib.sha256(kept).hexdigest() != self.sha256:
            return [f"the download came to be {outcome} with {len(kept)} bytes"]
        return []

    def tally(self, tried: list[Cell]) -> Iterator[str]:
        """What the emulator says, once nothing is on its way any more."""
        for cell in tried:
            if not cell.call.startswith("submit"):
                continue
            body = (mulerouter.submit(replace(_TASK, prompt=str(cell)), ()).body or b"").decode()
            seen = self.counting.posts[body]
            reached = cell.harm.side is Side.RESPONSE or cell.harm.spot is Spot.LAST or cell.whole
            # The last byte of a request and the end of its connection may arrive together: then either may win.
            least = int(reached and not (cell.harm.side is Side.REQUEST and cell.harm.breaks))
            if not least <= seen <= int(reached):
                yield f"{cell}: the emulator saw the paid call {seen} times"
        if self.counting.accepted() != sum(self.counting.posts.values()):
            yield f"{self.counting.accepted()} accepted of {sum(self.counting.posts.values())} paid calls"


async def try_cells(tried: list[Cell]) -> tuple[list[str], int]:
    """Meet each cell once: what was violated, and how many paid calls the emulator saw."""
    made: list[Counting] = []

    def make(links_base: str) -> Counting:
        made.append(Counting(World(seed=1, faults=parse_faults(QUICK), links_base=links_base)))
        return made[0]

    async with Server(make) as server:
        door = _door(server.port)
        bench = await _bench(server, made[0], door)
        await door.close()
        queue = list(reversed(tried))

        async def lane() -> None:
            while queue:
                await bench.try_cell(queue.pop())

        await asyncio.gather(*(lane() for _ in range(_LANES)))
    return [*bench.found, *bench.tally(tried)], sum(made[0].posts.values())


async def _bench(server: Server, counting: Counting, door: HttpDoor) -> _Bench:
    outcome = await door.exchange(mulerouter.submit(_TASK_OF_BENCH, ()), timeout_s=_LATE_S)
    accepted = mulerouter.submitted(_TASK_OF_BENCH, outcome, _card().not_billed)
    assert isinstance(accepted, Pending)
    ready = mulerouter.polled(_TASK, await door.exchange(mulerouter.poll(_TASK, accepted.operation), timeout_s=_LATE_S))
    assert isinstance(ready, Ready)
    kept = bytearray()
    got = await door.download("mulerouter", ready.links[0], kept.extend, timeout_s=_LATE_S, size_max=2**26)
    assert isinstance(got, Downloaded)
    return _Bench(server, counting, accepted.operation, ready.links[0], hashlib.sha256(kept).hexdigest())


_TASK_OF_BENCH: Final = replace(_TASK, prompt="a picture for every download")


def campaign(size: str, seed: int) -> Report:
    """Try the cells of this size, then some whole runs."""
    every, runs = SIZES[size]
    # The emulator's server complains about every request that is cut.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    dice = random.Random(seed)
    known = cells()
    tried = dice.sample(known, len(known) // every)
    found, posts = asyncio.run(try_cells(tried))
    chosen = [(cell.call, cell.harm, dice.randint(1, 4)) for cell in dice.sample(known, runs)]
    found += asyncio.run(try_runs(chosen))
    figures: dict[str, int | float | str] = {"cells": len(tried), "of": len(known), "paid calls": posts}
    found += idle(figures, {"cells": len(known) // every, "of": 300, "paid calls": len(tried) / 10})
    return Report("wire", figures | {"whole runs": len(chosen)}, tuple(f"seed {seed}: {what}" for what in found))
