"""Jobs at gateways that want uploads: each picture once, through kills and stops; the money agrees with the bill."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pipeline
from pipeline.errors import StorageFailed
from pipeline.runtime import inspect
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.store.journal import Journal
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.rows import Placement
from pipeline.values.wire import Outcome, Request

SPEC = """\
version: 1
name: uploads
model: MODEL
matrix: {photo: [a.png, b.jpg, c.bmp], mood: [snow, rain, fog, sun]}
images: ["{{ photo }}"]
prompt: "In the {{ mood }}"
prices: {1min/qwen-image-edit-plus: 100 1min-credit}
budget: {limits: [9 USD, 99 evolink-credit, 9000 1min-credit]}
"""
EVOLINK, ONEMIN = "evolink/qwen-image-edit-plus", "1min/qwen-image-edit-plus"


def spec(folder: Path, model: str = EVOLINK, more: str = "") -> Path:
    """Twelve edits of three photographs, of which one is of a type that no upload takes."""
    for name in ("a.png", "b.jpg", "c.bmp"):
        Image.linear_gradient("L").resize((400 + ord(name[0]), 400)).convert("RGB").save(folder / name)
    path = folder / "spec.yaml"
    path.write_text(SPEC.replace("MODEL", model).replace("c.bmp", "c.bmp" if model == EVOLINK else "b.jpg") + more)
    if model != EVOLINK:
        path.write_text(path.read_text().replace("[a.png, b.jpg, b.jpg]", "[a.png, b.jpg]"))
    return path


def rehearse(path: Path, faults: str = "") -> Result:
    """Run it in virtual time."""
    given = None
    if faults:
        given = path.parent / "faults.yaml"
        given.write_text(faults)
    options = Options(simulate=True, run_dir=path.parent / "run", faults=given)
    return pipeline.run_sync(pipeline.plan(pipeline.load(path)), options)


def book(folder: Path, gateway: str = "evolink") -> dict[str, Any]:
    """The emulator's own book."""
    found = open_world(folder / "run" / "world.jsonl").bill()["gateways"]
    assert isinstance(found, dict)
    made: dict[str, Any] = found[gateway]
    return made


def account(result: Result, unit: str) -> dict[str, int]:
    """The run's account in a unit."""
    accounts = result.status["money"]
    assert isinstance(accounts, dict)
    made: dict[str, int] = accounts[unit]
    return made


def test_twelve_edits_of_three_photographs_upload_three_pictures(tmp_path: Path) -> None:
    """The bill is the ledger's sum, and the manifest says which picture was converted on the way."""
    from pyarrow import feather

    result = rehearse(spec(tmp_path))
    told = book(tmp_path)
    assert (result.state, told["accepted"], told["uploads"]) == ("complete", 12, 3)
    assert told["micros"] == account(result, "evolink-credit")["settled_micros"] == 12 * 1_500_000
    rows = feather.read_table(tmp_path / "run" / "images.arrow").column("inputs").to_pylist()
    kinds = {(row[0]["uri"], row[0]["sent_as"]) for row in rows if row}
    assert kinds == {("a.png", None), ("b.jpg", None), ("c.bmp", "image/png")}


@pytest.mark.parametrize(("model", "gateway", "pictures"), [(EVOLINK, "evolink", 3), (ONEMIN, "1min", 2)])
def test_faults_of_uploads_cost_nothing_and_lose_nothing(
    tmp_path: Path, model: str, gateway: str, pictures: int
) -> None:
    """Half of the uploads fail or are not answered, and a quarter are gone when a submit names them."""
    faults = "server_error_upload: 0.5\ncut_upload: 0.3\nlost_upload: 0.25\n"
    result = rehearse(spec(tmp_path, model), faults)
    told = book(tmp_path, gateway)
    assert result.state in {"complete", "failed_tasks"}
    assert told["uploads"] > pictures
    assert told["micros"] == account(result, told["unit"])["settled_micros"]
    assert account(result, told["unit"])["doubt_micros"] == 0
    assert inspect.verify(tmp_path / "run") == []


