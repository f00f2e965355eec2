"""P7: a hard sliding window as its gateway counts it, used to the brim: the project beside the bare aiolimiter."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import aiohttp
from aiolimiter import AsyncLimiter

from tests.benchmarks.bare import DASHSCOPE, HEADERS
from tests.benchmarks.counting import counting, drawn
from tests.benchmarks.project import Job, run_job
from tests.benchmarks.table import Reached, number

_MODULE: Final = "tests.benchmarks.paced"


@dataclass(frozen=True, slots=True)
class Case:
    """A limit, how the spec says it, the share that is to be used, and how many tasks show it."""

    limit: int
    window_s: float
    rate: str
    goal: float
    tasks: int
    tasks_small: int


CASES: Final = (Case(50, 1.0, "50/s", 0.985, 1000, 150), Case(600, 60.0, "600/min", 0.995, 1800, 100))


def measure(*, small: bool) -> tuple[list[Reached], list[str]]:
    """The table's lines, and the histograms as the counting server drew them."""
    found, pictures = [], []
    for case in CASES:
        tasks = case.tasks_small if small else case.tasks
        counted = _project(case, tasks)
        pictures.append(f"project at {case.rate}: " + drawn(counted, 2))
        span = f"{tasks:,} tasks" + ("" if tasks > case.limit else ", less than a window")
        note = f"{counted['first_window']} in the first window, at most {counted['most_in_a_window']} in any; {span}"
        found.append(
            Reached("P7", f"{case.rate}: used", case.goal, (counted["used_share"],), "of the limit", note=note)
        )
        found.append(Reached("P7", f"{case.rate}: refused", 0, (counted["refused"],), "", at_least=False))
        for name, count, period in (
            ("full bucket", case.limit, case.window_s),
            ("one each", 1, case.window_s / case.limit),
        ):
            if small and case.window_s > 1:
                continue
            bare = _bare(case, tasks, count, period)
            note = f"{bare['refused']} refused, {bare['first_window']} in the first window"
            what = f"{case.rate}: bare aiolimiter({count}, {number(period)}), {name}"
            found.append(Reached("P7", what, None, (bare["used_share"],), "of the limit", note=note))
    return found, pictures


def _project(case: Case, tasks: int) -> dict[str, Any]:
    with counting(case.limit, case.window_s, module=_MODULE) as port, TemporaryDirectory(prefix="benchmark-") as name:
        environ = {
            "DASHSCOPE_HTTP_BASE_URL": f"http://127.0.0.1:{port}/api/v1",
            "DASHSCOPE_API_KEY": "sk-benchmark-pH4yNe8dUg6KjC1waZ",
        }
        ended = run_job(Job("sync", tasks, rate=case.rate), Path(name), environ)
        if ended.code:
            raise RuntimeError(f"the project ended with {ended.code}: {ended.err[-800:]}")
        return _counted(port)


def _bare(case: Case, tasks: int, count: int, period: float) -> dict[str, Any]:
    """So many tasks through a limiter; a refused one is not sent again."""

    async def send() -> None:
        limiter, numbers = AsyncLimiter(count, period), iter(range(tasks))
        url = f"http://127.0.0.1:{port}{DASHSCOPE}"

        async def worker(session: aiohttp.ClientSession) -> None:
            for _ in numbers:
                async with limiter, session.post(url, data=b"{}", headers=HEADERS) as response:
                    await response.read()

        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(64):
                group.create_task(worker(session))

    with counting(case.limit, case.window_s, module=_MODULE) as port:
        asyncio.run(send())
        return _counted(port)


def _counted(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__count", timeout=30) as response:
        found: dict[str, Any] = json.load(response)
        return found
