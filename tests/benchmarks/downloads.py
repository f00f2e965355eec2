"""P8: pictures of one megabyte to disk, with hash, structure check, sync and rename, against a bare loop's writes."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.pictures import picture
from tests.benchmarks.processes import StubProcess
from tests.benchmarks.project import Job
from tests.benchmarks.table import Reached, number
from tests.benchmarks.throughput import Lap, bare_lap, project_lap

SHARE: Final = 0.85
#: {picture: in words}.
SIZES: Final = {"1MB-stored": "cheap to decode", "1MB": "as noisy as can be, decoded whole"}


def measure(stub: StubProcess, pictures: int, rounds: int) -> list[Reached]:
    """Both kinds of picture in interleaved rounds; the decoder alone apart."""
    found = []
    for size, words in SIZES.items():
        bare: list[Lap] = []
        own: list[Lap] = []
        for _ in range(rounds):
            with TemporaryDirectory(prefix="benchmark-") as folder:
                stub.reset(size=size)
                bare.append(bare_lap(stub, "sync", pictures, 64, Path(folder)))
                stub.reset(size=size)
                own.append(project_lap(stub, Job("sync", pictures), Path(folder)))
        mb = len(picture(size).data) / 1e6

        def speed(laps: list[Lap], mb: float = mb) -> str:
            return number(statistics.median(lap.rate for lap in laps) * mb)

        shares = tuple(one.rate / other.rate for one, other in zip(own, bare, strict=True))
        note = f"project {speed(own)} MB/s, bare {speed(bare)} MB/s"
        goal = SHARE if size == "1MB-stored" else None
        found.append(Reached("P8", f"{pictures} of 1 MB, {words}", goal, shares, "of bare", note=note))
    return [*found, decoding()]


def decoding(times: int = 10) -> Reached:
    """CPU milliseconds of the product's whole look at one noisy picture: structure, digest apart, every pixel."""
    from pipeline.runtime.pictures import examine

    with TemporaryDirectory(prefix="benchmark-") as folder:
        path = Path(folder) / "picture.png"
        path.write_bytes(picture("1MB").data)
        took = []
        for _ in range(times):
            began = time.thread_time()
            examine(path)
            took.append(1000 * (time.thread_time() - began))
    return Reached("P8", "full decode of one, in a thread", None, tuple(took), "ms", at_least=False, note="CPU time")