def test_a_process_that_dies_with_an_upload_leaves_no_doubt_and_uploads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture stands at the gateway and nothing of that is written down: nothing was bought, so nothing is lost."""
    path = spec(tmp_path)

    def dies(_journal: Journal, _placement: Placement) -> None:
        raise StorageFailed("as a kill would")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "keep_placement", dies)
        with pytest.raises(StorageFailed):
            rehearse(path)
    before = book(tmp_path)
    assert before["accepted"] == 0
    result = rehearse(path)
    after = book(tmp_path)
    assert (result.state, after["accepted"]) == ("complete", 12)
    assert before["uploads"] < after["uploads"] == before["uploads"] + 3
    assert account(result, "evolink-credit")["doubt_micros"] == 0


def door_that(monkeypatch: pytest.MonkeyPatch, acts: Callable[[Request], None]) -> None:
    """Every request of the rehearsal is shown to `acts` before it leaves."""
    whole = MemoryDoor.exchange

    async def exchange(self: MemoryDoor, request: Request, *, timeout_s: float, body_max: int = 2**22) -> Outcome:
        acts(request)
        await asyncio.sleep(0)
        return await whole(self, request, timeout_s=timeout_s, body_max=body_max)

    monkeypatch.setattr(MemoryDoor, "exchange", exchange)


def test_ctrl_c_in_an_upload_stops_at_once_and_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was submitted, so there is nothing to wait for; what was uploaded by then is not uploaded again."""
    path = spec(tmp_path)
    seen: list[str] = []

    def acts(request: Request) -> None:
        seen.append(request.base or request.path)
        if seen[-1] == "files" and seen.count("files") == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        door_that(patch, acts)
        result = rehearse(path)
    assert result.exit_code == 130
    assert set(seen) <= {"files", "/v1/credits"}
    assert account(result, "evolink-credit")["held_micros"] == 0
    result = rehearse(path)
    assert (result.state, book(tmp_path)["accepted"]) == ("complete", 12)


def test_a_second_run_of_more_tasks_uploads_nothing_anew(tmp_path: Path) -> None:
    """The store knows where the pictures stand."""
    path = spec(tmp_path)
    rehearse(path)
    path.write_text(path.read_text().replace("sun]", "sun, hail, wind]"))
    assert rehearse(path).state == "complete"
    assert (book(tmp_path)["accepted"], book(tmp_path)["uploads"]) == (18, 3)


def test_a_key_that_is_refused_at_the_upload_parks_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No task fails for it and no money is put aside: the next run, with a good key, goes on."""
    path = spec(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.transport.memory._KEY", "")
        result = rehearse(path)
    assert result.state == "parked"
    counts = result.status["phases"] if "phases" in result.status else result.status["tasks"]
    assert isinstance(counts, dict)
    assert not counts.get("failed")
    assert rehearse(path).state == "complete"


def test_under_resubmit_the_idempotency_key_buys_nothing_twice(tmp_path: Path) -> None:
    """Evolink answers a repeated key with its first answer: every lost answer is found, and no doubt is left.

    *Source* - the vendor's client (observed): Idempotency-Key, and `idempotency-replayed` in the answer.
    """
    path = spec(tmp_path, more="on_doubt: resubmit\n")
    result = rehearse(path, "cut_after: {every: 2}\nserver_error_after: {first: 2}\n")
    told, money = book(tmp_path), account(result, "evolink-credit")
    assert result.state == "complete"
    assert told["accepted"] == 12
    assert (money["settled_micros"], money["doubt_micros"], money["held_micros"]) == (told["micros"], 0, 0)


def test_a_resubmit_after_an_upload_was_lost_holds_the_money_of_one_purchase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture has to be uploaded anew, so the body differs and the repeated key is a conflict: nothing is bought.

    The first attempt stays in doubt, with one hold and not with two, and no later run asks a third time.
    """
    path = spec(tmp_path)
    path.write_text(path.read_text().replace("[a.png, b.jpg, c.bmp]", "[a.png]").replace("snow, rain, fog, ", ""))
    assert rehearse(path, "cut_after: {first: 1}\n").state == "in_doubt"
    with closing(sqlite3.connect(tmp_path / "run" / "state.db")) as store, store:
        assert store.execute("DELETE FROM placement").rowcount == 1
    (tmp_path / "run" / "state.db.seal").unlink()
    path.write_text(path.read_text() + "on_doubt: resubmit\n")
    posts: list[str] = []
    door_that(monkeypatch, lambda request: posts.append(request.path) if not request.free else None)
    for asked in (1, 0):
        posts.clear()
        result = rehearse(path)
        assert posts.count("/v1/images/generations") == asked
        assert (result.state, book(tmp_path)["accepted"]) == ("in_doubt", 1)
        money = account(result, "evolink-credit")
        assert (money["settled_micros"], money["held_micros"], money["doubt_micros"]) == (0, 0, 1_500_000)


def test_every_gateway_in_one_matrix(tmp_path: Path) -> None:
    """The shipped spec: eight models at four gateways, each bill in its own unit equal to what was spent in it."""
    source = Path(__file__).parents[2] / "specs" / "multi-gateway.yaml"
    options = Options(simulate=True, run_dir=tmp_path / "run")
    result = pipeline.run_sync(pipeline.plan(pipeline.load(source)), options)
    assert result.state == "complete"
    bills: dict[str, int] = {}
    for name in ("mulerouter", "evolink", "1min", "dashscope"):
        told = book(tmp_path, name)
        bills[told["unit"]] = bills.get(told["unit"], 0) + told["micros"]
    assert bills == {unit: account(result, unit)["settled_micros"] for unit in bills}
    assert [book(tmp_path, name)["uploads"] for name in ("evolink", "1min", "dashscope", "mulerouter")] == [3, 3, 0, 0]
