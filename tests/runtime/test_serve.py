"""The emulators over HTTP: the real door talks to them as to a vendor, and their world outlives them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.runtime.serve import Server
from pipeline.simulator.faults import parse_faults
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import World, open_world
from pipeline.values.card import Figure, GatewayCard
from pipeline.values.digest import JSON
from pipeline.values.wire import Answered, Broken, DownloadBroken, Downloaded, DownloadRefused, Outcome, Request

PATH = "/vendors/alibaba/v1/qwen-image-max/generation"
#: Nothing takes time, so that no test waits.
FAST = {"latency_s": 0, "generation_s": 0}


def card() -> GatewayCard:
    """The gateway, as far as a door needs to know it."""
    return GatewayCard(
        name="mulerouter",
        title="MuleRouter",
        base_url="https://api.mulerouter.ai",
        base_url_env="MULEROUTER_BASE_URL",
        key_env="MULEROUTER_API_KEY",
        auth_header="Authorization",
        auth_prefix="Bearer ",
        user_agent="batch/1",
        poll_rate=Figure(1, "ours", "", ""),
        lists_operations=False,
        tells_balance=False,
        reuse_connections=True,
        not_billed=(),
        models={},
        rates={},
        notes=(),
    )


@asynccontextmanager
async def served(
    world_file: Path | None = None, faults: Mapping[str, object] | None = None
) -> AsyncIterator[tuple[Server, HttpDoor]]:
    """A server with a world, and a door to it."""
    plan = parse_faults({**FAST, **(faults or {})})

    def make(links_base: str) -> World:
        return open_world(world_file, seed=3, faults=plan, links_base=links_base)

    async with Server(make, world_file=world_file) as server:
        base = f"http://127.0.0.1:{server.port}/mulerouter"
        door = HttpDoor({"mulerouter": card()}, {"MULEROUTER_API_KEY": "k", "MULEROUTER_BASE_URL": base}, {})
        try:
            yield server, door
        finally:
            await door.close()


async def submit(door: HttpDoor, prompt: str = "a cup") -> Outcome:
    """One paid call."""
    body = json.dumps({"prompt": prompt}).encode()
    request = Request("mulerouter", "POST", PATH, body, (("content-type", "application/json"),))
    return await door.exchange(request, timeout_s=10)


async def ask(door: HttpDoor, path: str) -> dict[str, JSON]:
    """A free call's answer."""
    outcome = await door.exchange(Request("mulerouter", "GET", path), timeout_s=10)
    assert isinstance(outcome, Answered)
    answer = json.loads(outcome.response.body)
    assert isinstance(answer, dict)
    return answer


async def accepted(door: HttpDoor) -> int:
    """How many calls the gateway has taken on, by its own book."""
    bill = await ask(door, "/__bill")
    gateways = bill["gateways"]
    assert isinstance(gateways, dict)
    book = gateways.get("mulerouter")
    return int(str(book["accepted"])) if isinstance(book, dict) else 0


def operation_of(outcome: Outcome) -> str:
    """The operation of an accepted call."""
    assert isinstance(outcome, Answered)
    assert outcome.response.status == 202
    return str(json.loads(outcome.response.body)["task_info"]["id"])


async def test_a_picture_is_bought_polled_and_fetched_over_http(tmp_path: Path) -> None:
    """Submit, poll, download: the link leads back to this server and needs no key."""
    kept = bytearray()
    async with served(tmp_path / "world.jsonl") as (server, door):
        operation = operation_of(await submit(door))
        answer = await ask(door, f"{PATH}/{operation}")
        images = answer["images"]
        assert isinstance(images, list)
        link = str(images[0])
        assert link.startswith(f"http://127.0.0.1:{server.port}/mulerouter/files/")
        fetched = await door.download("mulerouter", link, kept.extend, timeout_s=10, size_max=10**8)
        spoilt = await door.download("mulerouter", link[:-1] + "~", len, timeout_s=10, size_max=10**8)
        assert await accepted(door) == 1
    assert isinstance(fetched, Downloaded)
    assert fetched.media_type == "image/png"
    assert kept.startswith(b"\x89PNG")
    assert isinstance(spoilt, DownloadRefused)
    assert spoilt.gone


@pytest.mark.parametrize(("fault", "billed"), [("cut_before", 0), ("cut_after", 1), ("cut_mid", 1)])
async def test_a_cut_connection_breaks_the_call_whether_it_was_accepted_or_not(fault: str, billed: int) -> None:
    """The caller cannot tell; the vendor's book can. The call is made once."""
    async with served(faults={fault: 1}) as (_, door):
        outcome = await submit(door)
        assert isinstance(outcome, Broken)
        assert await accepted(door) == billed


async def test_a_cut_download_is_broken() -> None:
    """Half of a picture is none."""
    async with served(faults={"cut_download": 1}) as (_, door):
        operation = operation_of(await submit(door))
        images = (await ask(door, f"{PATH}/{operation}"))["images"]
        assert isinstance(images, list)
        fetched = await door.download("mulerouter", str(images[0]), len, timeout_s=10, size_max=10**8)
    assert isinstance(fetched, DownloadBroken)


async def test_the_world_goes_on_after_a_restart(tmp_path: Path) -> None:
    """What was accepted is in the file before the answer leaves, even when a kill tore the last line."""
    file = tmp_path / "world.jsonl"
    async with served(file) as (_, door):
        operation = operation_of(await submit(door))
        assert operation in file.read_text()
    with file.open("a") as handle:
        handle.write('{"v":1,"kind":"acc')
    async with served(file) as (_, door):
        assert await accepted(door) == 1
        assert operation_of(await submit(door, "a second cup")) != operation
        assert (await ask(door, f"{PATH}/{operation}"))["images"]
    async with served(file) as (_, door):
        assert await accepted(door) == 2


async def test_the_same_requests_are_refused_as_the_vendor_refuses_them() -> None:
    """An unknown gateway is a 404, a call without a key a 401: nothing is accepted."""
    async with served() as (server, door):
        for path, status in (("/nobody/x", b"404"), (f"/mulerouter{PATH}", b"401")):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            assert status in await reader.readline()
            writer.close()
        assert await accepted(door) == 0


async def test_a_large_body_is_taken() -> None:
    """Input pictures travel in the body; what is wrong with them is the gateway's to say."""
    async with served() as (_, door):
        outcome = await submit(door, "x" * 20_000_000)
    assert isinstance(outcome, Answered)
    assert outcome.response.status == 400


async def test_a_taken_port_and_a_spoilt_world_are_said_in_words(tmp_path: Path) -> None:
    """Neither is a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunError, match="port"):
            async with Server(lambda base: open_world(None, links_base=base), port=taken.getsockname()[1]):
                pass
    spoilt = tmp_path / "world.jsonl"
    spoilt.write_text('{"v":1,"kind":"nonsense"}\n{"v":1,"kind":"nonsense"}\n')
    with pytest.raises(RunError, match="cannot be read"):
        async with served(spoilt):
            pass


PROGRAM = """
from pathlib import Path
from pipeline.runtime.serve import serve_forever
serve_forever(port=0, faults=None, world=Path("world.jsonl"), seed=1, ready=lambda port: print(port, flush=True))
print("ended")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_in_good_order(number: signal.Signals, tmp_path: Path) -> None:
    """It serves until it is told to stop, prints nothing of its own, and then returns."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "ended\n", "")
