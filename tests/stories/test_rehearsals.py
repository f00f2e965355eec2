"""Stories: whole jobs in virtual time, through driver, store and adapters, judged by the emulator's own bill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import feather

from pipeline.errors import PlanChanged, RunError
from pipeline.runtime import inspect
from pipeline.transport.memory import open_world
from tests.stories.jobs import bill, footprint, money, rehearse, spec


def test_a_job_ends_with_pictures_a_manifest_and_the_vendors_own_sum(tmp_path: Path) -> None:
    """Six tasks make six whole pictures; ledger, manifest and the emulator's bill agree to the micro-unit."""
    result = rehearse(spec(tmp_path))
    assert (result.state, result.exit_code) == ("complete", 0)
    rows = feather.read_table(tmp_path / "run" / "images.arrow").to_pylist()
    assert len(rows) == 6
    assert {(row["width"], row["height"]) for row in rows} == {(1328, 1328)}
    assert sum(row["cost_micros"] for row in rows) == money(result)["settled_micros"] == 450_000
    assert bill(tmp_path) == (6, 450_000)
    assert inspect.verify(tmp_path / "run") == []


def test_a_finished_job_sends_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    """The same command again is a look, not a run."""
    path = spec(tmp_path)
    rehearse(path)
    before = footprint(tmp_path / "run")
    result = rehearse(path)
    assert result.exit_code == 0
    assert footprint(tmp_path / "run") == before


def test_a_rehearsal_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    """Same spec, same seed: the same pictures and the same manifest rows."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    rehearse(spec(first))
    rehearse(spec(second))
    for name in ("images.arrow", "tasks.arrow"):
        left = feather.read_table(first / "run" / name).to_pylist()
        assert left == feather.read_table(second / "run" / name).to_pylist(), name


def test_the_job_stops_at_its_budget_and_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    """A cap for three pictures buys three; raising it buys the rest, and nothing twice."""
    path = spec(tmp_path, budget="0.25 USD")
    result = rehearse(path)
    assert (result.state, result.exit_code) == ("budget_reached", 3)
    assert bill(tmp_path) == (3, 225_000)
    raised = rehearse(path, budget="1.00 USD")
    assert raised.exit_code == 0
    assert bill(tmp_path) == (6, 450_000)
    again = rehearse(path)
    assert again.exit_code == 0, "--budget is kept until the spec's own budget changes"


def test_an_edited_spec_pays_for_the_difference_only(tmp_path: Path) -> None:
    """One more colour buys its slice; a dropped colour keeps its pictures, marked."""
    path = spec(tmp_path)
    rehearse(path)
    path.write_text(path.read_text().replace("[red, teal, black]", "[red, teal, green]"))
    result = rehearse(path)
    assert result.exit_code == 0
    assert bill(tmp_path) == (8, 600_000)
    rows = feather.read_table(tmp_path / "run" / "images.arrow").to_pylist()
    assert len(rows) == 8
    assert sorted(dict(row["axes"])["color"] for row in rows if not row["in_spec"]) == ["black", "black"]


def test_a_limit_runs_the_first_tasks_and_the_rest_later(tmp_path: Path) -> None:
    """`--limit 2` ends with exit 0; without it the same job goes on."""
    path = spec(tmp_path)
    assert rehearse(path, limit=2).exit_code == 0
    assert bill(tmp_path)[0] == 2
    assert rehearse(path).exit_code == 0
    assert bill(tmp_path)[0] == 6


def test_moderated_tasks_fail_are_told_and_cost_nothing(tmp_path: Path) -> None:
    """A refused picture is a failed task with its kind; the ledger frees its hold."""
    faults = tmp_path / "faults.yaml"
    faults.write_text('moderated: {prompt: "teal"}\n')
    result = rehearse(spec(tmp_path), faults=faults)
    assert (result.state, result.exit_code) == ("failed_tasks", 4)
    assert result.status["faults"] == {"moderated": 2}
    assert money(result) == {
        "limit_micros": 2_000_000,
        "settled_micros": 300_000,
        "held_micros": 0,
        "doubt_micros": 0,
    }


def test_a_lost_answer_is_a_doubt_that_stays_held_and_is_never_sent_again(tmp_path: Path) -> None:
    """The gateway accepted and the answer was cut: the hold becomes doubt, and running again sends nothing."""
    faults = tmp_path / "faults.yaml"
    faults.write_text('cut_after: {prompt: "teal"}\n')
    result = rehearse(spec(tmp_path), faults=faults)
    assert (result.state, result.exit_code) == ("in_doubt", 5)
    assert money(result)["doubt_micros"] == 150_000
    accepted, billed = bill(tmp_path)
    assert accepted == 6
    assert billed <= money(result)["settled_micros"] + money(result)["doubt_micros"]
    assert rehearse(spec(tmp_path), faults=faults).exit_code == 5
    assert bill(tmp_path)[0] == 6


def test_a_429_costs_no_attempt(tmp_path: Path) -> None:
    """Refused for pace, every task is bought in the end, once."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("rate_limited: {every: 2}\n")
    result = rehearse(spec(tmp_path, more="retry: {attempts: 1}\n"), faults=faults)
    assert result.exit_code == 0
    assert bill(tmp_path) == (6, 450_000)


