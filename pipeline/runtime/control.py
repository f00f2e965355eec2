"""The control socket of a living run: JSON lines, one request and one answer each, for the folder's owner only.

Requests: `{"ask": "status"}`, `{"ask": "rows", "since": CURSOR}`, `{"ask": "watch"}`, `{"do": "pause" | "resume" |
"drain" | "budget", "lane": NAME | null, "amount": "5 USD" | null, "by": WHO}`. Whoever connects and says nothing is
told the status, in one line. Sockets are served in a thread of their own: a client that stalls, or says too much, costs
the run nothing but the answer itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from pipeline.errors import PipelineError
from pipeline.runtime.clock import until

#: Version of the lines, said in every answer but the plain status.
VERSION: Final = 1
ANSWER_MAX: Final = 16 * 1024 * 1024
ANSWER_S: Final = 2.0
#: What a person asks for is answered once it is durable: a busy disk may take a while.
DONE_S: Final = 30.0
#: A request, in bytes; and how many clients are served at once.
REQUEST_MAX: Final = 16 * 1024
CLIENTS_MAX: Final = 32
#: Whoever says nothing for so long is told the status; one that says nothing more is let go (seconds).
SILENT_S: Final = 0.25
IDLE_S: Final = 300.0
#: A client that takes nothing for so long is cut off (seconds).
STALLED_S: Final = 5.0
#: Watchers are told what changed this often at most, and that the run is alive this often at least (seconds).
WATCH_EVERY_S: Final = 0.5
WATCH_AT_LEAST_S: Final = 2.0
#: How long the run waits for the socket's thread when it ends, and that for answers that are being given (seconds).
_LEAVE_S: Final = 2.0
_LAST_S: Final = 1.0

Answer = dict[str, object]


class Desk(Protocol):
    """Who answers for the run; called on the run's own loop."""

    async def answer(self, request: Mapping[str, object]) -> Answer:
        """The answer to one request. *Raises* PipelineError with words for who asked."""
        ...


