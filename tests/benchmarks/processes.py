"""Processes that are measured: CPU seconds of a whole tree by its end, memory of the tree while it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: The checkout: what `python -m tests.benchmarks...` is started in.
ROOT: Final = Path(__file__).resolve().parents[2]
#: Memory is looked at so often (seconds). Peaks between two looks are caught by the kernel's own high-water mark.
LOOK_S: Final = 0.1
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended. *Units* - CPU seconds of it and its children; memory in bytes."""

    code: int
    seconds: float
    cpu_s: float
    #: The kernel's high-water mark of the largest process in the tree, and the highest sum that was seen.
    rss_max: int
    tree_max: int
    out: str
    err: str


def tree_rss(pid: int) -> int:
    """Resident bytes of a process and all below it; 0 when it is gone. Where there is no /proc, 0."""
    total = 0
    for each in _tree(pid):
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * _PAGE
    return total


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it, as far as /proc tells."""
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        yield each
        with suppress(OSError, ValueError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())


def _end(pid: int) -> None:
    """Kill a process and what it started, such as a profiler's."""
    for each in [*_tree(pid)]:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600.0,
    look_s: float = LOOK_S,
) -> Ended:
    """Run a command to its end and say what it took. A command that lasts for too long is killed, its code is -9."""
    environ = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        child = subprocess.Popen(command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        tree, looked = 0, 0.0
        try:
            while True:
                pid, status, used = os.wait4(child.pid, os.WNOHANG)
                now = time.monotonic() - began
                if pid:
                    child.returncode = os.waitstatus_to_exitcode(status)
                    break
                if now > timeout_s:
                    _end(child.pid)
                if now - looked >= look_s:
                    looked = now
                    tree = max(tree, tree_rss(child.pid))
                time.sleep(0.002 if now < 2 else 0.01)
        finally:
            if child.returncode is None:
                _end(child.pid)
                child.wait()
        out.seek(0)
        err.seek(0)
        return Ended(
            child.returncode,
            now,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss * 1024,
            max(used.ru_maxrss * 1024, tree),
            out.read().decode(errors="replace"),
            err.read().decode(errors="replace"),
        )


def python(*arguments: str) -> list[str]:
    """This Python with arguments."""
    return [sys.executable, *arguments]


@dataclass(slots=True)
class StubProcess:
    """The counting stub in a process of its own."""

    origin: str
    pid: int

    def reset(self, *, latency_s: float = 0.0, size: str = "1KB") -> None:
        """Close its books and begin anew."""
        self._get(f"/__reset?latency_s={latency_s}&size={size}")

    def stats(self) -> dict[str, Any]:
        """What it counted since then."""
        found: dict[str, Any] = json.loads(self._get("/__stats"))
        return found

    def arrivals(self) -> list[float]:
        """When purchases came (seconds of a monotonic clock)."""
        found: list[float] = json.loads(self._get("/__arrivals"))
        return found

    def environment(self) -> dict[str, str]:
        """What leads the project here: the base URLs that a user would export, and keys that open nothing."""
        return {
            "MULEROUTER_BASE_URL": self.origin,
            "DASHSCOPE_HTTP_BASE_URL": f"{self.origin}/api/v1",
            "MULEROUTER_API_KEY": "sk-benchmark-Vw3kTq9sX2mBz7RfLc",
            "DASHSCOPE_API_KEY": "sk-benchmark-pH4yNe8dUg6KjC1waZ",
        }

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.origin + path, timeout=30) as response:  # noqa: S310 - the stub, on loopback
            data: bytes = response.read()
            return data


@contextmanager
def stub() -> Iterator[StubProcess]:
    """A running stub; it ends with the block."""
    command = python("-m", "tests.benchmarks.serve")
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        origin = process.stdout.readline().strip().partition("=")[2]
        assert origin, "the stub did not start"
        yield StubProcess(origin, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()
