"""What must be durable before what (docs/reliability.md, W5 and W6): the calls to the system, in their order."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.table import FILES, write_manifest
from pipeline.store import durable, syncing
from pipeline.store.blobs import Blobs, Seen, Wanted
from pipeline.store.folder import RunFolder
from pipeline.store.journal import Journal
from pipeline.store.part import Part
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


def test_a_picture_without_a_name_is_synced_before_it_gets_one(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    """W6 for what came whole: no name before its final one, which comes after its sync."""
    blobs = Blobs(RunFolder.create(tmp_path / "run"))
    part = blobs.part(task(0).id, 0, 1)
    part.fill(b"picture")
    if not part.nameless:
        pytest.skip("this file system has no files without names")
    assert list(part.path.parent.glob("*.part")) == []
    calls.clear()
    wanted = _wanted(part, b"picture")
    blobs.keep_all([wanted])
    path = tmp_path / "run" / wanted.path
    assert [name for name, _ in calls if name in {"link", "rename", "unlink"}] == ["link"]
    named = next(at for at, (name, _) in enumerate(calls) if name == "link")
    assert any("(deleted)" in place for name, place in calls[:named] if name == "fsync")
    assert named < _last(calls, ("fsync", str(path.parent)))
    assert path.read_bytes() == b"picture"


def test_new_folders_are_synced_with_their_pictures_and_each_folder_once(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W6 for names on the way: their folder is synced before a row says STORED, and again while that has failed."""
    blobs = Blobs(RunFolder.create(tmp_path / "run"))
    monkeypatch.setattr(syncing.Syncing, "_whole_is_apt", lambda _: False)
    images, sync = str(tmp_path / "run" / "images"), os.fsync

    def group(name: str) -> list[Wanted]:
        found = []
        for number in range(5):
            part = blobs.part(task(number).id, 0, number + 1)
            part.fill(b"picture")
            seen = Seen("image/png", hashlib.sha256(b"picture").hexdigest(), 7)
            found.append(Wanted(part, task(number, n=1, path=f"{number}/ink/{name}"), 0, seen))
        return found

    def refuses(handle: int) -> None:
        if str(Path(f"/proc/self/fd/{handle}").readlink()) == images:
            raise OSError(5, "Input/output error")
        sync(handle)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuses)
        blobs.keep_all(first := group("fox"))
    assert [type(each.error) for each in first] == [OSError] * 5
    calls.clear()
    blobs.keep_all(second := group("hen"))
    assert [each.error for each in second] == [None] * 5
    synced = [
        place for name, place in calls if name == "fsync" and place.startswith(images) and "(deleted)" not in place
    ]
    way = [*(f"{images}/{number}" for number in range(5)), *(f"{images}/{number}/ink" for number in range(5))]
    # What stands in 0/, 1/ ... was durable at the first go, and only their own names were not.
    assert sorted(synced) == [images, *sorted(way[5:])]
    calls.clear()
    blobs.keep_all(group("elk"))
    assert sorted(place for name, place in calls if name == "fsync" and place.startswith(f"{images}/")) == way[5:]
    assert images not in [place for name, place in calls if name == "fsync"]


