"""`python -m tests.mutants [--jobs 2] [--only NAME] [--sample N]`: seeds one bug at a time, sees which test catches it.

Each is seeded in a copy of the tree. Caught means that a test failed: a run that breaks, does not end or collects
nothing shows nothing. Exit 0 when every mutant is caught; the table goes to tests/mutants/TABLE.md when all were run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Final

from tests.chaos.__main__ import seed_of_today
from tests.mutants.board import MUTANTS, Mutant

ROOT: Final = Path(__file__).resolve().parents[2]
TABLE: Final = ROOT / "tests" / "mutants" / "TABLE.md"
#: A test that does not end is no catch: seconds, or as long as all of them take without a bug.
PATIENCE_S: Final = 120.0
#: Without a bug (seconds).
CLEAN_S: Final = 900.0
_FAILED: Final = re.compile(r"^FAILED (\S+?::.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Caught:
    """What became of a mutant: the first failing test, or nothing and how the run ended instead."""

    mutant: Mutant
    by: str
    ended: str
    seconds: float


def main() -> int:
    """Run the board."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a name or a part of one")
    parser.add_argument("--suite-passed", action="store_true", help="do not run the tests without a bug first")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many, drawn from the seed")
    parser.add_argument("--seed", type=int, default=seed_of_today())
    asked = parser.parse_args()
    chosen = [each for each in MUTANTS if not asked.only or any(part in each.name for part in asked.only)]
    if not chosen:
        parser.error("no mutant of that name")
    if asked.sample:
        chosen = random.Random(asked.seed).sample(chosen, min(asked.sample, len(chosen)))
        print(f"seed {asked.seed}: {', '.join(each.name for each in chosen)}", flush=True)
    misplaced = list(misplaced_anchors(chosen))
    for problem in misplaced:
        print(f"ANCHOR {problem}", flush=True)
    if misplaced:
        return 1
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        lanes: Queue[Path] = Queue()
        for number in range(max(1, asked.jobs)):
            lanes.put(_copy(Path(place) / str(number)))
        took = PATIENCE_S if asked.suite_passed else _clean(chosen, lanes)
        if not took:
            return 1
        if not asked.suite_passed:
            print(f"without a bug all selections pass, {took:.0f} s", flush=True)
        with ThreadPoolExecutor(max(1, asked.jobs)) as pool:
            results = []
            for caught in pool.map(lambda each: _judge(each, lanes, max(PATIENCE_S, took)), chosen):
                by = caught.by or f"SURVIVED ({caught.ended})"
                print(f"{by:<100}  {caught.seconds:5.1f} s  {caught.mutant.name}", flush=True)
                results.append(caught)
    survived = [caught.mutant.name for caught in results if not caught.by]
    whole = time.monotonic() - begun
    print(f"mutants: {len(results)} seeded, {len(results) - len(survived)} caught, {whole:.0f} s", flush=True)
    if survived:
        print("SURVIVED " + ", ".join(survived))
        return 1
    if not asked.only and not asked.sample:
        TABLE.write_text(table(results), encoding="utf-8")
    return 0


def misplaced_anchors(mutants: Iterable[Mutant]) -> Iterable[str]:
    """Every mutant whose anchor does not occur exactly once in the tree as it stands."""
    for mutant in mutants:
        path = ROOT / mutant.file
        try:
            mutant.applied(path.read_text(encoding="utf-8") if path.is_file() else "")
        except ValueError as problem:
            yield str(problem)


def caught_by(code: int, said: str) -> str:
    """The first test that failed, empty for none: pytest says 1 when tests failed, and names them."""
    found = _FAILED.search(said) if code == 1 else None
    return found[1] if found else ""


def table(results: Iterable[Caught]) -> str:
    """The board as a document."""
    lines = [
        "# The mutant board",
        "",
        "Written by `make mutants`: each bug is seeded alone in a copy of the tree; the test named here failed first.",
        "",
        "| Mutant | The bug | File | Caught by |",
        "| --- | --- | --- | --- |",
    ]
    for caught in results:
        mutant = caught.mutant
        lines.append(f"| {mutant.name} | {mutant.what} | `{mutant.file}` | `{caught.by}` |")
    return "\n".join(lines) + "\n"


def _copy(target: Path) -> Path:
    """The working copy's tracked files, as they stand."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "pipeline", "tests", "schemas", "specs",
         "pyproject.toml", "README.md"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in listed.split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    said = _python(target, "-c", "import pipeline; print(pipeline.__file__)")
    if not said.stdout.startswith(str(target)):
        raise RuntimeError(f"the copy is not what is tested: {said.stdout}{said.stderr}")
    return target


def _python(place: Path, *arguments: str, timeout_s: float = CLEAN_S) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(place), "PIPELINE_SEED": "1", "PYTHONHASHSEED": "0"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _pytest(place: Path, tests: Iterable[str], timeout_s: float) -> tuple[int, str]:
    arguments = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-rf", *tests)
    try:
        done = _python(place, *arguments, timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        return 124, "it does not end"
    return done.returncode, done.stdout + done.stderr


def _clean(chosen: list[Mutant], lanes: Queue[Path]) -> float:
    """Seconds that all selections take without a bug; 0 when one fails, for then the mutants would show nothing."""
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    begun = time.monotonic()

    def run(share: list[str]) -> tuple[int, str]:
        place = lanes.get()
        try:
            return _pytest(place, share, CLEAN_S)
        finally:
            lanes.put(place)

    shares = [share for number in range(lanes.qsize()) if (share := tests[number :: lanes.qsize()])]
    with ThreadPoolExecutor(len(shares)) as pool:
        for code, said in pool.map(run, shares):
            if code:
                print(f"BROKEN WITHOUT A MUTANT\n{said}", flush=True)
                return 0.0
    return time.monotonic() - begun


def _judge(mutant: Mutant, lanes: Queue[Path], patience_s: float) -> Caught:
    place = lanes.get()
    begun = time.monotonic()
    path = place / mutant.file
    text = path.read_text(encoding="utf-8")
    try:
        _write(path, mutant.applied(text))
        code, said = _pytest(place, mutant.tests, patience_s)
        ended = f"exit {code}: {(said.strip().splitlines() or ['nothing'])[-1][:60]}"
        return Caught(mutant, caught_by(code, said).replace("|", "/"), ended, time.monotonic() - begun)
    finally:
        _write(path, text)
        lanes.put(place)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    # Compiled code is found by time and length, which a substitution may leave as they are.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


if __name__ == "__main__":
    sys.exit(main())
