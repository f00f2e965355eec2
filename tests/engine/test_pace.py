"""What a lane learns from answers: its share of the rate, the breaker in a storm, retries, when to poll first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.engine.facts import Accepted, LaneCooled, Permitted
from pipeline.engine.messages import Offered, Poll, PollAnswered, SlotNear, SubmitAnswered
from pipeline.engine.pace import RETRIES_MOST, SHARE_MIN, STORM, TIMES_MIN
from pipeline.values.reply import FaultKind, Pending, PollBroken, Ready, Refused, Reply, StillRunning, Unsent
from tests.engine.worlds import LANE, TERMS, Ring, fault, policy, ring, task

K = FaultKind
BUSY = Refused(fault(K.RATE_LIMITED))
UNWELL = Refused(fault(K.TRANSIENT, "503"))


def permitted(state: Ring, now: float) -> int | None:
    """Ask for one permit; the attempt that got it."""
    facts, _ = state.tell(SlotNear(LANE), now)
    return facts[0].attempt if facts and isinstance(facts[0], Permitted) else None


def cooled(state: Ring) -> list[LaneCooled]:
    """Every cooling so far."""
    return [fact for fact in state.facts if isinstance(fact, LaneCooled)]


def share(state: Ring) -> float:
    """The lane's."""
    return state.machine.lane_share(LANE)


def answered(state: Ring, reply: Reply, now: float) -> float:
    """One POST as soon as it may leave, and its answer; when that was."""
    now = max(now, state.machine.state.lanes[LANE].cooling_until)
    number = permitted(state, now)
    assert number is not None
    state.tell(SubmitAnswered(number, reply if not isinstance(reply, Pending) else Pending(f"op-{number}")), now)
    return now


def many(tasks: int = 60, attempts_max: int = 3, **terms: float) -> Ring:
    """A lane with room for all of its tasks."""
    wide = replace(TERMS, in_flight_max=1000, **terms)  # type: ignore[arg-type]  # numbers of the lane's terms
    return ring(policy(attempts_max=attempts_max, terms=wide), tasks=map(task, range(tasks)), caps={"USD": 10**9})


def test_a_429_halves_the_share_once_for_all_posts_that_were_out_together() -> None:
    """Four 429s to four POSTs sent together are one event, also when the last comes after the lane has cooled."""
    state = many()
    out = [permitted(state, 0.0) for _ in range(4)]
    for number in out[:3]:
        assert number is not None
        state.tell(SubmitAnswered(number, BUSY), 1.0)
    assert out[3] is not None
    state.tell(SubmitAnswered(out[3], BUSY), cooled(state)[-1].until + 5.0)
    assert share(state) == 0.5
    answered(state, BUSY, cooled(state)[-1].until + 6.0)
    assert share(state) == 0.25


def test_the_share_has_a_floor_and_never_passes_what_is_declared() -> None:
    """An eighth at least, whatever comes; back in steps of a twentieth a period, and never above the whole."""
    state = many(rate_period_s=10.0)
    now = 0.0
    for _ in range(6):
        now = answered(state, BUSY, now + 1.0)
    assert share(state) == SHARE_MIN
    seen = []
    for _ in range(40):
        now = answered(state, Pending("op"), now + 10.0)
        seen.append(share(state))
    assert seen == sorted(seen)
    assert seen[0] == pytest.approx(SHARE_MIN + 0.05)
    assert seen[9] == pytest.approx(SHARE_MIN + 0.5)
    assert seen[-1] == 1.0


def test_a_share_does_not_come_back_at_once_after_an_idle_hour() -> None:
    """One good answer is worth one period at most."""
    state = many(rate_period_s=10.0)
    answered(state, BUSY, 0.0)
    answered(state, Pending("op"), 3600.0)
    assert share(state) == pytest.approx(0.55)


def test_other_lanes_keep_their_share() -> None:
    """A 429 slows down and cools the lane that it was told to, and no other, not even of the same gateway."""
    other = "mule/lite"
    state = ring(policy(lanes=(LANE, other)), tasks=[task(0), task(1, lane=other)])
    answered(state, BUSY, 0.0)
    assert (state.machine.lane_share(LANE), state.machine.lane_share(other)) == (0.5, 1.0)
    assert not state.machine.lane_ready(LANE, 0.1)
    assert state.machine.lane_ready(other, 0.1)


