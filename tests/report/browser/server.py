"""A stand-in for `pipeline view` on a port of its own: the report's files, events on request, and what was posted."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.report.browser.fixtures import event


@dataclass(slots=True)
class Served:
    """What the server tells and what it was told."""

    address: str = ""
    events: queue.Queue[bytes] = field(default_factory=queue.Queue)
    #: (path, headers, body) of each POST.
    posts: queue.Queue[tuple[str, dict[str, str], Any]] = field(default_factory=queue.Queue)
    #: Streams of events that were asked for, as they were.
    streams: list[str] = field(default_factory=list)
    open_streams: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] = field(default_factory=lambda: {"ok": True, "said": "as you say"})

    def tell(self, kind: str, data: dict[str, Any], number: int | None = None) -> None:
        """Send one event to the page."""
        self.events.put(event(kind, data, number))


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, served: Served, *arguments: Any, **options: Any) -> None:
        self.served = served
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """A file, or the stream of events."""
        if self.path == "/review.csv":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.partition("?")[0] != "/events":
            super().do_GET()
            return
        self.served.streams.append(self.path)
        self.served.open_streams += 1
        try:
            self._stream()
        finally:
            self.served.open_streams -= 1

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while not self.served.closing.is_set():
            try:
                self.wfile.write(self.served.events.get(timeout=0.05))
                self.wfile.flush()
            except queue.Empty:
                continue
            except OSError:
                return

    def do_POST(self) -> None:
        """Keep what was posted, and say yes."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.served.posts.put((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answer = json.dumps(self.served.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name is the library's)
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """A folder below an origin of its own, as long as the block runs."""
    served = Served()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, served, directory=str(folder))) as server:
        served.address = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield served
        finally:
            served.closing.set()
            server.shutdown()
            thread.join()
