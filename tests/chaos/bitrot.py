"""T10: one flipped bit, or one cut, in any file of a run folder that was finished, or killed, or killed in its old age.

Each harmed copy is opened as a run would open it and looked at by `pipeline verify`. Noticed means: refused, or told.
What is neither must be harmless, that is a manifest behind its store, which verify writes anew: then store, pictures
and manifest must read exactly as before.

What this does not show. Harmless is the product's own reading before and after (rows, answers, spec), with the files'
bytes beside it: a fault that its readers overlook in both is not seen here. Out of it are words for people
(`log.jsonl`, `metrics.prom`), the emulators' memory, the lock, the control socket, and the notes of kept files: a
rotten note only means that a picture is fetched once more, for its digest no longer fits.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import PipelineError
from pipeline.runtime import inspect
from pipeline.store.blackbox import BlackBox
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.values.folder import BLACKBOX, IMAGES, IMAGES_ARROW, IMAGES_PARQUET, SPEC, STORE, TASKS_ARROW
from pipeline.values.wire import Response
from tests.chaos.report import Report, idle

_SIZES: Final = {"small": 60, "merge": 1000}
_ROOT: Final = Path(__file__).parents[2]
_SPEC: Final = """\
version: 1
name: rot
model: mulerouter/qwen-image-max
matrix: {word: [a, b, c, d, e, f, g, h]}
prompt: "A picture of {{ word }}"
budget: 10.00 USD
"""
#: Names that are no evidence: words for people, the emulators' own memory, the lock, notes that a hash decides on.
_OUT: Final = frozenset({"log.jsonl", "metrics.prom", "world.jsonl", "lock", "control", "kept.jsonl", "kept.old.jsonl"})


@dataclass(frozen=True, slots=True)
class _Said:
    """What a reader could take from a folder."""

    content: object
    answers: frozenset[tuple[int, bytes, int]]


@dataclass(frozen=True, slots=True)
class _Template:
    """A run folder to be harmed, and what it says while it is whole."""

    name: str
    folder: Path
    says: _Said

    def files(self) -> list[Path]:
        """What may rot, relative to the folder."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.stat().st_size)
        return sorted(path.relative_to(self.folder) for path in found if path.name not in _OUT)


def campaign(size: str, seed: int) -> Report:
    """So many harms over three folders, every file of them in turn."""
    dice = random.Random(seed)
    count, figures, violations = _SIZES[size], Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="pipeline-rot-") as name:
        place = Path(name)
        templates = _templates(place)
        targets = [(template, path) for template in templates for path in template.files()]
        for number in range(count):
            template, path = targets[number % len(targets)]
            folder = place / "harmed"
            _copy(template.folder, folder)
            words = _harm(folder / path, dice)
            verdict = _judge(folder, template)
            figures[verdict] += 1
            figures["flips" if words.startswith("bit") else "cuts"] += 1
            if verdict == "silent":
                violations.append(f"seed {seed}, harm {number}: {words} of {path} in the {template.name} folder")
            shutil.rmtree(folder)
    floors = {"flips": count / 2, "cuts": 1, "refused": 1, "told": count / 10}
    violations += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    order = ("flips", "cuts", "refused", "told", "harmless", "silent")
    return Report("bitrot", {"files": len(targets), **{key: figures[key] for key in order}}, tuple(violations))


def _copy(folder: Path, other: Path) -> None:
    # A socket cannot be copied, and a dead one says nothing.
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("control"))


def _harm(path: Path, dice: random.Random) -> str:
    data = bytearray(path.read_bytes())
    if dice.random() < 0.15:
        keep = dice.randrange(len(data))
        path.write_bytes(data[:keep])
        return f"cut to {keep} of {len(data)} bytes"
    at, bit = dice.randrange(len(data)), dice.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return f"bit {bit} of byte {at}"


def _judge(folder: Path, template: _Template) -> str:
    """What became of one harm: refused at the opening, told by verify, harmless, or silent."""
    copy = folder.with_name("opened")
    _copy(folder, copy)
    try:
        Journal.open(copy / STORE, run_id="other", clock=lambda: 1).close(clean=False)
    except PipelineError:
        return "refused"
    finally:
        shutil.rmtree(copy)
    if not has_store(folder):
        return "refused"
    if inspect.verify(folder):
        return "told"
    said = _said(folder)
    # An answer that is gone leaves a doubt, which is told; one that says something else would be a lie.
    same = said.content == template.says.content and said.answers <= template.says.answers
    return "harmless" if same else "silent"


def _said(folder: Path) -> _Said:
    """Everything a reader could take from a folder: rows of the store, answers, pictures, manifest, spec."""
    journal = Journal.open_read_only(folder / STORE)
    try:
        names = ("task", "attempt", "entry", "picture", "account", "cap")
        rows = [journal._db.execute(f"SELECT * FROM {name}").fetchall() for name in names]  # noqa: S608 - our own names
        state = [journal.get_meta(key) for key in ("spec_text", "plan_sha256", "finished_plan")]
    finally:
        journal.close(clean=False)
    with tempfile.TemporaryDirectory() as place:
        # Opening it would end its torn line.
        box = Path(place) / BLACKBOX
        if (folder / BLACKBOX).is_file():
            shutil.copy(folder / BLACKBOX, box)
        with BlackBox(box) as opened:
            answers = frozenset((attempt, response.body, response.status) for attempt, response in opened.read())
    kept = [path for path in (*(folder / IMAGES).rglob("*"), *(folder / name for name in _MANIFEST)) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}
    return _Said((rows, state, files), answers)


_MANIFEST: Final = (SPEC, IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW)


# --- folders to harm ---


def _templates(place: Path) -> list[_Template]:
    finished, killed, old = place / "finished", place / "killed", place / "old"
    (place / "rot.yaml").write_text(_SPEC)
    _run(place, finished)
    _run(place, killed, die="fetch.opened:5")
    _run(place, old, limit=3)
    _run(place, old, die="keep.named:2")
    for folder in (killed, old):
        with BlackBox(folder / BLACKBOX) as box:
            box.append(9_999, Response(200, b'{"task_info": {"id": "op-9999"}}', {"content-type": "application/json"}))
            box.append(10_000, Response(200, b'{"task_info": {"id": "op-10000"}}', {}))
    templates = []
    for folder in (finished, killed, old):
        probe = place / "probe"
        _copy(folder, probe)
        faults = inspect.verify(probe)
        if faults:
            raise AssertionError(f"the {folder.name} folder has faults before it is harmed: {faults}")
        templates.append(_Template(folder.name, folder, _said(probe)))
        shutil.rmtree(probe)
    return templates


def _run(place: Path, folder: Path, *, die: str = "", limit: int = 0) -> None:
    """Rehearse the job, up to a number of tasks or to a failpoint at which the process is killed."""
    command = [sys.executable, "-m", "tests.chaos.child", "--unfolded", *(["--die", die] if die else []), "--"]
    command += ["run", "--simulate", "--run-dir", str(folder), str(place / "rot.yaml")]
    command += ["--limit", str(limit)] if limit else []
    home = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, cwd=place, capture_output=True, env=home, timeout=60, check=False)
    if done.returncode != (-9 if die else 0):
        raise AssertionError(f"the {folder.name} folder was not made: {done.returncode} {done.stderr.decode()[-800:]}")
    if die and not (folder / f"{STORE}-wal").stat().st_size:
        raise AssertionError(f"the {folder.name} folder has no log")
