"""Four models of Evolink under every fault at once: in the end the vendor's bill is the ledger, credit for credit."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.runtime import inspect
from pipeline.store.journal import Journal
from pipeline.transport.memory import open_world
from pipeline.values.digest import sha256_hex
from tests.stories.jobs import faults, rehearse

SPEC = """\
version: 1
name: story
matrix:
  model: [evolink/qwen-image-edit-plus, evolink/qwen-image-edit, evolink/qwen-image-3.0, evolink/qwen-image-3.0-pro]
  photo: [a.png, b.bmp]
  mood: [snow, rain, fog]
  scene: [desk, sink]
model: "{{ model }}"
images: ["{{ photo }}"]
prompt: "Image 1 in {{ mood }} on a {{ scene }}"
overrides:
  - when: {model: evolink/qwen-image-edit-plus}
    set: {n: 3, seed: 7, params: {callback_url: "https://hooks.example.com/evolink"}}
  - when: {model: evolink/qwen-image-3.0}
    set: {n: 2, size: "16:9"}
  - when: {model: evolink/qwen-image-3.0-pro}
    set: {n: 2, size: "4:5", params: {quality: 2K}}
budget: 1000.00 evolink-credit
on_doubt: POLICY
"""
FAULTS = """\
rate_limit: {requests: 20, period_s: 60, retry_after_s: window}
rate_limited: 0.05
server_error_before: 0.05
server_error_after: 0.05
cut_before: 0.05
cut_after: 0.05
cut_mid: 0.05
malformed_submit: 0.05
failed: 0.05
moderated: {every: 40}
vanished: {every: 45}
fewer: 0.1
more: 0.02
malformed_poll: 0.05
server_error_poll: 0.05
cut_poll: 0.05
expired_links: 0.05
server_error_upload: {first: 1}
cut_upload: 0.3
lost_upload: 0.02
server_error_download: 0.05
cut_download: 0.05
truncated_picture: 0.05
wrong_size_picture: 0.02
page_picture: 0.02
"""


def books(run: Path) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """The vendor's books: {idempotency key: accepted operation} and {operation: what it cost, in 10^-6 credits}."""
    entries: Any = open_world(run / "world.jsonl").bill(operations=True)["operations"]
    lines = map(json.loads, (run / "world.jsonl").read_text().splitlines())
    accepted = {line["order"]["notes"]["key"]: line for line in lines if line["kind"] == "accepted"}
    return accepted, {entry["id"]: entry["micros"] for entry in entries}


def judge_doubts(run: Path) -> int:
    """What a person does who can read the vendor's books: a verdict for each attempt in doubt. How many there were."""
    accepted, costs = books(run)
    journal = Journal.open_read_only(run / "state.db")
    try:
        attempts, run_id = list(journal.attempt_rows()), journal.run_id
    finally:
        journal.close(clean=False)
    settled = {attempt.operation for attempt in attempts if attempt.state == "SETTLED"}
    doubts = [attempt for attempt in attempts if attempt.state in {"DOUBT", "VANISHED"}]
    for doubt in doubts:
        tag = sha256_hex(f"pipeline attempt\n{run_id}/{doubt.attempt}".encode())[:32]
        operation = accepted.get(tag, {"id": "", "vanished": False})
        billed = operation["id"] not in settled and costs.get(operation["id"], 0) > 0
        verdict = "billed" if billed else "not_billed"
        name = operation["id"] if billed and not operation["vanished"] else ""
        inspect.resolve(run, attempt=doubt.attempt, verdict=verdict, why="the vendor's books", operation=name)
    return len(doubts)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["hold", "resubmit"])
def test_whatever_breaks_the_bill_is_the_ledger_credit_for_credit(tmp_path: Path, policy: str) -> None:
    """48 calls, every fault on: after each run nothing is lost, and with every doubt judged the two books are equal."""
    picture = Image.linear_gradient("L").resize((640, 480))
    picture.save(tmp_path / "a.png")
    picture.rotate(90).convert("RGB").save(tmp_path / "b.bmp")
    path, run = tmp_path / "spec.yaml", tmp_path / "run"
    path.write_text(SPEC.replace("POLICY", policy))
    plan = faults(tmp_path, FAULTS)
    for _ in range(8):
        rehearse(path, faults=plan)
        _, costs = books(run)
        with closing(sqlite3.connect(f"file:{run}/state.db?mode=ro", uri=True)) as store:
            ((spent, held, doubt),) = store.execute("SELECT spent, held, doubt FROM account")
            settled = dict(store.execute("SELECT operation, settled FROM attempt WHERE state = 'SETTLED'"))
        assert {name: costs[name] for name in settled} == settled
        assert spent <= sum(costs.values()) <= spent + held + doubt
        if not judge_doubts(run):
            break
    assert (spent, held, doubt) == (sum(costs.values()), 0, 0)
    assert spent > 100_000_000
