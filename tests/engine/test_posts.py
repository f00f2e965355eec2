"""What a POST comes to mean, as one table (docs/reliability.md): money, task and lane, for every reply there is.

The first two columns are the providers' business (`test_mulerouter`): which outcome is which reply. From here on the
table is total: every kind of fault in every sort of reply.
"""

from __future__ import annotations

import pytest

from pipeline.engine import lifecycle
from pipeline.engine.messages import SlotNear, SubmitAnswered
from pipeline.engine.phases import Phase
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import FaultKind, Pending, Ready, Refused, Reply, Unknown, Unsent
from tests.engine.worlds import LANE, Ring, fault, policy, ring, submitting, task

K = FaultKind

#: A refusal by the kind of its fault: the task's phase, whether one of `retry.attempts` is used up, the lane.
REFUSED: dict[FaultKind, tuple[Phase, bool, str]] = {
    K.RATE_LIMITED: (Phase.HELD, False, "cools"),
    K.UNAUTHORIZED: (Phase.WAITING, False, "is parked"),
    K.OUT_OF_CREDIT: (Phase.WAITING, False, "is parked"),
    K.CLOSED: (Phase.WAITING, False, "is parked"),
    K.TRANSIENT: (Phase.WAITING, True, "goes on"),
    K.TIMEOUT: (Phase.WAITING, True, "goes on"),
    K.NOT_SENT: (Phase.WAITING, True, "goes on"),
    K.UPSTREAM: (Phase.WAITING, True, "goes on"),
    K.MALFORMED: (Phase.WAITING, True, "goes on"),
    K.UNKNOWN: (Phase.WAITING, True, "goes on"),
    K.REJECTED: (Phase.FAILED, True, "goes on"),
    K.MODERATED: (Phase.FAILED, True, "goes on"),
    K.EXPIRED: (Phase.WAITING, True, "goes on"),
    K.LOST: (Phase.FAILED, True, "goes on"),
    K.SHORT: (Phase.FAILED, True, "goes on"),
}

#: {reply: the task's phase, and (held, spent, doubt, overage) of a hold of 200 for two pictures, and the lane}.
REPLIES: list[tuple[str, Reply, Phase, tuple[int, int, int, int], str]] = [
    ("NOT_SENT", Unsent(fault(K.NOT_SENT)), Phase.HELD, (200, 0, 0, 0), "cools"),
    ("ACCEPTED", Pending("new"), Phase.RUNNING, (200, 0, 0, 0), "goes on"),
    ("DONE", Ready(("a", "b"), 2), Phase.FETCHING, (0, 200, 0, 0), "goes on"),
    ("DONE, fewer", Ready(("a",), 1), Phase.FETCHING, (0, 100, 0, 0), "goes on"),
    ("DONE, none", Ready((), 0), Phase.FAILED, (0, 0, 0, 0), "goes on"),
    ("DONE, billed above the hold", Ready(("a", "b"), 3), Phase.FETCHING, (0, 300, 0, 100), "is parked"),
    *((f"UNKNOWN {kind}", Unknown(fault(kind)), Phase.IN_DOUBT, (0, 0, 200, 0), "goes on") for kind in FaultKind),
]


def stands(state: Ring) -> str:
    """How the lane stands."""
    view = state.machine.lane_views()[LANE]
    if view.parked is not None:
        return "is parked"
    return "goes on" if view.cooling_until is None else "cools"


@pytest.mark.parametrize(
    ("reply", "phase", "money", "lane"), [row[1:] for row in REPLIES], ids=[row[0] for row in REPLIES]
)
def test_what_each_reply_to_a_post_does(reply: Reply, phase: Phase, money: tuple[int, ...], lane: str) -> None:
    """Money, task and lane. Only a reply that proves it frees money; the default is doubt."""
    state = submitting(n=2)
    state.tell(SubmitAnswered(1, reply))
    account = state.machine.accounts()["USD"]
    assert (account.held, account.spent, account.doubt, account.overage) == money
    assert state.machine.counts() == {phase: 1}
    assert stands(state) == lane


@pytest.mark.parametrize("kind", FaultKind)
def test_what_each_refusal_does(kind: FaultKind) -> None:
    """A definite answer of the not-billed table frees the hold whole; parking and cooling cost no attempt."""
    phase, counts, lane = REFUSED[kind]
    state = submitting(n=2)
    facts, _ = state.tell(SubmitAnswered(1, Refused(fault(kind))))
    account = state.machine.accounts()["USD"]
    held = 200 if phase is Phase.HELD else 0
    assert (account.held, account.spent, account.doubt) == (held, 0, 0)
    assert state.machine.counts() == {phase: 1}
    assert stands(state) == lane
    assert facts[0].counts is counts  # type: ignore[union-attr]  # it is Released


def test_an_operation_id_that_was_seen_before_is_unknown() -> None:
    """ACCEPTED needs a new id: an old one says nothing about this POST."""
    state = ring(tasks=[task(0), task(1)])
    for attempt in (1, 2):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(attempt, Pending("the same")))
    account = state.machine.accounts()["USD"]
    assert (account.held, account.doubt) == (100, 100)


@pytest.mark.parametrize(
    ("rules", "phase", "money"),
    [
        (OnDoubt.HOLD, Phase.IN_DOUBT, (0, 0, 200)),
        (OnDoubt.RESUBMIT, Phase.IN_DOUBT, (0, 0, 200)),
        (OnDoubt.WRITE_OFF, Phase.FAILED, (0, 200, 0)),
    ],
)
def test_what_a_doubt_leads_to_is_the_users_choice(rules: OnDoubt, phase: Phase, money: tuple[int, ...]) -> None:
    """The money stays aside in every case."""
    state = submitting(policy(rules), n=2)
    state.tell(SubmitAnswered(1, Unknown(fault(K.UNKNOWN))))
    account = state.machine.accounts()["USD"]
    assert (account.held, account.spent, account.doubt) == money
    assert state.machine.counts() == {phase: 1}


#: The table of docs/reliability.md, written out: what a fact leads to from each state.
TABLE = """
None        Held           RESERVED
RESERVED    Permitted      SUBMITTING
RESERVED    Released       VOID
SUBMITTING  Released       VOID
SUBMITTING  Accepted       ACCEPTED
SUBMITTING  Settled        SETTLED
SUBMITTING  Doubted        DOUBT
ACCEPTED    Settled        SETTLED
ACCEPTED    Doubted        DOUBT
DOUBT       DoubtLifted    SUBMITTING
DOUBT       DoubtReleased  VOID
DOUBT       WrittenOff     WRITTEN_OFF
VANISHED    DoubtLifted    SUBMITTING
VANISHED    DoubtReleased  VOID
VANISHED    WrittenOff     WRITTEN_OFF
SETTLED     RestReleased   SETTLED
SETTLED     LinksRenewed   SETTLED
SETTLED     PictureStored  SETTLED
SETTLED     PictureLost    SETTLED
SETTLED     LateFound      ACCEPTED
SETTLED     LateBilled     WRITTEN_OFF
VOID        LateFound      ACCEPTED
VOID        LateBilled     WRITTEN_OFF
WRITTEN_OFF LateFound      ACCEPTED
"""


def test_the_table_of_attempts_is_the_designs() -> None:
    """Row for row; what is not written here is a Bug (`test_tables`)."""
    rows = {(str(was), fact.__name__): str(becomes) for (was, fact), becomes in lifecycle.ATTEMPTS.items()}
    assert rows == {(line.split()[0], line.split()[1]): line.split()[2] for line in TABLE.strip().splitlines()}