@pytest.mark.parametrize(
    "fault", ["cut_download", "truncated_picture", "page_picture", "expired_links", "malformed_poll", "cut_poll"]
)
def test_what_breaks_after_acceptance_is_asked_for_again_and_never_bought_again(tmp_path: Path, fault: str) -> None:
    """Broken polls and downloads are repeated; the bill shows six purchases."""
    faults = tmp_path / "faults.yaml"
    faults.write_text(f"{fault}: {{first: 3}}\n")
    result = rehearse(spec(tmp_path), faults=faults)
    assert result.exit_code == 0
    assert bill(tmp_path) == (6, 450_000)
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.slow
def test_a_killed_rehearsal_goes_on(tmp_path: Path) -> None:
    """Kill -9 in the middle, then the same command: no task twice, and what cannot be known is in doubt, not lost."""
    path = spec(tmp_path, budget="none", more="samples: 8\n")
    line = [sys.executable, "-m", "pipeline", "run", str(path), "--simulate", "--run-dir", str(tmp_path / "run")]
    child = subprocess.Popen([*line, "--quiet"], cwd=tmp_path, env={**os.environ, "PYTHONSAFEPATH": "1"})
    log, deadline = tmp_path / "run" / "log.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or log.read_text().count("PictureStored") < 5):
        if child.poll() is not None:
            break
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    result = rehearse(path)
    accepted, billed = bill(tmp_path)
    account = money(result)
    doubts = result.status["in_doubt"]
    assert isinstance(doubts, list)
    assert result.exit_code == (5 if doubts else 0)
    assert len(doubts) <= 4, "one crash doubts no more than the unanswered POSTs"
    assert accepted <= 48
    assert account["settled_micros"] <= billed <= account["settled_micros"] + account["doubt_micros"]
    assert inspect.verify(tmp_path / "run") == []


def test_a_doubt_is_resolved_by_the_vendors_own_records(tmp_path: Path) -> None:
    """The emulator's book names an operation we never heard of: its picture is fetched, and nothing is bought twice."""
    faults = tmp_path / "faults.yaml"
    faults.write_text('cut_after: {prompt: "teal mug on a desk"}\n')
    path = spec(tmp_path)
    result = rehearse(path, faults=faults)
    assert result.exit_code == 5
    doubt = inspect.doubts(tmp_path / "run")[0]
    tasks = feather.read_table(tmp_path / "run" / "tasks.arrow").to_pylist()
    known = {row["operation_id"] for row in tasks}
    book = open_world(tmp_path / "run" / "world.jsonl").bill(operations=True)["operations"]
    assert isinstance(book, list)
    (lost,) = {str(each["id"]) for each in book} - known
    number = int(str(doubt["attempt"]))
    assert inspect.resolve(tmp_path / "run", attempt=number, verdict="billed", operation=lost, why="the book") == 1
    final = rehearse(path)
    assert final.exit_code == 0
    assert final.status["images"] == 6
    assert bill(tmp_path) == (6, money(final)["settled_micros"])
    assert inspect.verify(tmp_path / "run") == []