@pytest.mark.parametrize("reply", [BUSY, UNWELL, Unsent(fault(K.NOT_SENT, "refused"))], ids=["429", "503", "not sent"])
def test_a_storm_opens_the_breaker_and_probes_singly(reply: Reply) -> None:
    """The fifth refusal in a row opens it; then one POST at a time, ever more rarely, until one is answered well."""
    state = many(attempts_max=50)
    now = 0.0
    for number in range(STORM):
        assert not state.machine.lane_views()[LANE].probing, number
        now = answered(state, reply, now)
    view = state.machine.lane_views()[LANE]
    assert (view.probing, view.losing) == (True, False)
    pauses = []
    for _ in range(8):
        now = max(now, cooled(state)[-1].until)
        probe = permitted(state, now)
        assert probe is not None
        assert permitted(state, now + 1.0) is None
        state.tell(SubmitAnswered(probe, reply), now)
        pauses.append(cooled(state)[-1].until - now)
    assert pauses[-1] > 25.0
    now = answered(state, Pending("op"), now)
    assert not state.machine.lane_views()[LANE].probing
    assert share(state) <= 0.25


def test_a_brown_out_opens_the_breaker_when_half_of_the_latest_answers_are_refusals() -> None:
    """Not only in a row: five refusals among ten answers are a storm, and two slow the lane down."""
    state = many(attempts_max=50)
    now = 0.0
    for number in range(9):
        now = answered(state, UNWELL if number % 2 else Pending("op"), now + 1.0)
        assert (share(state) < 1.0) is (number >= 3)
    assert not state.machine.lane_views()[LANE].probing
    now = answered(state, UNWELL, now + 1.0)
    assert state.machine.lane_views()[LANE].probing


def test_a_single_bad_answer_is_no_brown_out() -> None:
    """One 503 in ten answers changes nothing but its own task."""
    state = many(attempts_max=50)
    for number in range(30):
        answered(state, UNWELL if number % 10 == 5 else Pending("op"), float(number))
    assert share(state) == 1.0
    assert cooled(state) == []


def test_a_probe_that_is_refused_waits_longer_than_a_gateway_asks_for_again_and_again() -> None:
    """Retry-After of 1 s is taken at its word once; while the breaker is open, our own backoff is the least."""
    state = many()
    now, reply = 0.0, Refused(fault(K.RATE_LIMITED, retry_after_s=1.0))
    waits = []
    for _ in range(12):
        now = answered(state, reply, now)
        waits.append(cooled(state)[-1].until - now)
    assert waits[:STORM] == [1.0] * STORM
    assert all(60.0 >= wait >= min(60.0, 2.0**tries) / 2 for tries, wait in enumerate(waits[STORM:], STORM))


def test_the_first_wait_of_a_slow_lane_is_no_shorter_than_its_own_spacing() -> None:
    """A lane of two a minute that is told to wait, and not how long, waits 15 to 30 s."""
    state = many(slot_s=30.0)
    now = answered(state, BUSY, 0.0)
    assert 15.0 <= cooled(state)[-1].until - now <= 30.0


def test_retries_that_fail_give_way_to_fresh_tasks() -> None:
    """Ten retries may fail again; from then on a fresh task goes first, and each ten of them earn a retry."""
    state = many(tasks=40, attempts_max=1)
    lane = state.machine.state.lanes[LANE]
    lane.pace.retries = 2.0
    now, tried = 0.0, []
    for _ in range(4):
        now = answered(state, BUSY, now)
        tried.append(lane.first())
    firsts = [attempt for attempt in tried if state.machine.state.attempts[attempt].ordinal == 1]
    assert lane.pace.retries < 1.0
    assert firsts, "a fresh task is next"
    now = answered(state, Pending("op"), now)
    lane.pace.retries = 0.0
    begun = len(lane.again)
    for _ in range(9):
        now = answered(state, Pending("op"), now)
    assert len(lane.again) == begun
    for _ in range(3):
        now = answered(state, Pending("op"), now)
    assert len(lane.again) == begun - 1


