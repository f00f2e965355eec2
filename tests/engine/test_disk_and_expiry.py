"""Room and time run out: a full disk stops buying and loses nothing; what expires first is fetched first."""

from __future__ import annotations

from dataclasses import replace

from pipeline.engine.facts import Released, TaskMoved
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    DiskTold,
    Fetch,
    Fetched,
    FetchFailed,
    Offered,
    Poll,
    PollAnswered,
    Resumed,
    SlotNear,
    SubmitAnswered,
)
from pipeline.engine.phases import Phase
from pipeline.engine.retry import BACKLOG_MAX, FAILING_MIN, FETCH_TRIES_MAX
from pipeline.engine.terms import OnDoubt
from pipeline.values.reply import FaultKind, Pending, PollBroken, Ready
from tests.engine.folding import fold
from tests.engine.worlds import LANE, TERMS, Ring, artifact, fault, policy, ring, running, task

FULL = fault(FaultKind.TRANSIENT, "the disk is full")
EXPIRING = replace(TERMS, links_live_s=1000.0, in_flight_max=40, unanswered_max=40)


# --- the disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_buying_and_costs_no_attempt() -> None:
    """Holds are given back, nothing is permitted; with room again everything goes on."""
    state = ring(policy(attempts_max=1), tasks=[task(0), task(1)])
    facts, _ = state.tell(DiskTold(FULL))
    assert [each.counts for each in facts if isinstance(each, Released)] == [False, False]
    assert state.machine.wants_tasks() == 0
    assert not state.machine.lane_ready(LANE, 0.0)
    assert state.tell(SlotNear(LANE)) == ([], [])
    assert state.machine.state.disk == FULL
    assert state.machine.idle()
    facts, _ = state.tell(DiskTold(None))
    assert facts[-1].attempt == 4  # type: ignore[union-attr]  # Held anew
    assert state.machine.lane_ready(LANE, 0.0)
    assert state.machine.state.disk is None


def test_on_a_full_disk_operations_are_followed_and_pictures_wait_for_room() -> None:
    """What is paid is booked; its download begins with the first room, however often it broke before."""
    state = running()
    state.tell(DiskTold(FULL))
    assert not state.machine.idle()
    _, commands = state.tell(PollAnswered(1, Ready(("a",), 1)), 1.0)
    assert commands == []
    assert state.machine.idle()
    assert state.tell(DiskTold(None), 2.0)[1] == [Fetch(1, 0, 0, "a", 2.0)]
    assert not state.machine.idle()


def test_downloads_that_find_no_room_are_not_lost() -> None:
    """It is not the link's fault: no try is counted."""
    state = running()
    state.tell(PollAnswered(1, Ready(("a",), 1)))
    state.tell(DiskTold(FULL))
    for _ in range(3 * FETCH_TRIES_MAX):
        assert state.tell(FetchFailed(1, 0, FULL)) == ([], [])
    state.tell(DiskTold(None), 5.0)
    facts, commands = state.tell(FetchFailed(1, 0, FULL), 5.5)
    assert facts == []
    assert isinstance(commands[0], Fetch), "the first try that counts"
    assert state.tell(Fetched(1, 0, artifact()), 6.0)[0][-1] == TaskMoved(0, Phase.DONE)


def test_being_told_the_same_twice_is_no_news() -> None:
    """One fact per change."""
    state = ring(tasks=[task(0)])
    assert state.tell(DiskTold(None)) == ([], [])
    state.tell(DiskTold(FULL))
    assert state.tell(DiskTold(FULL)) == ([], [])


# --- links that expire --------------------------------------------------------------------------------------------


def fetching(count: int, *, links_live_s: float = 1000.0) -> Ring:
    """So many operations ended at 0, 1, 2 and so on, each with a picture to fetch; one more task is held."""
    terms = replace(EXPIRING, links_live_s=links_live_s, in_flight_max=count + 4, unanswered_max=count + 4)
    state = ring(policy(terms=terms), caps={"USD": 10**9})
    for number in range(count + 1):
        state.tell(Offered(task(number)), check=False)
    for attempt in range(1, count + 1):
        at = float(attempt - 1)
        state.tell(SlotNear(LANE), at, check=False)
        state.tell(SubmitAnswered(attempt, Pending(f"op-{attempt}")), at, check=False)
        state.tell(PollAnswered(attempt, Ready((f"l{attempt}",), 1)), at, check=False)
    state.machine.check()
    return state


