"""Whole runs over a wire that fails once, each judged by the emulator's own bill; a part of the campaign `wire`."""

from __future__ import annotations

import functools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline import api
from pipeline.runtime import perform, prepare
from pipeline.runtime.prepare import Options
from pipeline.runtime.serve import Server
from pipeline.simulator.faults import parse_faults
from pipeline.transport.memory import open_world
from tests.chaos.jobs import Job
from tests.chaos.judge import Judge
from tests.chaos.proxy import Harm, Proxy

KEY: Final = {"MULEROUTER_API_KEY": "wire-campaign-key"}
QUICK: Final = {"latency_s": 0.0, "generation_s": 0.0}


@contextmanager
def _shortened(port: int) -> Iterator[None]:
    """Cards and timeouts of seconds, not of minutes, and the gateway behind the proxy."""
    variables = {**KEY, "MULEROUTER_BASE_URL": f"http://127.0.0.1:{port}/mulerouter"}
    usual = dict(os.environ), prepare.cards, perform.POLL_TIMEOUT_S, perform.DOWNLOAD_TIMEOUT_S
    known = prepare.cards()["mulerouter"]
    quick = {
        name: replace(model, poll_first_s=0.05, poll_every_s=0.1, submit_timeout_s=3.0)
        for name, model in known.models.items()
    }
    os.environ.update(variables)
    prepare.cards = lambda: {"mulerouter": replace(known, models=quick)}
    perform.POLL_TIMEOUT_S = perform.DOWNLOAD_TIMEOUT_S = 3.0
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(usual[0])
        prepare.cards, perform.POLL_TIMEOUT_S, perform.DOWNLOAD_TIMEOUT_S = usual[1:]


#: {call: how the first lines of its requests begin}.
_LINES: Final[Mapping[str, str]] = {
    "submit": "POST ",
    "submit again": "POST ",
    "poll": "GET /mulerouter/vendors/",
    "download": "GET /mulerouter/files/",
}


async def _run_through(call: str, harm: Harm, nth: int, folder: Path) -> list[str]:
    """A job of four tasks whose n-th call of a sort is hurt, judged by the emulator's bill."""
    job = Job(tasks=4, n=0, on_doubt="hold", cap=4 * 75_000, faults=dict(QUICK), rate="50/s")
    spec, run, world = job.write(folder), folder / "run", folder / "world.jsonl"
    faults = parse_faults(QUICK)
    async with Proxy(0) as proxy:
        links_base = f"http://127.0.0.1:{proxy.port}/{{gateway}}"
        make = functools.partial(open_world, world, seed=1, faults=faults, links_base=links_base)
        async with Server(lambda _: make(), world_file=world) as server:
            proxy.target = server.port
            seen = Counter[str]()

            def matches(line: str) -> bool:
                seen["calls"] += line.startswith(_LINES[call])
                return line.startswith(_LINES[call]) and seen["calls"] >= nth

            proxy.strike(harm, matches, times=1 if call.startswith("submit") else 2)
            with _shortened(proxy.port):
                result = await api.run(api.plan(api.load(spec)), Options(run_dir=run, yes=True))
    judge = Judge(run, world, job)
    found = [*judge.moment(), *judge.end(result.exit_code)]
    doubt = call.startswith("submit") and not harm.leaves_whole
    if result.exit_code != (5 if doubt else 0):
        found.append(f"exit code {result.exit_code}: {result.status}")
    if not proxy.struck:
        found.append("nothing was hurt")
    return [f"a run with {call} number {nth}, {harm}: {what}" for what in found]


async def try_runs(chosen: list[tuple[str, Harm, int]]) -> list[str]:
    """Jobs one after the other: (call, harm, which call of that sort)."""
    found = []
    for call, harm, nth in chosen:
        with tempfile.TemporaryDirectory() as folder:
            found += await _run_through(call, harm, nth, Path(folder))
    return found
