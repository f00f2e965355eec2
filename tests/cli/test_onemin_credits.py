"""1min.ai with every fault on: what the ledger says against the emulator's own book, credit for credit.

`python -m tests.cli.test_onemin_credits RUN_FOLDER WORLD_FILE` compares any run with any world.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from pipeline.simulator.orders import Operation
from pipeline.simulator.world import World
from pipeline.store.journal import Journal

SPEC = """\
version: 1
name: credits
model: 1min/qwen-image-edit-plus
matrix:
  picture: [astronaut.png, coffee.png]
  season: [spring, summer, autumn, winter]
  count: [1, 2]
samples: {samples}
images: ["{{{{ picture }}}}"]
n: "{{{{ count }}}}"
prompt: "Image 1 in {{{{ season }}}}, {{{{ count }}}} times."
size: 512x512
prices: {{1min/qwen-image-edit-plus: 100 1min-credit}}
budget: 100000 1min-credit
"""
FAULTS = """\
rate_limit: {requests: 20, period_s: 60, retry_after_s: window}
rate_limited: 0.03
server_error_before: 0.02
server_error_after: 0.02
cut_before: 0.02
cut_after: 0.02
cut_mid: 0.02
malformed_submit: 0.02
failed: 0.02
moderated: 0.02
stuck: 0.01
vanished: 0.02
fewer: 0.1
more: 0.02
malformed_poll: 0.1
server_error_poll: 0.1
cut_poll: 0.1
expired_links: 0.02
server_error_upload: 0.3
cut_upload: 0.3
lost_upload: 0.03
asset_refused: 0.1
server_error_download: 0.1
cut_download: 0.1
truncated_picture: 0.05
page_picture: 0.05
wrong_size_picture: 0.02
"""
#: A run that parked: it goes on where it is called again.
PARKED = 6
#: Some tasks have fewer pictures than asked, or none.
SHORT = 4


def compare(folder: Path, world_file: Path) -> tuple[list[str], Counter[str]]:
    """Everything in which the run's ledger and the vendor's book differ, and how many of what there were."""
    journal = Journal.open_read_only(folder / "state.db")
    try:
        attempts = [row for row in journal.attempt_rows() if row.gateway == "1min"]
        asked = {row.task.id: (row.task.prompt, row.task.seed) for row in journal.task_rows()}
        (account,) = (one for one in journal.accounts() if one.currency == "1min-credit")
    finally:
        journal.close(clean=False)
    books = World.load(world_file.read_text(encoding="utf-8").splitlines())._books
    # What is still being made will be billed: nothing that was accepted can be called off.
    sold = {one.id: one for one in books.operations.values() if one.order.gateway == "1min" and one.end == "completed"}
    counts: Counter[str] = Counter(row.state for row in attempts)
    found, unclaimed = [], dict(sold)
    for row in attempts:
        if row.state != "SETTLED":
            continue
        operation = unclaimed.pop(row.request_id, None)
        if operation is None:
            found.append(f"attempt {row.attempt} is booked and on no bill: {row.request_id}")
        elif row.settled_micros != _cost(operation):
            found.append(f"attempt {row.attempt} is booked with {row.settled_micros}, billed {_cost(operation)}")
    doubts: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for row in attempts:
        if row.state in {"DOUBT", "VANISHED"}:
            doubts[asked[row.task_id]].append(row.open_micros)
    for operation in unclaimed.values():
        counts["billed in doubt"] += 1
        held = doubts[operation.order.prompt, operation.order.seed]
        if not held or held.pop() < _cost(operation):
            found.append(f"{operation.id} costs {_cost(operation)} and is neither booked nor in doubt")
    bill, doubtful = sum(map(_cost, sold.values())), sum(map(_cost, unclaimed.values()))
    if account.spent + doubtful != bill:
        found.append(f"spent {account.spent} and {doubtful} in doubt make another sum than the bill, {bill}")
    if not account.spent <= bill <= account.spent + account.doubt:
        found.append(f"the bill, {bill}, is not within {account.spent} and {account.doubt} more")
    counts["bill"], counts["spent"], counts["doubt"], counts["overage"] = (
        micros // 1_000_000 for micros in (bill, account.spent, account.doubt, account.overage)
    )
    counts["uploads"] = len(books.uploads)
    return found, counts


def _cost(operation: Operation) -> int:
    return operation.billed_micros(operation.ends_at)


def rehearse(folder: Path, samples: int, faults: str) -> tuple[int, Path, str]:
    """Run the spec until nothing is left to do; the exit code, the run folder and what was said."""
    for name in ("astronaut.png", "coffee.png"):
        shutil.copy(Path(__file__).parents[2] / "specs" / "assets" / name, folder / name)
    (folder / "spec.yaml").write_text(SPEC.format(samples=samples), encoding="utf-8")
    (folder / "faults.yaml").write_text(faults, encoding="utf-8")
    place = folder / "run"
    arguments = ["run", str(folder / "spec.yaml"), "--simulate", "--faults", str(folder / "faults.yaml"), "--yes"]
    said = ""
    for _ in range(12):
        result = CliRunner().invoke(cli, [*arguments, "--run-dir", str(place)])
        said += result.output
        if result.exit_code != PARKED:
            break
    return int(result.exit_code), place, said


@pytest.mark.slow
def test_200_tasks_with_every_fault_on_end_with_a_ledger_that_is_the_bill(tmp_path: Path) -> None:
    """208 calls: what was booked is what was billed, each call's own sum; what was billed besides is in doubt."""
    code, place, said = rehearse(tmp_path, 13, FAULTS)
    found, counts = compare(place, place / "world.jsonl")
    assert found == []
    assert code == 5, counts
    assert counts["SETTLED"] > 150
    assert counts["billed in doubt"] > 5
    assert counts["DOUBT"] > counts["billed in doubt"]
    assert counts["overage"] > 0
    assert "a paid picture cannot be had" in said, "what is lost is said"


