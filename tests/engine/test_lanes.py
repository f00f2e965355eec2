"""Pace: caps on what is unanswered and in flight, cooling, parking, the doubt breaker, lookahead, idleness."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.engine.facts import (
    BudgetReached,
    Doubted,
    Draining,
    Held,
    LaneCooled,
    LaneParked,
    Permitted,
    Released,
    TaskMoved,
)
from pipeline.engine.lanes import LaneView
from pipeline.engine.messages import (
    CapAsked,
    DrainAsked,
    Offered,
    Poll,
    PollAnswered,
    SlotNear,
    SubmitAnswered,
    TimeCame,
)
from pipeline.engine.phases import Phase
from pipeline.engine.retry import asked_s, backoff_s, jitter
from pipeline.engine.terms import OnDoubt
from pipeline.errors import Bug
from pipeline.values.reply import (
    FaultKind,
    OperationFailed,
    Pending,
    PollBroken,
    Ready,
    Refused,
    StillRunning,
    Unknown,
    Unsent,
)
from pipeline.values.task import Price
from tests.engine.worlds import LANE, PRICE, TERMS, Ring, fault, policy, ring, running, submitting, task

K = FaultKind
BUSY = fault(K.RATE_LIMITED)
UNKNOWN = fault(K.UNKNOWN, "timeout")


def permitted(state: Ring, now: float = 0.0) -> int | None:
    """Ask for one permit; the attempt that got it."""
    facts, _ = state.tell(SlotNear(LANE), now)
    return facts[0].attempt if facts and isinstance(facts[0], Permitted) else None


def cooled(state: Ring) -> list[LaneCooled]:
    """Every cooling so far."""
    return [fact for fact in state.facts if isinstance(fact, LaneCooled)]


@pytest.mark.parametrize(
    ("unanswered", "in_flight", "expected"), [(2, 8, 2), (4, 3, 3), (1, 1, 1)], ids=["unanswered", "in flight", "one"]
)
def test_permits_stop_at_the_caps(unanswered: int, in_flight: int, expected: int) -> None:
    """No more POSTs without an answer, and no more operations at once, than the lane's terms allow."""
    terms = replace(TERMS, unanswered_max=unanswered, in_flight_max=in_flight)
    state = ring(policy(terms=terms), tasks=[task(number) for number in range(5)])
    assert [permitted(state) for _ in range(5)] == [*range(1, expected + 1), *[None] * (5 - expected)]


def test_an_accepted_operation_still_counts_as_in_flight() -> None:
    """Only its end makes room for the next."""
    state = ring(policy(terms=replace(TERMS, in_flight_max=1)), tasks=[task(0), task(1)])
    permitted(state)
    state.tell(SubmitAnswered(1, Pending("op-1")))
    assert not state.machine.lane_ready(LANE, 0.0)
    state.tell(PollAnswered(1, OperationFailed(fault(K.REJECTED), billed=False)))
    assert state.machine.lane_ready(LANE, 0.0)
    assert permitted(state) == 2


def test_a_second_try_goes_before_fresh_tasks() -> None:
    """What was begun is finished first."""
    state = ring(tasks=[task(0), task(1)])
    permitted(state)
    state.tell(SubmitAnswered(1, Refused(fault(K.RATE_LIMITED, retry_after_s=1.0))))
    assert permitted(state, 0.5) is None
    assert permitted(state, 1.0) == 3


@pytest.mark.parametrize(
    ("asked", "expected"), [(7.0, 7.0), (-1.0, 1.0), (0.0, 1.0), (1e9, 3600.0), (float("nan"), 1.0), (None, None)]
)
def test_what_a_gateway_asks_for_is_kept_within_bounds(asked: float | None, expected: float | None) -> None:
    """Retry-After of a second to an hour, whatever stands there."""
    assert asked_s(fault(K.RATE_LIMITED, retry_after_s=asked)) == expected


