"""What a restored machine does with each state that a crash can leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.engine.facts import (
    Accepted,
    Doubted,
    Fact,
    Held,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.machine import Doubt, Machine
from pipeline.engine.messages import (
    Command,
    DrainAsked,
    Fetch,
    Fetched,
    FetchFailed,
    Offered,
    Poll,
    PollAnswered,
    Resumed,
    RetryAsked,
    SlotNear,
    SubmitAnswered,
    TimeCame,
    VerdictGiven,
    Wake,
)
from pipeline.engine.phases import Phase
from pipeline.engine.stored import Snapshot
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.errors import Bug, RunError
from pipeline.values.reply import Fault, FaultKind, Gone, OperationFailed, Pending, Ready, Refused, Reply, Unknown
from tests.engine.folding import fold
from tests.engine.worlds import LANE, TERMS, Ring, artifact, fault, policy, ring, running, submitting, task

K = FaultKind
FOUND = Fault(K.NOT_SENT, "found at recovery")
ENDED = Fault(K.UNKNOWN, "the process ended before an answer was written down")
SPENT = replace(ENDED, message=f"counted as spent (on_doubt: write_off): {ENDED.message}")
UNKNOWN = fault(K.UNKNOWN, "timeout")
RESUBMIT, WRITE_OFF = policy(OnDoubt.RESUBMIT), policy(OnDoubt.WRITE_OFF)
LAGGING = policy(terms=replace(TERMS, release_lag_s=60.0))


def crashed(before: Ring, rules: Policy | None = None, *, asked: tuple[int, ...] = ()) -> Ring:
    """The same run in a new process: only what was durable is known."""
    snapshot = fold(before.facts).snapshot(asked)
    after = Ring(Machine.restore(rules or before.machine.state.policy, snapshot))
    after.facts = list(before.facts)
    after.machine.check()
    return after


def with_answer(rules: Policy, answer: Reply) -> Ring:
    """Attempt 1 was answered like this."""
    new = submitting(rules, n=2)
    new.tell(SubmitAnswered(1, answer))
    return new


def _held_beside_a_doubt() -> Ring:
    new = with_answer(RESUBMIT, Unknown(UNKNOWN))
    new.tell(TimeCame(task=0), 120.0)
    return new


CASES: list[tuple[str, Callable[[], Ring], Policy, list[Fact], list[Command]]] = [
    (
        "a reserved attempt was provably not sent",
        lambda: ring(tasks=[task(0)]),
        policy(),
        [
            Released(1, 100, FOUND, counts=False),
            TaskMoved(0, Phase.WAITING),
            TaskMoved(0, Phase.HELD),
            Held(2, 0, 2, 100, "USD"),
        ],
        [],
    ),
    (
        "a submitting attempt is in doubt",
        submitting,
        policy(),
        [Doubted(1, 100, ENDED), TaskMoved(0, Phase.IN_DOUBT, ENDED)],
        [],
    ),
    (
        "a submitting attempt is written off when the user says so",
        submitting,
        WRITE_OFF,
        [Doubted(1, 100, ENDED), WrittenOff(1, 100, "on_doubt: write_off"), TaskMoved(0, Phase.FAILED, SPENT)],
        [],
    ),
    (
        "a submitting attempt is bought again after the quiet period",
        submitting,
        RESUBMIT,
        [Doubted(1, 100, ENDED), TaskMoved(0, Phase.IN_DOUBT, ENDED, 1120.0)],
        [Wake(1120.0, task=0)],
    ),
    ("an accepted operation is polled now", running, policy(), [], [Poll(1, 0, "op-1", 1000.0)]),
    (
        "pictures are fetched and the rest is released after its lag",
        lambda: with_answer(LAGGING, Ready(("a",), 1)),
        LAGGING,
        [],
        [Fetch(1, 0, 0, "a", 1000.0), Wake(1060.0, attempt=1)],
    ),
    ("an old doubt waits", lambda: with_answer(policy(), Unknown(UNKNOWN)), policy(), [], []),
    (
        "an old doubt is written off when the user says so now",
        lambda: with_answer(policy(), Unknown(UNKNOWN)),
        WRITE_OFF,
        [WrittenOff(1, 200, "on_doubt: write_off"), TaskMoved(0, Phase.FAILED, SPENT)],
        [],
    ),
    (
        "an old doubt is bought again when the user says so now",
        lambda: with_answer(policy(), Unknown(UNKNOWN)),
        RESUBMIT,
        [],
        [Wake(1120.0, task=0)],
    ),
    (
        "a second try that was only held goes back into doubt when resubmit was taken back",
        _held_beside_a_doubt,
        policy(),
        [
            Released(2, 200, FOUND, counts=False),
            TaskMoved(0, Phase.WAITING),
            TaskMoved(0, Phase.IN_DOUBT, ENDED),
        ],
        [],
    ),
    (
        "a task that waited for its backoff is held at once",
        lambda: with_answer(policy(), Refused(fault())),
        policy(),
        [TaskMoved(0, Phase.HELD), Held(2, 0, 2, 200, "USD")],
        [],
    ),
]


@pytest.mark.parametrize(
    ("before", "rules", "facts", "commands"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_resuming_leads_to_these_facts_and_commands(
    before: Callable[[], Ring], rules: Policy, facts: list[Fact], commands: list[Command]
) -> None:
    """Money first, then what goes on: nothing that may have been sent is sent again."""
    after = crashed(before(), rules)
    assert after.machine.step(Resumed(), 1000.0) == facts
    after.machine.check()
    assert after.machine.resume_commands(1000.0) == commands


@pytest.mark.parametrize("before", [case[1] for case in CASES], ids=[case[0] for case in CASES])
@pytest.mark.parametrize("rules", [policy(), RESUBMIT, WRITE_OFF], ids=lambda rules: rules.on_doubt)
def test_recovering_twice_changes_no_money(before: Callable[[], Ring], rules: Policy) -> None:
    """A crash right after recovery finds the same spent and doubt, and moves no task out of its end."""
    once = crashed(before(), rules)
    once.tell(Resumed(), 10.0)
    twice = crashed(once, rules)
    twice.tell(Resumed(), 20.0)
    assert twice.machine.accounts() == once.machine.accounts()
    assert twice.machine.counts() == once.machine.counts()


def test_answers_of_the_black_box_come_before_resumed() -> None:
    """An answer that was written down saves its attempt from doubt; told twice, it says nothing new."""
    after = crashed(submitting())
    facts, _ = after.tell(SubmitAnswered(1, Pending("op-1")), 5.0)
    assert facts == [Accepted(1, "op-1"), TaskMoved(0, Phase.RUNNING)]
    assert after.tell(SubmitAnswered(1, Pending("op-1")), 5.0) == ([], [])
    assert after.tell(SubmitAnswered(99, Pending("op-1")), 5.0) == ([], [])
    assert after.tell(Resumed(), 5.0)[0] == []
    # It is being polled already, by the reaction to Accepted: one chain of polls per attempt.
    assert after.machine.resume_commands(5.0) == []


def test_without_reactions_resume_commands_ask_for_all_that_black_box_answers_began() -> None:
    """A driver that only commits while it recovers loses nothing: resuming polls, and wakes cooled lanes."""
    before = ring(tasks=[task(0), task(1)])
    before.tell(SlotNear(LANE))
    before.tell(SlotNear(LANE))
    after = crashed(before)
    after.machine.step(SubmitAnswered(1, Pending("op-1")), 0.0)
    after.machine.step(SubmitAnswered(2, Refused(fault(K.RATE_LIMITED, retry_after_s=9.0))), 0.0)
    after.machine.step(Resumed(), 0.0)
    assert after.machine.resume_commands(0.0) == [Poll(1, 0, "op-1", 0.0), Wake(9.0, lane=LANE)]


def test_nothing_is_bought_before_resumed_was_told() -> None:
    """Until recovery is over the feed is shut, and no waiting task is held."""
    after = crashed(with_answer(policy(), Refused(fault())))
    assert after.machine.wants_tasks() == 0
    assert after.tell(TimeCame(task=0), 1e9) == ([], [])


def test_operation_ids_of_ended_tasks_are_remembered() -> None:
    """An id that an earlier session saw, for a task that is over by now, is no acceptance."""
    before = running()
    before.tell(PollAnswered(1, OperationFailed(fault(K.REJECTED), billed=False)))
    after = crashed(before)
    after.tell(Resumed())
    after.tell(Offered(task(1)))
    after.tell(SlotNear(LANE))
    facts, _ = after.tell(SubmitAnswered(2, Pending("op-1")))
    assert isinstance(facts[0], Doubted)


@pytest.mark.parametrize("shortly", [False, True], ids=["failed", "short"])
def test_a_failed_or_short_task_is_sent_again_when_asked(shortly: bool) -> None:  # noqa: FBT001
    """RetryAsked holds it anew, with a fresh allowance of attempts."""
    before = submitting(n=2)
    if shortly:
        before.tell(SubmitAnswered(1, Ready(("a",), 1)))
        before.tell(Fetched(1, 0, artifact()))
    else:
        before.tell(SubmitAnswered(1, Refused(fault(K.REJECTED))))
    after = crashed(before, asked=(0,))
    after.tell(Resumed())
    assert after.tell(RetryAsked(0))[0] == [
        TaskMoved(0, Phase.WAITING),
        TaskMoved(0, Phase.HELD),
        Held(2, 0, 2, 200, "USD"),
    ]
    assert after.machine.state.tasks[0].used == 0
    assert after.tell(RetryAsked(0))[0] == []


def test_an_allowance_that_was_used_up_begins_anew_after_a_restart() -> None:
    """A task that failed with its last attempt, is sent again and then restored has all its attempts again."""
    rules = policy(attempts_max=1)
    before = submitting(rules)
    before.tell(SubmitAnswered(1, Refused(fault())))
    asked = crashed(before, asked=(0,))
    asked.tell(RetryAsked(0))
    after = crashed(asked)
    assert after.machine.state.tasks[0].used == 0


def test_a_task_can_be_loaded_by_itself() -> None:
    """`remember` loads what a snapshot left out, once."""
    before = submitting()
    before.tell(SubmitAnswered(1, Refused(fault(K.REJECTED))))
    after = crashed(before)
    with pytest.raises(Bug, match="was not loaded"):
        after.tell(RetryAsked(0))
    stored = fold(before.facts).snapshot(asked=(0,)).tasks[0]
    after.machine.remember(stored)
    after.machine.remember(stored)
    assert after.tell(RetryAsked(0))[0] == [TaskMoved(0, Phase.WAITING)]


@pytest.mark.parametrize(
    ("verdict", "complaint"),
    [
        (VerdictGiven(1, "perhaps", "why"), "a verdict is"),
        (VerdictGiven(9, "billed", "why"), "not in doubt"),
        (VerdictGiven(1, "", "why", "op-1"), "another attempt has"),
    ],
)
def test_a_verdict_that_does_not_apply_is_refused(verdict: VerdictGiven, complaint: str) -> None:
    """A person's mistake, said as such, and nothing moves."""
    state = with_answer(policy(), Unknown(UNKNOWN))
    state.machine.state.operations.add(("mule", "op-1"))
    before = state.machine.accounts()
    with pytest.raises(RunError, match=complaint):
        state.tell(verdict)
    assert state.machine.accounts() == before


