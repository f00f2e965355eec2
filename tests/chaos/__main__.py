"""`python -m tests.chaos [NAME ...] [--size small|merge] [--seed N] [--jobs J]`: runs campaigns, prints their figures.

Exit 0 when nothing was violated. Each violation is printed with its seed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from typing import Final

from tests.chaos.report import Report

#: {campaign: what it is}; each is a module `tests.chaos.NAME` with `campaign(size, seed) -> Report`.
CAMPAIGNS: Final = {
    "machine": "T2: stateful properties of the ledger and the machines",
    "model": "T1: every interleaving of a small job, a wire and crashes",
    "doubts": "T20: doubts resolved by evidence",
    "clock": "T18: clock jumps",
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
}


def run_one(name: str, size: str, seed: int) -> tuple[Report, float]:
    """One campaign, its exceptions being violations, and its seconds."""
    begun = time.monotonic()
    try:
        module = importlib.import_module(f"tests.chaos.{name}")
        report: Report = module.campaign(size, seed)
    except Exception:  # noqa: BLE001 - a campaign that breaks has proved nothing, and the others go on
        report = Report(name, {}, (f"seed {seed}: the campaign broke\n{traceback.format_exc()}",))
    return report, time.monotonic() - begun


def main() -> int:
    """Run what was asked for, or everything that is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CAMPAIGNS)}; none: all of them")
    parser.add_argument("--size", choices=("small", "merge"), default="small")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("PIPELINE_SEED") or 1))
    parser.add_argument("--jobs", type=int, default=2, help="lanes of the campaigns that run processes")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(CAMPAIGNS)):
        parser.error(f"no campaign {', '.join(unknown)}; there are {', '.join(CAMPAIGNS)}")
    # Campaigns take (size, seed) alone; those with lanes read the number of them here.
    os.environ["CHAOS_JOBS"] = str(max(1, asked.jobs))
    names = asked.names or list(CAMPAIGNS)
    table, violated = [], 0
    for name in names:
        report, seconds = run_one(name, asked.size, asked.seed)
        for violation in report.violations:
            print(f"VIOLATION {name}: {violation}", flush=True)
        print(report.line(), flush=True)
        table.append((name, seconds, len(report.violations)))
        violated += len(report.violations)
    if len(table) > 1:
        print(f"\n{'campaign':<14}{'seconds':>9}{'violations':>12}  what")
        for name, seconds, count in table:
            print(f"{name:<14}{seconds:>9.1f}{count:>12}  {CAMPAIGNS[name]}")
        print(f"{'all':<14}{sum(row[1] for row in table):>9.1f}{violated:>12}  seed {asked.seed}, size {asked.size}")
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
