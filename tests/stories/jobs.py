"""A small job for stories: written, rehearsed, run over HTTP, and judged by the emulator's own book."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

import pipeline
from pipeline import failpoints
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.serve import Server
from pipeline.simulator.faults import parse_faults
from pipeline.transport.memory import World, open_world

SPEC = """\
version: 1
name: story
model: mulerouter/qwen-image-max
matrix:
  color: [red, teal, black]
  scene: [desk, sink]
prompt: "A {{ color }} mug on a {{ scene }}"
size: 1328x1328
budget: BUDGET
"""
PRICE = 75_000


def spec(folder: Path, budget: str = "2.00 USD", more: str = "") -> Path:
    """Write the story's spec and answer where it is."""
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("BUDGET", budget) + more)
    return path


def rehearse(path: Path, **options: object) -> Result:
    """Run a spec in virtual time, in `run` beside it."""
    chosen = Options(simulate=True, run_dir=path.parent / "run", **options)  # type: ignore[arg-type]  # a test's words
    return pipeline.run_sync(pipeline.plan(pipeline.load(path)), chosen)


def faults(folder: Path, text: str) -> Path:
    """A file of faults."""
    path = folder / "faults.yaml"
    path.write_text(text)
    return path


def bill(folder: Path, world: str = "run/world.jsonl") -> tuple[int, int]:
    """(operations accepted, micro-USD billed), as the emulator's own book has it."""
    book = open_world(folder / world).bill()["gateways"]
    assert isinstance(book, dict)
    mule = book.get("mulerouter", {"accepted": 0, "micros": 0})
    return int(mule["accepted"]), int(mule["micros"])


def money(result: Result) -> dict[str, int]:
    """The run's USD account, as `status --json` tells it."""
    accounts = result.status["money"]
    assert isinstance(accounts, dict)
    return accounts["USD"]  # type: ignore[no-any-return]  # a plain JSON object


def footprint(folder: Path) -> dict[str, str]:
    """{file: digest} of everything in a run folder."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def failing(where: str, error: BaseException, after: int = 0) -> Iterator[None]:
    """Raise this error at a named place, from its `after`-th visit on."""
    visits = 0

    def act(name: str) -> None:
        nonlocal visits
        if name == where:
            visits += 1
            if visits > after:
                raise error

    failpoints.arm(act)
    try:
        yield
    finally:
        failpoints.arm(None)


@asynccontextmanager
async def gateway(
    folder: Path, patch: pytest.MonkeyPatch, written: dict[str, object] | None = None
) -> AsyncIterator[Server]:
    """The emulators behind a port, with the environment that leads a run there."""
    plan = parse_faults({"latency_s": 0, "generation_s": 0, **(written or {})})
    world = folder / "world.jsonl"

    def make(links_base: str) -> World:
        return open_world(world, faults=plan, links_base=links_base)

    async with Server(make, world_file=world) as server:
        patch.setenv("MULEROUTER_API_KEY", "key-of-a-story")
        patch.setenv("MULEROUTER_BASE_URL", f"http://127.0.0.1:{server.port}/mulerouter")
        yield server
