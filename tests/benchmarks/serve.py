"""`python -m tests.benchmarks.serve [--port N] [--latency S] [--size 1KB|1MB|1MB-stored]`: the stub, alone.

Prints the base URLs to export, then serves until it is told to end. `GET /__stats` tells what was counted,
`/__reset?latency_s=0.2&size=1MB` begins anew, `/__arrivals` lists when purchases came.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket
import sys

from tests.benchmarks.pictures import SIZES
from tests.benchmarks.stub import Connection, Stub


def listening(port: int) -> socket.socket:
    """A socket of this machine with room for thousands that come at once, and for a picture in one write."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    return listener


async def serve(listener: socket.socket, latency_s: float, size: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stub = Stub()
    stub.reset({"latency_s": str(latency_s), "size": size})
    stub.origin = b"http://127.0.0.1:%d" % listener.getsockname()[1]
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, ended.set)
    server = await loop.create_server(lambda: Connection(stub), sock=listener)
    origin = stub.origin.decode()
    print(f"export MULEROUTER_BASE_URL={origin}")
    print(f"export DASHSCOPE_HTTP_BASE_URL={origin}/api/v1", flush=True)
    # What stands here stays: a collector that walks it again and again would be part of the measurement.
    gc.freeze()
    await ended.wait()
    server.close()


def main() -> int:
    """Read the options, serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that a purchase takes")
    parser.add_argument("--size", choices=sorted(SIZES), default="1KB", help="of the pictures")
    given = parser.parse_args()
    asyncio.run(serve(listening(given.port), given.latency, given.size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