def test_doubts_are_listed_with_their_worst_case() -> None:
    """Every attempt in doubt, what it can have cost, and why."""
    state = with_answer(policy(), Unknown(UNKNOWN))
    assert state.machine.doubts() == [Doubt(1, task(0).id, 200, "USD", "timeout")]


def test_a_vanished_operation_that_is_found_again_is_followed_under_its_own_id() -> None:
    """The id is known already, and it is this attempt's."""
    before = running()
    before.machine.state.attempts[1].gone, before.machine.state.attempts[1].gone_since = 9, -1000.0
    before.tell(PollAnswered(1, Gone(UNKNOWN)))
    after = crashed(before)
    after.tell(Resumed())
    facts, commands = after.tell(VerdictGiven(1, "", "it is back", "op-1"))
    assert facts[1:] == [Accepted(1, "op-1"), TaskMoved(0, Phase.RUNNING)]
    assert commands == [Poll(1, 0, "op-1", 5.0)]


def test_the_second_try_and_the_first_can_both_be_collected() -> None:
    """Under resubmit an old doubt may be found after the second try is done: its pictures are fetched all the same."""
    state = with_answer(RESUBMIT, Unknown(UNKNOWN))
    state.tell(TimeCame(task=0), 120.0)
    state.tell(SlotNear(LANE), 120.0)
    state.tell(SubmitAnswered(2, Ready(("a", "b"), 2)), 121.0)
    state.tell(Fetched(2, 0, artifact("a")), 121.0)
    state.tell(Fetched(2, 1, artifact("b")), 121.0)
    assert state.machine.counts() == {Phase.DONE: 1}
    assert state.machine.accounts()["USD"].doubt == 200
    assert state.machine.idle()
    after = crashed(state)
    after.tell(Resumed(), 0.0)
    assert [type(fact) for fact in after.tell(VerdictGiven(1, "", "listed", "op-1"))[0]][1:] == [Accepted]
    assert not after.machine.idle()
    assert [type(fact) for fact in after.tell(PollAnswered(1, Ready(("c", "d"), 2)))[0]] == [Settled]
    after.tell(Fetched(1, 0, artifact("c")))
    assert after.tell(Fetched(1, 1, artifact("d")))[0] == [PictureStored(1, 1, artifact("d"))]
    assert after.machine.counts() == {Phase.DONE: 1}
    assert after.machine.state.tasks == {}
    assert after.machine.images() == 4