class Control:
    """Answers while a run is alive; leaves no file behind."""

    def __init__(self, path: Path, desk: Desk) -> None:
        self._path = path
        self._desk = desk
        self._home: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._begun = threading.Event()
        self._clients = 0
        #: Requests that were heard and are not answered yet; `_quiet` is set while there is none.
        self._asking = 0
        self._quiet = asyncio.Event()

    async def open(self) -> None:
        """Listen; a socket that a killed run left is replaced (the lock says that nobody else is alive)."""
        self._home = asyncio.get_running_loop()
        self._path.unlink(missing_ok=True)
        # Some file systems have no sockets; `status` reads the store then.
        with contextlib.suppress(OSError):
            listening = _bound(self._path)
            self._thread = threading.Thread(target=self._serve, args=(listening,), name="control", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Stop answering."""
        if self._thread is not None:
            self._begun.wait(_LEAVE_S)
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                if self._loop is not None and self._stopped is not None:
                    self._loop.call_soon_threadsafe(self._stopped.set)
            # Not here: whoever asked a moment ago, for the very end perhaps, is answered on this loop.
            await asyncio.to_thread(self._thread.join, _LEAVE_S)
        self._path.unlink(missing_ok=True)

    # --- in the socket's thread -------------------------------------------------------------------------------------

    def _serve(self, listening: socket.socket) -> None:
        asyncio.run(self._listen(listening))

    async def _listen(self, listening: socket.socket) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        self._quiet.set()
        self._begun.set()
        server = await asyncio.start_unix_server(self._client, sock=listening, limit=REQUEST_MAX)
        try:
            await self._stopped.wait()
        finally:
            # What was asked is still answered; then conversations that go on are called off with the loop.
            server.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._quiet.wait(), _LAST_S)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if _stranger(writer):
                return
            if self._clients > CLIENTS_MAX:
                await _write(writer, refusal("too many clients ask at once; try again"))
                return
            await self._talk(reader, writer)
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            self._clients -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), SILENT_S)
        except TimeoutError:
            # As it was before there were requests: one line for whoever connects.
            await _write(writer, await self._ask({"ask": "status"}))
            return
        except ValueError:
            line = b"\0"
        while line:
            request = _request(line)
            if isinstance(request, str):
                await _write(writer, refusal(request))
                return
            if request.get("ask") == "watch":
                await self._watch(writer)
                return
            await self._tell(writer, request)
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE_S)
            except ValueError:
                line = b"\0"

    async def _tell(self, writer: asyncio.StreamWriter, request: Mapping[str, object]) -> None:
        """Ask the run and pass its answer on: a drain's comes when the run is about to end."""
        self._asking += 1
        self._quiet.clear()
        try:
            await _write(writer, await self._ask(request))
        finally:
            self._asking -= 1
            if not self._asking:
                self._quiet.set()

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        """Tell what changed until the client goes away; one that reads slowly hears less often."""
        loop = asyncio.get_running_loop()
        said: Answer = {}
        at = -WATCH_AT_LEAST_S
        while not writer.is_closing():
            now = await self._ask({"ask": "watch"})
            if _timeless(now) != said or loop.time() - at >= WATCH_AT_LEAST_S:
                said, at = _timeless(now), loop.time()
                await _write(writer, now)
            await until(loop.time() + WATCH_EVERY_S)

    async def _ask(self, request: Mapping[str, object]) -> Answer:
        """Ask the run, on its own loop."""
        assert self._home is not None
        future = asyncio.run_coroutine_threadsafe(self._answered(request), self._home)
        return await asyncio.wrap_future(future)

    # --- on the run's loop ------------------------------------------------------------------------------------------

    async def _answered(self, request: Mapping[str, object]) -> Answer:
        try:
            return await self._desk.answer(request)
        except PipelineError as error:
            return refusal(str(error))


def refusal(words: str) -> Answer:
    """An answer that says no."""
    return {"v": VERSION, "ok": False, "said": words}


def _request(line: bytes) -> dict[str, object] | str:
    """A request, or what is wrong with it."""
    if not line.endswith(b"\n"):
        return f"a request is one line of at most {REQUEST_MAX} bytes"
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return "a request is one line of JSON"
    return request if isinstance(request, dict) else "a request is an object"


def _timeless(answer: Answer) -> Answer:
    """Without what changes with every second."""
    status = answer.get("status")
    if not isinstance(status, dict):
        return answer
    return {**answer, "status": {key: value for key, value in status.items() if not key.endswith("_s")}}


async def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), STALLED_S)


def _stranger(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end is another user's; folder and socket keep them out already."""
    line = writer.get_extra_info("socket")
    if line is None or not hasattr(socket, "SO_PEERCRED"):
        return False
    told = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", told)[1] not in (os.geteuid(), 0)


def _bound(path: Path) -> socket.socket:
    """A socket that nobody can connect to before it is private."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            line.bind(address)
        path.chmod(0o600)
        line.listen(CLIENTS_MAX)
        line.settimeout(0.0)
    except BaseException:
        line.close()
        raise
    return line


# --- whoever asks -----------------------------------------------------------------------------------------------------


def ask(path: Path) -> dict[str, object] | None:
    """The status of a living run; None when nobody answers."""
    return request_of(path, {"ask": "status"})


def request_of(path: Path, request: Mapping[str, object], *, timeout_s: float = ANSWER_S) -> dict[str, object] | None:
    """The answer to one request; None when nobody answers."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        with address_of(path) as address:
            line.connect(address)
        with contextlib.suppress(OSError):  # it told its status and was gone
            line.sendall(json.dumps(request).encode() + b"\n")
        received = bytearray()
        while len(received) < ANSWER_MAX and not received.endswith(b"\n") and (piece := line.recv(65536)):
            received += piece
        answer = json.loads(received)
        return answer if isinstance(answer, dict) else None
    return None


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """A name short enough for a socket address (108 bytes), by way of the folder's descriptor where there is /proc."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
