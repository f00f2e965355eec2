"""The control socket of a living run: one line of JSON, its status, to whoever connects (the folder's owner only)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

ANSWER_MAX = 16 * 1024 * 1024
ANSWER_S = 2.0


class Control:
    """Answers with the status while a run is alive; leaves no file behind."""

    def __init__(self, path: Path, status: Callable[[], dict[str, object]]) -> None:
        self._path = path
        self._status = status
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; a socket that a killed run left is replaced (the lock says that nobody else is alive)."""
        self._path.unlink(missing_ok=True)
        # Some file systems have no sockets; `status` reads the store then.
        with contextlib.suppress(OSError), _short(self._path) as address:
            self._server = await asyncio.start_unix_server(self._answer, address)
            self._path.chmod(0o600)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(json.dumps(self._status()).encode() + b"\n")
            await writer.drain()
            writer.close()

    async def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)


def ask(path: Path) -> dict[str, object] | None:
    """The status of a living run; None when nobody answers."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_S)
        with _short(path) as address:
            line.connect(address)
        received = b""
        while len(received) < ANSWER_MAX and (piece := line.recv(65536)):
            received += piece
        answer = json.loads(received)
        return answer if isinstance(answer, dict) else None
    return None


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name short enough for a socket address (108 bytes), by way of the folder's descriptor where there is /proc."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
