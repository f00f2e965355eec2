"""A person's pause: what stops, what goes on, what it says, and how it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.engine.facts import Continued, Draining, DrainNoted, Held, Paused, Released
from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    CapAsked,
    ContinueAsked,
    DiskTold,
    DrainAsked,
    Fetch,
    Fetched,
    Offered,
    PauseAsked,
    Poll,
    PollAnswered,
    Resumed,
    SlotNear,
    SubmitAnswered,
    TimeCame,
)
from pipeline.engine.phases import Phase
from pipeline.values.reply import Fault, FaultKind, Pending, Ready, Refused
from tests.engine.folding import fold
from tests.engine.worlds import EACH, LANE, Ring, artifact, policy, ring, running, task

OTHER = "other/pro"
WHO = "view, user ann"


def test_a_pause_frees_what_is_held_and_nothing_is_bought_until_it_is_continued() -> None:
    """Held money is free again, no permit and no hold is given; continuing holds the same tasks anew."""
    new = ring(tasks=[task(0), task(1)])
    facts, _ = new.tell(PauseAsked(None, WHO))
    assert facts[0] == Paused(None, WHO)
    assert sum(isinstance(fact, Released) for fact in facts) == 2
    assert new.machine.accounts()["USD"].held == 0
    assert new.machine.wants_tasks() == 0
    assert not new.machine.lane_ready(LANE, 1e12)
    assert new.tell(SlotNear(LANE))[0] == new.tell(Offered(task(2)))[0] == []
    assert not new.machine.idle(), "it waits to be continued"
    facts, _ = new.tell(ContinueAsked(None, WHO))
    assert facts[0] == Continued(None, WHO)
    assert sum(isinstance(fact, Held) for fact in facts) == 2
    assert new.machine.lane_ready(LANE, 0.0)


def test_what_is_on_its_way_is_followed_and_fetched_during_a_pause() -> None:
    """Answers, polls and downloads of a paused run go on to the stored picture."""
    new = running()
    new.tell(PauseAsked(None, WHO))
    _, commands = new.tell(PollAnswered(1, Ready(("link",), 1)))
    assert [type(each) for each in commands] == [Fetch]
    new.tell(Fetched(1, 0, artifact()))
    assert new.machine.counts() == {Phase.DONE: 1}
    assert new.machine.idle(), "nothing waits to be continued"


def test_a_refused_call_is_not_bought_again_before_the_run_is_continued() -> None:
    """What comes back as `again` during a pause waits, also past its own backoff, and is bought afterwards."""
    new = ring(tasks=[task(0)])
    new.tell(SlotNear(LANE))
    new.tell(PauseAsked(None, WHO))
    new.tell(SubmitAnswered(1, Refused(Fault(FaultKind.TRANSIENT, "busy"))))
    new.tell(TimeCame(task=0), 1e6)
    assert new.machine.counts() == {Phase.WAITING: 1}
    assert not new.machine.idle()
    facts, _ = new.tell(ContinueAsked(None, WHO), 1e6)
    assert any(isinstance(fact, Held) for fact in facts)


def two_lanes() -> Ring:
    """One held task on each of two lanes."""
    return ring(policy(lanes=(LANE, OTHER)), tasks=[task(0), task(1, lane=OTHER)])


def test_one_lane_is_paused_and_the_other_goes_on() -> None:
    """Only the lane that was named stops; the run wants tasks for the other."""
    new = two_lanes()
    new.tell(PauseAsked(OTHER, WHO))
    assert (new.machine.pauses(LANE), new.machine.pauses(OTHER)) == (False, True)
    assert new.machine.lane_ready(LANE, 0.0)
    assert not new.machine.lane_ready(OTHER, 1e12)
    assert new.tell(Offered(task(2, lane=OTHER)))[0] == [], "it is offered again later"
    assert any(isinstance(fact, Held) for fact in new.tell(Offered(task(3)))[0])
    new.tell(PauseAsked(LANE, WHO))
    assert new.machine.wants_tasks() == 0
    new.tell(ContinueAsked(OTHER, WHO))
    assert not new.machine.lane_ready(LANE, 1e12)
    assert new.machine.lane_ready(OTHER, 0.0)


def test_continuing_without_a_name_lifts_every_pause() -> None:
    """Somebody who says `resume` means the whole run, whoever paused what."""
    new = two_lanes()
    for lane in (None, OTHER):
        new.tell(PauseAsked(lane, WHO), 5.0)
    assert {lane: pause.why for lane, pause in new.machine.paused().items()} == {None: WHO, OTHER: WHO}
    assert new.machine.paused()[OTHER].since == 5.0
    new.tell(ContinueAsked(OTHER, WHO))
    assert not new.machine.lane_ready(OTHER, 1e12), "the whole run is still paused"
    new.tell(PauseAsked(OTHER, WHO))
    new.tell(ContinueAsked(None, "command line, user bob"))
    assert new.machine.paused() == {}
    assert new.machine.lane_ready(LANE, 0.0)
    assert new.machine.lane_ready(OTHER, 0.0)


def test_what_is_so_already_is_no_fact() -> None:
    """A second pause, a continuation of what is not paused and a pause of a run that drains change nothing."""
    new = two_lanes()
    assert new.tell(ContinueAsked(None, WHO))[0] == []
    new.tell(PauseAsked(None, WHO))
    assert new.tell(PauseAsked(None, "another"))[0] == []
    assert new.tell(ContinueAsked(LANE, WHO))[0] == []
    new.tell(DrainAsked())
    assert new.tell(PauseAsked(LANE, WHO))[0] == []


def test_a_drain_ends_a_paused_run() -> None:
    """Ctrl-C works during a pause: what is unanswered is awaited, and the run is over."""
    new = ring(tasks=[task(0), task(1)])
    new.tell(SlotNear(LANE))
    new.tell(PauseAsked(None, WHO))
    new.tell(DrainAsked())
    assert not new.machine.idle()
    new.tell(SubmitAnswered(1, Pending("op-1")))
    assert new.machine.idle()


def test_a_drain_that_somebody_asked_for_says_who() -> None:
    """One by a signal has no name and leaves no entry; one by a person is noted before it begins."""
    assert ring().tell(DrainAsked())[0] == [Draining()]
    assert ring().tell(DrainAsked(WHO))[0] == [DrainNoted(WHO), Draining()]


@pytest.mark.parametrize("cap", [EACH // 2, 20 * EACH])
def test_the_budget_can_be_changed_while_paused(cap: int) -> None:
    """A new cap holds as soon as the run is continued, a lower one as well."""
    new = ring(tasks=[task(0)])
    new.tell(PauseAsked(None, WHO))
    new.tell(CapAsked("USD", cap, WHO))
    new.tell(ContinueAsked(None, WHO))
    assert new.machine.accounts()["USD"].held == (EACH if cap > EACH else 0)


def test_a_full_disk_and_a_pause_are_both_waited_for() -> None:
    """Room on the disk does not end a pause, and continuing does not make room."""
    new = ring(tasks=[task(0)])
    new.tell(PauseAsked(None, WHO))
    new.tell(DiskTold(Fault(FaultKind.TRANSIENT, "full")))
    new.tell(DiskTold(None))
    assert not new.machine.lane_ready(LANE, 1e12)
    new.tell(DiskTold(Fault(FaultKind.TRANSIENT, "full")))
    new.tell(ContinueAsked(None, WHO))
    assert not new.machine.lane_ready(LANE, 1e12)
    new.tell(DiskTold(None))
    assert new.machine.lane_ready(LANE, 0.0)


def test_a_new_process_starts_without_a_pause_and_the_store_remembers_who_said_what() -> None:
    """The command `run` means go; what was said stays in the tables."""
    new = running()
    new.tell(PauseAsked(LANE, WHO))
    new.tell(ContinueAsked(LANE, WHO))
    new.tell(PauseAsked(None, WHO))
    new.tell(DrainAsked(WHO))
    folded = fold(new.facts)
    assert folded.said == [("pause", LANE, WHO), ("continue", LANE, WHO), ("pause", None, WHO), ("drain", None, WHO)]
    again = Ring(Machine.restore(policy(), folded.snapshot()))
    again.tell(Resumed())
    assert again.machine.paused() == {}
    assert [type(each) for each in again.machine.resume_commands(0.0)] == [Poll]
    again.tell(Offered(replace(task(1))))
    assert again.machine.lane_ready(LANE, 0.0)
