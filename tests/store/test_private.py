"""S12: a run folder is its owner's alone whatever the umask, and no planted link leads our bytes astray."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.runtime import prepare
from pipeline.runtime.inspect import verify
from pipeline.runtime.run import run_sync

SPEC = """\
version: 1
name: private
model: mulerouter/qwen-image-max
matrix: {word: [a, b, c]}
prompt: "A picture of {{ word }}"
outputs: {path: "ink/{{ word }}"}
budget: 10.00 USD
"""


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The process's umask, put back afterwards."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def rehearse(place: Path, *, limit: int | None = None, seen: dict[str, int] | None = None) -> str:
    """Rehearse the job in `place/run`; how it ended or was refused. `seen` gathers what is not private meanwhile."""
    spec = place / "private.yaml"
    spec.write_text(SPEC)
    plan = prepare.plan(prepare.load(spec))

    def look(_: object) -> None:
        if seen is not None:
            seen.update(open_to_others(place / "run"))

    try:
        return run_sync(plan, prepare.Options(simulate=True, run_dir=place / "run", limit=limit), look).state
    except PipelineError as error:
        return str(error)


def open_to_others(folder: Path) -> dict[str, int]:
    """{path: mode} of everything that is not 0600, or 0700 for folders, the run folder included."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        known = path.lstat()
        mode = stat.S_IMODE(known.st_mode)
        if mode != (0o700 if stat.S_ISDIR(known.st_mode) else 0o600):
            found[path.relative_to(folder).as_posix()] = mode
    return found


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777], ids="{:03o}".format)
def test_everything_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    """Every file 0600 and every folder 0700, while a run lives, when it is left, and when it is finished."""
    seen: dict[str, int] = {}
    with umask(mask):
        (tmp_path / "private.yaml").touch(0o600)
        (tmp_path / "private.yaml").chmod(0o600)
        assert rehearse(tmp_path, limit=2, seen=seen) == "complete"
        assert open_to_others(tmp_path / "run") == {}
        assert rehearse(tmp_path, seen=seen) == "complete"
        assert verify(tmp_path / "run") == []
    assert seen == {}
    assert open_to_others(tmp_path / "run") == {}
    assert len(list((tmp_path / "run" / "images" / "ink").iterdir())) == 3


FILES = (
    "state.db",
    "state.db-wal",
    "state.db-journal",
    "state.db.seal",
    ".state.db.seal.new",
    "lock",
    "log.jsonl",
    "blackbox",
    "control",
    "spec.yaml",
    ".spec.yaml.new",
    "images.arrow",
    ".images.arrow.new",
    "images.parquet",
    ".images.parquet.new",
    "tasks.arrow",
    ".tasks.arrow.new",
    "world.jsonl",
    ".parts/kept.jsonl",
    ".parts/1-0.part",
    "images/ink/a.png",
)
FOLDERS = ("images", "images/ink", ".parts", "quarantine")


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard"])
@pytest.mark.parametrize("name", FILES)
def test_a_planted_link_is_refused_or_replaced(tmp_path: Path, name: str, kind: str) -> None:
    """Whatever stands where we write, a file elsewhere keeps its bytes and mode, and none is made there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "victim"
    if kind != "dangling":
        victim.write_bytes(b"precious\n")
        victim.chmod(0o644)
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    if kind == "hard":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim)
    ended = rehearse(tmp_path)
    assert ended == "complete" or "move it away" in ended or "whose store" in ended, ended
    if kind == "dangling":
        assert list(outside.iterdir()) == []
    else:
        assert (victim.read_bytes(), stat.S_IMODE(victim.stat().st_mode)) == (b"precious\n", 0o644)
        assert [each.name for each in outside.iterdir()] == ["victim"]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_planted_folder_link_is_refused(tmp_path: Path, name: str) -> None:
    """No picture and no part lands in a folder elsewhere, and nothing there is moved or deleted."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "old.part").write_bytes(b"precious\n")
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    if name == "quarantine":
        (tmp_path / "run" / "images").mkdir()
        (tmp_path / "run" / "images" / "stranger.png").write_bytes(b"stranger\n")
        (tmp_path / "run" / "state.db").touch()
    ended = rehearse(tmp_path)
    assert ended == "complete" or "move it away" in ended or "whose store" in ended, ended
    assert {each.name: each.read_bytes() for each in outside.iterdir()} == {"old.part": b"precious\n"}
