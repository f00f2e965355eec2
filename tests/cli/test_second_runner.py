"""Two commands on one folder, and folders that must not be gone on with: exit codes and words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import cli
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal]}
prompt: "A {{ color }} mug"
budget: 1.00 USD
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with mugs.yaml, and a key that no gateway would take."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MULEROUTER_API_KEY", "not-a-key")
    # Nobody listens there, should anything be sent.
    monkeypatch.setenv("MULEROUTER_BASE_URL", "http://127.0.0.1:9/mulerouter")
    (tmp_path / "mugs.yaml").write_text(SPEC)
    return tmp_path


def call(*arguments: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, arguments)


def test_a_second_run_is_refused_before_it_reads_anything(desk: Path) -> None:
    """Exit 75 in far less than a second, with the holder's pid; no unlocking is needed once the holder is gone."""
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0
    script = (
        "import sys; from pathlib import Path; from pipeline.store.lock import RunLock;"
        "lock = RunLock.take(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", script, "runs/mugs.sim/lock"],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    (desk / "runs/mugs.sim/state.db").rename(desk / "aside")
    (desk / "runs/mugs.sim/state.db").write_bytes(b"being written " * 1000)
    begun = time.monotonic()
    refused = call("run", "--simulate", "mugs.yaml")
    took = time.monotonic() - begun
    assert (refused.exit_code, f"pid {holder.pid}" in refused.stderr, took < 1) == (75, True, True), refused.stderr
    (desk / "aside").rename(desk / "runs/mugs.sim/state.db")
    holder.kill()
    holder.communicate(timeout=20)
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0


def test_a_finished_run_whose_store_rotted_is_not_believed(desk: Path) -> None:
    """`run` exits with 70 and `verify` with 1; both say what is damaged."""
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0
    store = desk / "runs/mugs.sim/state.db"
    data = bytearray(store.read_bytes())
    data[len(data) // 2] ^= 8
    store.write_bytes(data)
    again = call("run", "--simulate", "mugs.yaml")
    assert (again.exit_code, "the store is damaged" in again.stderr) == (70, True)
    found = call("verify", "mugs.sim")
    assert found.exit_code not in (0, 70)
    assert "state.db: its bytes are not those that were written" in found.output


@pytest.mark.parametrize("more", [(), ("--yes",)])
def test_a_copy_beside_its_original_is_refused(desk: Path, more: tuple[str, ...]) -> None:
    """Both would buy what is left, so the copy exits with 2, whatever a script says beforehand; nothing was sent."""
    place = desk / "runs" / "mugs"
    place.mkdir(parents=True)
    journal = Journal.open(place / "state.db", run_id="one", clock=lambda: 1)
    journal.close(clean=False)
    shutil.copytree(place, desk / "copy")
    refused = call("run", "mugs.yaml", "--run-dir", "copy", *more)
    assert refused.exit_code == 2, refused.output
    assert "copy is a copy of" in refused.stderr
    assert f"Go on with the original (--run-dir {place}), or delete one of the two" in refused.stderr
    assert not (desk / "copy" / "log.jsonl").exists()


def test_looking_at_a_finished_run_changes_no_byte(desk: Path) -> None:
    """I13: the same command again, status and verify leave every file of the folder as it was."""
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0
    place = desk / "runs" / "mugs.sim"

    def state() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in place.rglob("*") if path.is_file()}

    before = state()
    for command in (("run", "--simulate", "mugs.yaml"), ("status", "mugs.sim"), ("verify", "mugs.sim")):
        assert call(*command).exit_code == 0
        assert state() == before, command
    with RunLock.take(place / "lock"):
        pass
    assert state() == before


def test_a_store_that_may_not_be_written_says_so_and_that_no_verdict_was_booked(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `chattr +i` or another owner: exit 70, what to look at, and that nothing was booked."""
    (desk / "faults.yaml").write_text("cut_after: {first: 1}\n")
    assert call("run", "--simulate", "mugs.yaml", "--faults", "faults.yaml").exit_code == 5
    real = os.open

    def guarded(path: object, flags: int, *more: int) -> int:
        if str(path).endswith("state.db") and flags & os.O_RDWR:
            raise PermissionError(1, "Operation not permitted", str(path))
        return real(path, flags, *more)  # type: ignore[arg-type]  # any path

    monkeypatch.setattr(os, "open", guarded)
    found = call("resolve", "mugs", "--all", "--billed", "--why", "the console")
    assert found.exit_code == 70
    assert found.stderr.startswith("error: nothing was booked: the store cannot be opened")
    assert "belong to you and may be written (ls -l, lsattr, mount), then run the same command again" in found.stderr
    monkeypatch.undo()


def test_retry_of_a_living_run_is_refused_although_nothing_failed(desk: Path) -> None:
    """Exit 75, as for every other command that would write, with or without the lock file."""
    assert call("run", "--simulate", "mugs.yaml").exit_code == 0
    with RunLock.take(desk / "runs/mugs.sim/lock"):
        assert call("retry", "mugs").exit_code == 75
    script = (
        "import sys; from pathlib import Path; from pipeline.store.journal import Journal;"
        "kept = Journal.open(Path('runs/mugs.sim/state.db'), run_id='x', clock=lambda: 1);"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    found = call("retry", "mugs")
    holder.communicate("")
    assert found.exit_code == 75
    assert "another process is at work in this run folder, although its lock file is gone" in found.stderr
