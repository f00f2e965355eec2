"""A done task whose pictures a review rejected: sent again when asked, and done again only by new pictures."""

from __future__ import annotations

import pytest

from pipeline.engine.facts import Held, TaskMoved
from pipeline.engine.messages import Fetched, Resumed, RetryAsked, SlotNear, SubmitAnswered
from pipeline.engine.phases import Phase
from pipeline.values.reply import FaultKind, Ready, Refused, Reply, Unknown
from tests.engine.test_recovery import crashed
from tests.engine.worlds import LANE, Ring, artifact, fault, submitting

K = FaultKind


def done() -> Ring:
    """Task 0 is done by attempt 1, and a new process has loaded it."""
    before = submitting()
    before.tell(SubmitAnswered(1, Ready(("a",), 1)))
    before.tell(Fetched(1, 0, artifact()))
    after = crashed(before, asked=(0,))
    after.tell(Resumed())
    return after


def sent_again() -> Ring:
    """Attempt 2 of it is on the wire."""
    new = done()
    new.tell(RetryAsked(0, rejected=True))
    new.tell(SlotNear(LANE))
    return new


def test_a_rejected_task_is_bought_anew_under_the_cap() -> None:
    """It is held as a second attempt; a plain retry leaves what is done alone."""
    new = done()
    assert new.tell(RetryAsked(0))[0] == []
    assert new.tell(RetryAsked(0, rejected=True))[0] == [
        TaskMoved(0, Phase.WAITING),
        TaskMoved(0, Phase.HELD),
        Held(2, 0, 2, 100, "USD"),
    ]
    assert new.machine.accounts()["USD"].spent == 100


def test_a_new_picture_makes_it_done_again() -> None:
    """Both purchases are booked."""
    new = sent_again()
    new.tell(SubmitAnswered(2, Ready(("b",), 1)))
    assert new.tell(Fetched(2, 0, artifact("b")))[0][-1] == TaskMoved(0, Phase.DONE)
    assert new.machine.accounts()["USD"].spent == 200


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("answer", "phase"),
    [
        (Refused(fault(K.MODERATED, "not that")), Phase.FAILED),
        (Refused(fault(K.TRANSIENT, "come back")), Phase.WAITING),
        (Unknown(fault(K.UNKNOWN, "timeout")), Phase.IN_DOUBT),
        (Ready((), 0), Phase.FAILED),
    ],
)
def test_the_old_pictures_do_not_make_it_done(answer: Reply, phase: Phase, *, restarted: bool) -> None:
    """What becomes of the new attempt is told, also when the process died after the word was given."""
    new = done()
    new.tell(RetryAsked(0, rejected=True))
    if restarted:
        new = crashed(new)
        new.tell(Resumed())
    new.tell(SlotNear(LANE))
    facts, _ = new.tell(SubmitAnswered(3 if restarted else 2, answer))
    assert [fact.phase for fact in facts if isinstance(fact, TaskMoved)][-1] is phase
