"""`metrics.prom` in the run folder: how a run stands as Prometheus text, for a textfile collector; never read by us.

Replaced whole every few seconds while a run is alive, and when it ends. No secret, link, prompt or gateway's word
enters it. It is not synced and waits for nothing: where it cannot be written, the run goes on without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, TypeAlias

from pipeline.engine.phases import Phase
from pipeline.errors import StorageFailed
from pipeline.runtime.history import EXITS
from pipeline.runtime.progress import View
from pipeline.store.durable import open_private, write_all
from pipeline.values.money import UNLIMITED
from pipeline.values.reply import FaultKind

#: Seconds of real time between two writes.
EVERY_S: Final = 5.0
#: The states of `pipeline_run_state`.
STATES: Final = ("running", *EXITS, "storage_failed")


#: Labels and value.
Sample: TypeAlias = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its type, its meaning, and its samples as labels and value."""

    name: str
    kind: str
    meaning: str
    samples: Sequence[Sample]


class Metrics:
    """Writes the file of one run, now and then."""

    __slots__ = ("_clock", "_labels", "_last", "_path", "_wall")

    def __init__(
        self,
        path: Path,
        job: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._clock, self._wall = path, clock, wall
        #: The folder tells runs of one job apart: a rehearsal, and `--run-dir`.
        self._labels = {"job": job, "run": path.parent.absolute().name}
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether the file is old enough to be written anew."""
        return self._clock() - self._last >= EVERY_S

    def write(self, view: View) -> None:
        """Replace the file by how the run stands. A disk that takes nothing keeps the old one."""
        self._last = self._clock()
        fresh = self._path.with_name(f".{self._path.name}.new")
        with suppress(OSError, StorageFailed):
            try:
                handle = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                try:
                    write_all(handle, text_of(view, self._labels, self._wall()).encode())
                finally:
                    os.close(handle)
                fresh.replace(self._path)
            except OSError:
                # What a full disk left of it would take room from the store.
                fresh.unlink(missing_ok=True)


def text_of(view: View, labels: Mapping[str, str], at: float) -> str:
    """The whole file. *Units* - at: UTC seconds."""
    lines: list[str] = []
    for family in families(view, at):
        if not family.samples:
            continue
        lines += [f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{_labels({**labels, **more})} {_number(value)}" for more, value in family.samples]
    return "\n".join(lines) + "\n"


def families(view: View, at: float) -> Iterator[Family]:
    """Every metric of a view, in the order of the file."""
    yield Family("pipeline_build_info", "gauge", "The version that runs.", [({"version": _version()}, 1)])
    yield Family("pipeline_updated_timestamp_seconds", "gauge", "When this file was written.", [({}, at)])
    states = [({"state": state}, float(state == view.state)) for state in STATES]
    yield Family("pipeline_run_state", "gauge", "1 for the state of the run, 0 for the others.", states)
    yield Family("pipeline_elapsed_seconds", "gauge", "Time since this process began.", [({}, view.elapsed_s)])
    left: list[Sample] = [] if view.eta_s is None else [({}, view.eta_s)]
    yield Family("pipeline_left_seconds", "gauge", "Estimated time left; absent while nobody can say.", left)
    paused = float(None in view.paused)
    yield Family("pipeline_paused", "gauge", "1 while somebody has paused every lane.", [({}, paused)])
    yield from _work(view)
    yield from _money(view)
    yield from _lanes(view)


def _work(view: View) -> Iterator[Family]:
    counts = {phase.value: view.counts.get(phase, 0) for phase in Phase}
    counts[Phase.WAITING.value] += max(0, view.total - sum(view.counts.values()))
    tasks = [({"state": state}, float(number)) for state, number in counts.items()]
    yield Family("pipeline_tasks", "gauge", "Tasks by state; those not begun are waiting.", tasks)
    yield Family("pipeline_tasks_planned", "gauge", "Tasks of the plan.", [({}, view.total)])
    yield Family("pipeline_images_total", "counter", "Pictures stored in the run folder.", [({}, view.images)])
    speed: list[Sample] = [] if view.images_per_min is None else [({}, view.images_per_min)]
    yield Family("pipeline_images_per_minute", "gauge", "Pictures stored, counted over the last minute.", speed)
    faults = [({"kind": kind.value}, float(view.faults.get(kind, 0))) for kind in FaultKind]
    yield Family("pipeline_faults_total", "counter", "Tasks that ended with a fault since this process began.", faults)
    full = float(view.disk is not None)
    yield Family("pipeline_disk_full", "gauge", "1 while the disk has no room and nothing new is bought.", [({}, full)])
    blocked = float(view.budget is not None)
    meaning = "1 while the next task does not fit under the budget."
    yield Family("pipeline_budget_blocked", "gauge", meaning, [({}, blocked)])


def _money(view: View) -> Iterator[Family]:
    samples: list[Sample] = []
    for currency, account in view.money.items():
        kinds = {"settled": account.spent, "overage": account.overage, "held": account.held, "doubt": account.doubt}
        if account.cap < UNLIMITED:
            kinds["limit"] = account.cap
        samples += [({"currency": currency, "kind": kind}, micros) for kind, micros in kinds.items()]
    meaning = "Money in millionths of the currency; overage is a part of settled; no limit, no sample of it."
    yield Family("pipeline_money_micros", "gauge", meaning, samples)
    billed = [
        ({"gateway": gateway, "unit": unit}, float(micros))
        for gateway, units in view.billed.items()
        for unit, micros in units.items()
    ]
    meaning = "Billed since this process began, in millionths of vendors' units that no limit is in."
    yield Family("pipeline_billed_micros_total", "counter", meaning, billed)


def _lanes(view: View) -> Iterator[Family]:
    def each(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> Family:
        return Family(f"pipeline_lane_{name}", kind, meaning, [({"lane": lane}, each) for lane, each in values.items()])

    lanes = view.lanes
    yield each("submits_total", "counter", "Calls that left.", {n: lane.submits for n, lane in lanes.items()})
    limited = {name: lane.rate_limited for name, lane in lanes.items()}
    yield each("rate_limited_total", "counter", "Calls answered with 429 since this process began.", limited)
    yield each("in_flight", "gauge", "Calls and operations under way.", {n: v.in_flight for n, v in lanes.items()})
    yield each("in_flight_limit", "gauge", "The most that may be under way.", view.seats)
    yield each("permitted_per_second", "gauge", "Calls that may leave a second.", view.permitted_per_s)
    shares = {name: lane.share for name, lane in lanes.items()}
    yield each("rate_share", "gauge", "The part of the permitted rate that is used after 429s.", shares)
    cooling = {n: max(0.0, (lane.cooling_until or view.now) - view.now) for n, lane in lanes.items()}
    yield each("cooling_seconds", "gauge", "How long nothing leaves: a 429, lost answers, no connection.", cooling)
    parked = {name: float(lane.parked is not None) for name, lane in lanes.items()}
    yield each("parked", "gauge", "1 where nothing leaves any more in this run.", parked)
    paused = {name: float(name in view.paused or None in view.paused) for name in lanes}
    yield each("paused", "gauge", "1 where somebody has paused it.", paused)
    unknown = {name: float(found.operations) for name, found in view.unheard.items()}
    yield each("unknown_operations", "gauge", "Operations that the gateway does not know when asked.", unknown)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in value)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"


@cache
def _version() -> str:
    try:
        return version("image-batch-pipeline")
    except PackageNotFoundError:
        return "unknown"