@pytest.mark.slow
def test_without_faults_each_picture_is_uploaded_once(tmp_path: Path) -> None:
    """16 calls of two pictures: two uploads, and the ledger is the bill to the last credit."""
    code, place, _ = rehearse(tmp_path, 1, "latency_s: 0.1\n")
    found, counts = compare(place, place / "world.jsonl")
    assert (code, found) == (0, [])
    assert counts == Counter(SETTLED=16, bill=2400, spent=2400, uploads=2, doubt=0, overage=0)


@pytest.mark.slow
def test_a_team_without_credits_parks_the_run_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Credits for 10 of 24 pictures: what fits is bought and collected; when the team has more, so is the rest."""
    code, place, said = rehearse(tmp_path, 1, "latency_s: 0.1\nonemin_credits: 1000\n")
    found, counts = compare(place, place / "world.jsonl")
    assert (code, found) == (PARKED, [])
    assert 800 < counts["bill"] <= 1000
    assert "The feature requires" in said
    code, place, _ = rehearse(tmp_path, 1, "latency_s: 0.1\n")
    found, counts = compare(place, place / "world.jsonl")
    assert (code, found) == (0, [])
    assert (counts["bill"], counts["uploads"]) == (2400, 2)


@pytest.mark.slow
def test_what_the_asset_host_refuses_is_lost_and_booked(tmp_path: Path) -> None:
    """Each second picture of a call is paid and lost; the task is short, the exit code says so."""
    code, place, said = rehearse(tmp_path, 1, "latency_s: 0.1\nasset_refused: 1\n")
    found, counts = compare(place, place / "world.jsonl")
    assert (code, found) == (SHORT, [])
    assert (counts["SETTLED"], counts["bill"], counts["spent"]) == (16, 2400, 2400)
    assert "8 short (fewer pictures came than were asked for): 1 of 2 pictures" in said


if __name__ == "__main__":
    differences, told = compare(Path(sys.argv[1]), Path(sys.argv[2]))
    print(dict(told))
    print("\n".join(differences) or "the ledger is the bill")
    sys.exit(1 if differences else 0)
