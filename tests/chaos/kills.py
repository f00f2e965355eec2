"""T5: kill -9 at random moments of real command lines, against an emulator in another process, over real HTTP.

A scenario is one job in one folder, run and killed until it is done. The judge looks after every kill and at the end;
the vendor's bill is the emulator's own.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import Final

from tests.chaos import forks
from tests.chaos.jobs import Job, drawn
from tests.chaos.judge import Books, Judge
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

ROOT: Final = Path(__file__).parents[2]
KILLS: Final = {"small": 8, "merge": 1000}
#: A scenario that was killed this often is left alone to finish.
KILLS_MAX: Final = 14
TASKS: Final = {"small": 10, "merge": 28}
_GOOD: Final = frozenset({0, 3, 4, 5, 6})
#: What an opening writes to, with nothing to be done.
_OPENED: Final = frozenset({"log.jsonl", "metrics.prom", "state.db", "state.db-wal", "state.db.seal"})
#: A doubt is bought again after a quiet period of two minutes and more, which the small size has no time for.
POLICIES: Final = {
    "small": ("hold", "hold", "write_off"),
    "merge": (*["hold"] * 7, *["write_off"] * 2, "resubmit"),
}
#: A life that is left alone may wait out a quiet period (seconds).
_LIFE_S: Final = 200.0
#: Ways to choose the moment, as often as they stand here.
MOMENTS: Final = ("opening", "submitting", "submitting", "polling", "fetching", "fetching", "concluding", "anywhere")
_PORT: Final = re.compile(r"serving on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Script:
    """One scenario: everything in it comes from its seed."""

    seed: int
    tasks: int
    kills_max: int
    policies: tuple[str, ...]


@dataclass(slots=True)
class Told:
    """What came of a scenario."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


class _Emulator:
    """`pipeline simulate` in a process of its own, which outlives every run."""

    def __init__(self, place: Path, seed: int) -> None:
        self.out = place / "emulator.txt"
        arguments = ["simulate", "--port", "0", "--world", "world.jsonl", "--faults", "faults.yaml"]
        self.pid = forks.start([*arguments, "--seed", str(seed)], folder=place, out=self.out)
        deadline = time.monotonic() + 30
        while not (found := _PORT.search(self.out.read_text() if self.out.exists() else "")):
            if time.monotonic() > deadline:
                raise forks.Stuck(f"the emulator did not start: {self.out.read_text()}")
            time.sleep(0.01)
        self.base = f"http://127.0.0.1:{found[1]}"

    def bill(self) -> int:
        """Micro-USD at this moment, as it answers itself."""
        with urllib.request.urlopen(f"{self.base}/__bill", timeout=30) as response:  # noqa: S310 - this machine's own
            gateways = json.load(response)["gateways"]
        return int(gateways.get("mulerouter", {"micros": 0})["micros"])

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        try:
            forks.ended(self.pid, patience_s=20)
        except forks.Stuck:
            return


