"""What readers of the manifest rely on: columns, order, the sum of the money, the same bytes from the same store."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from pipeline.engine.facts import (
    CapSet,
    Doubted,
    Fact,
    Held,
    Permitted,
    PictureLost,
    PictureStored,
    Settled,
    TaskAdmitted,
    TaskMoved,
)
from pipeline.engine.phases import Phase
from pipeline.manifest import schema
from pipeline.manifest.rows import BATCH, public_uri
from pipeline.manifest.schema import ManifestMeta
from pipeline.manifest.table import FILES, write_manifest
from pipeline.manifest.verify import verify
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.values.artifact import Artifact
from pipeline.values.digest import sha256_hex
from pipeline.values.rows import Columns, NotedPlan
from pipeline.values.task import Task
from tests.store.stories import EACH, FAULT, LINK, START, Ticking, edited, made, task

#: The columns and types that readers rely on, written out by hand.
IMAGES = """
task_id string, image_index int16, step string, row_id string, row map<string, string>, axes map<string, string>,
sample int32, gateway string, model string, prompt string, negative_prompt string, revised_prompt string,
params string, seed int64, n int16, size_requested string, width int32, height int32, media_type string, bytes int64,
sha256 string, path string,
inputs list<item: struct<uri: string, sha256: string, task_id: string, image_index: int16, sent_as: string>>,
cost_micros int64, currency string, price_source string, operation_id string, attempts int16, in_spec bool,
submitted_at timestamp[us, tz=UTC], completed_at timestamp[us, tz=UTC], stored_at timestamp[us, tz=UTC],
superseded bool
"""
TASKS = """
task_id string, step string, row_id string, axes map<string, string>, sample int32, gateway string, model string,
prompt string, seed int64, n int16, state string, held_micros int64, settled_micros int64, doubt_micros int64,
currency string, images_delivered int16, attempts int16, fault string, fault_message string, operation_id string,
submitted_at timestamp[us, tz=UTC], completed_at timestamp[us, tz=UTC]
"""


@dataclass
class Run:
    """A small finished run: task 0 done, 1 short of a picture, 2 failed, 3 in doubt; prices do not divide evenly."""

    folder: RunFolder
    journal: Journal

    def open(self) -> None:
        """As the next process does."""
        self.journal = Journal.open(self.folder.store, run_id="run", clock=Ticking())


def stored(folder: RunFolder, wanted: Task, attempt: int, index: int, data: bytes) -> Artifact:
    """A picture on disk."""
    blobs = Blobs(folder)
    part = blobs.part(wanted.id, index, attempt)
    with part.open() as sink:
        sink.write(data)
    path = blobs.keep(part, wanted, index, "image/png")
    return Artifact(sha256_hex(data), "image/png", len(data), 64, 48, path, START + index)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """The small run, its manifest not written yet."""
    folder = RunFolder.create(tmp_path / "run")
    journal = Journal.open(folder.store, run_id="run", clock=Ticking())
    made_run = Run(folder, journal)
    journal.note_plan(NotedPlan("aa" * 32, "bb" * 32, "name: test\n", "test", 4))
    facts: list[Fact] = [CapSet("USD", 100 * EACH, "the test")]
    facts += made(0, 1, stored=[stored(folder, task(0), 1, index, b"%d" % index) for index in range(2)])
    facts += [
        TaskAdmitted(task(1)),
        Held(2, 1, 1, 2 * EACH, "USD"),
        Permitted(2),
        Settled(2, 2, 2 * EACH - 1, 0, (LINK, LINK), None, None, "req-2"),
        PictureStored(2, 0, stored(folder, task(1), 2, 0, b"only one")),
        PictureLost(2, 1, FAULT),
        TaskMoved(1, Phase.SHORT, FAULT),
        TaskAdmitted(task(2)),
        TaskMoved(2, Phase.FAILED, FAULT),
        TaskAdmitted(task(3)),
        Held(3, 3, 1, 2 * EACH, "USD"),
        Permitted(3),
        Doubted(3, 2 * EACH, FAULT),
        TaskMoved(3, Phase.IN_DOUBT, FAULT),
    ]
    journal.commit(facts)
    yield made_run
    made_run.journal.close(clean=True)


# --- columns ---


@pytest.mark.parametrize(("fields", "promised"), [(schema.IMAGES, IMAGES), (schema.TASKS, TASKS)])
def test_columns_are_those_of_the_interface(fields: tuple[pa.Field[pa.DataType], ...], promised: str) -> None:
    """Names, order and types are a promise; each column says its meaning."""
    told = ", ".join(f"{field.name} {field.type}" for field in fields)
    assert told == " ".join(promised.split())
    for field in fields:
        assert field.metadata is not None
        assert set(field.metadata) == {b"unit", b"meaning"}
        assert len(field.metadata[b"meaning"]) > 8


def test_every_reader_sees_the_same_rows(run: Run) -> None:
    """Feather, plain Arrow IPC and Parquet agree; the schema names program, job, spec and plan."""
    write_manifest(run.folder.path, run.journal, ManifestMeta("1.2.3", "test", "bb" * 32, "aa" * 32))
    arrow = feather.read_table(run.folder.path / "images.arrow")
    with pa.memory_map(str(run.folder.path / "images.arrow")) as source:
        assert pa.ipc.open_file(source).read_all().equals(arrow)
    assert pq.read_table(run.folder.path / "images.parquet").equals(arrow)
    expected = {"version": "1.2.3", "job": "test", "spec_sha256": "bb" * 32, "plan_sha256": "aa" * 32}
    for name in ("images.arrow", "tasks.arrow"):
        told = feather.read_table(run.folder.path / name).schema.metadata
        assert told == {f"pipeline.{key}".encode(): value.encode() for key, value in expected.items()}
    assert (pq.read_schema(run.folder.path / "images.parquet").metadata or {})[b"pipeline.job"] == b"test"


def test_an_image_row_says_everything(run: Run) -> None:
    """One whole row, compared with a whole row."""
    write_manifest(run.folder.path, run.journal)
    table = feather.read_table(run.folder.path / "images.arrow")
    row = table.slice(0, 1).to_pylist()[0]
    times = [row.pop(name) for name in ("submitted_at", "completed_at", "stored_at")]
    assert all(time.utcoffset().total_seconds() == 0 for time in times)
    assert json.loads(row.pop("params")) == {"prompt_extend": True, "strength": 0.5}
    assert row.pop("sha256") == sha256_hex(b"0")
    nowhere: dict[str, str | None] = {"task_id": None, "image_index": None, "sent_as": None}
    picture = {"sha256": "ab" * 32, **nowhere}
    assert row == {
        "task_id": task(0).id,
        "image_index": 0,
        "step": "main",
        "row_id": "row-0",
        "row": [("zebra", "z"), ("animal", "fox")],
        "axes": [("style", "ink"), ("colour", "red")],
        "sample": 0,
        "gateway": "mulerouter",
        "model": "qwen-image-edit-max",
        "prompt": "a fox",
        "negative_prompt": "blur",
        "revised_prompt": "a red fox",
        "seed": 0,
        "n": 2,
        "size_requested": "1024x1024",
        "width": 64,
        "height": 48,
        "media_type": "image/png",
        "bytes": 1,
        "path": "images/00/0000000000000000-0.png",
        "inputs": [
            {"uri": "photos/fox.png", **picture},
            {"uri": "data:image/png;sha256=" + "ab" * 32, **picture, "sent_as": "image/png"},
            {"uri": "https://pictures.example/in.png", "sha256": None, **nowhere},
            {"uri": None, "sha256": None, "task_id": "cd" * 32, "image_index": 1, "sent_as": None},
        ],
        "cost_micros": EACH,
        "currency": "USD",
        "price_source": "price list, read 2026-01-01",
        "operation_id": "op-1",
        "attempts": 1,
        "in_spec": True,
        "superseded": False,
    }


def test_tasks_say_how_each_ended_and_what_it_cost(run: Run) -> None:
    """A row for every task that entered the store, lost pictures and doubts included."""
    write_manifest(run.folder.path, run.journal)
    names = ["state", "held_micros", "settled_micros", "doubt_micros", "images_delivered", "fault", "operation_id"]
    rows = feather.read_table(run.folder.path / "tasks.arrow").select(names).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("done", 0, 2 * EACH, 0, 2, None, "op-1"),
        ("short", 1, 2 * EACH - 1, 0, 1, "upstream", "req-2"),
        ("failed", 0, 0, 0, 0, "upstream", None),
        ("in_doubt", 0, 0, 2 * EACH, 0, "upstream", None),
    ]


def test_the_remainder_of_a_price_is_on_the_first_picture(run: Run) -> None:
    """The rows of an attempt whose pictures all came add up to what it cost; a lost picture keeps its money."""
    costs = [(row.task.number, row.image_index, row.cost_micros) for row in run.journal.image_rows()]
    share = (2 * EACH - 1) // 2
    assert costs == [(0, 0, EACH), (0, 1, EACH), (1, 0, share + 1)]


def test_a_second_delivery_counts_on(run: Run) -> None:
    """Pictures of a task that was bought twice have indices of their own, in the order of its attempts."""
    again = [stored(run.folder, task(1), 4, index, b"again %d" % index) for index in range(2)]
    run.journal.commit(
        [
            TaskMoved(1, Phase.WAITING),
            Held(4, 1, 2, 2 * EACH, "USD"),
            Permitted(4),
            Settled(4, 2, 2 * EACH, 0, (LINK, LINK), None, None),
            PictureStored(4, 0, again[0]),
            PictureStored(4, 1, again[1]),
            TaskMoved(1, Phase.DONE),
        ]
    )
    rows = [row for row in run.journal.image_rows() if row.task.number == 1]
    assert [(row.attempt, row.image_index, row.attempts) for row in rows] == [(2, 0, 2), (4, 2, 2), (4, 3, 2)]


def test_dropped_tasks_come_last_and_say_so(run: Run) -> None:
    """After an edit the spec's own pictures come first, in its new order."""
    edited(run.journal, replace(task(1), number=0))
    write_manifest(run.folder.path, run.journal)
    table = feather.read_table(run.folder.path / "images.arrow")
    assert table.column("task_id").to_pylist() == [task(1).id, task(0).id, task(0).id]
    assert table.column("in_spec").to_pylist() == [True, False, False]


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://a.example/p.png?X-Amz-Signature=1#f", "https://a.example/p.png"),
        ("https://user:word@a.example:8443/p", "https://a.example:8443/p"),
        ("https://a.example", "https://a.example"),
    ],
)
def test_input_links_lose_what_may_be_secret(url: str, public: str) -> None:
    """No query, no fragment, no user."""
    assert public_uri(url) == public


