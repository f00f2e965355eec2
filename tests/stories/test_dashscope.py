"""DashScope in whole runs: every fault on, large pictures by way of its storage; the ledger is the emulator's bill."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

import pipeline
from pipeline.runtime import inspect
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.runtime.serve import Server, environment
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.orders import Operation
from pipeline.simulator.world import World
from pipeline.store.journal import Journal
from pipeline.transport.memory import open_world
from tests.stories.jobs import faults, rehearse

MODELS = "qwen-image-2.0-pro, qwen-image-2.0, qwen-image-max, qwen-image-plus, qwen-image"
EVERY_MODEL = f"""\
version: 1
name: story
matrix:
  model: [{MODELS}]
  color: [red, teal, black, white, green, blue, amber, pink]
model: "dashscope/{{{{ model }}}}"
prompt: "A {{{{ color }}}} mug"
samples: 5
overrides: [{{when: {{model: [qwen-image-2.0-pro, qwen-image-2.0]}}, set: {{size: 512x512}}}}]
budget: 50 USD
"""
EVERY_FAULT = """\
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
stuck: 0.005
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
server_error_download: 0.1
cut_download: 0.1
truncated_picture: 0.05
page_picture: 0.05
wrong_size_picture: 0.02
"""
LARGE = """\
version: 1
name: story
matrix:
  model: [qwen-image-edit, qwen-image-edit-plus]
  mood: [snow, rain, fog]
model: "dashscope/{{ model }}"
images: [large.png, small.png]
prompt: "Image 1 in {{ mood }}"
budget: 5 USD
"""
#: A run that parked goes on where it is called again.
PARKED = 6


def compare(folder: Path, world: World) -> tuple[list[str], Counter[str]]:
    """Everything in which the run's ledger and the vendor's book differ, and how many of what there were."""
    journal = Journal.open_read_only(folder / "state.db")
    try:
        attempts = [row for row in journal.attempt_rows() if row.gateway == "dashscope"]
        asked = {row.task.id: (row.task.model, row.task.prompt, row.task.seed) for row in journal.task_rows()}
        (account,) = journal.accounts()
    finally:
        journal.close(clean=False)
    operations = world._books.operations.values()
    sold = {one.id: one for one in operations if one.order.gateway == "dashscope" and one.end == "completed"}
    counts: Counter[str] = Counter(row.state for row in attempts)
    found, unclaimed = [], dict(sold)
    for row in attempts:
        if row.state != "SETTLED" or not row.settled_micros:
            continue
        operation = unclaimed.pop(row.operation or row.request_id, None)
        if operation is None or row.settled_micros != _cost(operation):
            found.append(f"attempt {row.attempt} is booked with {row.settled_micros}, billed {operation}")
    doubts: dict[tuple[str, str, int | None], list[int]] = defaultdict(list)
    for row in attempts:
        if row.state in {"DOUBT", "VANISHED"}:
            doubts[asked[row.task_id]].append(row.open_micros)
    for operation in unclaimed.values():
        counts["billed in doubt"] += 1
        order = operation.order
        held = doubts[order.model, order.prompt, order.seed]
        if not held or held.pop() < min(_cost(operation), order.micros_per_image * order.n):
            found.append(f"{operation.id} costs {_cost(operation)} and is neither booked nor in doubt")
    bill, doubtful = sum(map(_cost, sold.values())), sum(map(_cost, unclaimed.values()))
    if account.spent + doubtful != bill:
        found.append(f"spent {account.spent} and {doubtful} in doubt make another sum than the bill, {bill}")
    counts["accepted"], counts["bill"], counts["spent"] = len(operations), bill, account.spent
    return found, counts


def _cost(operation: Operation) -> int:
    return operation.billed_micros(operation.ends_at)


def book(folder: Path) -> dict[str, Any]:
    """The emulator's own book of a rehearsal."""
    found: Any = open_world(folder / "run" / "world.jsonl").bill()["gateways"]
    return dict(found["dashscope"])