def test_a_lane_cools_longer_while_429s_go_on_and_forgets_them_after_an_answer() -> None:
    """Doubling from a second up to a minute, with jitter; several 429s to POSTs sent together are one event."""
    state = ring(tasks=[task(0)])
    now, waits = 0.0, []
    for attempt in range(1, 10):
        assert permitted(state, now) == attempt
        state.tell(SubmitAnswered(attempt, Refused(BUSY)), now)
        waits.append(cooled(state)[-1].until - now)
        now = cooled(state)[-1].until
    assert waits == pytest.approx([backoff_s(0, attempt, attempt - 1) for attempt in range(1, 10)])
    assert permitted(state, now) == 10
    state.tell(SubmitAnswered(10, Pending("op")), now)
    assert state.machine.state.lanes[LANE].rate_limited_streak == 0
    share = state.machine.lane_share(LANE)
    assert state.machine.lane_views()[LANE] == LaneView(0, 1, 0, 10, 9, now, None, share=share)


def test_two_429s_at_once_are_one_event() -> None:
    """POSTs that were out together do not double the pause."""
    state = ring(tasks=[task(0), task(1)])
    permitted(state)
    permitted(state)
    state.tell(SubmitAnswered(1, Refused(BUSY)))
    state.tell(SubmitAnswered(2, Refused(BUSY)))
    assert state.machine.state.lanes[LANE].rate_limited_streak == 1


def test_a_gateway_out_of_reach_cools_its_lane_and_is_parked_after_ten_minutes() -> None:
    """Nothing but proven not-sent for ten minutes: park, keep the task waiting, and end the run."""
    state = ring(tasks=[task(0)])
    now, attempt = 0.0, 1
    while state.machine.lane_views()[LANE].parked is None:
        assert permitted(state, now) == attempt
        facts, _ = state.tell(SubmitAnswered(attempt, Unsent(fault(K.NOT_SENT, "refused"))), now)
        assert isinstance(facts[0], Released)
        assert not facts[0].counts
        now, attempt = cooled(state)[-1].until, attempt + 1
    parked = state.machine.lane_views()[LANE].parked
    assert parked is not None
    assert parked.kind is K.TRANSIENT
    assert parked.message == "gateway unreachable: refused; check the network and the address, then run again"
    assert 600 <= now <= 720
    assert state.machine.counts() == {Phase.WAITING: 1}
    assert state.machine.idle()
    assert state.machine.wants_tasks() == 0


def test_the_doubt_breaker_opens_probes_and_closes() -> None:
    """Five doubts within a minute pause the lane; then one POST at a time until one is answered."""
    state = ring(policy(OnDoubt.WRITE_OFF), tasks=[task(number) for number in range(12)])
    for attempt in range(1, 6):
        assert permitted(state, 0.0) == attempt
        state.tell(SubmitAnswered(attempt, Unknown(UNKNOWN)), 0.0)
    first = cooled(state)[0].until
    assert cooled(state) == [LaneCooled(LANE, first, UNKNOWN, probe=True)]
    assert 30.0 <= first < 45.0
    assert permitted(state, first - 0.1) is None
    assert permitted(state, first) == 6
    assert permitted(state, first) is None
    state.tell(SubmitAnswered(6, Unknown(UNKNOWN)), first)
    second = cooled(state)[-1].until
    assert first + 60.0 <= second < first + 90.0
    assert permitted(state, second) == 7
    state.tell(SubmitAnswered(7, Refused(BUSY)), second)
    later = cooled(state)[-1].until
    assert [permitted(state, later), permitted(state, later)] == [13, None]
    state.tell(SubmitAnswered(13, Pending("op")), later)
    assert [permitted(state, later), permitted(state, later)] == [8, 9]


def test_the_pause_of_the_breaker_has_a_limit() -> None:
    """Fifteen minutes at most."""
    lane = ring().machine.state.lane(LANE)
    lane.breaker = 40
    assert lane.breaker_pause_s(0, 1) == 900.0


def test_doubts_spread_over_time_do_not_open_the_breaker() -> None:
    """Five doubts in more than a minute are no storm."""
    state = ring(policy(OnDoubt.WRITE_OFF), tasks=[task(number) for number in range(6)])
    for attempt in range(1, 7):
        permitted(state, attempt * 16.0)
        state.tell(SubmitAnswered(attempt, Unknown(UNKNOWN)), attempt * 16.0)
    assert cooled(state) == []


def test_a_doubt_that_was_out_when_the_breaker_opened_does_not_double_it() -> None:
    """Only the probe's own doubt opens it again."""
    state = ring(policy(OnDoubt.WRITE_OFF, terms=replace(TERMS, unanswered_max=8)), tasks=map(task, range(8)))
    for _ in range(8):
        permitted(state)
    for attempt in range(1, 9):
        state.tell(SubmitAnswered(attempt, Unknown(UNKNOWN)))
    assert [each.until < 45.0 for each in cooled(state)] == [True]


