"""`pipeline export`: what loaders get is what the gateways delivered, whole or under another name."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pyarrow import feather

from pipeline.cli.export import FORMATS
from pipeline.cli.main import cli
from pipeline.errors import RunError
from pipeline.export.card import MARK
from pipeline.export.rows import Choice
from pipeline.export.write import Exported, Format, export
from pipeline.plan.review import Review
from pipeline.runtime.remains import reading
from pipeline.values.sheet import unguarded
from tests.runtime.browsing import rehearsed

FOLDERS = ("imagefolder", "webdataset", "parquet")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three pictures, to be copied."""
    return rehearsed(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(honest, tmp_path / "runs" / "mugs.sim"))


def call(*arguments: object) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def edit(folder: Path, words: str, *values: object) -> None:
    """As a stranger would have edited the store."""
    store = sqlite3.connect(folder / "state.db")
    store.execute(words, values)
    store.commit()
    store.close()


def made(folder: Path, place: Path, form: str, choice: Choice | None = None, shard_mb: int = 500) -> Exported:
    """An export, by its own function."""
    with reading(folder) as journal:
        return export(folder, journal, place, Format(form), choice, shard_mb=shard_mb)


def images(folder: Path) -> list[dict[str, Any]]:
    """The rows of images.arrow."""
    rows: list[dict[str, Any]] = feather.read_table(folder / "images.arrow").to_pylist()
    return rows


def read(place: Path, form: str) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What a loader would see: what is said of each picture, and its bytes."""
    match form:
        case "imagefolder":
            for line in (place / "metadata.jsonl").read_text("utf-8").splitlines():
                said = json.loads(line)
                yield said, (place / said["file_name"]).read_bytes()
        case "webdataset":
            for shard in sorted(place.glob("*.tar")):
                with tarfile.open(shard) as tar:
                    files = {member.name: tar.extractfile(member) for member in tar}
                for name in files:
                    if name.endswith(".json"):
                        continue
                    with tarfile.open(shard) as tar:
                        picture, said_of = tar.extractfile(name), tar.extractfile(name.partition(".")[0] + ".json")
                        assert picture is not None
                        assert said_of is not None
                        yield json.loads(said_of.read()), picture.read()
        case _:
            for shard in sorted(place.glob("*.parquet")):
                for row in pq.read_table(shard).to_pylist():
                    yield row, row["image"]["bytes"]


def contents(place: Path) -> dict[str, bytes]:
    """{file: its bytes} of an export."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_formats_of_the_command_are_all_there_are() -> None:
    """The help imports nothing, so the list stands twice."""
    assert tuple(Format) == FORMATS


