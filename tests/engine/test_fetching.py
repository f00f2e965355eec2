"""Pictures: links that break, expire, are renewed, or are lost; money is settled whatever becomes of them."""

from __future__ import annotations

import pytest

from pipeline.engine.facts import Fact, LaneParked, LinksRenewed, PictureLost, PictureStored, TaskMoved
from pipeline.engine.messages import Command, Fetch, Fetched, FetchFailed, Poll, PollAnswered, SubmitAnswered
from pipeline.engine.phases import Phase
from pipeline.errors import Bug
from pipeline.values.reply import FaultKind, Gone, OperationFailed, PollBroken, PollReply, Ready, StillRunning
from tests.engine.worlds import Ring, artifact, fault, running, submitting

K = FaultKind
EXPIRED = fault(K.EXPIRED, "link is gone")
BROKEN = fault(K.TRANSIENT, "reset")


def fetching(n: int = 1, *, sync: bool = False) -> Ring:
    """Attempt 1 of task 0 has n links."""
    ready = Ready(tuple(f"l{index}" for index in range(n)), n)
    if sync:
        state = submitting(n=n)
        state.tell(SubmitAnswered(1, ready))
    else:
        state = running(n=n)
        state.tell(PollAnswered(1, ready))
    return state


def fail(state: Ring, times: int, now: float = 0.0, *, index: int = 0) -> tuple[list[Fact], list[Command]]:
    """The same download breaks so often; what the last time led to."""
    told: tuple[list[Fact], list[Command]] = ([], [])
    for _ in range(times):
        told = state.tell(FetchFailed(1, index, BROKEN), now)
    return told


def test_six_broken_downloads_ask_for_a_fresh_link_and_ten_minutes_of_them_lose_the_picture() -> None:
    """Backoff, one renewal, backoff again, then LOST: bounded, and the money stays spent."""
    state = fetching()
    assert [type(each) for each in fail(state, 5)[1]] == [Fetch]
    assert fail(state, 1) == ([], [Poll(1, 0, "op-1", 0.0)])
    assert state.tell(PollAnswered(1, Ready(("m0",), 1)))[1] == [Fetch(1, 0, 0, "m0", 0.0)]
    facts, commands = fail(state, 7, 599.0)
    assert facts == []
    assert [type(each) for each in commands] == [Fetch], "the same link again: fresh ones do not help"
    words = "a paid picture cannot be had after 8 downloads and 1 fresh links: reset"
    lost = [PictureLost(1, 0, fault(BROKEN.kind, words)), TaskMoved(0, Phase.FAILED, fault(K.LOST, words))]
    assert fail(state, 1, 600.0)[0] == lost
    assert state.machine.accounts()["USD"].spent == 100


def test_without_an_operation_ten_minutes_of_broken_downloads_lose_the_picture() -> None:
    """A synchronous gateway cannot be asked for fresh links; a host that is away for minutes loses nothing paid."""
    state = fetching(sync=True)
    facts, commands = fail(state, 20, 599.0)
    assert facts == []
    assert isinstance(commands[0], Fetch)
    assert commands[0].at <= 599.0 + 60.0, "and no further apart than a minute"
    words = "a paid picture cannot be had after 21 downloads: reset"
    assert fail(state, 1, 1199.0)[0][0] == PictureLost(1, 0, fault(BROKEN.kind, words))


def test_six_pictures_that_came_broken_need_no_ten_minutes() -> None:
    """What a host serves in good order and is no picture is not mended by time: the bound is a count."""
    state = fetching(sync=True)
    broken = fault(K.MALFORMED, "half a picture")
    for _ in range(5):
        assert state.tell(FetchFailed(1, 0, broken))[0] == []
    assert isinstance(state.tell(FetchFailed(1, 0, broken))[0][0], PictureLost)


def test_a_link_that_nobody_may_ask_is_renewed_once_and_at_once() -> None:
    """Our own refusal of an address is final: no backoff, one fresh link, then LOST and said."""
    blocked = fault(K.REJECTED, "the link leads to an address that is not public")
    state = fetching()
    assert state.tell(FetchFailed(1, 0, blocked)) == ([], [Poll(1, 0, "op-1", 0.0)])
    assert state.tell(PollAnswered(1, Ready(("m0",), 1)))[1] == [Fetch(1, 0, 0, "m0", 0.0)]
    words = f"a paid picture cannot be had after 1 downloads and 1 fresh links: {blocked.message}"
    lost = [PictureLost(1, 0, fault(K.REJECTED, words)), TaskMoved(0, Phase.FAILED, fault(K.LOST, words))]
    assert state.tell(FetchFailed(1, 0, blocked))[0] == lost
    assert state.machine.accounts()["USD"].spent == 100
    alone = fetching(sync=True)
    assert isinstance(alone.tell(FetchFailed(1, 0, blocked))[0][0], PictureLost)


