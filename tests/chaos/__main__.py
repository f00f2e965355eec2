"""`python -m tests.chaos [NAME ...] [--size small|merge] [--seed N] [--jobs J] [--at-once A]`: runs campaigns.

Prints their figures. Exit 0 when nothing was violated; each violation is printed with its seed. Without `--seed` (or
PIPELINE_SEED) each day has its own, so that the same paths are not walked for ever. A campaign that cannot be run here
fails too, unless CHAOS_MAY_SKIP names it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from tests.chaos.report import Report

#: {campaign: what it is}; each is a module `tests.chaos.NAME` with `campaign(size, seed) -> Report`.
CAMPAIGNS: Final = {
    "machine": "T2: stateful properties of the ledger and the machines",
    "model": "T1: every interleaving of a small job, a wire and crashes",
    "doubts": "T20: doubts resolved by evidence",
    "books": "T20: the same in whole runs, by real providers",
    "clock": "T18: clock jumps",
    "storms": "T19: rates and retries under storms",
    "cancellation": "T16: cancelled at every await",
    "signals": "T17: signals at every phase",
    "wire": "T12: wire faults at byte offsets",
    "powerloss": "T7: states of the disk after the power went",
    "nthio": "T8: the N-th I/O operation fails",
    "fulldisk": "T9: a disk that is full",
    "bitrot": "T10: flipped bits and cut files",
    "runners": "T11: two runners on one folder",
    "secrets": "S1: canary secrets in every slot",
    "failpoints": "T6: death at every named place",
    "kills": "T5: kill -9 at random moments",
    "load": "T22: many tasks, whole",
    "slowdisk": "T23: a disk whose syncs are slow",
    "liveness": "T25: everything ends once the chaos is over",
}

LONGEST: Final = (
    "failpoints",
    "signals",
    "kills",
    "secrets",
    "bitrot",
    "powerloss",
    "nthio",
    "clock",
    "storms",
    "cancellation",
)


def run_one(name: str, size: str, seed: int) -> tuple[Report, float]:
    """One campaign, its exceptions being violations, and its seconds."""
    begun = time.monotonic()
    try:
        module = importlib.import_module(f"tests.chaos.{name}")
        report: Report = module.campaign(size, seed)
    except Exception:  # noqa: BLE001 - a campaign that breaks has proved nothing, and the others go on
        report = Report(name, {}, (f"seed {seed}: the campaign broke\n{traceback.format_exc()}",))
    return report, time.monotonic() - begun


def run_apart(name: str, size: str, seed: int) -> tuple[str, int, float]:
    """One campaign in a process of its own: what it printed, how often something was violated, and its seconds."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "tests.chaos", name, "--size", size, "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--jobs", os.environ["CHAOS_JOBS"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = done.stdout.decode(errors="replace").rstrip()
    violated = sum(line.startswith("VIOLATION") for line in said.splitlines())
    if done.returncode == 0 and f"{name}: SKIPPED" in said:
        violated = -1
    return said, max(violated, int(done.returncode != 0)), time.monotonic() - begun


def run_all(names: list[str], size: str, seed: int, at_once: int) -> Iterator[tuple[str, int, float]]:
    """Campaigns in the order of their names, so many at once: most of their time is waiting."""
    with ThreadPoolExecutor(at_once) as lanes:
        yield from lanes.map(lambda name: run_apart(name, size, seed), names)


def seed_of_today() -> int:
    """What PIPELINE_SEED says, else the day as a number: printed with the figures, and good for `--seed`."""
    return int(os.environ.get("PIPELINE_SEED") or f"{datetime.now(UTC):%y%m%d}")


def main() -> int:
    """Run what was asked for, or everything that is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; none: all of them")
    parser.add_argument("--size", choices=("small", "merge"), default="small")
    parser.add_argument("--seed", type=int, default=seed_of_today())
    parser.add_argument("--jobs", type=int, default=2, help="lanes of the campaigns that run processes")
    parser.add_argument("--at-once", type=int, default=None, help="campaigns side by side: 3 of the small size, else 1")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(CAMPAIGNS)):
        parser.error(f"no campaign {', '.join(unknown)}; there are {', '.join(CAMPAIGNS)}")
    # Campaigns take (size, seed) alone; those with lanes read the number of them here.
    os.environ["CHAOS_JOBS"] = str(max(1, asked.jobs))
    names = asked.names or list(CAMPAIGNS)
    print(f"seed {asked.seed}, size {asked.size}", flush=True)
    if len(names) == 1:
        report, _ = run_one(names[0], asked.size, asked.seed)
        if report.skipped and names[0] not in os.environ.get("CHAOS_MAY_SKIP", "").split():
            report = Report(report.name, {}, (f"skipped, and CHAOS_MAY_SKIP does not name it: {report.skipped}",))
        for violation in report.violations:
            print(f"VIOLATION {names[0]}: {violation}", flush=True)
        print(report.line(), flush=True)
        return 1 if report.violations else 0
    at_once = asked.at_once or (3 if asked.size == "small" else 1)
    # The longest first, so that none is left alone at the end.
    names.sort(key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))
    begun, rows = time.monotonic(), []
    for name, (said, violated, seconds) in zip(names, run_all(names, asked.size, asked.seed, at_once), strict=True):
        print(said, flush=True)
        rows.append((name, seconds, violated))
    print(f"\n{'campaign':<14}{'seconds':>9}{'violations':>12}  what")
    for name, seconds, violated in sorted(rows, key=lambda row: list(CAMPAIGNS).index(row[0])):
        shown = "skipped" if violated < 0 else violated
        print(f"{name:<14}{seconds:>9.1f}{shown:>12}  {CAMPAIGNS[name]}")
    total = sum(max(0, row[2]) for row in rows)
    print(f"{'all':<14}{time.monotonic() - begun:>9.1f}{total:>12}  seed {asked.seed}, size {asked.size}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
