"""T17: signals to real command lines at every phase, against an emulator in another process, over real HTTP.

The first Ctrl-C, SIGTERM or SIGHUP: no POST begins after it, unanswered ones are awaited, nothing comes into doubt,
exit 130. The second leaves at once. A stop and a continuation, or streams that nobody reads any more, change nothing.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pipeline import failpoints
from pipeline.cli.main import main
from tests.chaos import forks
from tests.chaos.jobs import Job
from tests.chaos.judge import Judge
from tests.chaos.kills import _Emulator
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

SCENARIOS: Final = {"small": 8, "merge": 140}
TASKS: Final = {"small": 8, "merge": 16}
KINDS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "twice", "SIGTSTP", "streams closed")
PHASES: Final = ("submitting", "polling", "fetching", "concluding", "opening")
#: The promise is 50 ms from the signal to the last POST, by the sender's own clock. On a machine with more to do than
#: processors the child may not run at all for a while: then the order alone is judged, and this much is still too late.
LATE_MAX_S: Final = 0.05
LATE_BUSY_S: Final = 1.0
#: Unanswered POSTs, open downloads and the manifest of a small job.
GRACE_S: Final = 30.0
LEAVE_S: Final = 2.0
_PASSED: Final = "passed.txt"


@dataclass(slots=True)
class Told:
    """What came of the scenarios so far."""

    counts: Counter[str] = field(default_factory=Counter)
    latest_s: float = 0.0
    slowest_leave_s: float = 0.0
    violations: list[str] = field(default_factory=list)


class _Scenario:
    def __init__(self, place: Path, seed: int, kind: str, phase: str, size: str) -> None:
        self.place, self.kind, self.phase = place, kind, phase
        self.dice = random.Random(seed)
        faults: dict[str, object] = {"latency_s": [0.02, 0.35], "generation_s": [0.1, 1.2]}
        self.job = Job(TASKS[size], 0, "hold", 20_000_000, faults, rate="12/s")
        self.job.write(place)
        self.run = place / "run"
        self.judge = Judge(self.run, place / "world.jsonl", self.job)
        self.emulator = _Emulator(place, seed)
        self.found: list[str] = []

    def start(self, out: Path) -> int:
        environment = {
            "MULEROUTER_BASE_URL": f"{self.emulator.base}/mulerouter",
            "MULEROUTER_API_KEY": "any-text",
        }
        arguments = ["run", "spec.yaml", "--run-dir", "run", "--json", "--display", "live"]
        return _fork(arguments, self.place, out, environment)

    def await_phase(self, pid: int) -> None:
        """A stage that is seen from outside, and a random while more."""
        dice = self.dice
        match self.phase:
            case "opening":
                time.sleep(dice.uniform(0.0, 0.25))
            case "submitting":
                wanted = dice.randint(1, self.job.tasks - 1)
                self._until(pid, lambda: self._log().count('"Permitted"') >= wanted)
            case "polling":
                self._until(pid, lambda: '"Accepted"' in self._log())
                time.sleep(dice.uniform(0.0, 0.8))
            case "fetching":
                self._until(pid, lambda: any((self.run / ".parts").glob("*.part")) or '"PictureStored"' in self._log())
            case _:
                self._until(pid, lambda: any(self.run.glob(".*.arrow.new")))

    def _until(self, pid: int, seen: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not seen() and _alive(pid):
            time.sleep(0.002)

    def _log(self) -> str:
        try:
            return (self.run / "log.jsonl").read_text()
        except FileNotFoundError:
            return ""

    def doubts(self) -> int:
        tables = Tables.read(self.run)
        return sum(row.state in ("DOUBT", "VANISHED", "SUBMITTING") for row in tables.attempts) if tables else 0

    def passed(self) -> list[tuple[str, float]]:
        """Each POST that left and each drain that began, in the sender's order and by its clock."""
        path = self.place / _PASSED
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(name, float(at)) for name, at in words]

    def late(self, sent: float, told: Told) -> None:
        """No POST leaves after the drain began, and none later than promised after the signal."""
        passed = self.passed()
        names = [name for name, _ in passed]
        if "drain.asked" in names:
            told.counts["drains"] += 1
            after = names[names.index("drain.asked") :].count("submit.sending")
            if after:
                self.found.append(f"{after} POSTs left after the drain had begun")
        last = max((at - sent for name, at in passed if name == "submit.sending"), default=0.0)
        told.latest_s = max(told.latest_s, last)
        told.counts["POSTs before a signal"] += sum(name == "submit.sending" and at <= sent for name, at in passed)
        busy = os.getloadavg()[0] > (os.cpu_count() or 1)
        if last > (LATE_BUSY_S if busy else LATE_MAX_S):
            self.found.append(f"a POST left {last:.3f} s after the signal")

    def play(self, told: Told) -> None:
        out = self.place / "out.txt"
        reader = -1
        if self.kind == "streams closed":
            out = self.place / "pipe"
            os.mkfifo(out)
            reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
        pid = self.start(out)
        try:
            self.await_phase(pid)
            code = self.disturb(pid, reader, told)
        except forks.Stuck as stuck:
            self.found.append(str(stuck))
            return
        if code is None:
            return
        self.found += forks.inside(self.judge.moment)
        left = forks.inside(self.doubts)
        told.counts["doubts"] += left
        if left and self.kind != "twice":
            self.found.append(f"{left} doubts although the gateway answers")
        again = forks.ended(self.start(self.place / "again.txt"))
        self.found += forks.inside(self.judge.moment) + forks.inside(lambda: self.judge.end(again))
        if again not in ((0, 5) if self.kind == "twice" else (0,)):
            self.found.append(f"the same command ended with {again}")

    def disturb(self, pid: int, reader: int, told: Told) -> int | None:
        """Do it, wait for the end, and look at how it ended."""
        if self.kind == "streams closed":
            os.close(reader)
            code = forks.ended(pid)
            if code != 0:
                self.found.append(f"closed streams: exit code {code}")
            return code
        if self.kind == "SIGTSTP":
            os.kill(pid, signal.SIGTSTP)
            time.sleep(self.dice.uniform(0.2, 1.5))
            os.kill(pid, signal.SIGCONT)
            code = forks.ended(pid)
            if code != 0:
                self.found.append(f"stopped and continued: exit code {code}")
            return code
        number = signal.SIGINT if self.kind == "twice" else signal.Signals[self.kind]
        sent, ticks = time.time(), time.monotonic()
        os.kill(pid, number)
        if self.kind == "twice":
            time.sleep(self.dice.uniform(0.0, 0.1))
            ticks = time.monotonic()
            if _alive(pid):
                os.kill(pid, number)
        code = forks.ended(pid, patience_s=GRACE_S)
        if self.kind == "twice":
            left_s = time.monotonic() - ticks
            told.slowest_leave_s = max(told.slowest_leave_s, left_s)
            if left_s > LEAVE_S:
                self.found.append(f"the second signal took {left_s:.2f} s")
        self.late(sent, told)
        ended_before = self.phase == "concluding" and code == 0
        if code != 130 and not ended_before:
            self.found.append(f"exit code {code}")
        return code