def test_a_needless_second_try_leaves_the_middle_of_its_queue() -> None:
    """Finding the first of two doubtful operations frees its second try wherever it stands in line."""
    state = ring(RESUBMIT, tasks=[task(0), task(1)])
    for attempt in (1, 2):
        state.tell(SlotNear(LANE))
        state.tell(SubmitAnswered(attempt, Unknown(UNKNOWN)))
    state.tell(TimeCame(task=0), 120.0)
    state.tell(TimeCame(task=1), 120.0)
    facts, _ = state.tell(VerdictGiven(2, "", "listed", "op-2"), 121.0)
    assert isinstance(facts[0], Released)
    assert facts[0].attempt == 4
    assert list(state.machine.state.lanes[LANE].again) == [3]


def test_a_second_doubt_is_not_bought_a_third_time() -> None:
    """`resubmit` buys again once: then the task stays in doubt with both holds."""
    state = with_answer(RESUBMIT, Unknown(UNKNOWN))
    state.tell(TimeCame(task=0), 120.0)
    state.tell(SlotNear(LANE), 120.0)
    facts, commands = state.tell(SubmitAnswered(2, Unknown(UNKNOWN)), 121.0)
    assert facts == [Doubted(2, 200, UNKNOWN), TaskMoved(0, Phase.IN_DOUBT, UNKNOWN)]
    assert commands == []
    assert state.machine.idle()
    assert state.machine.accounts()["USD"].doubt == 400
    again = crashed(state)
    again.tell(Resumed())
    assert again.machine.resume_commands(0.0) == []


