"""P3: what so many in flight reach at a gateway that takes its time, and that they are never more than asked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import StubProcess
from tests.benchmarks.project import Job
from tests.benchmarks.table import Reached, number
from tests.benchmarks.throughput import bare_lap, project_lap

#: (in flight, latency in seconds, share of the ideal, waves): one wave is so many tasks at once.
CASES: Final = ((64, 0.2, 0.97, 50), (1000, 1.0, 0.95, 10))
_WAVES_SMALL: Final = (5, 2)


def measure(stub: StubProcess, rounds: int, *, small: bool) -> list[Reached]:
    """Both cases with synchronous calls: the call is in flight from its POST to its answer."""
    found = []
    for (in_flight, latency_s, goal, waves), few in zip(CASES, _WAVES_SMALL, strict=True):
        waves = few if small else waves  # noqa: PLW2901 - the size that is asked for
        job = Job("sync", in_flight * waves, in_flight)
        own, bare, most = [], [], []
        for _ in range(rounds):
            with TemporaryDirectory(prefix="benchmark-") as folder:
                stub.reset(latency_s=latency_s)
                bare_lap(stub, job.kind, job.tasks, in_flight, Path(folder))
                bare.append(share_of_ideal(stub.arrivals(), in_flight, latency_s))
                stub.reset(latency_s=latency_s)
                lap = project_lap(stub, job, Path(folder))
                own.append(share_of_ideal(stub.arrivals(), in_flight, latency_s))
                most.append(float(lap.open_max))
        what = f"{in_flight:,} in flight at {latency_s:g} s, {job.tasks:,} tasks"
        note = f"bare {number(sorted(bare)[len(bare) // 2])}; ideal {in_flight / latency_s:,.0f}/s"
        found.append(Reached("P3", what, goal, tuple(own), "of ideal", note=note))
        found.append(
            Reached("P3", f"most in flight of {in_flight:,} asked", in_flight, tuple(most), "", at_least=False)
        )
    return found


def share_of_ideal(arrivals: list[float], in_flight: int, latency_s: float) -> float:
    """How fast purchases came, against waves of so many that follow each other without a pause.

    *Units* - arrivals: seconds, in order. The first wave comes at once in the ideal, so it counts for nothing.
    """
    if len(arrivals) <= in_flight:
        return 0.0
    took = arrivals[-1] - arrivals[0]
    return ((len(arrivals) - 1) // in_flight) * latency_s / took
