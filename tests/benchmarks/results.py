"""RESULTS.md: the machine described without its name, every table, where a life goes, and what stands beside."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.processes import ROOT, StubProcess, python, run
from tests.benchmarks.project import CARD, RATE, with_card
from tests.benchmarks.table import Reached, draw, number, summary, tables


def machine() -> str:
    """What was measured on: cores, memory, kernel, Python and what it carries; no host name, no path."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    carried = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "pyarrow", "pillow", "aiolimiter"))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    system = f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"
    return (
        f"{cores} cores, {memory:.0f} GiB, {system}, {platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {carried}; load {load} when the tables were drawn "
        f"(up to 2 of it is the benchmark's own)"
    )


def doubtful() -> str:
    """A warning where others kept the machine busy; empty otherwise."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[1]
    if load <= cores + 1:
        return ""
    return (
        f"WARNING: load {load:.0f} on {cores} cores. Others were at work: seconds of the wall mean little, and a share "
        "flatters whoever has more threads. CPU seconds and counts hold, within a factor of about two."
    )


def breakdown(stub: StubProcess, kinds: Sequence[str], tasks: int, found: Sequence[Reached]) -> str:
    """Where a life goes: the parts alone, their sum, the whole as P2 found it in this run."""
    parts = []
    for kind in kinds:
        stub.reset()
        environ = {**stub.environment(), "PYTHONPATH": f"{with_card()}{os.pathsep}{ROOT}"}
        command = python("-m", "tests.benchmarks.breakdown", kind, "--tasks", str(tasks))
        ended = run(command, cwd=with_card(), environment=environ)
        if ended.code:
            raise RuntimeError(f"the breakdown of {kind} ended with {ended.code}: {ended.err[-1500:]}")
        took: dict[str, float] = json.loads(ended.out)
        rows = [(name, f"{milliseconds:.3f}") for name, milliseconds in took.items()]
        rows.append(("sum of the parts", f"{sum(took.values()):.3f}"))
        for line in found:
            if line.goal == "P2" and line.what.startswith(f"{kind}: the whole"):
                rows.append(("the whole, without starting", f"{line.median:.3f}"))
                rows.append(("what holds the parts together", f"{line.median - sum(took.values()):.3f}"))
        parts.append(f"#### {kind}, {tasks:,} tasks\n\n" + draw(("Part, alone", "CPU ms a task"), rows))
    return "\n\n".join(parts)


def page(found: Sequence[Reached], beside: Sequence[str], *, size: str) -> str:
    """The whole page."""
    how = (
        f"Drawn by `python -m tests.benchmarks --write` ({size} sizes) on {datetime.now(UTC):%Y-%m-%d}: {machine()}."
        "\n\nA figure is the median of interleaved rounds in fresh processes, with its spread; shares are of a bare "
        "aiohttp loop in the same round. Absolute figures move with whatever else a machine does, shares and CPU "
        "seconds less. The project runs as a user's does: synced commits, whole decodes, synced and renamed pictures, "
        f"a log. Its limits are those of the spec ({RATE}, so many in flight); polls have no key in a spec, so a copy "
        f"of the card says {number(CARD['polls_per_s'])} a second, the first at once."
    )
    sections = ["# What was reached", how, *filter(None, [doubtful()]), summary(found), tables(found), *beside]
    return "\n\n".join(sections) + "\n"


def write(path: Path, text: str) -> None:
    """Replace the page."""
    path.write_text(text)
