"""What must be durable before what (docs/reliability.md, W5 and W6): the calls to the system, in their order."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.table import FILES, write_manifest
from pipeline.store import durable
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from tests.store.stories import task

CALLS = ("fsync", "link", "rename", "replace", "unlink")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(call, the file it concerned), in order: a recorder that passes everything on."""
    seen: list[tuple[str, str]] = []

    def watch(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(first: Any, *rest: Any, **more: Any) -> Any:
            place = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else first
            seen.append((name, str(place)))
            return call(first, *rest, **more)

        return watched

    for name in CALLS:
        monkeypatch.setattr(os, name, watch(name, getattr(os, name)))
    return seen


def test_a_picture_is_synced_before_it_is_named_and_its_folder_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    """W6: fsync of the part, the name, fsync of the folder; in this order."""
    blobs = Blobs(RunFolder.create(tmp_path / "run"))
    part = blobs.part(task(0).id, 0, 1)
    with part.open() as sink:
        sink.write(b"picture")
    calls.clear()
    path = tmp_path / "run" / blobs.keep(part, task(0), 0, "image/png")
    synced, named = calls.index(("fsync", str(part.path))), calls.index(("link", str(part.path)))
    assert synced < named < _last(calls, ("fsync", str(path.parent)))


def test_a_small_file_is_synced_before_it_is_named_and_its_folder_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    """`replace` writes beside, syncs, names and syncs the folder."""
    target = tmp_path / "spec.yaml"
    assert durable.replace(target, b"whole")
    kinds = [(name, Path(place).name) for name, place in calls]
    synced = kinds.index(("fsync", ".spec.yaml.new"))
    named = next(index for index, (name, _) in enumerate(kinds) if name in {"rename", "replace"})
    assert synced < named < _last(calls, ("fsync", str(tmp_path)))


def test_a_small_file_that_is_there_already_is_there_after_the_power_went(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    """A death may come between the name and the folder's sync: equal bytes are left alone, their name is synced."""
    target = tmp_path / "spec.yaml"
    target.write_bytes(b"whole")
    calls.clear()
    assert not durable.replace(target, b"whole")
    assert calls == [("fsync", str(tmp_path))]


def test_a_manifest_is_synced_before_it_is_named_and_its_folder_after(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    """All three files."""
    journal = Journal.open(tmp_path / "state.db", run_id="r", clock=lambda: 0)
    calls.clear()
    write_manifest(tmp_path, journal)
    journal.close(clean=True)
    for name in FILES:
        fresh = str(tmp_path / f".{name}.new")
        synced = calls.index(("fsync", fresh))
        named = next(i for i, (call, place) in enumerate(calls) if call in {"rename", "replace"} and place == fresh)
        assert synced < named
    assert _last(calls, ("fsync", str(tmp_path))) > named


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """The store's own settings: the log is synced with every commit, by one exclusive connection, and erases."""
    journal = Journal.open(tmp_path / "state.db", run_id="r", clock=lambda: 0)
    settings = {
        name: journal._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "locking_mode", "secure_delete", "foreign_keys")
    }
    journal.close(clean=True)
    assert settings == {
        "synchronous": 2,
        "journal_mode": "wal",
        "locking_mode": "exclusive",
        "secure_delete": 1,
        "foreign_keys": 1,
    }
    assert sqlite3.sqlite_version_info >= (3, 37)


def _last(calls: list[tuple[str, str]], wanted: tuple[str, str]) -> int:
    return len(calls) - 1 - calls[::-1].index(wanted)
