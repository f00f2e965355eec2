"""The Python interface: `import pipeline`, then load, plan, run, open_run. The command line uses the same rooms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pipeline.plan.expand import Plan
from pipeline.runtime import inspect, prepare
from pipeline.runtime.alive import Listener
from pipeline.runtime.consent import Confirm
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run as _run
from pipeline.runtime.run import run_sync as _run_sync
from pipeline.spec.job import JobSpec
from pipeline.values.folder import IMAGES_ARROW, TASKS_ARROW

if TYPE_CHECKING:
    import pyarrow as pa


def load(path: str | Path, settings: Sequence[tuple[str, str]] = ()) -> JobSpec:
    """Read a spec file. *Raises* SpecError with every fault at once."""
    return prepare.load(Path(path), settings)


def plan(spec: JobSpec, *, allow_paths: Sequence[str | Path] = ()) -> Plan:
    """What a spec means: a lazy sequence of tasks. *Raises* PlanError."""
    return prepare.plan(spec, allow_paths=[Path(path) for path in allow_paths])


async def run(
    made: Plan,
    options: Options | None = None,
    listener: Listener | None = None,
    confirm: Confirm | None = None,
) -> Result:
    """Run or continue a plan against the real gateways (a rehearsal needs `run_sync`, which brings its own loop)."""
    return await _run(made, options or Options(), listener, confirm)


def run_sync(
    made: Plan,
    options: Options | None = None,
    listener: Listener | None = None,
    confirm: Confirm | None = None,
) -> Result:
    """Run or continue a plan; `Options(simulate=True)` rehearses it in virtual time."""
    return _run_sync(made, options or Options(), listener, confirm)


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder, opened for reading."""

    path: Path

    def images(self) -> pa.Table:
        """One row per stored picture: `images.arrow`."""
        return self._table(IMAGES_ARROW)

    def tasks(self) -> pa.Table:
        """One row per task that was started or settled: `tasks.arrow`."""
        return self._table(TASKS_ARROW)

    def status(self) -> dict[str, object]:
        """States, money, faults; also while the run is alive."""
        return inspect.status(self.path)

    def _table(self, name: str) -> pa.Table:
        from pyarrow import feather  # noqa: PLC0415 - 60 ms that `status` does not need

        return feather.read_table(self.path / name)


def open_run(path: str | Path) -> Run:
    """Open a run folder for reading. *Raises* RunNotFound."""
    inspect.origin(Path(path))
    return Run(Path(path))


class _CallablePlan(ModuleType):
    """`pipeline.plan(spec)` is a promise and `pipeline.plan` is a room: the room answers the call."""

    def __call__(self, spec: JobSpec, *, allow_paths: Sequence[str | Path] = ()) -> Plan:
        return plan(spec, allow_paths=allow_paths)


sys.modules["pipeline.plan"].__class__ = _CallablePlan