def test_doubts_that_come_slowly_and_often_open_the_breaker() -> None:
    """More than 3 % of the last 200 submits: six in 200 pass, the seventh does not."""
    lane = ring().machine.state.lane(LANE)
    at = 0.0
    for attempt in range(1, 201):
        at += 100.0
        doubt = attempt % 33 == 0
        lane.hear(attempt, Unknown(UNKNOWN) if doubt else Pending("op"), at)
        assert not (doubt and lane.breaker_trips(attempt))
    lane.hear(201, Unknown(UNKNOWN), at + 100.0)
    assert lane.breaker_trips(201)


def test_nothing_but_429_for_ten_minutes_parks_the_lane() -> None:
    """The task waits for the next run, no attempt is used up, and the reason says what to do."""
    state = ring(policy(attempts_max=1), tasks=[task(0)])
    now, attempt = 0.0, 1
    while state.machine.lane_views()[LANE].parked is None:
        assert permitted(state, now) == attempt
        state.tell(SubmitAnswered(attempt, Refused(BUSY)), now)
        now, attempt = cooled(state)[-1].until, attempt + 1
    parked = state.machine.lane_views()[LANE].parked
    assert parked is not None
    assert parked.kind is K.RATE_LIMITED
    assert "`limits.rate`" in parked.message
    assert 600 <= now <= 720
    assert state.machine.counts() == {Phase.WAITING: 1}
    assert state.machine.idle()


def test_429_beside_work_in_progress_is_patience() -> None:
    """An operation of the lane that runs, or ends, shows that the gateway works for us."""
    state = ring(tasks=[task(0), task(1)])
    permitted(state, 0.0)
    state.tell(SubmitAnswered(1, Pending("op")), 0.0)
    now, attempt = 0.0, 2
    for _ in range(30):
        assert permitted(state, now) == attempt
        state.tell(SubmitAnswered(attempt, Refused(BUSY)), now)
        now, attempt = cooled(state)[-1].until, attempt + 1
    assert now > 600
    state.tell(PollAnswered(1, Ready(("a",), 1)), now)
    assert permitted(state, now) == attempt
    state.tell(SubmitAnswered(attempt, Refused(BUSY)), now)
    assert state.machine.lane_views()[LANE].parked is None


def test_a_wrong_price_stops_its_own_lane_alone() -> None:
    """Each model has a price of its own; that one of them is wrong says nothing about the others."""
    other = "mule/max"
    state = ring(policy(lanes=(LANE, other)), tasks=[task(0), task(1, lane=other)])
    permitted(state)
    state.tell(SubmitAnswered(1, Ready(("a", "b"), 2)))
    assert state.machine.lane_views()[LANE].parked is not None
    assert state.machine.lane_ready(other, 0.0)


def test_lookahead_is_bounded_per_lane_and_in_all() -> None:
    """In-flight and four more per lane, 256 in all; nothing is wanted while draining or blocked by the budget."""
    state = ring()
    assert state.machine.wants_tasks() == 12
    for number in range(12):
        state.tell(Offered(task(number)))
    assert state.machine.wants_tasks() == 0
    permitted(state)
    assert state.machine.wants_tasks() == 1
    wide = ring(policy(terms=replace(TERMS, in_flight_max=1000)))
    assert wide.machine.wants_tasks() == 256
    wide.tell(DrainAsked())
    assert wide.machine.wants_tasks() == 0


def test_a_blocked_budget_opens_when_money_comes_free() -> None:
    """The feed is shut until a release, a lower bill or a higher cap makes room; then the same task fits."""
    state = submitting(cap=150)
    assert state.tell(Offered(task(1)))[0] == [BudgetReached("USD", 100, 50)]
    assert state.machine.wants_tasks() == 0
    assert state.machine.budget_blocked() == BudgetReached("USD", 100, 50)
    state.tell(SubmitAnswered(1, Refused(fault(K.REJECTED))))
    assert state.machine.budget_blocked() is None
    assert state.machine.wants_tasks() == 12
    assert isinstance(state.tell(Offered(task(1)))[0][-1], Held)


