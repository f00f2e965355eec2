"""T9: a disk that is really full, at every phase: nothing is sent without its intent, and no id is lost."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.chaos import disk_child
from tests.chaos.disk_child import NO_BALLAST, Order, Played
from tests.chaos.nthio import judge_end, judge_finish
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

_TASKS: Final = 6
_KB: Final = 1024
#: The first three are too small to buy anything on, which needs room for all that is held and in flight twice over.
_SIZES_KB: Final = (300, 2_000, 16_000, 60_000, 80_000, 100_000)
_BUYING: Final = _SIZES_KB[3:]
_FREE_KB: Final = (0, 4, 16, 64)
_PHASES: Final = (
    *("start", "commit 1", "commit 2", "commit 6", "commit 12", "commit 20", "commit 30", "post 1", "post 3"),
    *("answer 1", "answer 4", "answer 6", "download 1", "download 3", "download 6", "stored 1", "stored 4", "stored 6"),
)
#: {size: scenarios; 0: every size, phase and rest of room, and the ones with several steps}.
_COUNTS: Final = {"small": 6, "merge": 0}
#: Parked, or fail-stop; or it had room enough after all. 5: in doubt.
_ALLOWED: Final = frozenset({0, 5, 6, 70})
_ROOM: Final = "256m"
#: How a child says that it may not mount either.
_NO_MOUNT: Final = 77


_WORDS: Final = {-1: "room again", NO_BALLAST: "nothing left, the ballast neither"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A disk of `size_kb`, and what is left of it when. `start` fills it before the first command."""

    size_kb: int
    fill: Mapping[str, int]
    #: Whether the second command finds it still full.
    again_full: bool = True

    def __str__(self) -> str:
        steps = ", ".join(f"{when}: {_WORDS.get(free, f'{free} bytes left')}" for when, free in self.fill.items())
        return f"a disk of {self.size_kb} KB ({steps})"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a scenario: the exit codes of its commands, and broken promises."""

    scenario: Scenario
    codes: tuple[int | None, ...]
    answers_when_full: int
    #: Ids of operations that the screen named.
    told: int
    faults: tuple[str, ...]


@contextmanager
def disk_of(order: Order, size_kb: int) -> Iterator[None]:
    """A real file system of so many KB, where the order's disk is."""
    _mount("-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(order.disk))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(order.disk)], check=True, timeout=20)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=20, capture_output=True)


def attempt(place: Path, scenario: Scenario, seed: int) -> Tried:
    """Fill the disk, run the command twice, make room, and let the same command finish."""
    order = replace(disk_child.prepare(place, _TASKS), seed=seed, keep=False)
    with disk_of(order, scenario.size_kb):
        steps = dict(scenario.fill)
        if "start" in steps:
            disk_child.fill(order.filler, steps.pop("start"))
        lives = [disk_child.play(replace(order, fill=steps))]
        wrong = judge_end(lives[0], _ALLOWED)
        if scenario.again_full:
            lives.append(disk_child.play(order))
            wrong += [f"the second time: {fault}" for fault in judge_end(lives[-1], _ALLOWED)]
        disk_child.fill(order.filler, -1)
        said = "".join(life.words for life in lives)
        _mount("-o", f"remount,size={_ROOM}", str(order.disk))
        wrong += _as_told(said)
        lives.append(disk_child.play(order))
        if "--operation" in said and lives[-1].code != 0:
            wrong.append(f"every id was said, and the run ended with {lives[-1].code}")
        wrong += [f"with room again: {fault}" for fault in judge_finish(order, lives[-1])]
        lost, told = _judge_lives(order, lives)
        wrong += lost
    shutil.rmtree(place, ignore_errors=True)
    answers = sum(1 for life in lives[:-1] for event in life.events if event.kind == "answer")
    return Tried(scenario, tuple(life.code for life in lives), answers, told, tuple(wrong))


def _as_told(said: str) -> list[str]:
    """A person does what the screen says: each command that names an operation, once there is room."""
    commands = dict.fromkeys(line for line in said.splitlines() if line.strip().startswith("pipeline resolve "))
    wrong = []
    for line in commands:
        words = [sys.executable, "-m", "pipeline", *shlex.split(line)[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            wrong.append(f"{line.strip()!r} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return wrong


def _judge_lives(order: Order, lives: Sequence[Played]) -> tuple[list[str], int]:
    """No number is used for two POSTs, each has its row, and every id that was received is known or was told."""
    posts = [event.at for life in lives for event in life.events if event.kind == "post"]
    wrong = [f"attempt {each} was sent {count} times" for each, count in Counter(posts).items() if count > 1]
    tables = Tables.read(order.run)
    rows = {} if tables is None else {row.attempt: row for row in tables.attempts}
    wrong += [f"attempt {each} was sent, and has no row" for each in posts if each not in rows]
    ids, _ = disk_child.bill(order)
    unknown = ids - {row.operation for row in rows.values()}
    told = "".join(life.words for life in lives)
    # No connection breaks here, and nobody is killed: each answer arrived.
    wrong += [f"the id of operation {each} was received and lost" for each in sorted(unknown) if each not in told]
    return wrong, sum(each in told for each in ids)


def scenarios(size: str, seed: int) -> list[Scenario]:
    """Every size, phase and rest of room, then disks that fill up slowly and ones that get room back."""
    every = [
        Scenario(kb, {phase: free * _KB}) for kb in _SIZES_KB for phase in _PHASES for free in _FREE_KB if free * 4 < kb
    ]
    slow = [
        Scenario(kb, {f"commit {first + step * 4}": left * _KB for step, left in enumerate((48, 24, 12, 8, 4, 0))})
        for kb in _BUYING
        for first in (2, 8, 16)
    ]
    back = [
        Scenario(kb, {full: 0, again: -1}, again_full=False)
        for kb in _BUYING
        for full, again in (("post 1", "answer 1"), ("answer 1", "answer 3"), ("download 1", "download 4"))
    ]
    # Neither black box nor store has room for an answer: what it named is said aloud.
    bare = [Scenario(kb, {f"answer {number}": NO_BALLAST}) for kb in _BUYING for number in (1, 2, 3, 5)]
    dice = random.Random(seed)
    if not (count := _COUNTS[size]):
        return [*every, *slow, *back, *bare]
    return [*dice.sample(every, count - 4), dice.choice(slow), dice.choice(back), *dice.sample(bare, 2)]


def campaign(size: str, seed: int) -> Report:
    """On real small file systems; where nobody lets us mount one, it says so."""
    if _can_mount():
        return _campaign(size, seed)
    return in_namespace(["unshare", "-rm", sys.executable, "-m", "tests.chaos.fulldisk", size, str(seed)])


def in_namespace(command: Sequence[str]) -> Report:
    """The campaign where one may mount. Nothing but the refusal of namespace or mount is a reason to skip it."""
    try:
        inside = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3600)
    except FileNotFoundError as missing:
        return Report("fulldisk", {}, (), f"nobody can mount a file system here: {missing}")
    last = (inside.stderr.strip().splitlines() or ["no reason given"])[-1]
    if inside.returncode == _NO_MOUNT or (inside.returncode and not inside.stdout and last.startswith("unshare:")):
        return Report("fulldisk", {}, (), f"nobody can mount a file system here: {last}")
    if inside.returncode:
        raise RuntimeError(f"the campaign broke with exit {inside.returncode}: {inside.stderr[-2000:]}")
    told = json.loads(inside.stdout.splitlines()[-1])
    return Report("fulldisk", told["figures"], tuple(told["violations"]))


def _can_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        try:
            _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", place)
        except (OSError, subprocess.CalledProcessError) as refused:
            print(f"mount: {refused}", file=sys.stderr)
            return False
        subprocess.run(["umount", place], check=True, timeout=20)
    return True


def _campaign(size: str, seed: int) -> Report:
    place = Path(tempfile.mkdtemp(prefix="fulldisk-"))
    todo = scenarios(size, seed)
    try:
        with ThreadPoolExecutor(int(os.environ.get("CHAOS_JOBS", "2"))) as pool:
            tried = list(pool.map(lambda item: attempt(place / str(item[0]), item[1], seed), enumerate(todo)))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    figures: dict[str, int | float | str] = {"full disks": len(tried)}
    figures |= {
        f"commands ended with {code}": number
        for code, number in sorted(Counter(code for each in tried for code in each.codes).items(), key=str)
    }
    figures["answers on small or full disks"] = sum(each.answers_when_full for each in tried)
    figures["ids told on the screen"] = sum(each.told for each in tried)
    # Some of the disks must have been felt: parked, or stopped.
    figures["disks felt"] = sum(1 for each in tried if {6, 70} & set(each.codes))
    floors = {
        "full disks": len(todo),
        "disks felt": len(todo) / 4,
        "answers on small or full disks": len(todo) / 2,
        "ids told on the screen": 1,
    }
    violations = tuple(f"seed {seed}: {fault}" for fault in idle(figures, floors))
    violations += tuple(f"seed {seed}, {each.scenario}: {fault}" for each in tried for fault in each.faults)
    return Report("fulldisk", figures, violations)


if __name__ == "__main__":
    if not _can_mount():
        sys.exit(_NO_MOUNT)
    found = _campaign(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"figures": dict(found.figures), "violations": found.violations}))