def _fork(arguments: list[str], folder: Path, out: Path, environment: dict[str, str]) -> int:
    """The installed command, signal handlers and all, in a fork of a process that has imported everything."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(environment)
        words = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream, handle in ((0, os.open(os.devnull, os.O_RDONLY)), (1, words), (2, words)):
            os.dup2(handle, stream)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["pipeline", *arguments]
        _note_passing()
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 - the parent reads the words
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _note_passing() -> None:
    """Each POST that leaves and each drain that begins, with the time, in a file beside the spec."""
    notes = os.open(_PASSED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def note(name: str) -> None:
        if name in ("submit.sending", "drain.asked"):
            os.write(notes, f"{name} {time.time()}\n".encode())

    failpoints.arm(note)


def _alive(pid: int) -> bool:
    """Whether a child runs still; one that ended is not reaped here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def campaign(size: str, seed: int) -> Report:
    """Every kind at every phase, as far as the size goes."""
    forks.preload()
    told = Told()
    pairs = [(kind, phase) for phase in PHASES for kind in KINDS]
    random.Random(seed).shuffle(pairs)
    if size == "small":
        # One of each kind; the first two at the phase where most is at stake.
        pairs = [
            ("SIGINT", "submitting"),
            ("twice", "submitting"),
            *[(kind, pairs[at][1]) for at, kind in enumerate(KINDS)],
        ]
    for number in range(SCENARIOS[size]):
        kind, phase = pairs[number % len(pairs)]
        own = seed * 10_000 + number
        with tempfile.TemporaryDirectory() as folder:
            scenario = _Scenario(Path(folder), own, kind, phase, size)
            try:
                scenario.play(told)
            except forks.Stuck as stuck:
                scenario.found.append(str(stuck))
            finally:
                scenario.emulator.stop()
            words = (Path(folder) / "out.txt").read_text()[-300:] if scenario.found and kind != "streams closed" else ""
            told.violations += [f"seed {own}, {kind} while {phase}: {each} {words}" for each in scenario.found]
        told.counts[kind] += 1
    figures = {
        **told.counts,
        "s: latest POST after a signal": round(told.latest_s, 3),
        "s: slowest second signal": round(told.slowest_leave_s, 3),
    }
    # Each of the four kinds that end a run finds one at work, most of them.
    floors = {"drains": 0.3 * SCENARIOS[size], "POSTs before a signal": SCENARIOS[size]}
    told.violations += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("signals", figures, tuple(told.violations))
