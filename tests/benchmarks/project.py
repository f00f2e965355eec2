"""The project as a user runs it: a spec, `python -m pipeline run`, base URLs and keys in the environment.

Nothing is switched off: every commit is synced, every picture decoded, hashed, synced and renamed into place. What a
user can set is set in the spec's `limits`, so that no rate and no bound of a gateway's card is what is measured. Polls
have no such key: their rate and their first pause stand on the card alone, and a card is a file beside the code. So the
same code runs with a copy of the cards whose polls are not paced (`CARD`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from tests.benchmarks.processes import LOOK_S, ROOT, Ended, python, run

#: Submits a second that no client here reaches. One bound of the pace keeps so many stamps in memory.
RATE: Final = "20000/s"
#: What the copied card says of polls: so many a second, the first one at once.
CARD: Final = {"polls_per_s": 20_000, "poll_first_s": 0.0, "poll_every_s": 0.05}

MODELS: Final = {"sync": "dashscope/qwen-image-2.0", "async3": "mulerouter/qwen-image-max"}
#: No folder takes longer to build (seconds).
BUILD_S: Final = 3600.0
_SIZES: Final = {"sync": "1024x1024", "async3": "1328x1328"}


@dataclass(frozen=True, slots=True)
class Job:
    """A generated job: so many tasks of one kind, so many in flight."""

    kind: str
    tasks: int
    in_flight: int = 64
    rate: str = RATE
    #: Further top-level lines of the spec.
    lines: str = ""

    @property
    def wide(self) -> int:
        """How many tasks each value of the first axis has: two axes make the numbers, so that no list is long."""
        return 1 if self.tasks < 2000 else next(n for n in (1000, 500, 100, 10, 1) if self.tasks % n == 0)

    def text(self) -> str:
        """The spec."""
        model = MODELS[self.kind]
        limits = f"{{rate: {self.rate}, in_flight: {self.in_flight}, unanswered: {self.in_flight}}}"
        return (
            "version: 1\n"
            f"name: benchmark\n"
            f"model: {model}\n"
            "matrix:\n"
            f"  object: {{range: {{from: 1, to: {self.tasks // self.wide}, step: 1}}}}\n"
            f"  table: {{range: {{from: 1, to: {self.wide}, step: 1}}}}\n"
            'prompt: "A photograph of object {{ object }}, on a plain table {{ table }}"\n'
            f"size: {_SIZES[self.kind]}\n"
            "budget: 1000000 USD\n"
            f"limits: {{{model.partition('/')[0]}: {limits}}}\n"
            f"{self.lines}"
        )


@cache
def with_card() -> Path:
    """A folder to start the project from: the same code by links, and cards whose polls are not paced."""
    folder = Path(mkdtemp(prefix="benchmark-card-"))
    package = folder / "pipeline"
    package.mkdir()
    for entry in (ROOT / "pipeline").iterdir():
        if entry.name not in {"_bundled", "__pycache__"}:
            (package / entry.name).symlink_to(entry)
    for kind in ("schemas", "specs"):
        shutil.copytree(ROOT / kind, package / "_bundled" / kind)
    for path in (package / "_bundled" / "schemas" / "gateways").glob("*.json"):
        card = json.loads(path.read_text())
        if "models" not in card or "poll_rate" not in card:
            continue
        card["poll_rate"]["value"] = CARD["polls_per_s"]
        for model in card["models"].values():
            model["poll_first_s"] = CARD["poll_first_s"]
            model["poll_every_s"] = CARD["poll_every_s"]
        path.write_text(json.dumps(card))
    return folder


def remove_card() -> None:
    """Take the copied card away again."""
    if with_card.cache_info().currsize:
        shutil.rmtree(with_card(), ignore_errors=True)
        with_card.cache_clear()


def pipeline(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 600.0,
    before: tuple[str, ...] = (),
    look_s: float = LOOK_S,
) -> Ended:
    """`python -m pipeline ARGUMENTS` with the copied cards, in its own process; `before` is a profiler's command."""
    environ = {**(environment or {}), "PYTHONPATH": str(with_card())}
    command = [*before, *python("-m", "pipeline", *arguments)]
    return run(command, cwd=cwd, environment=environ, timeout_s=timeout_s, look_s=look_s)


def run_job(
    job: Job,
    folder: Path,
    environment: Mapping[str, str],
    *,
    timeout_s: float = 600.0,
    before: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    look_s: float = LOOK_S,
) -> Ended:
    """`pipeline run` of a job in this folder, its run folder being `run` below it. The second time it is a resume."""
    spec = folder / "spec.yaml"
    spec.write_text(job.text())
    arguments = ("run", str(spec), "--run-dir", str(folder / "run"), "--display", "none", "--yes", *more)
    return pipeline(*arguments, cwd=folder, environment=environment, timeout_s=timeout_s, before=before, look_s=look_s)


def build(job: Job, folder: Path, environment: Mapping[str, str], *, stop: int | None = None) -> Ended:
    """A folder whose first tasks are done: the real engine's facts in the real journal, then one real run to end it."""
    spec = folder / "spec.yaml"
    spec.write_text(job.text())
    environ = {**environment, "PYTHONPATH": f"{with_card()}{os.pathsep}{ROOT}"}
    more = () if stop is None else ("--stop", str(stop))
    command = python("-m", "tests.benchmarks.built", str(spec), str(folder / "run"), "--pictures", *more)
    built = run(command, cwd=folder, environment=environ, timeout_s=BUILD_S)
    if built.code:
        raise RuntimeError(f"a folder could not be built: {built.err[-1500:]}")
    ended = run_job(job, folder, environment, timeout_s=BUILD_S, more=() if stop is None else ("--limit", str(stop)))
    if ended.code:
        raise RuntimeError(f"the first run over a built folder ended with {ended.code}: {ended.err[-1500:]}")
    return ended
