"""Pictures reach their names in groups: synced together, and each with an end of its own."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.runtime import shelf as shelves
from pipeline.runtime.shelf import IN_MEMORY_MAX, Shelf, Shelved, Unfit
from pipeline.store.blobs import Blobs, Wanted
from pipeline.store.folder import RunFolder
from tests.runtime.test_plain_png import png
from tests.store.stories import task
from tests.store.test_blobs import Known

PICTURE = png()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder.create(tmp_path / "run")


async def _shelved(shelf: Shelf, number: int, data: bytes) -> Shelved:
    wanted = task(number, n=1, path=f"ink/{number}")
    incoming = shelf.incoming(wanted, 0, number + 1)
    incoming.write(data[:20])
    incoming.write(data[20:])
    return await shelf.keep(incoming, wanted, 0)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_what_comes_together_is_synced_together(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pictures that come in one turn of the loop are one group, and their folder is synced once."""
    groups: list[int] = []
    keep_all = Blobs.keep_all

    def counted(blobs: Blobs, group: Sequence[Wanted]) -> None:
        groups.append(len(group))
        keep_all(blobs, group)

    monkeypatch.setattr(Blobs, "keep_all", counted)
    shelf = Shelf(Blobs(folder))
    kept = await asyncio.gather(*(_shelved(shelf, number, PICTURE) for number in range(10)))
    assert groups == [10]
    assert [each.path for each in kept] == [f"images/ink/{number}.png" for number in range(10)]
    assert {(folder.path / each.path).read_bytes() for each in kept} == {PICTURE}
    assert list(folder.parts.glob("*.part")) == []


async def test_groups_are_bounded_and_what_waits_behind_them_is_kept(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by bytes; two are at work, and the end of one begins the next."""
    monkeypatch.setattr(shelves, "_GROUP_BYTES", 3 * len(PICTURE))
    groups: list[int] = []
    keep_all = Blobs.keep_all

    def counted(blobs: Blobs, group: Sequence[Wanted]) -> None:
        groups.append(len(group))
        keep_all(blobs, group)

    monkeypatch.setattr(Blobs, "keep_all", counted)
    shelf = Shelf(Blobs(folder))
    async with asyncio.timeout(20.0):
        await asyncio.gather(*(_shelved(shelf, number, PICTURE) for number in range(10)))
    assert sorted(groups) == [1, 3, 3, 3]
    assert len(list(Blobs(folder).files())) == 10


async def test_one_that_is_no_picture_fails_alone(folder: RunFolder) -> None:
    """The others of its group are kept, and nothing of it is left."""
    shelf = Shelf(Blobs(folder))
    kept = await asyncio.gather(
        *(_shelved(shelf, number, b"<html>" if number == 1 else PICTURE) for number in range(3)), return_exceptions=True
    )
    assert [type(each) for each in kept] == [Shelved, Unfit, Shelved]
    assert sorted(Blobs(folder).files()) == ["images/ink/0.png", "images/ink/2.png"]
    assert list(folder.parts.glob("*.part")) == []


async def test_a_sync_that_fails_fails_that_picture_alone(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is given to bytes that the disk did not take."""
    shelf, sync, other = Shelf(Blobs(folder)), os.fsync, png("RGB", 8, 8)

    def failing(handle: int) -> None:
        if os.fstat(handle).st_size == len(other) != len(PICTURE):
            raise OSError(5, "Input/output error")
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    shown = [other if number == 1 else PICTURE for number in range(3)]
    kept = await asyncio.gather(*(_shelved(shelf, *each) for each in enumerate(shown)), return_exceptions=True)
    assert [type(each) for each in kept] == [Shelved, OSError, Shelved]
    assert sorted(Blobs(folder).files()) == ["images/ink/0.png", "images/ink/2.png"]


async def test_a_large_picture_goes_to_its_part_as_it_comes(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what may stay in it; what is kept is the same."""
    monkeypatch.setattr(shelves, "IN_MEMORY_MAX", 10)
    shelf = Shelf(Blobs(folder))
    kept = await _shelved(shelf, 0, PICTURE)
    assert (folder.path / kept.path).read_bytes() == PICTURE
    assert kept.size_bytes == len(PICTURE) < IN_MEMORY_MAX


async def test_one_that_is_called_off_before_its_turn_leaves_nothing(folder: RunFolder) -> None:
    """Its group goes on without it."""
    shelf = Shelf(Blobs(folder))
    first, second = (asyncio.ensure_future(_shelved(shelf, number, PICTURE)) for number in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).path == "images/ink/1.png"
    assert list(Blobs(folder).files()) == ["images/ink/1.png"]


async def test_one_that_is_called_off_at_work_is_not_closed_under_its_thread(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of a closed file is the next file's: a thread would sync, name or write into another one."""
    shelf, sync = Shelf(Blobs(folder)), os.fsync
    begun, free, synced = threading.Event(), threading.Event(), []

    def slow(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode) and not begun.is_set():
            before = os.fstat(handle).st_ino
            begun.set()
            assert free.wait(20.0)
            synced.append(before == os.fstat(handle).st_ino)
        sync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    wanted, handles = task(0, n=1, path="ink/0"), _open_files()
    incoming = shelf.incoming(wanted, 0, 1)
    incoming.write(PICTURE)
    keeping = asyncio.ensure_future(shelf.keep(incoming, wanted, 0))
    assert await asyncio.to_thread(begun.wait, 20.0)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    incoming.discard()  # as whoever waited does
    with (folder.path / "another").open("wb"):
        free.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        await asyncio.sleep(0)
    assert synced == [True]
    assert list(folder.parts.glob("*.part")) == []
    assert _open_files() == handles
    assert [each.path for each in Blobs(folder).adoptable(Known(pending={(1, 0)}))] == ["images/ink/0.png"]


@pytest.mark.parametrize("called_off", [False, True])
@pytest.mark.parametrize("large", [False, True])
async def test_what_fails_at_work_leaves_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, *, large: bool, called_off: bool
) -> None:
    """Neither its part nor an open file, whether somebody still waits for it or not."""
    monkeypatch.setattr(shelves, "IN_MEMORY_MAX", 10 if large else IN_MEMORY_MAX)
    shelf, wanted, begun, free = Shelf(Blobs(folder)), task(0, n=1, path="ink/0"), threading.Event(), threading.Event()

    def failing(_handle: int) -> None:
        begun.set()
        assert free.wait(20.0)
        raise OSError(5, "Input/output error")

    await asyncio.to_thread(_open_files)
    handles = _open_files()
    incoming = shelf.incoming(wanted, 0, 1)
    incoming.write(PICTURE)
    monkeypatch.setattr(os, "fsync", failing)
    keeping = asyncio.ensure_future(shelf.keep(incoming, wanted, 0))
    assert await asyncio.to_thread(begun.wait, 20.0)
    if called_off:
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        incoming.discard()
    free.set()
    if not called_off:
        with pytest.raises(OSError, match="Input/output error"):
            await keeping
        incoming.discard()
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    assert list(folder.parts.glob("*.part")) == []
    assert _open_files() == handles


async def test_a_download_that_is_given_up_leaves_no_part(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large picture goes to its part as it comes: what came goes with it."""
    shelf, wanted = Shelf(Blobs(folder)), task(0, n=1, path="ink/0")
    monkeypatch.setattr(shelves, "IN_MEMORY_MAX", 10)
    large = shelf.incoming(wanted, 0, 1)
    large.write(PICTURE)
    assert list(folder.parts.glob("*.part"))
    large.discard()
    assert list(folder.parts.glob("*.part")) == []