# --- files ---


def test_the_same_store_gives_the_same_bytes_and_leaves_them_alone(run: Run) -> None:
    """A second write replaces nothing; from scratch, by another process's reading, every byte is the same."""
    place = run.folder.path
    before = os.umask(0)
    try:
        first = write_manifest(place, run.journal)
    finally:
        os.umask(before)
    assert (first.images, first.tasks, first.changed) == (3, 4, FILES)
    known = {name: ((place / name).read_bytes(), (place / name).stat().st_mtime_ns) for name in FILES}
    assert all(stat.S_IMODE((place / name).stat().st_mode) == 0o600 for name in FILES)
    assert write_manifest(place, run.journal).changed == ()
    assert {name: ((place / name).read_bytes(), (place / name).stat().st_mtime_ns) for name in FILES} == known
    assert {run.journal.get_meta(f"manifest:{name}") for name in FILES} == set(first.sha256s.values())
    run.journal.close(clean=True)
    run.open()
    (place / "images.arrow").unlink()
    assert write_manifest(place, run.journal).changed == ("images.arrow",)
    assert {name: (place / name).read_bytes() for name in FILES} == {name: data for name, (data, _) in known.items()}
    assert not [each.name for each in place.iterdir() if each.name.endswith(".new")]


class Many:
    """A store of many pictures, without the store."""

    writable = False

    def __init__(self, one: Columns, batches: Sequence[int]) -> None:
        """The first row, so many times in each batch."""
        self.one, self.batches = one, batches

    def columns(self, size: int) -> Iterator[Columns]:
        """All of them."""
        assert max(self.batches) <= size
        for count in self.batches:
            yield Columns("images", count, {name: [values[0]] * count for name, values in self.one.values.items()})

    def get_meta(self, key: str) -> None:
        """Nothing."""