class _Scenario:
    """One job, its folder, its emulator, its judge."""

    def __init__(self, script: Script, place: Path) -> None:
        self.script = script
        self.place = place
        self.dice = random.Random(script.seed)
        self.told = Told(script.seed)
        self.job: Job = drawn(
            self.dice, tasks=script.tasks, latency_s=[0.002, 0.12], generation_s=[0.1, 1.5], policies=script.policies
        )
        self.job.write(place)
        self.run = place / "run"
        self.judge = Judge(self.run, place / "world.jsonl", self.job)
        self.emulator = _Emulator(place, script.seed)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
            "MULEROUTER_BASE_URL": f"{self.emulator.base}/mulerouter",
            "MULEROUTER_API_KEY": "any-text",
            "PYTHONPATH": str(ROOT),
        }
        self.bill_before = 0

    # --- one life ---

    def live(self, moment: str | None) -> int | None:
        """One real command line; None when it was killed, else its exit code."""
        before = self._log_size()
        with (self.place / "out.txt").open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", "run", "spec.yaml", "--run-dir", "run", "--quiet"],
                cwd=self.place,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            came = moment is not None and self._await(moment, before, process)
            if moment is not None:
                process.kill()
            code = process.wait(_LIFE_S)
        finally:
            process.kill()
            process.wait()
        if code == -signal.SIGKILL:
            # A kill before or after its moment is one at any moment.
            self.told.kills[moment if moment is not None and came else "anywhere"] += 1
            return None
        self.told.codes[str(code)] += 1
        return code

    def _await(self, moment: str, before: int, process: subprocess.Popen[bytes]) -> bool:
        """Wait for the moment of a kill: a stage that is seen from outside, and a random while. Did it come?"""
        seen = True
        dice = self.dice
        match moment:
            case "opening":
                seen = self._until(process, 3.0, (self.run / "state.db").exists, dice.uniform(0.3, 1.2))
                time.sleep(dice.uniform(0.0, 0.05))
            case "submitting":
                lines = dice.randint(1, 40) * 110
                seen = self._until(process, 8.0, lambda: self._log_size() > before + lines)
                time.sleep(dice.uniform(0.0, 0.1))
            case "polling":
                seen = self._until(process, 5.0, lambda: self._log_size() > before)
                time.sleep(dice.uniform(0.0, 3.5))
            case "fetching":
                held = self._pictures()
                seen = self._until(process, 8.0, lambda: bool(self._pictures() - held))
                time.sleep(dice.uniform(0.0, 0.06))
            case "concluding":
                seen = self._until(process, 12.0, lambda: any(self.run.glob(".*.arrow.new")))
                time.sleep(dice.uniform(0.0, 0.03))
            case _:
                time.sleep(dice.uniform(0.1, 4.0))
        return seen

    @staticmethod
    def _until(process: subprocess.Popen[bytes], most_s: float, seen: Callable[[], bool], least_s: float = 0.0) -> bool:
        begun = time.monotonic()
        while time.monotonic() < begun + most_s and process.poll() is None:
            if time.monotonic() > begun + least_s and seen():
                return True
            time.sleep(0.002)
        return False

    def _log_size(self) -> int:
        try:
            return (self.run / "log.jsonl").stat().st_size
        except FileNotFoundError:
            return 0

    def _pictures(self) -> set[str]:
        """Parts and named pictures: a small one has a part for as long as its group is synced, and no longer."""
        parts = {path.name for path in (self.run / ".parts").glob("*.part")}
        return parts | {path.name for path in (self.run / "images").glob("*/*")}

    # --- judging ---

    def look(self, when: str) -> None:
        bill = self.emulator.bill()
        if bill < self.bill_before:
            self.blame(f"{when}: the vendor's bill went down")
        self.bill_before = bill
        if bill > Books.read(self.judge.world).micros:
            self.blame(f"{when}: the vendor bills {bill}, more than its book's operations come to")
        try:
            found = forks.inside(self.judge.moment)
        except forks.Stuck as stuck:
            found = [str(stuck)]
        self.told.counts["checks"] += 1
        for violation in found:
            self.blame(f"{when}: {violation}")

    def blame(self, violation: str) -> None:
        job = self.job
        told = f"{job.on_doubt}, n {job.n}, cap {job.cap}"
        self.told.violations.append(f"seed {self.script.seed} ({told}), {violation}")

    # --- the whole ---

    def play(self) -> None:
        code: int | None = None
        for number in range(1, self.script.kills_max + 1):
            moment = self.dice.choice(MOMENTS)
            code = self.live(moment)
            self.look(f"kill {number} ({moment})")
            if code is not None:
                break
        if code is None:
            code = self._finish()
        code = self._patiently(code)
        if self.dice.random() < 0.6:
            code = self._resolve(code)
        self._conclude(code)

    def _finish(self) -> int:
        code = self.live(None)
        assert code is not None
        self.look("at the end")
        return code

    def _patiently(self, code: int) -> int:
        """A parked or interrupted run is run again, as its words say."""
        for _ in range(3):
            if code not in (6, 130):
                break
            code = self._finish()
        return code

    def _resolve(self, code: int) -> int:
        """Doubts are resolved from the vendor's own book, until there are none: billed under its id, or not at all."""
        for _ in range(6):
            verdicts = forks.inside(self._verdicts)
            if not verdicts:
                break
            for attempt, operation in verdicts:
                verdict = ["--operation", operation] if operation else ["--not-billed"]
                words = ["resolve", "run", "--attempt", str(attempt), *verdict, "--why", "the vendor's book"]
                if (left := self._command(words)) != 0:
                    self.blame(f"resolve ended with {left}")
                self.told.counts["resolved"] += 1
            self.look("after resolve")
            code = self._patiently(self._finish())
        return code

    def _verdicts(self) -> list[tuple[int, str]]:
        """(attempt in doubt, the operation that the vendor's book has for it, or none)."""
        tables = Tables.read(self.run)
        attempts, prompts = (tables.attempts, tables.prompts) if tables is not None else ((), {})
        known = {attempt.operation for attempt in attempts}
        unknown = [one for one in Books.read(self.judge.world).sold.values() if one.id not in known]
        verdicts = []
        for attempt in attempts:
            if attempt.state == "DOUBT":
                found = next((one for one in unknown if one.prompt == prompts[attempt.task]), None)
                if found is not None:
                    unknown.remove(found)
                verdicts.append((attempt.attempt, found.id if found is not None else ""))
        return verdicts

    def _booked(self) -> object:
        tables = Tables.read(self.run)
        return None if tables is None else (tables.attempts, tables.accounts, len(tables.entries))

    def _command(self, words: list[str]) -> int:
        return forks.command(words, folder=self.place, out=self.place / "out.txt", environment=self.environment)

    def _conclude(self, code: int) -> None:
        if code not in _GOOD:
            self.blame(f"the run ended with exit code {code}")
            return
        for violation in forks.inside(functools.partial(self.judge.end, code)):
            self.blame(f"at the end: {violation}")
        before, posts = self.judge.bytes_of_folder(), Books.read(self.judge.world).posts
        booked = self._booked()
        if (verified := self._command(["verify", "run"])) != 0:
            self.blame(f"verify ended with {verified}")
        again = self._command(["run", "spec.yaml", "--run-dir", "run", "--quiet"])
        if code == 6:
            # It was parked, so the next run may buy; whatever it does is judged like the runs before.
            self.told.counts["ends parked"] += 1
            self.look("after one more run of a parked one")
            if again in _GOOD:
                for violation in forks.inside(functools.partial(self.judge.end, again)):
                    self.blame(f"after one more run of a parked one: {violation}")
            else:
                self.blame(f"one more run of a parked one ended with {again}")
        elif again != code:
            self.blame(f"running again ended with {again}, not with {code}")
        books = Books.read(self.judge.world)
        if code != 6 and books.posts != posts:
            self.blame(f"running again sent {books.posts - posts} POSTs")
        after = self.judge.bytes_of_folder()
        changed = sorted(name for name in before | after if before.get(name) != after.get(name))
        if code in (3, 5):
            # The folder was opened, for something is left to try: its store says so, and nothing else.
            changed = [name for name in changed if name not in _OPENED and not name.startswith(".parts/")]
            if (money := self._booked()) != booked:
                self.blame(f"running again booked {money}, it was {booked}")
        if code != 6 and changed:
            self.blame(f"running again changed {changed}")
        self.told.counts.update(
            POSTs=books.posts,
            accepted=len(books.sold),
            pictures=sum(name.startswith("images/") for name in after),
        )


