"""What is said of a run folder whose store is damaged, unreadable or folded by another program, and exit codes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli
from pipeline.errors import StorageFailed
from pipeline.store.journal import Journal
from tests.stories.jobs import failing

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal]}
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""
STORE = Path("runs/mugs.sim/state.db")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a finished rehearsal of mugs.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "mugs.yaml").write_text(SPEC)
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0
    return tmp_path


def call(*arguments: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, arguments)


def flip(path: Path, at: int) -> None:
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_one_broken_folder_hides_no_other_from_ls(desk: Path) -> None:
    """`ls` lists every run, names the broken one, says what can be done, and exits with 70."""
    shutil.copytree("runs/mugs.sim", "runs/broken")
    Path("runs/broken/state.db").write_bytes(b"no store at all " * 2000)
    found = call("ls")
    assert found.exit_code == 70
    assert "runs/mugs.sim   done" in found.stdout
    assert "runs/broken     DAMAGED" in found.stdout
    told = json.loads(call("ls", "--json").stdout)["runs"]
    assert [run["state"] for run in told] == ["damaged", "complete"]
    assert "Bring back a whole copy of runs/broken" in told[0]["damage"][0]


@pytest.mark.parametrize(("command", "code"), [("status", 70), ("resolve", 70), ("manifest", 70), ("verify", 4)])
def test_a_store_that_cannot_be_read_says_a_remedy_and_what_it_means_for_money(
    desk: Path, command: str, code: int
) -> None:
    """Each command that only looks; `verify` found a fault, as its exit code says."""
    STORE.write_bytes(b"no store at all " * 2000)
    found = call(command, "mugs")
    assert found.exit_code == code
    said = found.stdout + found.stderr
    assert "Nothing was sent or charged by this command" in said
    assert said.count("Bring back a whole copy of runs/mugs.sim") == 1
    assert "its log.jsonl and in the vendor's own records" in said


@pytest.mark.parametrize("at", [20, 5000])
def test_a_flipped_bit_is_not_called_done(desk: Path, at: int) -> None:
    """`status` and `ls` look at the file's sum: DAMAGED, exit 70; `verify` says it in few lines, with a remedy."""
    flip(STORE, at)
    found = call("status", "mugs")
    assert found.exit_code == 70
    assert "DAMAGED" in found.stdout
    assert "state.db" in found.stdout
    assert call("ls").exit_code == 70
    found = call("verify", "mugs")
    assert found.exit_code == 4
    assert len(found.stdout) < 1200
    assert "Bring back a whole copy of runs/mugs.sim" in found.stdout + found.stderr


def test_many_torn_pages_are_told_in_few_lines(desk: Path) -> None:
    """SQLite names every cell of a page that is gone; three lines and a count are enough."""
    data = bytearray(STORE.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = bytes(range(64))
    STORE.write_bytes(data)
    found = call("verify", "mugs")
    assert found.exit_code == 4
    assert len(found.stdout) < 1500


def test_a_store_that_sqlite3_opened_after_a_kill_is_gone_on_with_and_said(desk: Path) -> None:
    """`status` notes it, `verify` tells it, and the next run goes on with a note that names the likely cause."""
    shutil.rmtree("runs/mugs.sim")
    with failing("told.done", StorageFailed("as a kill would"), after=3):
        assert call("run", "--simulate", "mugs.yaml").exit_code == 70
    journal = Journal.open(STORE, run_id="other", clock=lambda: 1)
    journal.set_meta({"state": "running"})
    shutil.copytree("runs/mugs.sim", "killed", ignore=shutil.ignore_patterns("control"))
    journal.close(clean=False)
    shutil.rmtree("runs/mugs.sim")
    shutil.copytree("killed", "runs/mugs.sim")
    other = sqlite3.connect(STORE)
    other.execute("SELECT count(*) FROM task").fetchall()
    other.close()
    found = call("status", "mugs")
    assert found.exit_code == 0
    assert "note      another program, such as sqlite3" in found.stdout
    assert "another program, such as sqlite3" in call("verify", "mugs").stdout
    found = call("run", "--simulate", "mugs.yaml")
    assert found.exit_code == 0, found.stderr
    assert "another program, such as sqlite3" in found.stderr
    assert call("verify", "mugs").exit_code == 0
