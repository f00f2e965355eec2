"""A vendor that tells on its customers: it echoes the key that it was sent, in every form and in every place."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote

from PIL import Image

_STATUS: Final = {"refuse": 400, "wrong": 401, "broken": 500}


class Gossip(ThreadingHTTPServer):
    """MuleRouter's paths below /MODE: good, refuse, wrong, broken, garbled, failing, linkless."""

    daemon_threads = True

    def __init__(self, signature: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.signature = signature
        #: Downloads wait for it.
        self.give = threading.Event()
        #: Set with the first download that was asked for.
        self.asked = threading.Event()
        #: What came with each request, to prove that the key did travel where it must.
        self.keys: list[str] = []
        self.accepted = 0
        #: Keys that came with downloads, which go without any.
        self.leaked: list[str] = []

    def base(self, mode: str) -> str:
        """The base URL of a mode."""
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}"


@contextmanager
def gossip(signature: str) -> Iterator[Gossip]:
    """Serve until the end of the block."""
    server = Gossip(signature)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.give.set()
        server.shutdown()
        server.server_close()


def echoes(key: str) -> str:
    """A key as gateways are known to repeat it."""
    bare = key.removeprefix("Bearer ")
    data = key.encode()
    return " ".join(
        [
            f"bad key {key}",
            f"Incorrect API key provided: {bare[:8]}******{bare[-8:]}.",
            f"b64={base64.b64encode(data).decode()} {base64.b64encode(bare.encode()).decode()}",
            f"Basic {base64.b64encode(b'user:' + bare.encode()).decode()}",
            f"url={quote(bare, safe='')} hex={bare.encode().hex()}",
        ]
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gossip

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """The vendor's own log is none of ours."""

    def do_POST(self) -> None:
        mode, key = self._enter()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if mode in _STATUS:
            self._tell(_STATUS[mode], {"title": "Invalid", "detail": f"{echoes(key)} see {self._link(mode)}"})
        elif mode == "garbled":
            self._send(200, "text/html", f"<html>{echoes(key)}".encode())
        else:
            self.server.accepted += 1
            self._tell(
                202, {"task_info": {"id": f"op-{self.server.accepted}", "status": "pending"}, "you": echoes(key)}
            )

    def do_GET(self) -> None:
        mode, key = self._enter()
        if "/files/" in self.path:
            self._picture(mode)
        elif mode == "failing":
            error = {"code": 3001, "title": "Task Execution Error", "detail": f"{self._link(mode)} {echoes(key)}"}
            self._tell(200, {"task_info": {"id": "op", "status": "failed", "error": error}})
        else:
            info = {"id": self.path.rpartition("/")[2], "status": "completed", "note": echoes(key)}
            self._tell(200, {"task_info": info, "images": [self._link(mode)]})

    def _enter(self) -> tuple[str, str]:
        key = self.headers.get("Authorization", "")
        if key:
            (self.server.leaked if "/files/" in self.path else self.server.keys).append(key)
        return self.path.split("/")[1], key

    def _link(self, mode: str) -> str:
        signature = quote(self.server.signature, safe="")
        return f"{self.server.base(mode)}/files/{self.server.accepted}.png?Expires=9999999999&Signature={signature}"

    def _picture(self, mode: str) -> None:
        self.server.asked.set()
        self.server.give.wait(20)
        if mode == "linkless":
            self._send(403, "text/plain", f"SignatureDoesNotMatch: {self.path}".encode())
            return
        made = BytesIO()
        Image.new("RGB", (64, 64), (self.server.accepted * 40 % 256, 90, 160)).save(made, "PNG")
        self._send(200, "image/png", made.getvalue())

    def _tell(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Set-Cookie", f"session={self.server.signature}")
            self.send_header("X-Echo", echoes(self.headers.get("Authorization", "")))
            self.send_header("Traceparent", self.headers.get("Authorization", "00-none"))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the customer was killed
