"""The campaigns about the disk prove themselves: the recorder hears all, and a broken variant is caught."""

from __future__ import annotations

import errno
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import crash, disk_child, fulldisk, nthio, powerloss
from tests.chaos.disk_child import Spoil
from tests.chaos.tape import Event

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("PIPELINE_SEED") or random.randint(1, 10**6))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> powerloss.Recording:
    """One recorded run without faults."""
    return powerloss.record(tmp_path_factory.mktemp("recorded") / "place", 0, 1)


def test_replaying_the_record_gives_the_folder_that_is_there(tmp_path: Path) -> None:
    """Not a byte of a run, nor of a second life after a kill, is written where the recorder does not see it."""
    order = disk_child.prepare(tmp_path / "place", 6)
    disk_child.play(replace(order, spoil=Spoil(300)))
    played = disk_child.play(order)
    # The first life may end in the middle of a paid call, which is a doubt then.
    assert played.code in {0, 5}, played.words
    really = {
        path.relative_to(order.disk).as_posix(): path.read_bytes() for path in order.disk.rglob("*") if path.is_file()
    }
    assert crash.whole(played.events).files == really
    assert {event.kind for event in played.events} >= {"post", "known", "kept", "sync", "sync_folder", "write", "link"}


def test_what_was_synced_survives_every_power_loss() -> None:
    """Synced bytes under synced names are in every state; the rest is there in some states and gone in others."""
    events = [
        Event("create", "a", 1),
        Event("write", "a", 1, 0, b"x" * 2000),
        Event("sync", "a", 1),
        Event("sync_folder"),
        Event("write", "a", 1, 2000, b"y" * 2000),
        Event("create", "b", 2),
    ]
    states = [crash.after_power_loss(events, seed) for seed in range(200)]
    assert all(state.files["a"][:2000] == b"x" * 2000 for state in states)
    assert {"b" in state.files for state in states} == {True, False}
    torn = {state.files["a"][2000:] for state in states}
    assert {b"", b"y" * 2000} < torn


def test_the_product_keeps_its_word_and_broken_variants_do_not(recording: powerloss.Recording, tmp_path: Path) -> None:
    """T7 in small: no state of the product is wrong; without a folder's sync, or a picture's, some are."""
    print(f"PIPELINE_SEED={SEED}")
    assert [faults for _, faults in powerloss.states(recording, range(SEED, SEED + 40)) if faults] == []
    for drop in (powerloss.no_folder_sync, powerloss.no_picture_sync):
        variant = powerloss._without(recording, drop)
        assert any(faults for _, faults in powerloss.states(variant, range(40))), drop.__doc__


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_a_store_that_does_not_sync_its_commits_is_caught(tmp_path: Path, synchronous: str) -> None:
    """Killing the process never sees it; losing the power does."""
    recording = powerloss.record(tmp_path / "place", 0, 1, synchronous)
    assert any(faults for _, faults in powerloss.states(recording, range(30)))


@pytest.mark.parametrize(
    ("number", "error", "sticky"),
    [(110, errno.EIO, True), (328, errno.EIO, True), (639, errno.EIO, True), (200, errno.ENOSPC, False)],
)
def test_a_failing_operation_stops_the_run_in_order(tmp_path: Path, number: int, error: int, sticky: bool) -> None:  # noqa: FBT001 - a table
    """T8, the cases that once went wrong: no traceback, no POST after a failed commit, and the next run finishes."""
    tried = nthio.attempt(tmp_path / "place", nthio.Case(number, error, sticky), 1)
    assert tried.call
    assert tried.faults == ()


def test_only_a_refused_mount_is_a_reason_to_skip_the_full_disks(tmp_path: Path) -> None:
    """A campaign that breaks in its namespace is broken, not skipped, and a skip that nobody allowed fails."""
    assert fulldisk.in_namespace(["unshare-is-not-here"]).skipped
    assert fulldisk.in_namespace([sys.executable, "-c", f"raise SystemExit({fulldisk._NO_MOUNT})"]).skipped
    words = "import sys; sys.exit('unshare: unshare failed: Operation not permitted')"
    assert fulldisk.in_namespace([sys.executable, "-c", words]).skipped
    with pytest.raises(RuntimeError, match="a bug of the campaign"):
        fulldisk.in_namespace([sys.executable, "-c", "raise ValueError('a bug of the campaign')"])
