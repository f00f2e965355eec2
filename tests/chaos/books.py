"""T20 in whole runs: doubts that real providers and `runtime.evidence` end from an emulator's list or meter.

Rehearsals of DashScope (a list) and Evolink (a meter) lose submits and answers on their way, and die. The emulator's
book is the judge: nothing that was billed is ever without money kept for it, and where nothing is open, both agree.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pipeline
from pipeline import failpoints
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.run import run_sync
from pipeline.simulator.exchange import WireRequest
from pipeline.transport.memory import open_world
from tests.chaos.report import Report, idle
from tests.chaos.tables import Tables

RUNS: Final = {"small": 10, "merge": 400}
TASKS: Final = 12
#: (model, the unit of its cap, how its doubts end)
MODELS: Final = (
    ("dashscope/qwen-image-plus", "USD", "list"),
    ("evolink/qwen-image-3.0", "evolink-credit", "meter"),
)
#: What leaves an attempt's fate open, and how often at most.
LOSSES: Final = {"cut_before": 0.3, "cut_after": 0.3, "cut_mid": 0.2, "server_error_after": 0.1}
_OPEN: Final = ("SUBMITTING", "DOUBT", "VANISHED")


class _Dies(Exception):  # noqa: N818 - a campaign's word
    """The process ends here: ours alone, so that no error of the product is taken for it."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The vendor's own book once everything has ended. *Units* - micros: of the gateway's unit."""

    accepted: int
    micros: int


def bill(run: Path, gateway: str) -> Bill:
    """Read from its file; nothing is written."""
    if not (run / "world.jsonl").exists():
        return Bill(0, 0)
    world = open_world(run / "world.jsonl")
    world.handle("", WireRequest("GET", "/__bill", {}), world.clock + 1e6)
    gateways = world.bill()["gateways"]
    assert isinstance(gateways, dict)
    book = gateways.get(gateway, {"accepted": 0, "micros": 0})
    return Bill(int(book["accepted"]), int(book["micros"]))


class _Case:
    """One job at one gateway, through several processes."""

    def __init__(self, place: Path, dice: random.Random) -> None:
        self.model, self.unit, self.way = dice.choice(MODELS)
        self.gateway = self.model.partition("/")[0]
        self.dedicated = dice.random() < 0.7
        self.run, self.dice, self.deaths = place / "run", dice, 0
        words = ", ".join(f"w{number:02d}" for number in range(TASKS))
        lines = ["version: 1", "name: books", f"model: {self.model}", f"matrix: {{word: [{words}]}}"]
        lines += ['prompt: "A picture of {{ word }}"', f"budget: 500 {self.unit}"]
        lines += [f"dedicated: [{self.gateway}]"] * self.dedicated
        (place / "spec.yaml").write_text("\n".join(lines) + "\n")
        chosen = dice.sample(sorted(LOSSES), dice.randint(1, 3))
        faults = [f"{name}: {dice.uniform(0.05, LOSSES[name]):.2f}" for name in chosen]
        (place / "faults.yaml").write_text("\n".join([*faults, "generation_s: [1, 20]"]) + "\n")
        self.plan = pipeline.plan(pipeline.load(place / "spec.yaml"))
        seed = dice.randrange(10**6)
        self.options = Options(simulate=True, run_dir=self.run, faults=place / "faults.yaml", seed=seed)

    def __str__(self) -> str:
        return f"{self.model}{', dedicated' * self.dedicated}"

    def live(self, dies_after: int | None) -> Result | None:
        """One process: to its end, or to its death after so many answers or commits."""
        visits, where = 0, self.dice.choice(("submit.answered", "submit.sending", "commit.done"))

        def act(name: str) -> None:
            nonlocal visits
            visits += name == where
            if dies_after is not None and visits > dies_after:
                raise _Dies

        failpoints.arm(act)
        try:
            return run_sync(self.plan, self.options)
        except _Dies:
            self.deaths += 1
            return None
        finally:
            failpoints.arm(None)

    def judge(self, result: Result | None) -> list[str]:
        """The vendor's book against ours."""
        tables, book = Tables.read(self.run), bill(self.run, self.gateway)
        if tables is None:
            return [f"{book.accepted} operations, and no store"] if book.accepted else []
        found = list(tables.faults())
        kept = tables.spent + tables.doubtful
        if book.micros > kept:
            found.append(f"the vendor bills {book.micros}; settled, held and doubt are {kept}")
        known = sum(1 for attempt in tables.attempts if attempt.operation)
        cover = sum(1 for each in tables.attempts if not each.operation and each.state in (*_OPEN, "WRITTEN_OFF"))
        if book.accepted > known + cover:
            found.append(f"{book.accepted} were accepted, {known} are known, {cover} attempts cover the others")
        ended = result is not None and not any(attempt.state in _OPEN for attempt in tables.attempts)
        if ended and tables.spent != book.micros:
            found.append(f"nothing is open, and settled is {tables.spent} where the vendor billed {book.micros}")
        if result is not None and not ended and result.exit_code != 5:
            found.append(f"exit code {result.exit_code} with doubts")
        return found


def _play(seed: int, figures: Counter[str]) -> list[str]:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        case = _Case(Path(place), dice)
        found: list[str] = []
        for _ in range(dice.randrange(3)):
            case.live(dice.randrange(1, 12))
            found += case.judge(None)
        result = case.live(None)
        assert result is not None
        found += case.judge(result)
        tables = Tables.read(case.run)
        assert tables is not None
        kinds = Counter(entry.kind for entry in tables.entries)
        figures["doubts"] += kinds["doubt"]
        figures[f"found by a {case.way}"] += kinds["lift"]
        figures[f"voided by a {case.way}"] += kinds["doubt_release"]
        figures[f"booked by a {case.way}"] += kinds["write_off"]
        figures["runs"] += 1
        figures["deaths"] += case.deaths
        figures[f"ended with {result.exit_code}"] += 1
        if result.exit_code not in (0, 4, 5):
            found.append(f"exit code {result.exit_code}")
        return [f"seed {seed} ({case}): {each}" for each in found]


def campaign(size: str, seed: int) -> Report:
    """So many jobs, each of another seed."""
    figures: Counter[str] = Counter()
    found: list[str] = []
    for number in range(RUNS[size]):
        found += _play(seed * 100_000 + number, figures)
    floors = {"runs": RUNS[size], "doubts": 2 * RUNS[size], "deaths": RUNS[size] / 10}
    if size == "merge":
        floors |= dict.fromkeys(("found by a list", "voided by a meter", "booked by a meter"), RUNS[size] / 4)
    found += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("books", dict(sorted(figures.items())), tuple(found))
