"""When one sync of a whole file system may stand for those of many files: only where it is as good, and quick."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path

import pytest

from pipeline.store import syncing
from pipeline.store.syncing import Syncing, one_known_file_system, tells, waiting_bytes

MOUNTS = "22 1 0:21 / /proc rw - proc proc rw\n27 1 DEVICE / / rw,relatime shared:1 - KIND /dev/root rw\n"


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("ext4", "", True),
        ("xfs", "", True),
        ("btrfs", "", False),
        ("fuseblk", "", False),
        ("nfs4", "", False),
        ("overlay", "", False),
        ("ext4", "30 27 8:1 / PLACE/images rw - ext4 /dev/sdb rw\n", False),
        ("ext4", "30 27 8:1 / PLACE-other rw - ext4 /dev/sdb rw\n", True),
        ("ext4", "a line\n", False),
    ],
)
def test_only_file_systems_that_are_known_to_do_it_all(tmp_path: Path, kind: str, more: str, *, expected: bool) -> None:
    """A kind that is not known, a second one mounted inside, or a table that cannot be read: each file by itself."""
    device = tmp_path.stat().st_dev
    table = MOUNTS.replace("DEVICE", f"{os.major(device)}:{os.minor(device)}")
    (mounts := tmp_path / "mountinfo").write_text(table.replace("KIND", kind) + more.replace("PLACE", str(tmp_path)))
    assert one_known_file_system(tmp_path, mounts) is expected
    assert not one_known_file_system(tmp_path, tmp_path / "missing")
    (spaced := tmp_path / "a name").mkdir()
    assert not one_known_file_system(spaced, mounts)


@pytest.mark.parametrize(
    ("system", "release", "expected"),
    [
        ("Linux", "6.8.0-45-generic", True),
        ("Linux", "5.17.1", True),
        ("Linux", "5.16.9", False),
        ("Linux", "4.19", False),
        ("Linux", "strange", False),
        ("Linux", "", False),
        ("Darwin", "23.6.0", False),
    ],
)
def test_only_systems_that_tell_of_every_error(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, *, expected: bool
) -> None:
    """Before Linux 5.17 what went wrong could be lost: there, each file is synced and tells for itself."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "release", lambda: release)
    tells.cache_clear()
    try:
        assert tells() is expected
    finally:
        tells.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MemTotal: 1 kB\nDirty:   12 kB\nWriteback:   3 kB\nWritebackTmp: 0 kB\n", 15 * 1024),
        ("Dirty: 12 kB\n", 1 << 62),
        ("Dirty: much\nWriteback: 1 kB\n", 1 << 62),
        ("", 1 << 62),
    ],
)
def test_what_waits_to_be_written_is_read_or_taken_for_far_too_much(tmp_path: Path, text: str, expected: int) -> None:
    """Nobody waits for another program's gigabytes because a table looks different one day."""
    (table := tmp_path / "meminfo").write_text(text)
    assert waiting_bytes(table) == expected


@pytest.mark.parametrize(
    ("count", "apt", "waiting", "asked"),
    [(4, True, 0, 1), (3, True, 0, 0), (4, False, 0, 0), (4, True, 65 * 1024 * 1024, 0)],
)
def test_it_is_asked_for_only_where_it_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, count: int, apt: bool, waiting: int, asked: int
) -> None:
    """Groups of four and more, where it does it all, while the system has next to nothing else to write."""
    calls: list[int] = []
    monkeypatch.setattr(syncing, "tells", lambda: True)
    monkeypatch.setattr(syncing, "one_known_file_system", lambda _: apt)
    monkeypatch.setattr(syncing, "waiting_bytes", lambda: waiting)
    monkeypatch.setattr(syncing, "sync_file_system", calls.append)
    assert Syncing(tmp_path).whole(7, count) is bool(asked)
    assert calls == [7] * asked


def test_what_waits_is_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every group, and not once for all."""
    looks: list[float] = []
    times = [100.0]

    def looked() -> int:
        looks.append(times[0])
        return 0

    monkeypatch.setattr(syncing, "waiting_bytes", looked)
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    syncs = Syncing(tmp_path)
    for times[0] in (100.0, 100.4, 100.6, 102.0):
        assert syncs._nothing_waits()
    assert looks == [100.0, 100.6, 102.0]


def test_the_files_of_a_group_are_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system does those that come together in one go."""
    together = threading.Barrier(4)
    monkeypatch.setattr(os, "fsync", lambda _: together.wait(10.0))
    syncs = Syncing(tmp_path)
    assert syncs.each([1, 2, 3, 4]) == [None] * 4
    syncs.close()


def _alive() -> list[threading.Thread]:
    """Threads, after those that were told to end had time to."""
    for thread in (found := threading.enumerate()):
        if thread.name.startswith("sync"):
            thread.join(5.0)
    return [thread for thread in found if thread.is_alive()]


def test_a_sync_that_fails_is_told(tmp_path: Path) -> None:
    """As an OSError; the one of a whole file system as "not done", so that each file's own sync tells."""
    with (tmp_path / "closed").open("wb") as file:
        handle = file.fileno()
    syncs = Syncing(tmp_path)
    assert [type(error) for error in syncs.each([handle, handle])] == [OSError, OSError]
    syncs.close()
    assert [type(error) for error in syncs.each([handle, handle])] == [OSError, OSError]
    assert not any(thread.name.startswith("sync") for thread in _alive())
    if tells():
        with pytest.raises(OSError, match="Bad file descriptor"):
            syncing.sync_file_system(handle)
