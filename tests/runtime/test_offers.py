"""What is offered next while lanes are paused: nothing is lost, nothing comes twice, the others pass."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.runtime.offers import Offers
from tests.engine.worlds import task

LANES = ("a/x", "b/y", "c/z")


def test_a_paused_lanes_tasks_wait_aside_and_come_first_when_it_goes_on() -> None:
    """The other lanes go on in the plan's order meanwhile."""
    plan = [task(number, lane=LANES[number % 2]) for number in range(6)]
    paused: set[str] = {LANES[0]}
    offers = Offers(iter(plan), plan.__getitem__, paused.__contains__)
    passed = []
    while (each := offers.next()) is not None and each.number < 4:
        if each.lane in paused:
            offers.put_aside(each)
        else:
            passed.append(each.number)
    assert (passed, offers.waits) == ([1, 3], True)
    paused.clear()
    assert [each.number for each in iter(offers.next, None)] == [0, 2, 5]
    assert not offers.waits


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(LANES), max_size=40), st.lists(st.sets(st.sampled_from(LANES)), max_size=60))
def test_every_task_is_offered_once_whatever_is_paused_when_laws(lanes: list[str], pauses: list[set[str]]) -> None:
    """Each lane's tasks keep their order, and when all lanes go on in the end, all of them were offered."""
    plan = [task(number, lane=lane) for number, lane in enumerate(lanes)]
    paused: set[str] = set()
    offers = Offers(iter(plan), plan.__getitem__, lambda lane: lane in paused)
    offered = []
    for now in (*pauses, *[set[str]()] * (len(plan) + 1)):
        paused.clear()
        paused.update(now)
        each = offers.next()
        if each is None:
            continue
        if each.lane in paused:
            offers.put_aside(each)
        else:
            offered.append(each.number)
    assert sorted(offered) == list(range(len(plan)))
    assert not offers.waits
    for lane in LANES:
        mine = [number for number in offered if plan[number].lane == lane]
        assert mine == sorted(mine)
