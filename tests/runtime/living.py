"""A living `pipeline run` against `pipeline simulate`, each a process of its own, and its control socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.runtime import serve
from pipeline.runtime.control import address_of, request_of
from pipeline.store.journal import Journal
from pipeline.values.folder import CONTROL, STORE

SPEC = """\
version: 1
name: cups
model: "{{{{ gateway }}}}/qwen-image-max"
matrix: {{gateway: [mulerouter, dashscope], cup: [{cups}]}}
prompt: "A cup, number {{{{ cup }}}}"
budget: {budget}
limits: {{mulerouter: {{rate: {rate}}}, dashscope: {{rate: {rate}}}}}
"""
LANES = ("mulerouter/qwen-image-max", "dashscope/qwen-image-max")
#: Nothing of this takes longer, or the test fails (seconds).
PATIENCE_S = 40.0
WHO = "a test, user ann"


def start(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def simulated(folder: Path, faults: str = "latency_s: 0.001\ngeneration_s: 0.02\n") -> Iterator[dict[str, str]]:
    """The emulators' exports, as variables, while they serve."""
    (folder / "faults.yaml").write_text(faults)
    process = start("simulate", "--port", "0", "--faults", "faults.yaml", folder=folder, environment={})
    try:
        assert process.stdout is not None
        exports = {}
        for _ in serve.environment(0):
            name, _, value = process.stdout.readline().removeprefix("export ").partition("=")
            exports[name] = value.split()[0]
        yield exports
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


@dataclass
class Living:
    """A run that is alive, or was."""

    process: subprocess.Popen[str]
    folder: Path

    def ask(self, **request: object) -> dict[str, Any]:
        """The answer to one request."""
        answer = request_of(self.folder / CONTROL, request, timeout_s=20)
        assert answer is not None, "nobody answers"
        return answer

    def do(self, what: str, **more: object) -> dict[str, Any]:
        """Tell it something."""
        return self.ask(do=what, by=WHO, **more)

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status of which something holds, heard by watching."""
        for status in self.watched():
            if holds(status):
                return status
        raise AssertionError(f"it never came: {self.ended() if self.process.poll() is not None else None}")

    def watched(self) -> Iterator[dict[str, Any]]:
        """Its status whenever it changes, until it ends or patience does."""
        ends = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < ends:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(PATIENCE_S)
                try:
                    with address_of(self.folder / CONTROL) as address:
                        line.connect(address)
                except OSError:
                    # It begins, or ends: whichever comes, nothing is gained by asking at full speed.
                    with suppress(subprocess.TimeoutExpired):
                        self.process.wait(0.02)
                    continue
                line.sendall(b'{"ask": "watch"}\n')
                with line.makefile("r") as answers:
                    for text in answers:
                        yield json.loads(text)["status"]
                        if time.monotonic() > ends:
                            return

    def ended(self) -> tuple[int, str]:
        """Exit code and words, once it has ended by itself."""
        _, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, err

    @contextmanager
    def store(self) -> Iterator[Journal]:
        """Its store, for reading."""
        journal = Journal.open_read_only(self.folder / STORE)
        try:
            yield journal
        finally:
            journal.close(clean=False)


def write_spec(folder: Path, *, cups: int = 20, rate: str = "120/min", budget: str = "50 USD") -> Path:
    """Two models for each cup."""
    path = folder / "cups.yaml"
    path.write_text(SPEC.format(cups=", ".join(map(str, range(cups))), rate=rate, budget=budget))
    return path


@contextmanager
def living(folder: Path, exports: dict[str, str], *more: str, **spec: Any) -> Iterator[Living]:
    """A run of such a spec; it is killed if it is still alive in the end."""
    write_spec(folder, **spec)
    process = start("run", "cups.yaml", "--json", "--yes", *more, folder=folder, environment=exports)
    run = Living(process, folder / "runs" / "cups")
    try:
        yield run
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)
