"""`pipeline simulate` in a process of its own, and a run against it that is interrupted and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.runtime import serve

SPEC = """\
version: 1
name: cups
model: mulerouter/qwen-image-max
matrix: {color: [red, teal, black]}
prompt: "A {{ color }} cup"
budget: 1.00 USD
limits: {mulerouter: {rate: 600/min}}
"""
#: Operations that last for longer than the first part of the test.
FAULTS = "latency_s: 0.001\ngeneration_s: 2\n"


def start(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A running emulator's exports as variables, pasted from its stdout."""
    (tmp_path / "faults.yaml").write_text(FAULTS)
    (tmp_path / "cups.yaml").write_text(SPEC)
    process = start("simulate", "--port", "0", "--faults", "faults.yaml", folder=tmp_path, environment={})
    assert process.stdout is not None
    exports = {}
    for _ in serve.environment(0):
        word, _, assignment = process.stdout.readline().partition(" ")
        assert word == "export"
        name, _, value = assignment.partition("=")
        exports[name] = value.split()[0]
    yield exports
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")


def accepted(exports: dict[str, str]) -> int:
    """How many tasks the vendor's own book has."""
    url = exports["MULEROUTER_BASE_URL"].removesuffix("/mulerouter") + "/__bill"
    with urllib.request.urlopen(url) as response:  # noqa: S310 - this machine's own emulator
        return int(json.load(response)["gateways"].get("mulerouter", {"accepted": 0})["accepted"])


@pytest.mark.slow
def test_a_drained_run_exits_with_130_and_the_same_command_finishes_it(tmp_path: Path, served: dict[str, str]) -> None:
    """Ctrl-C leaves running operations to the next run, which buys nothing twice."""
    first = start("run", "cups.yaml", "--json", folder=tmp_path, environment=served)
    deadline = time.monotonic() + 20
    while accepted(served) < 1:
        assert time.monotonic() < deadline
        assert first.poll() is None
    first.send_signal(signal.SIGINT)
    out, err = first.communicate(timeout=20)
    assert first.returncode == 130, err
    found = json.loads(out)
    assert (found["state"], found["exit_code"]) == ("stopped", 130)
    assert "pipeline run cups.yaml   goes on where this stopped" in err
    assert "\x1b" not in err

    second = start("run", "cups.yaml", "--json", folder=tmp_path, environment=served)
    out, err = second.communicate(timeout=40)
    assert second.returncode == 0, err
    found = json.loads(out)
    assert (found["state"], found["images"]) == ("complete", 3)
    assert accepted(served) == 3