def test_long_manifests_are_written_in_batches(run: Run, tmp_path: Path) -> None:
    """Memory does not grow with the rows: a batch is the unit; an empty table is a table too."""
    images = next(each for each in run.journal.columns(BATCH) if each.table == "images")
    store = Many(images, [BATCH, BATCH, 1])
    written = write_manifest(tmp_path, store)  # type: ignore[arg-type]
    assert (written.images, written.tasks) == (2 * BATCH + 1, 0)
    with pa.OSFile(str(tmp_path / "images.arrow"), "rb") as source:
        reader = pa.ipc.open_file(source)
        sizes = [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]
    assert sizes == [BATCH, BATCH, 1]
    assert feather.read_table(tmp_path / "tasks.arrow").num_rows == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5000])
def test_columns_come_in_batches_of_one_size(run: Run, size: int) -> None:
    """Each table in its own batches, full but for the last one: the same store is cut the same way."""
    counts: dict[str, list[int]] = {"tasks": [], "images": []}
    for each in run.journal.columns(size):
        counts[each.table].append(each.count)
        assert {len(values) for values in each.values.values()} == {each.count}
    for table, count in (("tasks", 4), ("images", 3)):
        assert counts[table] == [size] * (count // size) + [count % size] * (count % size > 0)


# --- verify ---


def test_a_whole_run_has_no_fault(run: Run) -> None:
    """Nothing is found, and looking changes nothing."""
    write_manifest(run.folder.path, run.journal)
    before = {path: path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file()}
    assert verify(run.folder.path, run.journal) == []
    assert {path: path.read_bytes() for path in run.folder.path.rglob("*") if path.is_file()} == before


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


PICTURE = "images/00/0000000000000000-0.png"


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda place: _flip(place / PICTURE), f"{PICTURE}: its content changed"),
        (lambda place: (place / PICTURE).unlink(), f"{PICTURE}: missing"),
        (lambda place: (place / PICTURE).write_bytes(b""), f"{PICTURE}: has 0 bytes, its row says 1"),
        (lambda place: (place / "images/x.png").touch(), "images/x.png: no row names this file"),
        (lambda place: (place / "images/in").symlink_to(place), "images/in: no row names this file"),
        (lambda place: (place / os.fsdecode(b"images/\xff.png")).touch(), "images/\udcff.png: no row names this file"),
        (lambda place: (place / "images.arrow").unlink(), "images.arrow: missing"),
        (lambda place: (place / "images.parquet").write_bytes(b"PAR1"), "images.parquet: cannot be read"),
        (lambda place: (place / "tasks.arrow").write_bytes(b"ARROW1"), "tasks.arrow: cannot be read"),
    ],
)
def test_harm_to_the_files_is_noticed(run: Run, harm: object, found: str) -> None:
    """A flipped bit, a missing file, a stranger: each is named."""
    write_manifest(run.folder.path, run.journal)
    assert callable(harm)
    harm(run.folder.path)
    faults = verify(run.folder.path, run.journal)
    assert [fault for fault in faults if fault.startswith(found)], faults


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_of_the_manifest_is_noticed(run: Run, name: str) -> None:
    """Arrow itself notices about half of them; padding that nobody reads is covered by the digest in the store."""
    write_manifest(run.folder.path, run.journal)
    path = run.folder.path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 25)):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        assert verify(run.folder.path, run.journal), f"byte {place} of {name}"