def test_a_rest_is_released_after_its_lag_and_not_before() -> None:
    """The shortfall may still be billed for so long: the run waits for it, and the money is held until then."""
    state = with_answer(LAGGING, Ready(("a",), 1))
    state.tell(Fetched(1, 0, artifact()))
    assert not state.machine.idle()
    assert state.tell(TimeCame(attempt=1), 30.0) == ([], [Wake(60.0, attempt=1)])
    assert state.tell(TimeCame(attempt=1), 60.0) == ([RestReleased(1, 100)], [])
    assert state.machine.idle()
    assert state.machine.state.tasks == {}


def test_a_drained_run_leaves_operations_and_rests_to_the_next() -> None:
    """Ctrl-C waits for unanswered POSTs and open downloads alone."""
    state = running()
    assert not state.machine.idle()
    state.tell(DrainAsked())
    assert state.machine.idle()
    assert state.machine.draining()
    assert state.tell(DrainAsked())[0] == []
    state.tell(PollAnswered(1, Ready(("a",), 1)))
    assert not state.machine.idle()
    state.tell(FetchFailed(1, 0, fault()))
    assert not state.machine.idle()


@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING, Phase.HELD])
def test_a_task_that_none_of_its_attempts_works_on_is_picked_up(phase: Phase) -> None:
    """However a store came to say so, no task is left in the middle for ever (I9)."""
    before = submitting()
    before.tell(SubmitAnswered(1, Refused(fault(K.RATE_LIMITED))))
    snapshot = fold(before.facts[:-2]).snapshot()
    stored = replace(snapshot.tasks[0], phase=phase)
    counts = {phase: 1}
    machine = Machine.restore(policy(), Snapshot(snapshot.accounts, (stored,), snapshot.next_attempt, counts, 0))
    machine.step(Resumed(), 0.0)
    machine.check()
    assert next(iter(machine.counts())) in ({Phase.HELD} if phase is Phase.HELD else {Phase.FAILED})