def test_retries_alone_go_one_at_a_time_and_a_good_answer_gives_back_what_it_cost() -> None:
    """At the end of a job nothing fresh is left: no deadlock, no herd, and the whole pace once retries succeed."""
    state = many(tasks=3, attempts_max=1)
    lane = state.machine.state.lanes[LANE]
    lane.pace.retries, now = 0.0, 0.0
    for _ in range(3):
        now = answered(state, BUSY, now)
    assert (len(lane.again), len(lane.fresh)) == (3, 0)
    lane.pace.retries = 0.0
    now = cooled(state)[-1].until
    probe = permitted(state, now)
    assert probe is not None
    assert permitted(state, now) is None
    state.tell(SubmitAnswered(probe, Pending("op")), now)
    assert lane.pace.retries == 1.0
    lane.pace.retries = RETRIES_MOST
    again = permitted(state, now)
    assert again is not None
    state.tell(SubmitAnswered(again, Pending("op-2")), now)
    assert lane.pace.retries == RETRIES_MOST


def ended(state: Ring, took_s: float, now: float) -> tuple[float, float, int]:
    """One operation that takes so long: (its first poll after, how late its end was seen, polls)."""
    state.tell(Offered(task(round(now))), now)
    number = permitted(state, now)
    assert number is not None
    facts, commands = state.tell(SubmitAnswered(number, Pending(f"op-{number}")), now)
    assert isinstance(facts[0], Accepted)
    at = next(command.at for command in commands if isinstance(command, Poll))
    first, polls = at - now, 1
    while at < now + took_s:
        _, commands = state.tell(PollAnswered(number, StillRunning()), at)
        at = next(command.at for command in commands if isinstance(command, Poll))
        polls += 1
    state.tell(PollAnswered(number, Ready(("a",), 1)), at)
    return first, at - (now + took_s), polls


def test_first_polls_move_to_the_times_that_a_model_takes() -> None:
    """Polls a task fall to a fifth, the end is seen no later, and never before the card's own first poll."""
    state, now, rows = many(tasks=0), 0.0, []
    for index in range(100):
        now += 100.0
        rows.append(ended(state, 30.0 + index * 7 % 5, now))
    begin, learnt = rows[:TIMES_MIN], rows[40:]
    assert all(first == TERMS.poll_first_s for first, _, _ in begin)
    assert sum(polls for *_, polls in learnt) / len(learnt) < sum(polls for *_, polls in begin) / len(begin) / 4
    assert sum(late for _, late, _ in learnt) / len(learnt) <= sum(late for _, late, _ in begin) / len(begin) + 0.5
    assert all(late <= TERMS.poll_every_s for _, late, _ in learnt)


def test_a_model_that_becomes_quicker_is_noticed() -> None:
    """First polls that find an end each time come earlier from then on, never before the card's."""
    state, now = many(tasks=0), 0.0
    for _ in range(20):
        now += 100.0
        ended(state, 40.0, now)
    rows = []
    for _ in range(50):
        now += 100.0
        rows.append(ended(state, 10.0, now))
    assert rows[0][1] > 20.0
    assert rows[-1][1] <= 2 * TERMS.poll_every_s
    for _ in range(50):
        now += 100.0
        first, *_ = ended(state, 0.5, now)
    assert first == TERMS.poll_first_s


def test_polls_that_broke_teach_nothing() -> None:
    """When the end came cannot be told from an answer that is late for other reasons."""
    state = many(tasks=20)
    for index in range(10):
        number = permitted(state, 100.0 * index)
        assert number is not None
        state.tell(SubmitAnswered(number, Pending(f"op-{number}")), 100.0 * index)
        state.tell(PollAnswered(number, PollBroken(fault())), 100.0 * index + 5)
        state.tell(PollAnswered(number, Ready(("a",), 1)), 100.0 * index + 90)
    assert len(state.machine.state.lanes[LANE].pace.took) == 0


def test_a_new_process_begins_at_the_declared_pace() -> None:
    """What was learnt is memory: a lane of a new machine has its whole share, no breaker and no times."""
    lane = ring().machine.state.lane(LANE)
    assert (lane.pace.share, lane.breaker, list(lane.pace.took)) == (1.0, 0, [])
    assert lane.view().share == 1.0


def test_offers_go_on_while_retries_wait() -> None:
    """A lane whose retries wait for fresh tasks still asks for those, as far as it holds any ahead."""
    state = ring(policy(attempts_max=1), tasks=[task(0)])
    answered(state, BUSY, 0.0)
    state.machine.state.lanes[LANE].pace.retries = 0.0
    assert state.machine.wants_tasks() > 0
    state.tell(Offered(task(1)), 0.0)
    assert state.machine.state.attempts[state.machine.state.lanes[LANE].first()].task == 1
