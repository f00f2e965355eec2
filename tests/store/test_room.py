"""Room on the disk: when buying stops, and what the ballast gives."""

from __future__ import annotations

import errno
import sqlite3
import stat
from pathlib import Path

import pytest

from pipeline.errors import StorageFailed
from pipeline.store.room import BALLAST_MAX, Disk, Refusals, Room, is_full

MB = 1024 * 1024
GB = 1024 * MB


def room_of(folder: Path, total: int, free: int, names: int | None = None) -> Room:
    """A room on a disk that says these figures."""
    return Room(folder, ask=lambda _: Disk(total, free, names))


@pytest.mark.parametrize(
    ("total", "free", "in_flight", "stops"),
    [
        (100 * GB, 64 * MB, 0, False),
        (100 * GB, 64 * MB - 1, 0, True),
        (100 * GB, 99 * MB, 50 * MB, True),
        (100 * GB, 100 * MB, 50 * MB, False),
        (20 * MB, 1 * MB, 0, False),
        (20 * MB, 1 * MB - 1, 0, True),
        (20 * MB, 3 * MB, 2 * MB, True),
    ],
)
def test_buying_stops_before_the_room_does(
    tmp_path: Path, *, total: int, free: int, in_flight: int, stops: bool
) -> None:
    """64 MB, or twice what is in flight, or a twentieth of a small disk: less than that is told in words."""
    words = room_of(tmp_path, total, free).low(in_flight)
    assert (words is not None) == stops
    assert words is None or "make room" in words


def test_a_disk_without_names_left_is_full(tmp_path: Path) -> None:
    """Inodes run out before bytes do where pictures are small."""
    assert "inodes" in (room_of(tmp_path, 100 * GB, 50 * GB, names=3).low(0) or "")
    assert room_of(tmp_path, 100 * GB, 50 * GB, names=10_000).low(0) is None


@pytest.mark.parametrize(("total", "free", "size"), [(100 * GB, 50 * GB, BALLAST_MAX), (4 * MB, 3 * MB, 3 * MB // 8)])
def test_the_ballast_fits_the_disk(tmp_path: Path, total: int, free: int, size: int) -> None:
    """16 MB on a roomy disk, an eighth of the room on a small one; really allocated, and private."""
    room = room_of(tmp_path, total, free)
    assert room.stock() == size
    assert room.stock() == size
    known = (tmp_path / "ballast").stat()
    assert known.st_blocks * 512 >= size
    assert stat.S_IMODE(known.st_mode) == 0o600


def test_no_ballast_on_a_disk_that_is_low(tmp_path: Path) -> None:
    """What little there is belongs to the answers."""
    assert room_of(tmp_path, 100 * GB, 10 * MB).stock() == 0


def test_ballast_is_given_up_by_halves(tmp_path: Path) -> None:
    """Half of it goes at a time, so that the next opening on a disk still full finds some; then there is none."""
    room = room_of(tmp_path, 100 * GB, 50 * GB)
    room.stock()
    sizes = []
    while room.release():
        sizes.append(room.ballast // MB)
    assert sizes == [8, 4, 2, 1, 0]
    assert not (tmp_path / "ballast").exists()


def test_a_planted_ballast_is_left_alone(tmp_path: Path) -> None:
    """A link of that name is neither filled nor cut."""
    other = tmp_path / "other"
    other.write_bytes(b"x" * (2 * MB))
    (tmp_path / "ballast").symlink_to(other)
    room = room_of(tmp_path, 100 * GB, 50 * GB)
    assert room.ballast == 0
    assert not room.release()
    assert other.stat().st_size == 2 * MB


def caused(cause: BaseException) -> StorageFailed:
    """A failure of the store, with what it came of."""
    error = StorageFailed("the store refused a write")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_a_quota_and_a_limit_on_files_are_full_alike(number: int) -> None:
    """Whoever meets it: a picture, an answer, the story or the store."""
    assert is_full(OSError(number, "no room"))
    assert is_full(caused(OSError(number, "no room")))


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES, errno.EINTR, None])
def test_what_else_a_disk_says_is_not_full(number: int | None) -> None:
    """A broken disk has no more room after the ballast is gone: fail-stop."""
    error = OSError("?") if number is None else OSError(number, "broken")
    assert not is_full(error)
    assert not is_full(caused(error))


def test_sqlite_says_full_in_its_own_words(tmp_path: Path) -> None:
    """By a store that may not grow, and not by one that is locked or broken."""
    db = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    db.execute("PRAGMA max_page_count=2")
    db.execute("CREATE TABLE t(x)")
    with pytest.raises(sqlite3.Error) as full:
        db.execute("INSERT INTO t SELECT hex(zeroblob(9000)) FROM (SELECT 1 UNION SELECT 2)")
    with pytest.raises(sqlite3.Error) as other:
        db.execute("INSERT INTO nowhere VALUES (1)")
    db.close()
    assert is_full(full.value)
    assert is_full(caused(full.value))
    assert not is_full(other.value)
    assert not is_full(StorageFailed("nothing is known of why"))


def test_a_disk_that_refuses_is_distrusted_for_longer_each_time() -> None:
    """30 s, then a minute, and at most 16 minutes; what is refused meanwhile is the same refusal."""
    refusals, now, waited = Refusals(), 0.0, []
    for _ in range(8):
        refusals.refused(now)
        for late in (0.0, 1.0, 7.0):
            refusals.refused(now + late)
        begun = now
        while refusals.distrusted(now):
            now += 5.0
        waited.append(now - begun)
    assert waited == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 960.0, 960.0]


def test_a_picture_that_was_kept_makes_up_for_all_refusals() -> None:
    """After it, a passing refusal costs half a minute again, whatever came before in the run's life."""
    refusals = Refusals()
    for hour in range(1, 9):
        refusals.refused(3600.0 * hour)
    refusals.kept()
    refusals.refused(100_000.0)
    assert refusals.distrusted(100_029.0)
    assert not refusals.distrusted(100_031.0)