def test_links_that_expire_at_once_are_renewed_three_times() -> None:
    """At once, then more and more slowly, then the picture is lost: every loop has a bound."""
    state = fetching()
    for least, most in ((0.0, 0.0), (10.0, 20.0), (20.0, 40.0)):
        facts, (renewal,) = state.tell(FetchFailed(1, 0, EXPIRED))
        assert facts == []
        assert isinstance(renewal, Poll)
        assert renewal == Poll(1, 0, "op-1", renewal.at)
        assert least <= renewal.at <= most
        state.tell(PollAnswered(1, Ready(("m0",), 1)))
    words = f"a paid picture cannot be had after 1 downloads and 3 fresh links: {EXPIRED.message}"
    assert state.tell(FetchFailed(1, 0, EXPIRED))[0][0] == PictureLost(1, 0, fault(K.EXPIRED, words))


def test_links_that_expire_together_are_asked_for_once() -> None:
    """One poll renews them all; pictures on disk keep theirs."""
    state = fetching(3)
    state.tell(Fetched(1, 2, artifact()))
    assert state.tell(FetchFailed(1, 0, EXPIRED))[1] == [Poll(1, 0, "op-1", 0.0)]
    assert state.tell(FetchFailed(1, 1, EXPIRED))[1] == []
    facts, commands = state.tell(PollAnswered(1, Ready(("m0", "m1", "m2"), 3)))
    assert facts == [LinksRenewed(1, ("m0", "m1", "m2"))]
    assert commands == [Fetch(1, 0, 0, "m0", 0.0), Fetch(1, 0, 1, "m1", 0.0)]


def test_a_download_in_progress_is_not_begun_twice_by_fresh_links() -> None:
    """One download per picture at a time."""
    state = fetching(2)
    state.tell(FetchFailed(1, 0, EXPIRED))
    assert state.tell(PollAnswered(1, Ready(("m0", "m1"), 2)))[1] == [Fetch(1, 0, 0, "m0", 0.0)]


@pytest.mark.parametrize(
    ("reply", "ends"),
    [
        (OperationFailed(BROKEN, billed=None), True),
        (Gone(BROKEN), False),
        (StillRunning(), False),
        (PollBroken(BROKEN), False),
    ],
    ids=["failed", "gone once", "running", "broken"],
)
def test_only_a_definite_answer_gives_paid_pictures_up(reply: PollReply, ends: bool) -> None:  # noqa: FBT001
    """While fresh links are asked for, other answers are asked again."""
    state = fetching()
    state.tell(FetchFailed(1, 0, EXPIRED))
    facts, commands = state.tell(PollAnswered(1, reply), 1.0)
    if ends:
        assert facts == [PictureLost(1, 0, BROKEN), TaskMoved(0, Phase.FAILED, fault(K.LOST, "reset"))]
    else:
        assert facts == []
        assert [type(each) for each in commands] == [Poll]


def test_a_download_in_progress_is_not_given_up_with_its_operation() -> None:
    """Only pictures that need a fresh link are lost; one whose bytes are coming may still be stored."""
    state = fetching(2)
    state.tell(FetchFailed(1, 0, EXPIRED))
    facts, commands = state.tell(PollAnswered(1, OperationFailed(BROKEN, billed=True)))
    assert facts == [PictureLost(1, 0, BROKEN)]
    assert commands == []
    assert [type(fact) for fact in state.tell(Fetched(1, 1, artifact()))[0]] == [PictureStored, TaskMoved]
    assert state.machine.counts() == {Phase.SHORT: 1}


def test_an_operation_that_is_gone_for_ten_minutes_loses_its_pictures() -> None:
    """The same grace as for any other evidence of absence."""
    state = fetching()
    state.tell(FetchFailed(1, 0, EXPIRED))
    for now in (0.0, 200.0, 400.0, 599.0):
        assert state.tell(PollAnswered(1, Gone(BROKEN)), now)[0] == []
    assert state.tell(PollAnswered(1, Gone(BROKEN)), 600.0)[0][0] == PictureLost(1, 0, BROKEN)


def test_fresh_links_that_cannot_be_asked_for_are_left_to_the_next_run() -> None:
    """Ten minutes of broken polls park the lane and end the wait; the pictures stay paid and wanted."""
    state = fetching()
    state.tell(FetchFailed(1, 0, EXPIRED))
    state.tell(PollAnswered(1, PollBroken(BROKEN)), 0.0)
    assert not state.machine.idle()
    facts, _ = state.tell(PollAnswered(1, PollBroken(BROKEN)), 600.0)
    assert [type(each) for each in facts] == [LaneParked]
    assert state.machine.idle()
    assert state.machine.counts() == {Phase.FETCHING: 1}


def test_pictures_that_nobody_asked_for() -> None:
    """A second failure of a stored or unknown picture says nothing; a second arrival is our mistake."""
    state = fetching(2)
    state.tell(Fetched(1, 0, artifact()))
    assert state.tell(FetchFailed(1, 0, BROKEN)) == ([], [])
    assert state.tell(FetchFailed(1, 7, BROKEN)) == ([], [])
    assert state.tell(FetchFailed(9, 0, BROKEN)) == ([], [])
    for observation in (Fetched(1, 0, artifact()), Fetched(1, 7, artifact()), Fetched(9, 0, artifact())):
        with pytest.raises(Bug, match="nobody asked for"):
            state.tell(observation)
