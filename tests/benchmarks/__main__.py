"""`python -m tests.benchmarks [--small] [--only P1,P3] [--tasks N] [--rounds R]`: the tables of P1 to P10.

A stub in a process of its own, the bare loop and the project in turn, in fresh processes; medians and spreads. Ratios
within one run and CPU seconds are what to quote: absolute figures move with whatever else the machine does.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.benchmarks import throughput
from tests.benchmarks.processes import stub
from tests.benchmarks.project import remove_card
from tests.benchmarks.table import GOALS, Reached, summary, tables


def options() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", default=",".join(GOALS), help="goals, such as P1,P3")
    parser.add_argument("--kinds", default="sync,async3", help="of task lives: sync, async3")
    parser.add_argument("--tasks", type=int, help="of P1 and P2")
    parser.add_argument("--rounds", type=int, help="of P1 and P2")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--small", action="store_true", help="all goals at small sizes, in under 3 minutes")
    parser.add_argument("--profile", type=Path, help="P1 once more under a profiler: FILE.svg, .txt, .json or .pstats")
    return parser.parse_args()


def main() -> int:
    """Measure what is asked for and print the tables. Exit 0 whether goals are reached or not: figures are no test."""
    given = options()
    wanted = given.only.split(",")
    kinds = tuple(given.kinds.split(","))
    tasks = given.tasks or (500 if given.small else 10_000)
    rounds = given.rounds or (1 if given.small else 5)
    found: list[Reached] = []
    began = time.monotonic()
    try:
        with stub() as served:
            if {"P1", "P2"} & set(wanted):
                found += throughput.measure(served, kinds, tasks, rounds, given.in_flight)
            print(tables([line for line in found if line.goal in wanted]), flush=True)
            if given.profile:
                for file in throughput.profile(served, kinds, tasks, given.in_flight, given.profile):
                    print(f"profile: {file}", file=sys.stderr)
    finally:
        remove_card()
    print(f"\n{summary([line for line in found if line.goal in wanted])}\n\n{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
