"""The emulators over HTTP, in real time, for the real transport: `pipeline simulate`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import yaml
from aiohttp import web

from pipeline.errors import RunError
from pipeline.runtime import prepare
from pipeline.simulator.exchange import Exchange, WireRequest
from pipeline.simulator.faults import FaultPlan, parse_faults
from pipeline.simulator.world import EMULATORS, split_name
from pipeline.transport.memory import World, WorldFile, open_world
from pipeline.values.wire import Response

#: Inputs travel inside the body, in Base64.
_BODY_MAX: Final = 96 * 1024 * 1024
_HOST: Final = "127.0.0.1"
#: How long answers may still take when the server is stopped (seconds).
_GRACE_S: Final = 1.0


class Server:
    """A world behind a port of this machine. A context manager: it serves from entry to exit.

    `make` builds the world once the port is known, because result links name it.
    """

    def __init__(self, make: Callable[[str], World], *, port: int = 0, world_file: Path | None = None) -> None:
        self._make = make
        self._port = port
        self._file = WorldFile(world_file) if world_file is not None else None
        # One thread, so that the world sees one request after the other, and drawing does not hold up the loop.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="world")
        self._world: World | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        """Open the port. *Raises* RunError when it is taken, or when the world's file cannot be read."""
        app = web.Application(client_max_size=_BODY_MAX)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_S, auto_decompress=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self._port).start()
            self.port = int(self._runner.addresses[0][1])
            self._world = self._make(f"http://{_HOST}:{self.port}/{{gateway}}")
        except OSError as error:
            await self._stop()
            raise RunError(f"port {self._port} of {_HOST} cannot be opened: {error.strerror}") from error
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the port; answers that are on their way get a moment."""
        await self._stop()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        self._thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        gateway, base, target = _split(request.raw_path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        wire = WireRequest(request.method, target, headers, await request.read(), base)
        answer = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, gateway, wire)
        await asyncio.sleep(answer.delay_s)
        return await _deliver(request, answer)

    def _answer(self, gateway: str, wire: WireRequest) -> Exchange:
        """In the world's thread. What was accepted is written down before the answer leaves."""
        assert self._world is not None
        answer = self._world.handle(gateway, wire, time.time())
        if self._file is not None:
            self._file.append(self._world.lines())
        return answer


def _split(path: str) -> tuple[str, str, str]:
    """`/evolink-files/a?x` as gateway, base and target; the book stands above all gateways."""
    name, slash, rest = path.removeprefix("/").partition("/")
    gateway, base = split_name(name)
    return (gateway, base, slash + rest) if slash and gateway in EMULATORS else ("", "", path)


async def _deliver(request: web.Request, answer: Exchange) -> web.StreamResponse:
    response = answer.response
    if answer.cut in {"before", "after"}:
        return _cut(request)
    if response is None:
        # Not a byte comes, and the connection stays: the caller's own timeout has to end this.
        await asyncio.get_running_loop().create_future()
        return _cut(request)
    if answer.cut == "mid":
        return await _half(request, response)
    return web.Response(status=response.status, body=response.body, headers=dict(response.headers))


def _cut(request: web.Request) -> web.Response:
    """Close the connection; what is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.Request, response: Response) -> web.StreamResponse:
    """Promise the whole body, send half of it, and close."""
    stream = web.StreamResponse(status=response.status, headers=dict(response.headers))
    stream.content_length = len(response.body)
    await stream.prepare(request)
    await stream.write(response.body[: len(response.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return stream


def serve_forever(
    *, port: int, faults: Path | None, world: Path | None, seed: int, ready: Callable[[int], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the port. `world` keeps what was accepted and billed.

    *Raises* RunError when the port is taken or a file cannot be read.
    """
    plan = _faults(faults)

    def make(links_base: str) -> World:
        return open_world(world, seed=seed, faults=plan, links_base=links_base)

    async def serve() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        async with Server(make, port=port, world_file=world) as server:
            ready(server.port)
            await stopped.wait()

    asyncio.run(serve())


def environment(port: int) -> dict[str, str]:
    """The variables that lead every emulated gateway, with all its addresses, to this port. Emulators take any key."""
    found = {}
    for name, card in prepare.cards_in({}).items():
        if name in EMULATORS:
            found[card.base_url_env] = _here(port, name, card.base_url)
            found |= {base.env: _here(port, f"{name}-{key}", base.url) for key, base in card.bases.items()}
            found[card.key_env] = "any-text"
    return found


def _here(port: int, name: str, url: str) -> str:
    """The same path below this machine's port."""
    return f"http://{_HOST}:{port}/{name}{urlsplit(url).path.rstrip('/')}"


def _faults(path: Path | None) -> FaultPlan:
    if path is None:
        return FaultPlan()
    try:
        written = yaml.safe_load(path.read_text()) or {}
        return parse_faults(written)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path} is no list of faults: {error}") from error