def test_one_sync_of_the_whole_file_system_stands_for_those_of_a_group(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W6 for a group: one sync, all names, one sync; where that fails, each file's and folder's own."""
    blobs = Blobs(RunFolder.create(tmp_path / "run"))
    asked: list[int] = []
    monkeypatch.setattr(syncing.Syncing, "_whole_is_apt", lambda _: True)
    monkeypatch.setattr(syncing, "waiting_bytes", lambda: 0)

    def of_all(handle: int) -> None:
        calls.append(("whole", ""))
        asked.append(os.fstat(handle).st_ino)

    def group(first: int) -> list[Wanted]:
        found = []
        for number in range(first, first + syncing.WHOLE_MIN):
            part = blobs.part(task(number).id, 0, number + 1)
            part.fill(b"%d" % number)
            found.append(_wanted(part, b"%d" % number, number))
        return found

    if not group(0)[0].part.nameless:
        pytest.skip("this file system has no files without names")
    monkeypatch.setattr(syncing, "sync_file_system", of_all)
    blobs.keep_all(group(0))  # makes the folder
    large = group(30)
    with (part := blobs.part(task(0).id, 0, 100)).open() as sink:
        sink.write(b"large")
    calls.clear()
    blobs.keep_all([*large, _wanted(part, b"large", 100)])
    # A file that was closed in between may have lost an error: such a group is synced file by file.
    assert [name for name, _ in calls][: len(large) + 1] == ["fsync"] * (len(large) + 1)
    calls.clear()
    asked.clear()
    blobs.keep_all(whole := group(10))
    # Errors are told to a handle since it was opened: the first of the group's knows of all, and one before all names.
    assert asked == [(tmp_path / "run" / whole[0].path).stat().st_ino, (tmp_path / "run" / "images").stat().st_ino]
    assert [name for name, _ in calls] == ["whole", *["link"] * syncing.WHOLE_MIN, "whole"]

    def fails(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(syncing, "sync_file_system", fails)
    calls.clear()
    blobs.keep_all(last := group(20))
    kinds = [name for name, _ in calls]
    assert kinds[: syncing.WHOLE_MIN] == ["fsync"] * syncing.WHOLE_MIN
    assert kinds[-1] == "fsync"
    assert all(each.path and each.error is None for each in last)


def test_a_folder_that_an_earlier_life_made_is_made_durable_before_its_first_picture(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    """A kill may have come between making a folder and the sync of the one above: once in a life it is done again."""
    folder = RunFolder.create(tmp_path / "run")
    blobs = Blobs(folder)
    (folder.images / "ink").mkdir()
    for number in range(3):
        part = blobs.part(task(0).id, 0, number + 1)
        part.fill(b"picture")
        calls.clear()
        blobs.keep_all([_wanted(part, b"picture", number)])
        assert calls.count(("fsync", str(folder.images))) == (0 if number == 1 else 1)
        if number == 1:  # somebody takes it away
            (folder.images / "ink").rename(folder.path / "moved")


def test_a_folder_that_another_thread_makes_is_made_durable_by_whoever_uses_it(
    tmp_path: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be there and not durable yet, also where it was once before."""
    folder = RunFolder.create(tmp_path / "run")
    blobs, make = Blobs(folder), os.mkdir
    for number in range(2):
        part = blobs.part(task(0).id, 0, number + 1)
        part.fill(b"picture")
        calls.clear()
        blobs.keep_all([_wanted(part, b"picture", number)])
        assert ("fsync", str(folder.images)) in calls
        (folder.images / "ink").rename(folder.path / f"moved-{number}")

        def outrun(name: str, *given: Any, **named: Any) -> None:
            make(name, *given, **named)
            make(name, *given, **named)

        monkeypatch.setattr(os, "mkdir", outrun)


def test_a_picture_that_is_found_under_its_name_is_synced_again(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    """It was noted, named and fetched again after all: what made it so may not have come to its sync."""
    folder = RunFolder.create(tmp_path / "run")
    blobs = Blobs(folder)
    for _ in range(2):
        part = blobs.part(task(0).id, 0, 1)
        part.fill(b"picture")
        calls.clear()
        blobs.keep_all([wanted := _wanted(part, b"picture")])
    path = folder.path / wanted.path
    assert path.name == "0.png"
    assert {("fsync", str(path)), ("fsync", str(path.parent))} <= set(calls)


def test_the_name_of_an_adopted_picture_is_durable_before_its_row(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    """W6 after a kill that came between the name and its sync."""
    folder = RunFolder.create(tmp_path / "run")
    blobs = Blobs(folder)
    part = blobs.part(task(0).id, 0, 1)
    part.fill(b"picture")
    blobs.keep_all([wanted := _wanted(part, b"picture")])
    calls.clear()
    assert [each.path for each in Blobs(folder).adopt(_Pending())] == [wanted.path]
    assert {("fsync", str(folder.images / "ink")), ("fsync", str(folder.images))} <= set(calls)


class _Pending:
    """A store that waits for one picture."""

    def has_picture(self, _path: str) -> bool:
        """None."""
        return False

    def pending_pictures(self) -> set[tuple[int, int]]:
        """The first of the first attempt."""
        return {(1, 0)}


def _wanted(part: Part, data: bytes, number: int = 0) -> Wanted:
    seen = Seen("image/png", hashlib.sha256(data).hexdigest(), len(data))
    return Wanted(part, task(number, n=1, path=f"ink/{number}"), 0, seen)


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