def test_a_doubt_that_was_not_billed_is_bought_again(tmp_path: Path) -> None:
    """The cut came before the gateway saw the request: the operator says so, and the task is done."""
    faults = tmp_path / "faults.yaml"
    faults.write_text('cut_before: {prompt: "teal mug on a desk"}\n')
    path = spec(tmp_path)
    assert rehearse(path, faults=faults).exit_code == 5
    assert inspect.resolve(tmp_path / "run", attempt=None, verdict="not_billed", why="not in the book") == 1
    assert rehearse(path).exit_code == 0
    assert bill(tmp_path) == (6, 450_000)


def test_failed_tasks_go_again_when_asked(tmp_path: Path) -> None:
    """`retry` sends what failed once more; the rest is left as it is."""
    faults = tmp_path / "faults.yaml"
    faults.write_text('moderated: {prompt: "teal"}\n')
    path = spec(tmp_path)
    assert rehearse(path, faults=faults).exit_code == 4
    assert inspect.retry(tmp_path / "run", ["rejected"]).tasks == 0
    assert inspect.retry(tmp_path / "run", ["moderated"]).tasks == 2
    assert rehearse(path).exit_code == 0
    assert bill(tmp_path)[1] == 450_000


def test_a_deleted_manifest_comes_back_with_the_same_command(tmp_path: Path) -> None:
    """The manifest is a projection of the store: running a finished job writes it anew, byte for byte."""
    path = spec(tmp_path)
    rehearse(path)
    arrow = tmp_path / "run" / "images.arrow"
    before = arrow.read_bytes()
    arrow.unlink()
    assert rehearse(path).exit_code == 0
    assert arrow.read_bytes() == before
    assert bill(tmp_path)[0] == 6


def test_fresh_starts_a_finished_job_anew_and_keeps_the_old_folder(tmp_path: Path) -> None:
    """`--fresh` renames the finished run and buys everything again."""
    path = spec(tmp_path)
    rehearse(path)
    again = rehearse(path, fresh=True)
    assert again.exit_code == 0
    assert any("the old run is kept as" in note for note in again.notes)
    assert (tmp_path / "run.1" / "images.arrow").is_file()
    assert bill(tmp_path) == (6, 450_000)


def test_a_finished_run_is_not_taken_for_another_specs(tmp_path: Path) -> None:
    """The same text at another path is another spec: refused, unless the user agrees."""
    path = spec(tmp_path)
    rehearse(path)
    other = tmp_path / "other.yaml"
    other.write_text(path.read_text())
    with pytest.raises(PlanChanged):
        rehearse(other)
    assert rehearse(other, yes=True).exit_code == 0


def test_a_folder_that_lost_its_store_is_refused(tmp_path: Path) -> None:
    """Without the store nobody knows what was bought: going on would buy it again, so only `--fresh` may."""
    path = spec(tmp_path)
    rehearse(path)
    (tmp_path / "run" / "state.db").unlink()
    with pytest.raises(RunError, match="whose store"):
        rehearse(path)
    assert bill(tmp_path)[0] == 6
    assert rehearse(path, fresh=True).exit_code == 0


def test_a_store_that_was_never_born_is_made_anew(tmp_path: Path) -> None:
    """A disk that was full while the store was made leaves a file without tables; the same command goes on."""
    folder = tmp_path / "run"
    folder.mkdir()
    db = sqlite3.connect(folder / "state.db")
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    assert rehearse(spec(tmp_path)).exit_code == 0


def test_a_rehearsal_runs_in_any_thread(tmp_path: Path) -> None:
    """A library call from a worker thread takes no signals and ends like any other."""
    path = spec(tmp_path)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(rehearse, path).result(timeout=60).exit_code == 0


def test_a_finished_run_says_that_pictures_are_gone(tmp_path: Path) -> None:
    """Nothing is bought again for a deleted file, and nobody is told that all is well."""
    path = spec(tmp_path)
    rehearse(path)
    next((tmp_path / "run" / "images").rglob("*.png")).unlink()
    result = rehearse(path)
    assert any("pipeline verify" in note for note in result.notes)
    assert bill(tmp_path)[0] == 6