def test_a_waiting_task_is_held_when_the_money_for_it_is_back() -> None:
    """A retry whose money another task took stays WAITING, is said once, and is held as soon as it fits."""
    state = ring(caps={"USD": 250}, tasks=[task(0), task(1)])
    permitted(state)
    permitted(state)
    state.tell(SubmitAnswered(1, Refused(fault(K.TRANSIENT, retry_after_s=10.0))))
    state.tell(Offered(task(2)))
    assert state.tell(TimeCame(task=0), 10.0)[0] == [BudgetReached("USD", 100, 50)]
    assert state.tell(TimeCame(lane=LANE), 11.0)[0] == []
    assert state.machine.counts()[Phase.WAITING] == 1
    facts, _ = state.tell(SubmitAnswered(2, Refused(fault(K.REJECTED))), 12.0)
    assert facts[-2:] == [TaskMoved(0, Phase.HELD), Held(4, 0, 2, 100, "USD")]


def test_a_higher_cap_holds_what_waited_and_a_lower_one_lets_the_rest_settle() -> None:
    """CapAsked moves no money; a cap below what is spent stops holds alone."""
    state = submitting(cap=100)
    state.tell(CapAsked("USD", 10, "--budget"))
    assert state.tell(SubmitAnswered(1, Refused(fault(K.RATE_LIMITED))))[0][-1] == BudgetReached("USD", 100, 10)
    assert state.machine.idle()
    facts, _ = state.tell(CapAsked("USD", 100, "--budget"))
    assert facts[1:] == [TaskMoved(0, Phase.HELD), Held(2, 0, 2, 100, "USD")]


def test_currencies_have_accounts_of_their_own() -> None:
    """A cap in one currency does not stop another; a currency without a cap is our mistake."""
    yuan = Price("CNY", 7, 0, "CNY", 7, "a table")
    state = ring(caps={"USD": 0, "CNY": 7})
    assert isinstance(state.tell(Offered(task(0)))[0][0], BudgetReached)
    assert state.tell(Offered(task(1, price=yuan)))[0][-1] == Held(1, 1, 1, 7, "CNY")
    with pytest.raises(Bug, match="no cap is set"):
        state.tell(Offered(task(2, price=replace(PRICE, currency="evolink-credit"))))


def test_offers_that_cannot_be_taken_are_answered() -> None:
    """A parked lane, a drain, and a lane that nobody knows: each has its own answer, and nothing is admitted."""
    state = submitting()
    refusal = fault(K.OUT_OF_CREDIT)
    state.tell(SubmitAnswered(1, Refused(refusal)))
    assert state.tell(Offered(task(1)))[0] == [LaneParked(LANE, refusal)]
    with pytest.raises(Bug, match="without terms"):
        state.tell(Offered(task(1, lane="nobody/knows")))
    state.tell(DrainAsked())
    assert state.tell(Offered(task(1)))[0] == [Draining()]


def test_a_parked_lane_awaits_what_is_out_and_then_the_run_is_over() -> None:
    """Operations of a parked lane are followed to their ends; waiting tasks are left."""
    state = ring(tasks=[task(0), task(1)])
    permitted(state)
    permitted(state)
    state.tell(SubmitAnswered(1, Pending("op-1")))
    state.tell(SubmitAnswered(2, Refused(fault(K.UNAUTHORIZED))))
    assert not state.machine.idle()
    state.tell(PollAnswered(1, OperationFailed(fault(K.TRANSIENT), billed=False)))
    assert state.machine.idle()
    assert state.machine.counts() == {Phase.WAITING: 2}


@pytest.mark.parametrize(
    ("kind", "others"), [(K.CLOSED, False), (K.UNAUTHORIZED, True), (K.OUT_OF_CREDIT, True)], ids=str
)
@pytest.mark.parametrize("accepted", [False, True])
def test_one_closed_model_stops_no_other(kind: K, others: bool, accepted: bool) -> None:  # noqa: FBT001 - rows of a table
    """A right or a quota of one model parks its lane; a bad key or an empty account parks every lane of the gateway."""
    lite = "mule/lite"
    state = ring(policy(lanes=(LANE, lite)), tasks=[task(0), task(1, lane=lite)])
    permitted(state)
    if accepted:
        state.tell(SubmitAnswered(1, Pending("op-1")))
        facts, _ = state.tell(PollAnswered(1, OperationFailed(fault(kind), billed=False)))
    else:
        facts, _ = state.tell(SubmitAnswered(1, Refused(fault(kind))))
    parked = [each.lane for each in facts if isinstance(each, LaneParked)]
    assert parked == ([lite, LANE] if others else [LANE])
    assert state.machine.lane_ready(lite, 0.0) is not others


