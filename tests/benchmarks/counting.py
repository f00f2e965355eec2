"""A gateway's rate limit as it really is: a hard sliding window over arrivals, counted by a process of its own.

`python -m tests.benchmarks.counting --limit 50 --window 1` serves on a free port of 127.0.0.1, printed as its first
line, until its stdin is closed. Every POST is counted and answered 200, or 429 when the window is full; `GET /__count`
answers what came as JSON, `GET /__histogram` the same for people, `POST /__reset` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

#: No server outlives this, whatever becomes of whoever started it (seconds).
LIFE_S: Final = 900.0
#: Bins of a window in the histogram.
BINS: Final = 10
#: A clock's rounding: arrivals exactly one window apart are no burst (seconds).
_EDGE_S: Final = 1e-9


@dataclass(slots=True)
class Window:
    """At most `limit` accepted arrivals in any `window_s` seconds. *Units* - stamps: seconds of the server's clock."""

    limit: int
    window_s: float
    #: Accepted and refused arrivals, oldest first.
    stamps: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    _recent: deque[float] = field(default_factory=deque)

    def arrive(self, now: float) -> bool:
        """Whether one more is accepted now."""
        while self._recent and self._recent[0] <= now - self.window_s + _EDGE_S:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            self.refused.append(now)
            return False
        self._recent.append(now)
        self.stamps.append(now)
        return True

    def wait_s(self, now: float) -> float:
        """Seconds until there is room again."""
        return max(0.0, self._recent[0] + self.window_s - now) if self._recent else 0.0

    def counted(self) -> dict[str, Any]:
        """What came, as `GET /__count` answers it."""
        came = sorted([*self.stamps, *self.refused])
        return {
            "limit": self.limit,
            "window_s": self.window_s,
            "accepted": len(self.stamps),
            "refused": len(self.refused),
            "used_share": round(used_share(self.stamps, self.limit, self.window_s), 5),
            "most_in_a_window": most_in_a_window(came, self.window_s),
            "first_window": sum(stamp < came[0] + self.window_s for stamp in came) if came else 0,
            "histogram": histogram(came, self.window_s),
            "stamps": self.stamps,
            "refused_stamps": self.refused,
        }


def used_share(stamps: Sequence[float], limit: int, window_s: float) -> float:
    """Accepted arrivals for each that the limit allows, from the first to the last; an even full rate is 1."""
    if len(stamps) < 2 or stamps[-1] <= stamps[0]:
        return 0.0
    return min(1.0, (len(stamps) - 1) / (stamps[-1] - stamps[0]) * window_s / limit)


def most_in_a_window(stamps: Sequence[float], window_s: float) -> int:
    """The most that any half-open window holds; the stamps are in order."""
    most = first = 0
    for last, stamp in enumerate(stamps):
        while stamps[first] <= stamp - window_s + _EDGE_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def histogram(stamps: Sequence[float], window_s: float) -> list[int]:
    """Arrivals in each tenth of a window, from the first one on."""
    if not stamps:
        return []
    bins = [0] * (math.floor((stamps[-1] - stamps[0]) / window_s * BINS) + 1)
    for stamp in stamps:
        bins[min(len(bins) - 1, math.floor((stamp - stamps[0]) / window_s * BINS))] += 1
    return bins


def drawn(counted: dict[str, Any], windows: int = 4) -> str:
    """The histogram of the first windows, and one line of figures."""
    bins, tenth = counted["histogram"][: windows * BINS], counted["window_s"] / BINS
    widest = max(bins, default=1)
    title = (
        f"limit {counted['limit']} in {counted['window_s']:g} s: {counted['accepted']} accepted, "
        f"{counted['refused']} refused, {counted['used_share']:.2%} used, at most {counted['most_in_a_window']} in any "
        f"window, {counted['first_window']} in the first"
    )
    lines = [title]
    lines += [
        f"{index * tenth:8.2f} s {count:6d} {'#' * round(40 * count / widest)}" for index, count in enumerate(bins)
    ]
    return "\n".join(lines)


class Counter(asyncio.Protocol):
    """One connection. Subclass it and override `answer` to play a whole gateway behind the same window."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As every protocol's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take whole requests; a request has arrived with its last byte."""
        now = asyncio.get_running_loop().time()
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:end]).decode("latin-1")
            length = next(
                (
                    int(line.split(":", 1)[1])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            whole = end + 4 + length
            if len(self._data) < whole:
                return
            body = bytes(self._data[end + 4 : whole])
            del self._data[:whole]
            method, path = head.split(" ", 2)[:2]
            assert self._transport is not None
            self._transport.write(self._respond(method, path, body, now))

    def _respond(self, method: str, path: str, body: bytes, now: float) -> bytes:
        match method, path:
            case "GET", "/__count":
                return answer_bytes(200, json.dumps(self.window.counted()).encode())
            case "GET", "/__histogram":
                return answer_bytes(200, drawn(self.window.counted()).encode(), kind="text/plain")
            case "POST", "/__reset":
                self.window.__init__(self.window.limit, self.window.window_s)  # type: ignore[misc]  # begun anew
                return answer_bytes(200, b"{}")
            case "POST", _:
                if not self.window.arrive(now):
                    after = math.ceil(self.window.wait_s(now))
                    return answer_bytes(429, b'{"error":"slow down"}', (f"Retry-After: {max(1, after)}",))
                return self.answer(method, path, body)
            case _:
                return self.answer(method, path, body)

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        """What is said to a request that the window let in, and to every request that is no POST."""
        return answer_bytes(200, b'{"ok":true}')


def answer_bytes(status: int, body: bytes, headers: Sequence[str] = (), *, kind: str = "application/json") -> bytes:
    """An HTTP answer; the connection stays open."""
    reason = {200: "OK", 429: "Too Many Requests"}.get(status, "Other")
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def serve(make: Callable[[], Counter], *, life_s: float = LIFE_S) -> None:
    """Serve until stdin is closed, or for so long; the port is the first line of stdout."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    over = asyncio.Event()

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            over.set()

    loop.add_reader(sys.stdin, heard)
    loop.call_later(life_s, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(sys.stdin)
        server.close()


@contextmanager
def counting(limit: int, window_s: float, *, module: str = "tests.benchmarks.counting") -> Generator[int, None, None]:
    """A counting server in a process of its own; yields its port, and ends it."""
    command = [sys.executable, "-m", module, "--limit", str(limit), "--window", str(window_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            yield int(child.stdout.readline())
        finally:
            child.stdin.close()


def main(make: Callable[[Window], Counter] = Counter, about: str | None = __doc__) -> None:
    """Serve what the arguments ask for: connections that `make` makes, all with one window."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--window", type=float, default=1.0, metavar="SECONDS")
    asked = parser.parse_args()
    window = Window(asked.limit, asked.window)
    asyncio.run(serve(lambda: make(window)))


if __name__ == "__main__":
    main()