def test_downloads_that_fall_behind_stop_buying_until_they_have_caught_up() -> None:
    """So many pictures may wait to be downloaded, and no more are bought: what is under way stays bounded."""
    state = fetching(BACKLOG_MAX, links_live_s=1e9)
    assert not state.machine.lane_ready(LANE, 1e4)
    assert state.tell(SlotNear(LANE), 1e4) == ([], [])
    assert state.machine.lane_views()[LANE].behind
    state.tell(Fetched(1, 0, artifact()), 1e4)
    assert state.machine.lane_ready(LANE, 1e4)
    assert not state.machine.lane_views()[LANE].behind


def test_what_may_wait_to_be_downloaded_is_bounded_on_both_sides() -> None:
    """Fewer pictures would stop buying in a hiccup of the network; more would be paid links that expire, and memory.

    The tests beside this one take the bounds from the engine, and so hold for any.
    """
    assert 512 <= BACKLOG_MAX <= 2048
    assert 4 <= FAILING_MIN <= 16


def test_pictures_that_nobody_follows_any_more_do_not_stop_buying() -> None:
    """Links that the gateway refuses to renew are left for the next run; the others go on in this one."""
    state = fetching(BACKLOG_MAX, links_live_s=1e9)
    state.tell(FetchFailed(1, 0, fault(FaultKind.EXPIRED)), 1e4)
    assert not state.machine.lane_ready(LANE, 1e4)
    state.tell(PollAnswered(1, PollBroken(fault(FaultKind.UNAUTHORIZED))), 1e4)
    assert state.machine.state.stuck == {1}
    assert state.machine.state.keeps_up(state.machine.state.lane(LANE))


def test_a_picture_host_that_is_away_stops_its_own_lane_alone() -> None:
    """Eight pictures in a row that cannot be had: no more is bought there until one comes; other lanes buy on."""
    terms = replace(EXPIRING, links_live_s=1e9)
    tasks = [*map(task, range(FAILING_MIN + 1)), task(FAILING_MIN + 1, lane="other/pro")]
    state = ring(policy(lanes=(LANE, "other/pro"), terms=terms), caps={"USD": 10**9}, tasks=tasks)
    for attempt in range(1, FAILING_MIN + 1):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(attempt, Pending(f"op-{attempt}")))
        state.tell(PollAnswered(attempt, Ready((f"l{attempt}",), 1)))
        assert state.machine.lane_ready(LANE, 1.0)
        state.tell(FetchFailed(attempt, 0, fault(FaultKind.TRANSIENT)), 1.0)
    assert not state.machine.lane_ready(LANE, 1.0)
    assert state.machine.lane_views()[LANE].behind
    assert state.machine.lane_ready("other/pro", 1.0)
    state.tell(Fetched(3, 0, artifact()), 2.0)
    assert state.machine.lane_ready(LANE, 2.0)


def test_a_picture_host_that_stays_away_is_tried_with_new_pictures_once_the_old_are_given_up() -> None:
    """No run waits for ever: when nothing is waited for any more, the lane buys, and stops at the first that fails."""
    state = fetching(FAILING_MIN, links_live_s=1e9)
    for at in (1e3, 1e5):
        for attempt in range(1, FAILING_MIN + 1):
            for _ in range(3 * FETCH_TRIES_MAX):
                state.tell(FetchFailed(attempt, 0, fault(FaultKind.TRANSIENT)), at)
                state.tell(PollAnswered(attempt, Ready((f"m{attempt}",), 1)), at)
        assert state.machine.lane_ready(LANE, at) is (at > 1e4)
    assert state.machine.state.backlog == 0
    state.tell(SlotNear(LANE), 2e5)
    state.tell(SubmitAnswered(FAILING_MIN + 1, Pending("op-9")), 2e5)
    state.tell(PollAnswered(FAILING_MIN + 1, Ready(("l9",), 1)), 2e5)
    assert not state.machine.state.keeps_up(state.machine.state.lane(LANE))


