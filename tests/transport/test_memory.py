"""The door onto a simulated world: the meanings of the real one, in virtual time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pipeline.errors import StorageFailed
from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.simulator.exchange import Cut, Exchange, WireRequest
from pipeline.transport.memory import MemoryDoor, WorldFile, open_world
from pipeline.values.wire import (
    Answered,
    Broken,
    DownloadBroken,
    Downloaded,
    DownloadOutcome,
    DownloadRefused,
    Outcome,
    Request,
    Response,
)

ASK = Request("acme", "POST", "/images", b"{}", (("Content-Type", "application/json"),))
OK = Response(200, b"0123456789", {"content-type": "image/PNG; x=1"})

LOST = "downloading from acme: the connection was closed before the answer was there (ServerDisconnectedError)"


class OneAnswer:
    """A world that always does the same, and keeps what it was asked."""

    def __init__(self, answer: Exchange) -> None:
        self.answer = answer
        self.asked: list[tuple[float, str, WireRequest | str]] = []

    def handle(self, gateway: str, request: WireRequest, now: float) -> Exchange:
        """The answer."""
        self.asked.append((now, gateway, request))
        return self.answer

    def fetch(self, link: str, now: float) -> Exchange:
        """The answer."""
        self.asked.append((now, "", link))
        return self.answer

    def lines(self) -> list[str]:
        """One line for each question so far."""
        return [f"asked {len(self.asked)}"]


def exchanged(world: OneAnswer, journal: Path | None = None, body_max: int = 100) -> tuple[Outcome, float]:
    """One exchange from second 1000 on, and when it ended."""

    async def work(clock: VirtualClock) -> tuple[Outcome, float]:
        door = MemoryDoor(world, clock, journal=journal)
        outcome = await door.exchange(ASK, timeout_s=60, body_max=body_max)
        await door.close()
        return outcome, clock.now()

    return run_virtual(work, start=1000.0)


def downloaded(world: OneAnswer, size_max: int = 100) -> tuple[DownloadOutcome, bytes]:
    """One download, and what was written."""
    kept = bytearray()

    async def work(clock: VirtualClock) -> DownloadOutcome:
        door = MemoryDoor(world, clock)
        outcome = await door.download("acme", "https://x/files/1", kept.extend, timeout_s=60, size_max=size_max)
        await door.close()
        return outcome

    return run_virtual(work), bytes(kept)


def test_an_answer_comes_after_its_delay_and_the_world_sees_a_proper_request() -> None:
    """The request carries a key and an agent, with header names in lower case."""
    world = OneAnswer(Exchange(2.5, OK))
    outcome, ended = exchanged(world)
    assert outcome == Answered(OK)
    assert ended == pytest.approx(1002.5)
    ((now, gateway, request),) = world.asked
    assert (now, gateway) == (1000.0, "acme")
    assert isinstance(request, WireRequest)
    assert (request.method, request.target, request.body) == ("POST", "/images", b"{}")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"].startswith("Bearer ")
    assert request.headers["user-agent"]


@pytest.mark.parametrize("cut", ["before", "after", "mid"])
def test_a_cut_is_broken_as_over_the_wire(cut: Cut) -> None:
    """Nobody can tell from here whether the gateway has seen it."""
    outcome, ended = exchanged(OneAnswer(Exchange(1.0, OK if cut == "mid" else None, cut)))
    assert isinstance(outcome, Broken)
    assert ended == pytest.approx(1001.0)


@pytest.mark.parametrize("answer", [Exchange(0.0, None), Exchange(61.0, OK)], ids=["silence", "too late"])
def test_what_does_not_come_in_time_is_broken_at_the_timeout(answer: Exchange) -> None:
    """The wait ends at the timeout, not at the answer."""
    outcome, ended = exchanged(OneAnswer(answer))
    assert outcome == Broken("TimeoutError after 60 s")
    assert ended == pytest.approx(1060.0)


def test_an_answer_over_the_limit_is_broken() -> None:
    """As over the wire."""
    assert isinstance(exchanged(OneAnswer(Exchange(0.0, OK)), body_max=9)[0], Broken)
    assert isinstance(exchanged(OneAnswer(Exchange(0.0, OK)), body_max=10)[0], Answered)


@pytest.mark.parametrize(
    ("answer", "expected", "written"),
    [
        (
            Exchange(1.0, OK),
            Downloaded(200, "image/png", 10),
            b"0123456789",
        ),
        (Exchange(1.0, Response(403, b"<x/>", {})), DownloadRefused(403, gone=True), b""),
        (Exchange(1.0, Response(503, b"<x/>", {})), DownloadRefused(503, gone=False), b""),
        (Exchange(1.0, OK, "mid"), DownloadBroken("ClientPayloadError while downloading from acme"), b"01234"),
        (Exchange(1.0, None, "before"), DownloadBroken(LOST), b""),
        (Exchange(99.0, OK), DownloadBroken("TimeoutError after 60 s"), b""),
    ],
)
def test_a_download_ends_as_over_the_wire(answer: Exchange, expected: DownloadOutcome, written: bytes) -> None:
    """Whole, refused, broken in the middle, late."""
    assert downloaded(OneAnswer(answer)) == (expected, written)


def test_a_picture_over_the_limit_is_not_kept() -> None:
    """As over the wire."""
    outcome, written = downloaded(OneAnswer(Exchange(0.0, OK)), size_max=9)
    assert outcome == DownloadBroken("the picture is larger than 9 bytes")
    assert not written


def test_the_world_is_written_down_before_anyone_hears_of_it(tmp_path: Path) -> None:
    """A rehearsal that is killed while it waits for an answer finds what was accepted."""
    file = tmp_path / "world.jsonl"

    async def work(clock: VirtualClock) -> str:
        door = MemoryDoor(OneAnswer(Exchange(30.0, OK)), clock, journal=file)
        task = asyncio.ensure_future(door.exchange(ASK, timeout_s=60))
        await asyncio.sleep(1.0)
        written = file.read_text()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await door.close()
        return written

    assert run_virtual(work) == "asked 1\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_world_that_cannot_be_written_stops_everything(tmp_path: Path) -> None:
    """Going on would lose what the gateway had accepted."""
    with pytest.raises(StorageFailed, match="simulated world"):
        exchanged(OneAnswer(Exchange(0.0, OK)), journal=tmp_path)


def test_questions_reach_the_world_in_order() -> None:
    """Same requests, same order, same world."""
    world = OneAnswer(Exchange(0.1, OK))

    async def work(clock: VirtualClock) -> None:
        door = MemoryDoor(world, clock)
        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(door.exchange(Request("acme", "GET", f"/{number}"), timeout_s=1))
        await door.close()

    run_virtual(work)
    targets = [request.target for _, _, request in world.asked if isinstance(request, WireRequest)]
    assert targets == [f"/{number}" for number in range(50)]


def test_a_torn_line_is_dropped_and_the_next_stands_alone(tmp_path: Path) -> None:
    """Whatever a kill left behind, the file stays readable."""
    path = tmp_path / "world.jsonl"
    file = WorldFile(path)
    assert file.lines() == []
    file.append(["one", "two"])
    file.close()
    path.write_bytes(path.read_bytes() + b'{"torn')
    again = WorldFile(path)
    assert again.lines() == ["one", "two"]
    again.append([])
    again.append(["three"])
    again.close()
    assert path.read_text() == "one\ntwo\nthree\n"


def test_the_emulators_world_is_found_again(tmp_path: Path) -> None:
    """What one life of a rehearsal bought is on the bill of the next."""
    body = json.dumps({"prompt": "a cup"}).encode()
    path = "/vendors/alibaba/v1/qwen-image-max/generation"
    request = Request("mulerouter", "POST", path, body, (("content-type", "application/json"),))
    file = tmp_path / "world.jsonl"

    async def work(clock: VirtualClock) -> dict[str, object]:
        world = open_world(file, seed=1)
        door = MemoryDoor(world, clock, journal=file)
        outcome = await door.exchange(request, timeout_s=60)
        assert isinstance(outcome, Answered)
        assert outcome.response.status == 202
        await clock.until(clock.now() + 3600.0)
        await door.exchange(Request("mulerouter", "GET", path + "/none"), timeout_s=60)
        await door.close()
        return world.bill()

    first = run_virtual(work, start=1e9)
    second = run_virtual(work, start=1e9 + 7200)
    accepted = [bill["gateways"]["mulerouter"]["accepted"] for bill in (first, second)]  # type: ignore[index]
    assert accepted == [1, 2]