def test_a_backoff_that_a_park_overtakes_is_not_waited_for() -> None:
    """A timer of a parked lane keeps no run alive."""
    state = ring(tasks=[task(0), task(1)])
    permitted(state)
    permitted(state)
    state.tell(SubmitAnswered(1, Refused(fault())))
    assert not state.machine.idle()
    state.tell(SubmitAnswered(2, Refused(fault(K.UNAUTHORIZED))))
    assert state.machine.idle()
    assert state.tell(TimeCame(task=0), 100.0) == ([], [])


def test_an_operation_without_an_end_parks_its_lane_after_a_day() -> None:
    """It is polled ever after, but nobody waits for it; an end that comes is booked."""
    state = running()
    state.tell(PollAnswered(1, StillRunning()), 86_399.0)
    assert not state.machine.idle()
    facts, commands = state.tell(PollAnswered(1, StillRunning()), 86_400.0)
    assert isinstance(facts[0], LaneParked)
    assert "stuck" in facts[0].fault.message
    assert [type(each) for each in commands] == [Poll]
    assert state.machine.idle()
    state.tell(PollAnswered(1, Ready(("a",), 1)), 86_500.0)
    assert not state.machine.idle()


def test_an_operation_that_a_wrong_key_cannot_follow_is_left_until_it_answers() -> None:
    """UNAUTHORIZED polls keep no run alive; one good answer does."""
    state = running()
    state.tell(PollAnswered(1, PollBroken(fault(K.UNAUTHORIZED))))
    assert state.machine.idle()
    state.tell(PollAnswered(1, StillRunning()))
    assert not state.machine.idle()


def test_broken_polls_come_ever_more_rarely() -> None:
    """Backoff up to a minute, whatever happens; any good answer resets it."""
    state = running()
    waits = []
    for _ in range(8):
        _, commands = state.tell(PollAnswered(1, PollBroken(fault())))
        assert isinstance(commands[0], Poll)
        waits.append(commands[0].at / jitter(0, 1))
    assert waits == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    state.tell(PollAnswered(1, StillRunning()))
    assert state.machine.state.attempts[1].broken == 0


def test_poll_answers_that_come_too_late_say_nothing() -> None:
    """After the end, and for attempts that are over."""
    state = running()
    state.tell(PollAnswered(1, OperationFailed(fault(), billed=None)))
    assert state.tell(PollAnswered(1, Ready(("a",), 1))) == ([], [])
    assert state.tell(PollAnswered(77, Ready(("a",), 1))) == ([], [])


def test_an_answer_nobody_waits_for_is_our_mistake() -> None:
    """The wire answers a POST once."""
    state = running()
    with pytest.raises(Bug, match="although it is ACCEPTED"):
        state.tell(SubmitAnswered(1, Pending("op-2")))
    with pytest.raises(Bug, match="although it is over"):
        state.tell(SubmitAnswered(7, Pending("op-2")))


def test_a_finished_task_is_forgotten_but_counted() -> None:
    """Memory does not grow with the run; faults of ended tasks are counted by kind."""
    state = submitting()
    state.tell(SubmitAnswered(1, Refused(fault(K.MODERATED))))
    assert (state.machine.state.tasks, state.machine.state.attempts, state.machine.state.stories) == ({}, {}, {})
    assert state.machine.counts() == {Phase.FAILED: 1}
    assert state.machine.faults() == {K.MODERATED: 1}
    with pytest.raises(Bug, match="is over"):
        state.machine.task(0)


def test_doubts_keep_their_task() -> None:
    """A task in doubt stays in memory, and the run may end."""
    state = submitting()
    facts, _ = state.tell(SubmitAnswered(1, Unknown(UNKNOWN)))
    assert isinstance(facts[0], Doubted)
    assert state.machine.idle()
    assert state.machine.task(0) == task(0)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_waits_the_same_times(seed: int) -> None:
    """Jitter lies in [0.5, 1), depends on seed and key alone, and differs between keys."""
    values = [jitter(seed, key) for key in range(200)]
    assert values == [jitter(seed, key) for key in range(200)]
    assert all(0.5 <= value < 1 for value in values)
    assert len(set(values)) == 200
