"""T8: the N-th I/O operation of a run fails, or is its last, for N = 1, 2, 3 ... until a clean run.

A failure stops the run in order; after a failure as after a death the same command finishes later.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pipeline.store.journal import Journal
from tests.chaos import disk_child
from tests.chaos.disk_child import KILLED, Order, Played, Spoil
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

_TASKS: Final = 6
#: Complete, in doubt, parked, fail-stop: how a run with a failing disk may end.
_ALLOWED: Final = frozenset({0, 5, 6, 70})
#: {size: how many failures are tried; 0: every one there is}.
_SIZES: Final = {"small": 24, "merge": 0}
_KINDS: Final = ((errno.EIO, False), (errno.EIO, True), (errno.ENOSPC, False), (errno.ENOSPC, True), (0, False))
#: The faults of the gateway that a run has beside those of the disk, and how many of its failures are tried at `merge`.
_MIXED: Final = {"rate_limited": {"every": 4}, "cut_download": 0.3, "expired_links": 0.2}
_MIXED_COUNT: Final = 200


@dataclass(frozen=True, slots=True)
class Case:
    """One failure to be tried."""

    number: int
    error: int
    sticky: bool
    mixed: bool = False

    def __str__(self) -> str:
        if not self.error:
            return f"the process dies at operation {self.number}{', mixed' * self.mixed}"
        manner = "from then on" if self.sticky else "once"
        return f"operation {self.number} fails with {errno.errorcode[self.error]} {manner}{', mixed' * self.mixed}"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it. `call`: the operation that failed, "" when the run had fewer."""

    case: Case
    code: int | None
    call: str
    faults: tuple[str, ...]


def attempt(place: Path, case: Case, seed: int) -> Tried:
    """Spoil one operation, then let the same command finish on a sound disk."""
    order = disk_child.prepare(place, _TASKS)
    order = replace(order, faults=_MIXED if case.mixed else {}, seed=seed, keep=False, plain=True)
    played = disk_child.play(replace(order, spoil=Spoil(case.number, case.error, case.sticky)))
    call = next((f"{event.other} {event.path}" for event in played.events if event.kind == "failed"), "")
    died = not case.error and played.code == KILLED
    call = "death" if died else call
    wrong = [] if died else [f"{fault} (after {call})" for fault in judge_end(played, _ALLOWED)]
    again = disk_child.play(order)
    wrong += [
        f"{fault} (the second time, after {call}; first exit {played.code})" for fault in judge_finish(order, again)
    ]
    shutil.rmtree(place, ignore_errors=True)
    return Tried(case, played.code, call, tuple(wrong))


def judge_end(played: Played, allowed: frozenset[int]) -> list[str]:
    """How a run ended whose disk failed."""
    wrong = []
    if played.code not in allowed:
        last = " | ".join(played.words.strip().splitlines()[-3:])
        wrong.append(f"it ended with {'a hang' if played.code is None else f'exit {played.code}'}: {last}")
    if "Traceback" in played.words:
        wrong.append(f"a traceback was shown: {played.words.strip().splitlines()[-1]}")
    failed = False
    for event in played.events:
        failed = failed or event.kind == "commit_failed"
        if event.kind == "post" and failed:
            wrong.append(f"attempt {event.at} was sent after a commit had failed")
    return wrong


def judge_finish(order: Order, played: Played, allowed: frozenset[int] = frozenset({0, 5})) -> list[str]:
    """The same command on a sound disk: it finishes, and what the vendor billed is in the ledger or covered by it."""
    wrong = judge_end(played, allowed)
    tables = Tables.read(order.run)
    if tables is None:
        return [*wrong, "no store is there in the end"]
    ids, micros = disk_child.bill(order)
    journal = Journal.open_read_only(order.run / "state.db")
    try:
        wrong += [*tables.faults(), *journal.integrity_check()]
    finally:
        journal.close(clean=False)
    known = {row.operation for row in tables.attempts if row.operation}
    doubts = [row for row in tables.attempts if row.state in {"DOUBT", "VANISHED", "SUBMITTING"}]
    spent, doubt, pictures = tables.spent, tables.doubtful, tables.stored
    if not spent <= micros <= spent + doubt:
        wrong.append(f"the vendor billed {micros}, the ledger has {spent} settled and {doubt} in doubt")
    if not known <= ids or len(ids - known) > len(doubts):
        wrong.append(f"{len(ids - known)} accepted operations are not known, {len(doubts)} attempts are in doubt")
    if played.code == 0 and doubts:
        wrong.append(f"exit 0 with {len(doubts)} doubts")
    missing = [path for path in pictures if not (order.run / path).is_file()]
    if missing or (played.code == 0 and len(pictures) != _TASKS):
        wrong.append(f"{len(pictures)} pictures are known, {len(missing)} have no file")
    return wrong


def campaign(size: str, seed: int) -> Report:
    """Every operation of a run of six tasks: EIO, ENOSPC, once and from then on, death (merge); some of it (small)."""
    place = Path(tempfile.mkdtemp(prefix="nthio-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    try:
        counts = {mixed: _operations(place, mixed=mixed, seed=seed) for mixed in (False, True)}
        cases = _cases(size, seed, counts)
        with ThreadPoolExecutor(int(os.environ.get("CHAOS_JOBS", "2"))) as pool:
            tried = list(pool.map(lambda item: attempt(place / f"case{item[0]}", item[1], seed), enumerate(cases)))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    ends = Counter(result.code for result in tried)
    figures: dict[str, int | float | str] = {
        "failures tried": len(tried),
        "of them struck": sum(1 for result in tried if result.call),
        "operations a run has": counts[False],
        "deaths": sum(1 for result in tried if result.call == "death"),
        "kinds of operation failed": len({result.call.split()[0] for result in tried if result.call}),
    }
    figures |= {f"ended with {code}": number for code, number in sorted(ends.items(), key=str)}
    # Numbers beyond the last operation strike nothing, and a run may be shorter than the one that was counted.
    floors = {
        "of them struck": 0.6 * len(tried),
        "operations a run has": 100 * _TASKS,
        "deaths": 0.1 * len(tried) if size == "merge" else 0,
        "kinds of operation failed": 3 if size == "small" else 8,
    }
    violations = tuple(f"seed {seed}: {fault}" for fault in idle(figures, floors))
    violations += tuple(f"seed {seed}, {result.case}: {fault}" for result in tried for fault in result.faults)
    return Report("nthio", figures, violations)


def _operations(place: Path, *, mixed: bool, seed: int) -> int:
    order = disk_child.prepare(place / f"count{mixed}", _TASKS)
    played = disk_child.play(
        replace(order, faults=_MIXED if mixed else {}, seed=seed, keep=False, plain=True, spoil=Spoil())
    )
    if played.code != 0:
        raise AssertionError(f"the run without a failure ended with {played.code}: {played.words}")
    return played.operations


def _cases(size: str, seed: int, counts: dict[bool, int]) -> list[Case]:
    dice = random.Random(seed)
    every = [Case(number, error, sticky) for number in range(1, counts[False] + 2) for error, sticky in _KINDS]
    mixed = [Case(dice.randint(1, counts[True]), *dice.choice(_KINDS), mixed=True) for _ in range(_MIXED_COUNT)]
    count = _SIZES[size]
    return [*dice.sample(every, count - count // 4), *mixed[: count // 4]] if count else [*every, *mixed]