def scenario(script: Script) -> Told:
    """Play one scenario in a folder of its own, which stays when something was violated."""
    place = forks.scratch("kills")
    played = _Scenario(script, place)
    try:
        played.play()
    except (forks.Stuck, subprocess.TimeoutExpired, OSError) as error:
        played.blame(f"{type(error).__name__}: {error}")
    finally:
        played.emulator.stop()
    if played.told.violations:
        played.blame(f"the folder is kept: {place}")
    else:
        shutil.rmtree(place)
    return played.told


def campaign(size: str, seed: int) -> Report:
    """Scenarios, each of another seed, until enough was killed."""
    wanted = int(os.environ.get("CHAOS_KILLS") or KILLS[size])
    lanes = int(os.environ.get("CHAOS_JOBS", "2"))
    small = size == "small"
    found: list[Told] = []
    begun = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(lanes, forks.preload) as pool:
        running: list[AsyncResult[Told]] = []
        number = 0
        while True:
            while len(running) < lanes and sum(sum(told.kills.values()) for told in found) < wanted:
                script = Script(seed * 100_000 + number, TASKS[size], 5 if small else KILLS_MAX, POLICIES[size])
                running.append(pool.apply_async(scenario, (script,)))
                number += 1
            if not running:
                break
            done = [each for each in running if each.ready()]
            running = [each for each in running if each not in done]
            for each in done:
                found.append(each.get())
                for violation in found[-1].violations:
                    print(f"  kills: {violation}", flush=True)
            time.sleep(0.02)
    kills = sum((told.kills for told in found), Counter[str]())
    counts = sum((told.counts for told in found), Counter[str]())
    codes = sum((told.codes for told in found), Counter[str]())
    figures: dict[str, int | float | str] = {
        "kills": sum(kills.values()),
        "scenarios": len(found),
        **counts,
        "by moment": " ".join(f"{moment}={kills[moment]}" for moment in sorted(kills)),
        "by exit code": " ".join(f"{code}={codes[code]}" for code in sorted(codes)),
        "seconds a kill": round((time.monotonic() - begun) / max(1, sum(kills.values())), 2),
    }
    figures["moments met"] = sum(kills[moment] > 0 for moment in set(MOMENTS) - {"anywhere"})
    floors = {"kills": wanted, "moments met": 2 if small else 5, "POSTs": sum(kills.values()), "pictures": 1}
    violations = [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    violations += [violation for told in found for violation in told.violations]
    return Report("kills", figures, tuple(violations))