def column(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    """Columns of the manifest, row by row."""
    with pa.memory_map(str(folder / "run" / "images.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def pictures(folder: Path) -> None:
    """One that is too large for the body, and one that is not."""
    noise = random.Random(1).randbytes(1800 * 1500 * 3)
    Image.frombytes("RGB", (1800, 1500), noise).save(folder / "large.png", compress_level=0)
    assert 7_864_302 < (folder / "large.png").stat().st_size < 10_000_000
    Image.linear_gradient("L").resize((600, 400)).save(folder / "small.png")


@pytest.mark.slow
def test_200_tasks_with_every_fault_on_end_with_a_ledger_that_is_the_bill(tmp_path: Path) -> None:
    """Calls and tasks of five models: each is booked with its own bill; what was billed besides is in doubt."""
    path = tmp_path / "spec.yaml"
    path.write_text(EVERY_MODEL)
    plan = faults(tmp_path, EVERY_FAULT)
    for _ in range(12):
        result = rehearse(path, faults=plan)
        if result.exit_code != PARKED:
            break
    found, counts = compare(tmp_path / "run", open_world(tmp_path / "run" / "world.jsonl"))
    assert found == []
    assert result.exit_code == 5, counts
    assert counts["SETTLED"] > 150
    assert counts["billed in doubt"] > 5
    assert inspect.verify(tmp_path / "run") == []


def test_a_large_picture_is_uploaded_once_for_each_model(tmp_path: Path) -> None:
    """The storage binds an upload to a model: two models, two uploads, however many tasks; the small one is inline."""
    pictures(tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(LARGE)
    result = rehearse(path)
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert (book(tmp_path)["uploads"], book(tmp_path)["micros"]) == (2, 3 * 45_000 + 3 * 30_000)
    assert inspect.verify(tmp_path / "run") == []


@pytest.mark.slow
def test_uploads_that_break_are_begun_anew(tmp_path: Path) -> None:
    """503 from the storage, and answers of it that are lost: every task is done, each call is paid once."""
    pictures(tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(LARGE)
    plan = faults(tmp_path, "server_error_upload: {every: 2}\ncut_upload: {first: 1}\n")
    result = rehearse(path, faults=plan)
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert book(tmp_path)["micros"] == 3 * 45_000 + 3 * 30_000
    assert book(tmp_path)["uploads"] >= 2


def test_an_upload_that_the_storage_lost_is_put_there_again(tmp_path: Path) -> None:
    """The submit that names it is refused, unbilled; the picture is uploaded once more and every task is done."""
    pictures(tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(LARGE)
    result = rehearse(path, faults=faults(tmp_path, "lost_upload: {first: 1}\n"))
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert (book(tmp_path)["uploads"], book(tmp_path)["micros"]) == (3, 3 * 45_000 + 3 * 30_000)


def test_sizes_move_to_multiples_of_16_and_the_manifest_says_what_came(tmp_path: Path) -> None:
    """*Source* - API reference: 1033*1032 gives 1040*1024. It is no fault, and the rewritten prompt is kept."""
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: story\nmatrix: {model: [qwen-image-2.0, qwen-image-plus]}\n"
        'model: "dashscope/{{ model }}"\nprompt: A mug\nbudget: 1 USD\n'
        "overrides: [{when: {model: qwen-image-2.0}, set: {size: 1033x1032, n: 2}}]\n"
    )
    result = rehearse(path)
    assert (result.exit_code, result.status["images"]) == (0, 3)
    rewritten = "A mug Every detail is carefully drawn."
    assert sorted(column(tmp_path, "model", "width", "height", "revised_prompt")) == [
        ("qwen-image-2.0", 1040, 1024, None),
        ("qwen-image-2.0", 1040, 1024, None),
        ("qwen-image-plus", 1664, 928, rewritten),
    ]


def test_a_filtered_prompt_is_not_billed_and_the_others_go_on(tmp_path: Path) -> None:
    """DataInspectionFailed, of calls and of tasks: not repeated, and not on the bill."""
    path = tmp_path / "spec.yaml"
    path.write_text(EVERY_MODEL.replace("samples: 5\n", ""))
    result = rehearse(path, faults=faults(tmp_path, 'moderated: {prompt: "teal"}\n'))
    assert result.status["images"] == 35
    found, counts = compare(tmp_path / "run", open_world(tmp_path / "run" / "world.jsonl"))
    assert (found, counts["accepted"]) == ([], 40)
    assert counts["bill"] == counts["spent"]


@pytest.mark.slow
async def test_a_run_over_http_uploads_buys_and_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real door: policy and form, calls and tasks, links; on this machine and nowhere else."""
    pictures(tmp_path)
    path = tmp_path / "spec.yaml"
    path.write_text(LARGE.replace("qwen-image-edit-plus]", "qwen-image-edit-plus, qwen-image-2.0]"))
    worlds: list[World] = []

    def make(links_base: str) -> World:
        plan = parse_faults({"latency_s": 0, "generation_s": 0})
        worlds.append(open_world(None, seed=1, faults=plan, links_base=links_base))
        return worlds[0]

    async with Server(make) as server:
        for name, value in environment(server.port).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-of-a-story")
        job = pipeline.plan(pipeline.load(path))
        result: Result = await pipeline.run(job, Options(run_dir=tmp_path / "run"))
    assert (result.exit_code, result.status["images"]) == (0, 9)
    found, counts = compare(tmp_path / "run", worlds[0])
    assert (found, counts["bill"]) == ([], 3 * 45_000 + 3 * 30_000 + 3 * 35_000)
    assert len(worlds[0]._books.uploads) == 3
