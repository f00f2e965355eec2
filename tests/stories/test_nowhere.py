"""Stories of answers that can be written down nowhere: what they name is said aloud, and is enough to lose nothing."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.cli.exits import Exit
from pipeline.cli.failures import explain, render
from pipeline.engine.phases import AttemptState
from pipeline.errors import RunError, StorageFailed
from pipeline.runtime import inspect
from pipeline.store import blackbox, story
from pipeline.store.durable import write_all
from pipeline.store.journal import Journal
from tests.stories.jobs import bill, failing, faults, money, rehearse, spec

SAID = re.compile(r"^ *pipeline resolve (\S+) --attempt (\d+) --operation (\S+) --why ", re.MULTILINE)


@contextmanager
def refusing(patch: pytest.MonkeyPatch, number: int, after: int) -> Iterator[None]:
    """The disk refuses the black box from its `after`-th answer on."""
    written = 0

    def write(handle: int, data: bytes) -> None:
        nonlocal written
        written += 1
        if written > after:
            raise OSError(number, "the disk says no")
        write_all(handle, data)

    with patch.context() as inner:
        inner.setattr(blackbox, "write_all", write)
        yield


def unanswered(folder: Path) -> set[int]:
    """Attempts of which the store knows no answer."""
    journal = Journal.open_read_only(folder / "state.db")
    try:
        return {row.attempt for row in journal.attempt_rows() if row.state == AttemptState.SUBMITTING}
    finally:
        journal.close(clean=False)


def said(error: StorageFailed, folder: Path) -> dict[int, str]:
    """{attempt: operation} of the commands on the screen, all of them for this folder."""
    failure = explain(error)
    assert failure.code is Exit.STORAGE_FAILED
    found = SAID.findall(render(failure))
    assert {place for place, _, _ in found} <= {str(folder)}
    return {int(attempt): operation for _, attempt, operation in found}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_ids_that_neither_black_box_nor_store_takes_are_said_aloud_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Exit 70 with a command for every answer that came; said back, each picture is collected and none bought twice."""
    path, folder = spec(tmp_path, more="on_doubt: resubmit\n"), tmp_path / "run"
    slow = faults(tmp_path, "latency_s: 5\n")
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        refusing(monkeypatch, number, 1),
        failing("commit.booked", full, after=7),
        pytest.raises(StorageFailed) as caught,
    ):
        rehearse(path, faults=slow)
    told = said(caught.value, folder)
    assert len(told) >= 2
    assert set(told) == unanswered(folder)
    for attempt, operation in told.items():
        assert inspect.resolve(folder, attempt=attempt, verdict="not_billed", why="its answer", operation=operation)
    result = rehearse(path)
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, money(result)["settled_micros"])
    assert inspect.verify(folder) == []


def test_an_answer_that_a_broken_disk_refuses_is_understood_and_kept_by_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO on the black box stops the run, and its operation is in the store all the same."""
    path, folder = spec(tmp_path), tmp_path / "run"
    with refusing(monkeypatch, errno.EIO, 0), pytest.raises(StorageFailed, match="refused") as caught:
        rehearse(path, limit=1)
    assert (said(caught.value, folder), unanswered(folder)) == ({}, set())
    result = rehearse(path, limit=1)
    assert (result.exit_code, bill(tmp_path)[0]) == (0, 1)


def test_what_a_full_disk_keeps_in_the_store_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The black box is evidence beside the store: while the store takes answers, the job goes on."""
    with refusing(monkeypatch, errno.ENOSPC, 2):
        result = rehearse(spec(tmp_path))
    assert (result.exit_code, result.status["images"]) == (0, 6)


@pytest.mark.parametrize(("verdict", "images", "bought"), [("not_billed", 6, 6), ("billed", 5, 6)])
def test_a_verdict_may_be_given_before_the_next_run(tmp_path: Path, verdict: str, images: int, bought: int) -> None:
    """A call that a dead run left unanswered is in doubt for whoever names it; nothing is lost by waiting."""
    path, folder = spec(tmp_path, more="on_doubt: resubmit\n"), tmp_path / "run"
    with failing("submit.sending", RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        rehearse(path)
    (attempt,) = unanswered(folder)
    with pytest.raises(RunError, match="not in doubt"):
        inspect.resolve(folder, attempt=attempt + 1, verdict=verdict, why="the vendor's invoice")
    assert inspect.resolve(folder, attempt=attempt, verdict=verdict, why="the vendor's invoice") == 1
    assert inspect.doubts(folder) == []
    result = rehearse(path)
    assert result.status["images"] == images
    assert money(result)["settled_micros"] == bought * 75_000
    assert inspect.verify(folder) == []


def test_a_disk_that_takes_no_line_of_the_log_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is the truth: neither the first run nor the resume of one that died ends because of `log.jsonl`."""

    def write(handle: int, data: bytes) -> None:
        del handle, data
        raise OSError(errno.ENOSPC, "No space left on device")

    path = spec(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(story, "write_all", write)
        with failing("poll.answered", RuntimeError("as a kill would"), after=2), pytest.raises(RuntimeError):
            rehearse(path)
        result = rehearse(path)
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, money(result)["settled_micros"])
