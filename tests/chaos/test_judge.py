"""The judge of the kill campaigns finds nothing in an honest run, and finds each thing that is spoilt by hand."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import pipeline
from pipeline.runtime.prepare import Options
from tests.chaos.jobs import PRICE, Job
from tests.chaos.judge import Judge

JOB = Job(tasks=3, n=2, on_doubt="hold", cap=10 * PRICE, faults={"latency_s": 0.05, "generation_s": 2})


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished rehearsal."""
    place = tmp_path_factory.mktemp("honest")
    plan = pipeline.plan(pipeline.load(JOB.write(place)))
    options = Options(simulate=True, run_dir=place / "run", faults=place / "faults.yaml")
    assert pipeline.run_sync(plan, options).exit_code == 0
    return place / "run"


def judge(folder: Path) -> Judge:
    """A judge who has seen nothing yet."""
    return Judge(folder, folder / "world.jsonl", JOB)


def picture(folder: Path) -> Path:
    """The first picture of a run."""
    return min((folder / "images").rglob("*.png"))


def spoil_picture(folder: Path) -> None:
    """Half of a picture under its final name."""
    data = picture(folder).read_bytes()
    picture(folder).write_bytes(data[: len(data) // 2])


def lose_picture(folder: Path) -> None:
    """A picture that the store knows is gone."""
    picture(folder).unlink()


def plant_picture(folder: Path) -> None:
    """A picture that nobody asked for."""
    shutil.copy(picture(folder), folder / "images" / "more.png")


def sell_twice(folder: Path) -> None:
    """The vendor accepted a task once more than anybody here knows."""
    lines = (folder / "world.jsonl").read_text().splitlines()
    entry = next(json.loads(line) for line in lines if '"accepted"' in line)
    entry["id"] = "00000000-0000-4000-8000-000000000000"
    (folder / "world.jsonl").write_text("\n".join([*lines, json.dumps(entry)]) + "\n")


def lose_an_entry(folder: Path) -> None:
    """One movement of money disappears from the store."""
    with sqlite3.connect(folder / "state.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute("DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)")


def overbook(folder: Path) -> None:
    """A settled attempt is booked above its operation's price; every sum and every entry agrees."""
    with sqlite3.connect(folder / "state.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        (attempt,) = db.execute("SELECT min(id) FROM attempt").fetchone()
        db.execute("UPDATE entry SET amount = amount + 7 WHERE attempt = ? AND kind IN ('hold', 'settle')", (attempt,))
        db.execute("UPDATE attempt SET hold = hold + 7, settled = settled + 7 WHERE id = ?", (attempt,))
        db.execute("UPDATE account SET spent = spent + 7")


def void_what_is_billed(folder: Path) -> None:
    """A known operation that the vendor bills is nobody's money."""
    with sqlite3.connect(folder / "state.db") as db:
        db.execute("UPDATE attempt SET state = 'VOID' WHERE id = (SELECT min(id) FROM attempt)")


def tear_manifest(folder: Path) -> None:
    """A manifest that is cut short."""
    data = (folder / "images.arrow").read_bytes()
    (folder / "images.arrow").write_bytes(data[:-20])


def swap_pictures(folder: Path) -> None:
    """The store and the manifest agree on bytes that the vendor never served."""
    entry = [json.loads(line) for line in (folder / "world.jsonl").read_text().splitlines()]
    for each in entry:
        if each["kind"] == "accepted":
            each["order"]["seed"] += 1
    (folder / "world.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entry))


def spoil_nothing(folder: Path) -> None:
    """Everything stays as it was."""


def test_an_honest_run_is_found_honest(honest: Path) -> None:
    """No violation where there is none."""
    assert judge(honest).moment() == []
    assert judge(honest).end(0) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_picture, "does not decode"),
        (lose_picture, "not on the disk"),
        (plant_picture, "neither in the store nor adoptable"),
        (sell_twice, "was accepted 2 times"),
        (sell_twice, "are unknown, 0 attempts cover them"),
        (sell_twice, "the vendor bills"),
        (lose_an_entry, "are not the sum of their entries"),
        (overbook, "its operation costs"),
        (void_what_is_billed, "is void, and its operation costs"),
        (tear_manifest, "cannot be read"),
    ],
)
def test_what_is_spoilt_is_found_after_a_kill(
    honest: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    """Each invariant is looked at: break it, and the judge says so."""
    folder = tmp_path / "run"
    shutil.copytree(honest, folder, ignore=shutil.ignore_patterns("control"))
    spoil(folder)
    assert any(words in violation for violation in judge(folder).moment())


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (swap_pictures, 0, "the manifest has others"),
        (spoil_nothing, 4, "exit code 4 where 0 was due"),
        (spoil_nothing, 6, "there is nothing to wait for"),
        (sell_twice, 0, "nothing is open, and settled is"),
    ],
)
def test_what_is_spoilt_is_found_at_the_end(
    honest: Path, tmp_path: Path, spoil: Callable[[Path], None], code: int, words: str
) -> None:
    """Pictures, exit code and the final sum are compared with the vendor's book."""
    folder = tmp_path / "run"
    shutil.copytree(honest, folder, ignore=shutil.ignore_patterns("control"))
    spoil(folder)
    assert any(words in violation for violation in judge(folder).end(code))
