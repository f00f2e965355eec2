"""The wire campaign judges: a door that repeats paid calls, trusts short answers or frees money is caught."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import aiohttp
import pytest

from pipeline.transport import http, receiving
from pipeline.transport.http import HttpDoor
from pipeline.values.wire import Broken, Downloaded, DownloadOutcome, NotSent, Outcome
from tests.chaos.proxy import Harm, Kind, Side, Spot
from tests.chaos.wire import CALLS, Cell, cells, try_cells

ONE_OF_EACH = [
    Cell("submit", Harm(Side.REQUEST, Spot.NONE, Kind.RESET)),
    Cell("submit again", Harm(Side.RESPONSE, Spot.NONE, Kind.LIMIT)),
    Cell("poll", Harm(Side.RESPONSE, Spot.IN_HEAD, Kind.SLICER)),
    Cell("download", Harm(Side.RESPONSE, Spot.MID_BODY, Kind.LIMIT)),
]


def test_the_cells_are_all_there() -> None:
    """Each call, side, spot and kind once: 406 cells, each with one expected end."""
    known = cells()
    assert len(set(map(str, known))) == len(known) == 406
    assert {cell.call for cell in known} == set(CALLS)


@pytest.mark.slow
def test_one_cell_of_each_call_meets_its_table() -> None:
    """The honest door passes."""
    found, posts = asyncio.run(try_cells(ONE_OF_EACH))
    assert (found, posts) == ([], 3)


@contextmanager
def repeating() -> Iterator[None]:
    """A client that repeats paid calls when the connection breaks, as vendors' own do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.client, "IDEMPOTENT_METHODS", {"GET", "POST"})
        yield


@contextmanager
def lenient() -> Iterator[None]:
    """A door that takes every broken exchange for one that never began."""
    honest = HttpDoor.exchange

    async def exchange(self: HttpDoor, *args: object, **more: object) -> Outcome:
        outcome: Outcome = await honest(self, *args, **more)  # type: ignore[arg-type]  # passed on as it came
        return NotSent(outcome.why) if isinstance(outcome, Broken) else outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HttpDoor, "exchange", exchange)
        yield


@contextmanager
def trusting() -> Iterator[None]:
    """A door that takes what came of a picture for all of it."""
    honest = receiving.receive

    async def receive(response: aiohttp.ClientResponse, sink: receiving.Sink) -> DownloadOutcome:
        try:
            return await honest(response, sink)
        except aiohttp.ClientPayloadError:
            return Downloaded(200, "image/png", sink.size_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "receive", receive)
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "word"),
    [(repeating, "left 2 times"), (lenient, "by NotSent"), (trusting, "the download came to be Downloaded")],
    ids=["repeating", "lenient", "trusting"],
)
def test_a_door_that_costs_money_is_caught(mutant: Callable[[], AbstractContextManager[None]], word: str) -> None:
    """Each of three wrong doors violates its cell."""
    with mutant():
        found, _ = asyncio.run(try_cells(ONE_OF_EACH))
    assert any(word in line for line in found), found