def test_a_download_says_when_its_link_expires() -> None:
    """From the moment its operation was seen to have ended; fresh links live anew."""
    state = fetching(1)
    state.tell(FetchFailed(1, 0, fault(FaultKind.EXPIRED)), 10.0)
    _, commands = state.tell(PollAnswered(1, Ready(("m",), 1)), 11.0)
    assert commands == [Fetch(1, 0, 0, "m", 11.0, 1011.0)]


def test_after_a_resume_the_oldest_results_are_fetched_first() -> None:
    """By the times that the store has; what expired already is tried in any case, and first."""
    was = fetching(3)
    folded = fold(was.facts).snapshot()
    ends = {1: 500, 2: 100, 3: -2000}
    tasks = tuple(
        replace(
            each, attempts=tuple(replace(one, ended_at=round(ends.get(one.attempt, 0) * 1e6)) for one in each.attempts)
        )
        for each in folded.tasks
    )
    terms = policy(terms=EXPIRING)
    again = Ring(Machine.restore(terms, replace(folded, tasks=tasks)))
    again.tell(Resumed(round(600 * 1e6)), 50.0)
    commands = [each for each in again.machine.resume_commands(50.0) if isinstance(each, Fetch)]
    assert [(each.attempt, each.expires_at) for each in commands] == [(3, -1550.0), (2, 550.0), (1, 950.0)]


def test_a_backlog_that_cannot_drain_in_time_stops_buying_until_it_drains() -> None:
    """48 pictures, two rounds of 24, twice 300 s each: too long for links of 1,000 s."""
    state = fetching(48)
    assert state.machine.lane_ready(LANE, 50.0)
    state.machine.state.fetch_s = 300.0
    assert not state.machine.lane_ready(LANE, 50.0)
    assert state.tell(SlotNear(LANE), 50.0) == ([], [])
    assert not state.machine.idle()
    for attempt in range(1, 25):
        state.tell(Fetched(attempt, 0, artifact()), 50.0)
    state.machine.state.fetch_s = 300.0
    assert state.machine.lane_ready(LANE, 50.0)


def test_slow_downloads_are_noticed_at_once_and_fast_ones_believed_slowly() -> None:
    """The estimate errs on the side of what is paid."""
    state = fetching(30)
    before = state.machine.state.fetch_s
    state.tell(Fetched(1, 0, artifact()), 200.0)
    slow = state.machine.state.fetch_s
    assert slow > 20 * before
    state.tell(Fetched(2, 0, artifact()), 200.0)
    state.tell(PollAnswered(3, Ready(("x",), 1)), 200.0)
    assert state.machine.state.fetch_s > slow


def test_links_that_have_expired_or_that_nobody_waits_for_stop_nothing() -> None:
    """They are asked for again; new ones do not make it worse."""
    state = fetching(30)
    state.machine.state.fetch_s = 10_000.0
    assert not state.machine.lane_ready(LANE, 999.0)
    assert state.machine.lane_ready(LANE, 2000.0)
    state.machine.state.stuck.update(range(1, 31))
    assert state.machine.lane_ready(LANE, 999.0)


def test_links_that_never_expire_stop_nothing() -> None:
    """A backlog alone is no reason."""
    state = fetching(30, links_live_s=float("inf"))
    state.machine.state.fetch_s = 1e9
    assert state.machine.lane_ready(LANE, 1.0)


def test_a_run_that_was_told_no_time_takes_links_as_fresh() -> None:
    """Expiry is a hint; without a clock it counts from now."""
    was = running(policy(OnDoubt.HOLD, terms=EXPIRING))
    was.tell(PollAnswered(1, Ready(("a",), 1)))
    again = Ring(Machine.restore(policy(terms=EXPIRING), fold(was.facts).snapshot()))
    again.tell(Resumed(), 7.0)
    assert again.machine.resume_commands(7.0) == [Fetch(1, 0, 0, "a", 7.0, 1007.0)]
    assert not [each for each in again.machine.resume_commands(7.0) if isinstance(each, Poll)]