def test_a_manifest_that_is_behind_its_store_is_noticed(run: Run) -> None:
    """Rows that the store has and the manifest has not; money that moved since."""
    write_manifest(run.folder.path, run.journal)
    run.journal.commit([TaskAdmitted(task(4)), Held(4, 4, 1, EACH, "USD")])
    assert verify(run.folder.path, run.journal) == [
        "tasks.arrow: has 4 rows, the store says 5",
        f"money: tasks.arrow adds up to 1 held_micros of USD, the entries to {EACH + 1}",
    ]


def test_a_manifest_of_another_plan_is_noticed(run: Run) -> None:
    """The schema's metadata names the plan that the rows come from."""
    write_manifest(run.folder.path, run.journal)
    run.journal.set_meta({"plan_sha256": "cc" * 32})
    faults = verify(run.folder.path, run.journal)
    assert [fault.split(":")[0] for fault in faults] == list(FILES)


def test_two_rows_of_one_file_are_noticed(run: Run) -> None:
    """A table that names a picture twice: the file, and the column that differs from the store."""
    write_manifest(run.folder.path, run.journal)
    path = run.folder.path / "images.arrow"
    table = feather.read_table(path, memory_map=False)
    names = table.column("path").to_pylist()
    forged = table.set_column(table.column_names.index("path"), table.field("path"), pa.array([names[0], *names[:-1]]))
    with pa.ipc.new_file(str(path), forged.schema) as writer:
        writer.write_table(forged)
    faults = verify(run.folder.path, run.journal)
    assert f"{names[0]}: two rows name this file" in faults
    assert f"{names[-1]}: no row names this file" in faults
    assert "images.arrow: column path differs from the store" in faults


def test_a_changed_column_is_named(run: Run) -> None:
    """A table that was written over with other values says which column differs."""
    write_manifest(run.folder.path, run.journal)
    path = run.folder.path / "images.arrow"
    table = feather.read_table(path, memory_map=False)
    place = table.column_names.index("prompt")
    forged = table.set_column(place, table.field(place), pa.array(["a hen"] * table.num_rows))
    with pa.ipc.new_file(str(path), forged.schema) as writer:
        writer.write_table(forged)
    assert verify(run.folder.path, run.journal) == ["images.arrow: column prompt differs from the store"]
