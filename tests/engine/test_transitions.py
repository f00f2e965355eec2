"""Each observation in each situation: the facts and the commands that follow, whole lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.engine.facts import (
    Accepted,
    BudgetReached,
    CapSet,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Draining,
    Fact,
    Held,
    LaneCooled,
    LaneParked,
    LinksRenewed,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.messages import (
    CapAsked,
    Command,
    DrainAsked,
    Fetch,
    Fetched,
    FetchFailed,
    Observation,
    Offered,
    Poll,
    PollAnswered,
    SlotNear,
    Submit,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
    Wake,
)
from pipeline.engine.phases import Phase
from pipeline.engine.retry import backoff_s
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.values.reply import (
    Fault,
    FaultKind,
    Gone,
    OperationFailed,
    Pending,
    PollBroken,
    Ready,
    Refused,
    StillRunning,
    Unknown,
    Unsent,
)
from tests.engine.worlds import LANE, TERMS, Ring, artifact, fault, policy, ring, running, submitting, task

K = FaultKind
UNKNOWN = fault(K.UNKNOWN, "timeout")
SPENT = replace(UNKNOWN, message=f"counted as spent (on_doubt: write_off): {UNKNOWN.message}")
REJECTED = fault(K.REJECTED, "bad prompt")
BUSY = fault(K.RATE_LIMITED, "slow down", retry_after_s=7.0)
TRANSIENT = fault(K.TRANSIENT, "come back")
UNAUTHORIZED = fault(K.UNAUTHORIZED, "who are you")
MODERATED = fault(K.MODERATED, "not that")
EXPIRED = fault(K.EXPIRED, "link is gone")
GONE = fault(K.EXPIRED, "a paid picture cannot be had after 1 downloads: link is gone")
RESUBMIT, WRITE_OFF = policy(OnDoubt.RESUBMIT), policy(OnDoubt.WRITE_OFF)


def lost(message: str) -> Fault:
    """A fault that says what was lost."""
    return Fault(K.LOST, message)


def moved(phase: Phase, why: Fault | None = None, until: float | None = None) -> TaskMoved:
    """Task 0 moves."""
    return TaskMoved(0, phase, why, until)


def settled(images: int, amount: int, links: tuple[str, ...], why: Fault | None = None, overage: int = 0) -> Settled:
    """Attempt 1 is settled."""
    return Settled(1, images, amount, overage, links, None, why)


def fetching(n: int = 1, *, sync: bool = False) -> Ring:
    """Attempt 1 of task 0 has n links; `sync` without an operation."""
    links = tuple(f"l{index}" for index in range(n))
    if sync:
        new = submitting(n=n)
        new.tell(SubmitAnswered(1, Ready(links, n)))
    else:
        new = running(n=n)
        new.tell(PollAnswered(1, Ready(links, n)))
    return new


def doubtful(rules: Policy | None = None) -> Ring:
    """Attempt 1 of task 0 is in doubt."""
    new = submitting(rules)
    new.tell(SubmitAnswered(1, Unknown(UNKNOWN)))
    return new


def _second_submitting() -> Ring:
    new = ring(tasks=[task(0), task(1)])
    new.tell(SlotNear(LANE))
    new.tell(SlotNear(LANE))
    new.tell(SubmitAnswered(1, Pending("op-1")))
    return new


def _doubt_beside_op_1() -> Ring:
    new = _second_submitting()
    new.tell(SubmitAnswered(2, Unknown(UNKNOWN)))
    return new


def _two_lanes() -> Ring:
    lanes = (LANE, "mule/lite", "other/pro")
    new = ring(policy(lanes=lanes), tasks=[task(0), task(1, lane="mule/lite"), task(2, lane="other/pro")])
    new.tell(SlotNear(LANE))
    return new


def _after_poll(now: float) -> Ring:
    new = running()
    new.tell(PollAnswered(1, StillRunning()), now)
    return new


def _gone(times: int) -> Ring:
    new = running()
    for _ in range(times):
        new.tell(PollAnswered(1, Gone(UNKNOWN)))
    return new


def _renewing() -> Ring:
    new = fetching()
    new.tell(FetchFailed(1, 0, EXPIRED))
    return new


def _one_of_two() -> Ring:
    new = fetching(2, sync=True)
    new.tell(Fetched(1, 0, artifact()))
    return new


def _submitting_and_held() -> Ring:
    new = ring(tasks=[task(0), task(1)])
    new.tell(SlotNear(LANE))
    return new


def _held_again() -> Ring:
    new = doubtful(RESUBMIT)
    new.tell(TimeCame(task=0), 120)
    return new


HELD_2: list[Fact] = [moved(Phase.HELD), Held(2, 0, 2, 100, "USD")]
B0 = backoff_s(0, 1, 0)

CASES: list[tuple[str, Callable[[], Ring], Observation, float, list[Fact], list[Command]]] = [
    (
        "an offered task is admitted and held",
        ring,
        Offered(task(0)),
        0,
        [TaskAdmitted(task(0)), moved(Phase.HELD), Held(1, 0, 1, 100, "USD")],
        [],
    ),
    (
        "a hold that does not fit is not admitted",
        lambda: ring(caps={"USD": 150}, tasks=[task(0)]),
        Offered(task(1)),
        0,
        [BudgetReached("USD", 100, 50)],
        [],
    ),
    (
        "a slot permits the first held attempt",
        lambda: ring(tasks=[task(0), task(1)]),
        SlotNear(LANE),
        0,
        [Permitted(1), moved(Phase.SUBMITTING)],
        [Submit(1, 0)],
    ),
    ("a slot with nothing held is answered by nothing", submitting, SlotNear(LANE), 0, [], []),
    (
        "an accepted submit is polled",
        submitting,
        SubmitAnswered(1, Pending("op-1")),
        3,
        [Accepted(1, "op-1"), moved(Phase.RUNNING)],
        [Poll(1, 0, "op-1", 8.0)],
    ),
    (
        "an operation id given twice is a doubt",
        _second_submitting,
        SubmitAnswered(2, Pending("op-1")),
        0,
        [
            Doubted(2, 100, Fault(K.MALFORMED, "the gateway gave an operation id twice: op-1")),
            TaskMoved(1, Phase.IN_DOUBT, Fault(K.MALFORMED, "the gateway gave an operation id twice: op-1")),
        ],
        [],
    ),
    (
        "a synchronous answer is settled and fetched",
        lambda: submitting(n=2),
        SubmitAnswered(1, Ready(("a", "b"), 2)),
        1,
        [settled(2, 200, ("a", "b")), moved(Phase.FETCHING)],
        [Fetch(1, 0, 0, "a", 1), Fetch(1, 0, 1, "b", 1)],
    ),
    (
        "a short answer frees its rest at once where there is no lag",
        lambda: running(n=3),
        PollAnswered(1, Ready(("a",), 2)),
        1,
        [
            settled(2, 200, ("a",)),
            moved(Phase.FETCHING),
            PictureLost(1, 1, lost("billed and not delivered")),
            RestReleased(1, 100),
        ],
        [Fetch(1, 0, 0, "a", 1)],
    ),
    (
        "what is billed above the hold is booked and parks the lane",
        running,
        PollAnswered(1, Ready(("a", "b"), 2)),
        1,
        [
            settled(2, 100, ("a", "b"), overage=100),
            moved(Phase.FETCHING),
            LaneParked(
                LANE,
                Fault(
                    K.UNKNOWN,
                    "it made 2 pictures where 1 were asked for, and bills them all (0.0002 USD billed, 0.0001 USD put "
                    "aside); take it up with the vendor: the same command goes on buying",
                ),
            ),
        ],
        [Fetch(1, 0, 0, "a", 1), Fetch(1, 0, 1, "b", 1)],
    ),
    (
        "ready without pictures fails and costs nothing",
        running,
        PollAnswered(1, Ready((), 0)),
        1,
        [
            settled(0, 0, (), lost("the operation ended without pictures")),
            RestReleased(1, 100),
            moved(Phase.FAILED, lost("the operation ended without pictures")),
        ],
        [],
    ),
    (
        "billed and not one link is lost and paid",
        running,
        PollAnswered(1, Ready((), 1)),
        1,
        [
            settled(1, 100, ()),
            moved(Phase.FETCHING),
            PictureLost(1, 0, lost("billed and not delivered")),
            moved(Phase.FAILED, lost("billed and not delivered")),
        ],
        [],
    ),
    (
        "a 429 cools the lane and is replaced by a new attempt",
        submitting,
        SubmitAnswered(1, Refused(BUSY)),
        10,
        [Released(1, 100, BUSY, counts=False), LaneCooled(LANE, 17.0, BUSY), moved(Phase.WAITING), *HELD_2],
        [Wake(17.0, lane=LANE)],
    ),
    (
        "a proven not-sent cools the lane and is replaced",
        submitting,
        SubmitAnswered(1, Unsent(TRANSIENT)),
        10,
        [
            Released(1, 100, TRANSIENT, counts=False),
            LaneCooled(LANE, 10 + B0, TRANSIENT),
            moved(Phase.WAITING),
            *HELD_2,
        ],
        [Wake(10 + B0, lane=LANE)],
    ),
    (
        "a transient refusal waits and counts",
        submitting,
        SubmitAnswered(1, Refused(TRANSIENT)),
        10,
        [Released(1, 100, TRANSIENT, counts=True), moved(Phase.WAITING, until=10 + B0)],
        [Wake(10 + B0, task=0)],
    ),
    (
        "a transient refusal of the last attempt fails",
        lambda: submitting(policy(attempts_max=1)),
        SubmitAnswered(1, Refused(TRANSIENT)),
        10,
        [Released(1, 100, TRANSIENT, counts=True), moved(Phase.FAILED, TRANSIENT)],
        [],
    ),
    (
        "a rejection fails the task",
        submitting,
        SubmitAnswered(1, Refused(REJECTED)),
        0,
        [Released(1, 100, REJECTED, counts=True), moved(Phase.FAILED, REJECTED)],
        [],
    ),
    (
        "a wrong key parks every lane of its gateway, and its tasks wait",
        _two_lanes,
        SubmitAnswered(1, Refused(UNAUTHORIZED)),
        0,
        [
            Released(1, 100, UNAUTHORIZED, counts=False),
            LaneParked("mule/lite", UNAUTHORIZED),
            Released(2, 100, Fault(K.NOT_SENT, "the lane is parked"), counts=False),
            TaskMoved(1, Phase.WAITING),
            LaneParked(LANE, UNAUTHORIZED),
            moved(Phase.WAITING),
        ],
        [],
    ),
    (
        "an unknown answer is a doubt that waits for evidence",
        submitting,
        SubmitAnswered(1, Unknown(UNKNOWN)),
        0,
        [Doubted(1, 100, UNKNOWN), moved(Phase.IN_DOUBT, UNKNOWN)],
        [],
    ),
    (
        "a doubt is written off when the user says so",
        lambda: submitting(WRITE_OFF),
        SubmitAnswered(1, Unknown(UNKNOWN)),
        0,
        [Doubted(1, 100, UNKNOWN), WrittenOff(1, 100, "on_doubt: write_off"), moved(Phase.FAILED, SPENT)],
        [],
    ),
    (
        "a doubt to be resubmitted waits out its quiet period",
        lambda: submitting(RESUBMIT),
        SubmitAnswered(1, Unknown(UNKNOWN)),
        5,
        [Doubted(1, 100, UNKNOWN), moved(Phase.IN_DOUBT, UNKNOWN, 125.0)],
        [Wake(125.0, task=0)],
    ),
    (
        "a resubmit comes after the quiet period",
        lambda: doubtful(RESUBMIT),
        TimeCame(task=0),
        120,
        [moved(Phase.WAITING), *HELD_2],
        [],
    ),
    (
        "a timer that comes early is set again",
        lambda: doubtful(RESUBMIT),
        TimeCame(task=0),
        60,
        [],
        [Wake(120.0, task=0)],
    ),
    (
        "a running operation is polled again",
        running,
        PollAnswered(1, StillRunning()),
        10,
        [],
        [Poll(1, 0, "op-1", 12.0)],
    ),
    (
        "past its patience, polls slow down",
        lambda: _after_poll(0),
        PollAnswered(1, StillRunning()),
        150,
        [],
        [Poll(1, 0, "op-1", 158.0)],
    ),
    (
        "a broken poll is no evidence",
        running,
        PollAnswered(1, PollBroken(TRANSIENT)),
        10,
        [],
        [Poll(1, 0, "op-1", 10 + 2 * B0)],
    ),
    (
        "a broken poll waits as long as it is asked to",
        running,
        PollAnswered(1, PollBroken(BUSY)),
        10,
        [],
        [Poll(1, 0, "op-1", 17.0)],
    ),
    (
        "a poll with a wrong key parks the gateway and goes on asking",
        running,
        PollAnswered(1, PollBroken(UNAUTHORIZED)),
        10,
        [LaneParked(LANE, UNAUTHORIZED)],
        [Poll(1, 0, "op-1", 10 + 2 * B0)],
    ),
    ("one answer of gone is no evidence", running, PollAnswered(1, Gone(UNKNOWN)), 10, [], [Poll(1, 0, "op-1", 70.0)]),
    (
        "gone five times over ten minutes has vanished",
        lambda: _gone(4),
        PollAnswered(1, Gone(UNKNOWN)),
        600,
        [Doubted(1, 100, UNKNOWN, vanished=True), moved(Phase.IN_DOUBT, UNKNOWN)],
        [],
    ),
    (
        "gone five times within ten minutes has not",
        lambda: _gone(4),
        PollAnswered(1, Gone(UNKNOWN)),
        599,
        [],
        [Poll(1, 0, "op-1", 659.0)],
    ),
    (
        "gone four times has not, however long it takes",
        lambda: _gone(3),
        PollAnswered(1, Gone(UNKNOWN)),
        9000,
        [],
        [Poll(1, 0, "op-1", 9060.0)],
    ),
    (
        "a moderated operation fails unbilled",
        running,
        PollAnswered(1, OperationFailed(MODERATED, billed=False)),
        0,
        [settled(0, 0, (), MODERATED), RestReleased(1, 100), moved(Phase.FAILED, MODERATED)],
        [],
    ),
    (
        "an operation that failed for a moment is bought again",
        running,
        PollAnswered(1, OperationFailed(TRANSIENT, billed=False)),
        10,
        [settled(0, 0, (), TRANSIENT), RestReleased(1, 100), moved(Phase.WAITING, until=10 + B0)],
        [Wake(10 + B0, task=0)],
    ),
    (
        "an operation that failed of the gateway's own limits counts and waits",
        running,
        PollAnswered(1, OperationFailed(BUSY, billed=False)),
        10,
        [settled(0, 0, (), BUSY), RestReleased(1, 100), moved(Phase.WAITING, until=17.0)],
        [Wake(17.0, task=0)],
    ),
    (
        "an operation that failed and was billed is paid",
        running,
        PollAnswered(1, OperationFailed(TRANSIENT, billed=True)),
        0,
        [settled(1, 100, (), TRANSIENT), moved(Phase.FAILED, TRANSIENT)],
        [],
    ),
    (
        "an operation that failed and is perhaps billed is in doubt",
        running,
        PollAnswered(1, OperationFailed(TRANSIENT, billed=None)),
        0,
        [Doubted(1, 100, TRANSIENT), moved(Phase.IN_DOUBT, TRANSIENT)],
        [],
    ),
    (
        "the last picture makes a task done",
        fetching,
        Fetched(1, 0, artifact()),
        0,
        [PictureStored(1, 0, artifact()), moved(Phase.DONE)],
        [],
    ),
    (
        "a picture that is not the last ends nothing",
        lambda: fetching(2),
        Fetched(1, 1, artifact()),
        0,
        [PictureStored(1, 1, artifact())],
        [],
    ),
    (
        "a broken download is repeated",
        fetching,
        FetchFailed(1, 0, TRANSIENT),
        10,
        [],
        [Fetch(1, 0, 0, "l0", 10 + backoff_s(0, 64, 0))],
    ),
    ("an expired link is asked for again", fetching, FetchFailed(1, 0, EXPIRED), 10, [], [Poll(1, 0, "op-1", 10)]),
    (
        "fresh links are fetched",
        _renewing,
        PollAnswered(1, Ready(("m0",), 1)),
        10,
        [LinksRenewed(1, ("m0",))],
        [Fetch(1, 0, 0, "m0", 10)],
    ),
    (
        "an expired link without an operation is lost",
        lambda: fetching(sync=True),
        FetchFailed(1, 0, EXPIRED),
        0,
        [PictureLost(1, 0, GONE), moved(Phase.FAILED, lost(GONE.message))],
        [],
    ),
    (
        "some pictures make a task short",
        _one_of_two,
        FetchFailed(1, 1, EXPIRED),
        0,
        [PictureLost(1, 1, GONE), moved(Phase.SHORT, Fault(K.SHORT, f"1 of 2 pictures: {GONE.message}"))],
        [],
    ),
    (
        "a drain frees what has no permit and nothing else",
        _submitting_and_held,
        DrainAsked(),
        0,
        [
            Draining(),
            Released(2, 100, Fault(K.NOT_SENT, "the run was asked to stop"), counts=False),
            TaskMoved(1, Phase.WAITING),
        ],
        [],
    ),
    (
        "a cap may be set below what is spent",
        running,
        CapAsked("USD", 1, "--budget"),
        0,
        [CapSet("USD", 1, "--budget")],
        [],
    ),
    (
        "billed by verdict is written off",
        doubtful,
        VerdictGiven(1, "billed", "the bill says so"),
        0,
        [
            WrittenOff(1, 100, "the bill says so"),
            moved(Phase.FAILED, lost("billed, and its pictures cannot be had: the bill says so")),
        ],
        [],
    ),
    (
        "not billed by verdict is bought again",
        doubtful,
        VerdictGiven(1, "not_billed", "the bill says so"),
        0,
        [DoubtReleased(1, 100, "the bill says so"), moved(Phase.WAITING), *HELD_2],
        [],
    ),
    (
        "found by verdict is followed",
        doubtful,
        VerdictGiven(1, "", "the listing has it", "op-9"),
        1,
        [DoubtLifted(1, 100, "the listing has it"), Accepted(1, "op-9"), moved(Phase.RUNNING)],
        [Poll(1, 0, "op-9", 6.0)],
    ),
    (
        "found by verdict makes the second try needless",
        _held_again,
        VerdictGiven(1, "", "the listing has it", "op-9"),
        121,
        [
            Released(2, 100, Fault(K.NOT_SENT, "the listing has it"), counts=False),
            moved(Phase.WAITING),
            DoubtLifted(1, 100, "the listing has it"),
            Accepted(1, "op-9"),
            moved(Phase.RUNNING),
        ],
        [Poll(1, 0, "op-9", 126.0)],
    ),
    (
        "an accepted answer found late lifts the doubt",
        doubtful,
        SubmitAnswered(1, Pending("op-9")),
        1,
        [DoubtLifted(1, 100, "its answer was found"), Accepted(1, "op-9"), moved(Phase.RUNNING)],
        [Poll(1, 0, "op-9", 6.0)],
    ),
    (
        "pictures found late lift the doubt",
        doubtful,
        SubmitAnswered(1, Ready(("a",), 1)),
        1,
        [DoubtLifted(1, 100, "its answer was found"), settled(1, 100, ("a",)), moved(Phase.FETCHING)],
        [Fetch(1, 0, 0, "a", 1)],
    ),
    (
        "a refusal found late frees the doubt",
        doubtful,
        SubmitAnswered(1, Refused(REJECTED)),
        1,
        [DoubtReleased(1, 100, "its answer was found: bad prompt"), moved(Phase.FAILED, REJECTED)],
        [],
    ),
    ("an unknown answer found late says nothing", doubtful, SubmitAnswered(1, Unknown(UNKNOWN)), 1, [], []),
    ("a known operation id found late says nothing", _doubt_beside_op_1, SubmitAnswered(2, Pending("op-1")), 1, [], []),
]


@pytest.mark.parametrize(
    ("situation", "observation", "now", "facts", "commands"),
    [pytest.param(*case[1:], id=case[0]) for case in CASES],
)
def test_an_observation_leads_to_these_facts_and_commands(
    situation: Callable[[], Ring], observation: Observation, now: float, facts: list[Fact], commands: list[Command]
) -> None:
    """Whole lists of facts and commands, per situation and observation."""
    assert situation().tell(observation, now) == (facts, commands)


def test_terms_of_these_cases_have_no_lag() -> None:
    """The table above says `at once` because the lane it uses has no release lag."""
    assert TERMS.release_lag_s == 0
