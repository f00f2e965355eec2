"""The log of changed tasks: from a cursor on, everything once, or the word that it is not known any more."""

from __future__ import annotations

import pytest

from pipeline.engine.facts import BudgetReached, Draining, Permitted, PictureLost, TaskMoved
from pipeline.engine.phases import Phase
from pipeline.runtime import changes
from pipeline.runtime.changes import FORGET_S, Changes
from pipeline.values.reply import Fault, FaultKind


class Hand:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Hand:
    """At some time."""
    return Hand()


def begun(clock: Hand) -> tuple[Changes, str]:
    """A log that is watched, and where to go on from."""
    log = Changes("7", clock)
    log.note([TaskMoved(1, Phase.HELD)])
    first = log.since(None, 10)
    assert first is not None
    assert (first.tasks, first.attempts, first.more) == ((), (), False)
    return log, first.cursor


def test_each_changed_task_is_told_once_by_number_or_by_attempt(clock: Hand) -> None:
    """In the order of the last change; facts about neither are nothing."""
    log, cursor = begun(clock)
    log.note(
        [TaskMoved(4, Phase.HELD), Permitted(9), TaskMoved(4, Phase.SUBMITTING), Draining(), BudgetReached("USD", 1, 0)]
    )
    log.note([PictureLost(8, 0, Fault(FaultKind.LOST, "gone"))])
    found = log.since(cursor, 10)
    assert found is not None
    assert (found.tasks, found.attempts, found.more) == ((4,), (9, 8), False)
    again = log.since(found.cursor, 10)
    assert again is not None
    assert (again.tasks, again.attempts, again.cursor) == ((), (), found.cursor)


def test_much_is_told_in_parts_and_nothing_is_passed_over(clock: Hand) -> None:
    """The cursor of a part leads to the next, whatever changes between them."""
    log, cursor = begun(clock)
    log.note([TaskMoved(number, Phase.HELD) for number in range(25)])
    seen: list[int] = []
    more = True
    while more:
        part = log.since(cursor, 10)
        assert part is not None
        seen += part.tasks
        cursor, more = part.cursor, part.more
        if len(seen) == 10:
            log.note([TaskMoved(3, Phase.SUBMITTING)])
    assert seen == [*range(25), 3]


@pytest.mark.parametrize("cursor", ["", "7", "8.1", "7.x", "7.999", "7.-1", 7, "7.1.1", [], {}])
def test_a_cursor_of_somebody_else_is_not_known(clock: Hand, cursor: object) -> None:
    """Of another process, of the future, or none at all."""
    log, _ = begun(clock)
    assert log.since(cursor, 10) is None


def test_what_nobody_asks_for_is_forgotten_and_known_to_be(clock: Hand) -> None:
    """A watcher that went away costs nothing; when it comes back it is told to read anew."""
    log, cursor = begun(clock)
    log.note([TaskMoved(1, Phase.HELD)])
    clock.now += FORGET_S
    log.note([TaskMoved(2, Phase.HELD)])
    assert log.since(cursor, 10) is None
    fresh = log.since(None, 10)
    assert fresh is not None
    log.note([TaskMoved(3, Phase.HELD)])
    found = log.since(fresh.cursor, 10)
    assert found is not None
    assert found.tasks == (3,)


def test_a_watcher_too_far_behind_is_told_so(clock: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; what was dropped from it is not passed over in silence."""
    monkeypatch.setattr(changes, "REMEMBERED", 10)
    log, cursor = begun(clock)
    log.note([TaskMoved(number, Phase.HELD) for number in range(10)])
    assert log.since(cursor, 99) is not None
    log.note([TaskMoved(10, Phase.HELD)])
    assert log.since(cursor, 99) is None