@pytest.mark.slow
@pytest.mark.parametrize("form", FOLDERS)
def test_every_picture_is_in_byte_for_byte_with_its_row(run: Path, tmp_path: Path, form: str) -> None:
    """In the order of the manifest; the run folder is not touched."""
    before = contents(run)
    done = call("export", run, "--to", form, tmp_path / "out")
    assert (done.exit_code, done.stdout.split(",")[0]) == (0, "3 pictures")
    rows, found = images(run), list(read(tmp_path / "out", form))
    assert [hashlib.sha256(data).hexdigest() for _, data in found] == [row["sha256"] for row in rows]
    for (said, _), row in zip(found, rows, strict=True):
        for name in ("task_id", "image_index", "prompt", "seed", "cost_micros", "sha256", "width", "model"):
            assert said[name] == row[name], name
        axes = said["axes"] if isinstance(said["axes"], dict) else json.loads(said["axes"])
        assert axes == dict(row["axes"])
    assert contents(run) == before


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_the_same_run_gives_the_same_bytes(run: Path, tmp_path: Path, form: str) -> None:
    """No time, no owner, no name of a machine is in an export."""
    for name in ("one", "two"):
        made(run, tmp_path / name, form, shard_mb=0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert not any(str(tmp_path).encode() in data for data in contents(tmp_path / "one").values())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_shards_end_where_they_would_grow_too_long(run: Path, tmp_path: Path, form: str) -> None:
    """A shard holds one picture at least; a loader sees all shards as one."""
    made(run, tmp_path / "out", form, shard_mb=0)
    assert len([*(tmp_path / "out").glob("*-0*.*")]) == 3
    assert len(list(read(tmp_path / "out", form))) == 3


def test_a_table_for_spreadsheets_computes_nothing(run: Path, tmp_path: Path) -> None:
    """With a byte order mark; what would be a formula is text; numbers stay numbers."""
    edit(run, """UPDATE task SET record = replace(record, '"prompt":"', '"prompt":"=1+1;')""")
    made(run, tmp_path / "out.csv", "csv")
    text = (tmp_path / "out.csv").read_bytes().decode("utf-8")
    assert text.startswith("\ufefftask_id,image_index,")
    lines = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    assert [line["prompt"][:2] for line in lines] == ["'="] * 3
    assert [unguarded(line["prompt"])[:5] for line in lines] == ["=1+1;"] * 3
    assert [int(line["cost_micros"]) for line in lines] == [row["cost_micros"] for row in images(run)]
    assert {name for name in lines[0] if name and name.startswith("axes.")}


# --- what is chosen ---


A, B = "aa" * 32, "bb" * 32


@pytest.mark.parametrize(
    ("choice", "stays_out"),
    [
        (Choice(), {"superseded", "dropped"}),
        (Choice(every=True), set()),
        (Choice(Review(frozenset({(A, 0)})), every=True), {"plain", "superseded", "dropped"}),
        (Choice(Review(frozenset({(A, 1)})), every=True), set()),
        (Choice(Review(frozenset({(A, None)}))), {"plain", "superseded", "dropped"}),
        (Choice(Review(frozenset({(B, 0)}))), {"superseded", "dropped"}),
        (Choice(Review(frozenset(), frozenset({"mug"})), every=True), {"plain", "superseded", "dropped"}),
        (Choice(Review(frozenset(), frozenset({"cup"}))), {"superseded", "dropped"}),
    ],
)
def test_what_is_chosen(choice: Choice, stays_out: set[str]) -> None:
    """Rejected pictures never, superseded ones and those that left the spec only when asked for."""
    pictures = {"plain": (True, False), "superseded": (True, True), "dropped": (False, False)}
    left = {
        name
        for name, (in_spec, superseded) in pictures.items()
        if choice.why_not(A, 0, "mug", in_spec=in_spec, superseded=superseded)
    }
    assert left == stays_out


@pytest.mark.slow
def test_a_review_leaves_rejected_pictures_out(run: Path, tmp_path: Path) -> None:
    """And says how many; with nothing left nothing is written."""
    rows = images(run)
    review = tmp_path / "review.csv"
    review.write_text(f"task_id,image_index,reject\n{rows[1]['task_id']},0,yes\n")
    done = call("export", run, "--to", "parquet", tmp_path / "out", "--review", review, "--json")
    assert json.loads(done.stdout)["left_out"] == {"rejected by the review": 1}
    assert [said["task_id"] for said, _ in read(tmp_path / "out", "parquet")] == [
        rows[0]["task_id"],
        rows[2]["task_id"],
    ]
    review.write_text("task_id,reject\n" + "".join(f"{row['task_id']},yes\n" for row in rows))
    none = call("export", run, "--to", "csv", tmp_path / "none.csv", "--review", review)
    assert none.exit_code == 2
    assert "no picture to export" in none.stderr
    assert "3 left out: rejected" in none.stderr
    assert not (tmp_path / "none.csv").exists()


def test_pictures_that_left_the_spec_are_left_out_unless_asked_for(run: Path, tmp_path: Path) -> None:
    """They are kept in the run folder, and no longer part of the job."""
    edit(run, "UPDATE task SET in_spec = 0 WHERE number = 0")
    assert made(run, tmp_path / "job", "imagefolder").left_out == {"no longer in the spec": 1}
    assert made(run, tmp_path / "all", "imagefolder", Choice(every=True)).pictures == 3


# --- whole or not there ---


@pytest.mark.slow
@pytest.mark.parametrize("form", FOLDERS)
@pytest.mark.parametrize("how", ["missing", "flipped", "short", "a link"])
def test_a_picture_that_is_not_what_was_stored_is_told_and_left_out(
    run: Path, tmp_path: Path, form: str, how: str
) -> None:
    """Exit 4; the others are there; the export does not count as whole."""
    path = run / images(run)[1]["path"]
    data = path.read_bytes()
    path.unlink()
    match how:
        case "flipped":
            path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
        case "short":
            path.write_bytes(data[:-1])
        case "a link":
            (tmp_path / "away.png").write_bytes(data)
            path.symlink_to(tmp_path / "away.png")
        case _:
            pass
    done = call("export", run, "--to", form, tmp_path / "out", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["pictures"], found["spoilt"]) == (4, 2, 1)
    assert found["faults"][0].startswith(images(run)[1]["path"])
    assert len(list(read(tmp_path / "out", form))) == 2
    again = call("export", run, "--to", form, tmp_path / "out")
    assert (again.exit_code, "lacks pictures" in again.stderr) == (2, True)


def test_a_missing_picture_has_no_line_in_the_table(run: Path, tmp_path: Path) -> None:
    """A line without its picture would break whoever opens it later."""
    (run / images(run)[0]["path"]).unlink()
    done = call("export", run, "--to", "csv", tmp_path / "out.csv")
    assert done.exit_code == 4
    assert len((tmp_path / "out.csv").read_text("utf-8-sig").splitlines()) == 3


@pytest.mark.parametrize("form", ["imagefolder", "csv"])
@pytest.mark.parametrize(
    ("how", "said"), [("gone", "missing, a row names it"), ("a link", "is no ordinary file"), ("long", "its row says")]
)
def test_a_picture_that_is_named_is_looked_at_like_one_that_is_copied(
    run: Path, tmp_path: Path, form: str, how: str, said: str
) -> None:
    """What is wrong with it is told alike: what is there is not called missing."""
    path = run / images(run)[0]["path"]
    match how:
        case "long":
            path.write_bytes(path.read_bytes() + b"x")
        case _:
            path.unlink()
            if how == "a link":
                path.symlink_to(tmp_path / "away.png")
    (tmp_path / "away.png").write_bytes(b"x")
    done = call("export", run, "--to", form, tmp_path / "out", "--json")
    (fault,) = json.loads(done.stdout)["faults"]
    assert said in fault


KILLED = """
import os, sys
from pathlib import Path
from pipeline.export.write import Format, export
from pipeline.runtime.remains import reading

def tell(made, found):
    if made.pictures == 3:
        os._exit(9)

with reading(Path(sys.argv[1])) as journal:
    export(Path(sys.argv[1]), journal, Path(sys.argv[2]), Format(sys.argv[3]), shard_mb=0, progress=tell)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_a_killed_export_has_another_name_and_the_next_one_is_whole(run: Path, tmp_path: Path, form: str) -> None:
    """Nothing under the name that was asked for; the rest is dropped by the same command."""
    place, whole = tmp_path / "out", tmp_path / "whole"
    done = subprocess.run([sys.executable, "-c", KILLED, run, place, form], timeout=60, check=False)
    assert (done.returncode, place.exists(), (tmp_path / "out.part").exists()) == (9, False, True)
    again = made(run, place, form, shard_mb=0)
    # A shard is whole when the next one begins.
    assert (again.pictures, again.kept) == (3, {"webdataset": 2, "parquet": 1}.get(form, 0))
    made(run, whole, form, shard_mb=0)
    assert contents(place) == contents(whole)
    assert not (tmp_path / "out.part").exists()


FULL = """
import resource, sys
from pipeline.cli.main import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
cli.main(["export", sys.argv[1], "--to", sys.argv[3], sys.argv[2]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", FOLDERS)
def test_a_disk_that_refuses_leaves_nothing_behind(run: Path, tmp_path: Path, form: str) -> None:
    """Exit 70, with the reason."""
    command = [sys.executable, "-c", FULL, str(run), str(tmp_path / "out"), form]
    done = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 70, done.stderr
    assert "nothing of it was kept" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_an_export_that_is_there_already_is_left_alone(run: Path, tmp_path: Path) -> None:
    """The same one is enough; another one is never written over."""
    place = tmp_path / "out"
    made(run, place, "imagefolder")
    before = contents(place)
    assert made(run, place, "imagefolder").already
    for form, choice in (("webdataset", Choice()), ("imagefolder", Choice(Review(frozenset({(A, 0)}))))):
        if form == "imagefolder":
            assert made(run, place, form, choice).already  # it rejects nothing of this run
        else:
            with pytest.raises(RunError, match="stands there already"):
                made(run, place, form, choice)
    edit(run, "UPDATE task SET in_spec = 0 WHERE number = 0")
    with pytest.raises(RunError, match=r"stands there already, as it was then.*\(imagefolder, 3 pictures\)"):
        made(run, place, "imagefolder")
    assert contents(place) == before


@pytest.mark.parametrize("name", ["out", "out.part"])
@pytest.mark.parametrize("what", ["file", "folder", "link", "export of another run"])
def test_what_is_somebody_elses_is_never_written_over(run: Path, tmp_path: Path, name: str, what: str) -> None:
    """Neither in the place that was asked for nor beside it."""
    other, there = tmp_path / "other", tmp_path / name
    other.mkdir()
    (other / "precious").write_text("mine")
    match what:
        case "file":
            there.write_text("mine")
        case "folder":
            shutil.copytree(other, there)
        case "link":
            there.symlink_to(other)
        case _ if name == "out":
            shutil.copytree(other, there)
            (there / MARK).write_text(json.dumps({"pipeline_export": 1, "run_id": "another", "job": "cups"}))
        case _:
            pytest.skip("a rest of any export of ours is dropped")
    for form in FORMATS:
        with pytest.raises(RunError):
            made(run, tmp_path / "out", form)
    assert (other / "precious").read_text() == "mine"
    assert there.is_file() or (there / "precious").read_text() == "mine"


def test_a_run_folder_is_no_place_for_an_export(run: Path, tmp_path: Path) -> None:
    """Not by a link either: `verify` would find files that no row names."""
    (tmp_path / "link").symlink_to(run)
    for place in (run / "images" / "out", run / "out", tmp_path / "link" / "out"):
        with pytest.raises(RunError, match="outside"):
            made(run, place, "imagefolder")


# --- a stranger's folder ---


SECRET = b"a secret of whoever exports"


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name", ["{top}/secret", "../../secret", "images/../../../secret", "state.db", "", "images/a\0b.png", "images/x/"]
)
def test_names_of_a_strangers_store_lead_nowhere(run: Path, tmp_path: Path, form: str, name: str) -> None:
    """Nothing outside is read, nothing outside is written; the other pictures are handed on."""
    (tmp_path / "secret").write_bytes(SECRET)
    path = name.format(top=tmp_path)
    # A stranger's row fits the file.
    digest = hashlib.sha256(SECRET).hexdigest()
    edit(run, "UPDATE picture SET path = ?, bytes = ?, sha256 = ? WHERE attempt = 1", path, len(SECRET), digest)
    found = made(run, tmp_path / "out", form)
    assert (found.pictures, found.spoilt) == (2, 1)
    assert not any(SECRET in data for data in contents(tmp_path / "out").values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "runs", "secret"]


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_an_id_of_a_strangers_store_is_no_name_of_a_file(run: Path, tmp_path: Path, form: str) -> None:
    """Members of an archive have names that lead nowhere, or they are not in it."""
    edit(run, """UPDATE task SET record = replace(record, '"id":"', '"id":"../') WHERE number = 0""")
    found = made(run, tmp_path / "out", form)
    assert (found.pictures, found.spoilt) == (2, 1)


@pytest.mark.parametrize("form", FOLDERS)
def test_a_picture_in_the_place_of_our_own_files_is_left_out(run: Path, tmp_path: Path, form: str) -> None:
    """A hidden name is one that loaders skip: such a picture gets another one."""
    edit(run, "UPDATE picture SET path = 'images/.hidden/__x.png' WHERE attempt = 1")
    (run / "images" / ".hidden").mkdir()
    shutil.copy(run / images(run)[0]["path"], run / "images" / ".hidden" / "__x.png")
    made(run, tmp_path / "out", form)
    found = list(read(tmp_path / "out", form))
    assert len(found) == 3
    assert not any("hidden" in str(said.get("file_name")) for said, _ in found)


# --- the loaders themselves ---


@pytest.mark.slow
def test_real_loaders_read_what_was_written(run: Path, tmp_path: Path) -> None:
    """`datasets` and `webdataset`, where they are installed; a word like `test` in a name makes no split of its own."""
    datasets = pytest.importorskip("datasets", reason="no Hugging Face datasets here")
    webdataset = pytest.importorskip("webdataset", reason="no webdataset here")
    edit(run, "UPDATE picture SET path = 'images/test/train-0.png' WHERE attempt = 1")
    (run / "images" / "test").mkdir()
    shutil.copy(run / images(run)[0]["path"], run / "images" / "test" / "train-0.png")
    for form in FOLDERS:
        made(run, tmp_path / form, form)
        loaded = datasets.load_dataset(str(tmp_path / form), cache_dir=str(tmp_path / "cache"))
        assert {name: split.num_rows for name, split in loaded.items()} == {"train": 3}, form
        picture = loaded["train"][0].get("image") or loaded["train"][0].get("png") or loaded["train"][0].get("jpg")
        assert picture.size == (images(run)[0]["width"], images(run)[0]["height"])
    shards = sorted(str(path) for path in (tmp_path / "webdataset").glob("*.tar"))
    pairs = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [json.loads(pair["json"])["task_id"] for pair in pairs] == [row["task_id"] for row in images(run)]
    assert os.environ.get("HF_HUB_OFFLINE") in (None, "1")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["short", "gone", "torn", "a link", "another length"])
def test_only_shards_that_are_as_they_were_are_kept(run: Path, tmp_path: Path, how: str) -> None:
    """What a kill left is believed as far as it can be checked; the export is the same in any case."""
    place, part = tmp_path / "out", tmp_path / "out.part"
    command = [sys.executable, "-c", KILLED, str(run), str(place), "webdataset"]
    subprocess.run(command, timeout=60, check=False)
    second, notes = part / "shard-000001.tar", part / ".pipeline-export.shards"
    match how:
        case "short":
            second.write_bytes(second.read_bytes()[:-1])
        case "gone":
            second.unlink()
        case "a link":
            second.rename(tmp_path / "away.tar")
            second.symlink_to(tmp_path / "away.tar")
        case "torn":
            notes.write_bytes(notes.read_bytes()[:-5])
        case _:
            pass
    again = made(run, place, "webdataset", shard_mb=1 if how == "another length" else 0)
    assert (again.pictures, again.kept) == (3, 0 if how == "another length" else 1)
    if how != "another length":
        made(run, tmp_path / "whole", "webdataset", shard_mb=0)
        assert contents(place) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_after_a_picture_was_left_out_no_shard_is_kept(run: Path, tmp_path: Path) -> None:
    """Pictures are counted to know what stands where; with one put back the count would be wrong."""
    path = run / images(run)[0]["path"]
    data = path.read_bytes()
    path.unlink()
    script = KILLED.replace("made.pictures == 3", "made.pictures == 2")
    command = [sys.executable, "-c", script, str(run), str(tmp_path / "out"), "webdataset"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9
    path.write_bytes(data)
    again = made(run, tmp_path / "out", "webdataset", shard_mb=0)
    assert (again.pictures, again.kept, again.spoilt) == (3, 0, 0)
    made(run, tmp_path / "whole", "webdataset", shard_mb=0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
