"""`python -m tests.benchmarks [--small] [--only P1,P3] [--tasks N] [--rounds R]`: the tables of P1 to P10.

A stub in a process of its own, the bare loop and the project in turn, in fresh processes; medians and spreads. Ratios
within one run and CPU seconds are what to quote: absolute figures move with whatever else the machine does.
`--only million` is the story of a million tasks (`--tasks` for fewer)
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks import again, downloads, flight, memory, million, pace, planning, results, startup, throughput
from tests.benchmarks.processes import StubProcess, stub
from tests.benchmarks.project import remove_card
from tests.benchmarks.table import GOALS, Reached, summary, tables

#: Told apart from goals: they are run only when they are named.
STORIES: Final = ("million", "breakdown")


@dataclass(slots=True)
class Bench:
    """One run of the benchmarks: what is asked for, what was found, what went wrong."""

    given: argparse.Namespace
    served: StubProcess
    found: list[Reached] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def small(self) -> bool:
        """Whether small sizes are asked for."""
        return bool(self.given.small)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of task lives."""
        return tuple(self.given.kinds.split(","))

    def tasks(self, small: int, full: int) -> int:
        """How many, unless `--tasks` says it."""
        return int(self.given.tasks or (small if self.small else full))

    def rounds(self, small: int, full: int) -> int:
        """How many, unless `--rounds` says it."""
        return int(self.given.rounds or (small if self.small else full))

    def part(self, name: str, measure: Callable[[], None]) -> None:
        """One part; what breaks in it is told at the end, and the others go on."""
        began, before = time.monotonic(), len(self.found)
        try:
            measure()
        except (RuntimeError, OSError, ValueError, IndexError) as error:
            self.broken.append(f"{name} broke: {error}")
        took = time.monotonic() - began
        print(f"{tables(self.found[before:])}\n\n({name}: {took:.0f} s)\n", flush=True)


def measure(bench: Bench, wanted: Sequence[str]) -> None:
    """Every part that is asked for."""
    served, small, found, beside = bench.served, bench.small, bench.found, bench.beside

    def p1() -> None:
        found.extend(
            throughput.measure(
                served, bench.kinds, bench.tasks(1000, 10_000), bench.rounds(1, 5), bench.given.in_flight
            )
        )

    def p6() -> None:
        sizes = (2000,) if small else (10_000, 100_000, 1_000_000)
        sizes = (bench.given.tasks,) if bench.given.tasks else sizes
        found.extend(again.measure(served, sizes, bench.rounds(1, 3)))

    def p7() -> None:
        lines, drawn = pace.measure(small=small)
        found.extend(lines)
        blocks = "\n\n".join(f"```\n{each}\n```" for each in drawn)
        beside.append(f"### Arrivals, as the counting server saw them\n\n{blocks}")
        print("\n".join(drawn))

    parts: dict[tuple[str, ...], Callable[[], None]] = {
        ("P1", "P2"): p1,
        ("P3",): lambda: found.extend(flight.measure(served, bench.rounds(1, 3), small=small)),
        ("P4",): lambda: found.extend(memory.measure(served, memory.SMALL if small else memory.FULL)),
        ("P5",): lambda: found.extend(startup.measure(served, bench.rounds(2, 5), bench.tasks(20_000, 10_000_000))),
        ("P6", "P10"): p6,
        ("P7",): p7,
        ("P8",): lambda: found.extend(downloads.measure(served, bench.tasks(40, 500), bench.rounds(1, 3))),
        ("P9",): lambda: found.extend(planning.measure(bench.tasks(20_000, 1_000_000), bench.rounds(1, 3))),
    }
    for names, run in parts.items():
        if set(names) & set(wanted):
            bench.part("/".join(names), run)
    if "breakdown" in wanted or (bench.given.write and "P2" in wanted):
        bench.part("breakdown", lambda: _beside(bench, "Where a life goes", _breakdown(bench)))
    if "million" in wanted:
        bench.part("million", lambda: _beside(bench, "A million tasks", _million(bench)))


def _beside(bench: Bench, title: str, text: str) -> None:
    bench.beside.append(f"### {title}\n\n{text}")
    print(text)


def _breakdown(bench: Bench) -> str:
    return results.breakdown(bench.served, bench.kinds, bench.tasks(300, 5000), bench.found)


def _million(bench: Bench) -> str:
    kind = bench.kinds[0]
    return million.story(bench.served, kind, bench.tasks(2000, 1_000_000), bench.given.in_flight)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(GOALS), help=f"goals, such as P1,P3; also {', '.join(STORIES)}")
    parser.add_argument("--kinds", default="sync,async3", help="of task lives: sync, async3")
    parser.add_argument("--tasks", type=int, help="another size than a part's own")
    parser.add_argument("--rounds", type=int, help="another number of rounds than a part's own")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--small", action="store_true", help="all goals at small sizes, in under 3 minutes")
    parser.add_argument("--profile", type=Path, help="P1 once more under a profiler: FILE.svg, .txt, .json or .pstats")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the whole page, such as RESULTS.md")
    given = parser.parse_args(words)
    unknown = set(given.only.split(",")) - {*GOALS, *STORIES}
    if unknown:
        parser.error(f"no such goal: {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    """Measure what is asked for and print the tables. A goal that is missed is no failure; a part that breaks is."""
    given = options()
    wanted = given.only.split(",")
    began = time.monotonic()
    try:
        with stub() as served:
            bench = Bench(given, served)
            measure(bench, wanted)
            if given.profile:
                tasks = bench.tasks(300, 3000)
                for file in throughput.profile(served, bench.kinds, tasks, given.in_flight, given.profile):
                    print(f"profile: {file}", file=sys.stderr)
    finally:
        remove_card()
    found = [line for line in bench.found if line.goal in wanted]
    print(f"{summary(found)}\n\n{results.doubtful()}\n{time.monotonic() - began:.0f} s")
    if given.write:
        results.write(given.write, results.page(found, bench.beside, size="small" if given.small else "full"))
    for line in bench.broken:
        print(line, file=sys.stderr)
    return 1 if bench.broken else 0


if __name__ == "__main__":
    sys.exit(main())
