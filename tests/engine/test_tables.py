"""The two tables and the ledger by themselves: every cell that is empty is a Bug, and money only moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.engine import ledger, lifecycle
from pipeline.engine.evolve import evolve
from pipeline.engine.facts import (
    Accepted,
    CapSet,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Fact,
    Held,
    LateBilled,
    LateFound,
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
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.stored import StoredAccount
from pipeline.errors import Bug
from pipeline.values.reply import Fault, FaultKind
from tests.engine.worlds import artifact, ring, running, submitting, task

S = AttemptState
WHY = Fault(FaultKind.UNKNOWN, "why")

FACTS: list[Fact] = [
    Held(1, 0, 1, 100, "USD"),
    Permitted(1),
    Accepted(1, "op"),
    Released(1, 100, WHY, counts=True),
    Doubted(1, 100, WHY),
    DoubtLifted(1, 100, "why"),
    DoubtReleased(1, 100, "why"),
    WrittenOff(1, 100, "why"),
    Settled(1, 1, 100, 0, (), None, None),
    LateFound(1, "op", "why"),
    LateBilled(1, 100, "why"),
    RestReleased(1, 0),
    LinksRenewed(1, ()),
    PictureStored(1, 0, artifact()),
    PictureLost(1, 0, WHY),
]


@pytest.mark.parametrize("was", [None, *AttemptState])
@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_every_cell_of_the_attempt_table_is_a_state_or_a_bug(was: AttemptState | None, fact: Fact) -> None:
    """No fact passes that the table does not name, and the Bug tells the story."""
    if (was, type(fact)) in lifecycle.ATTEMPTS:
        assert lifecycle.next_state(1, was, fact, ()) is lifecycle.ATTEMPTS[was, type(fact)]
    else:
        with pytest.raises(Bug, match="its task's story: admitted, 1 held"):
            lifecycle.next_state(1, was, fact, ("admitted", "1 held"))


def test_an_operation_that_is_gone_has_vanished() -> None:
    """The one row whose end depends on the fact's own word."""
    assert lifecycle.next_state(1, S.ACCEPTED, Doubted(1, 100, WHY, vanished=True), ()) is S.VANISHED


@pytest.mark.parametrize("was", Phase)
@pytest.mark.parametrize("phase", Phase)
def test_every_cell_of_the_phase_table_is_a_move_or_a_bug(was: Phase, phase: Phase) -> None:
    """A task moves only along the table."""
    if phase in lifecycle.PHASES[was]:
        assert lifecycle.next_phase(0, was, phase, ()) is phase
    else:
        with pytest.raises(Bug, match="its story: admitted"):
            lifecycle.next_phase(0, was, phase, ("admitted",))


def test_money_never_frees_itself() -> None:
    """No end state of an attempt has a way out but a late bill, and a doubt has none but evidence."""
    for state, ways in ((S.VOID, {LateFound, LateBilled}), (S.WRITTEN_OFF, {LateFound})):
        assert {fact for was, fact in lifecycle.ATTEMPTS if was is state} == ways
    for state in lifecycle.DOUBTFUL:
        ways = {fact for was, fact in lifecycle.ATTEMPTS if was is state}
        assert ways == {DoubtLifted, DoubtReleased, WrittenOff}


ACCOUNT = StoredAccount("USD", 1000, 100, 300, 50, 0)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (lambda: ledger.open_account("USD", 5), StoredAccount("USD", 5, 0, 0, 0, 0)),
        (lambda: ledger.set_cap(ACCOUNT, 7), StoredAccount("USD", 7, 100, 300, 50, 0)),
        (lambda: ledger.hold(ACCOUNT, 550), StoredAccount("USD", 1000, 100, 850, 50, 0)),
        (lambda: ledger.release(ACCOUNT, 300), StoredAccount("USD", 1000, 100, 0, 50, 0)),
        (lambda: ledger.settle(ACCOUNT, 300, 20), StoredAccount("USD", 1000, 420, 0, 50, 20)),
        (lambda: ledger.doubt(ACCOUNT, 300), StoredAccount("USD", 1000, 100, 0, 350, 0)),
        (lambda: ledger.lift(ACCOUNT, 50), StoredAccount("USD", 1000, 100, 350, 0, 0)),
        (lambda: ledger.release_doubt(ACCOUNT, 50), StoredAccount("USD", 1000, 100, 300, 0, 0)),
        (lambda: ledger.write_off(ACCOUNT, 50), StoredAccount("USD", 1000, 150, 300, 0, 0)),
    ],
)
def test_each_movement_of_money(after: Callable[[], StoredAccount], expected: StoredAccount) -> None:
    """From one place to another, and to no third."""
    assert after() == expected


@pytest.mark.parametrize(
    "movement",
    [
        lambda: ledger.hold(ACCOUNT, 551),
        lambda: ledger.release(ACCOUNT, 301),
        lambda: ledger.settle(ACCOUNT, 301, 0),
        lambda: ledger.doubt(ACCOUNT, 301),
        lambda: ledger.lift(ACCOUNT, 51),
        lambda: ledger.release_doubt(ACCOUNT, 51),
        lambda: ledger.write_off(ACCOUNT, 51),
        lambda: ledger.hold(ACCOUNT, -1),
        lambda: ledger.hold(ACCOUNT, 1.0),  # type: ignore[arg-type]
        lambda: ledger.settle(ACCOUNT, 1, -1),
        lambda: ledger.set_cap(ACCOUNT, True),  # noqa: FBT003
    ],
)
def test_money_that_is_not_there_cannot_move(movement: Callable[[], StoredAccount]) -> None:
    """More than there is, less than nothing, or no integer: a Bug."""
    with pytest.raises(Bug):
        movement()


def test_a_cap_below_what_is_spent_leaves_nothing_free() -> None:
    """`free` is negative then, and not even a hold of nothing fits."""
    assert ledger.free(ledger.set_cap(ACCOUNT, 100)) == -350
    assert not ledger.fits(ledger.set_cap(ACCOUNT, 100), 0)


@pytest.mark.parametrize(
    ("fact", "complaint"),
    [
        (Released(1, 99, WHY, counts=True), "has 100 open"),
        (Settled(1, 2, 101, 0, (), None, None), "above the hold"),
        (Doubted(1, 1, WHY), "has 100 open"),
        (Released(7, 100, WHY, counts=True), "over or was never made"),
        (Held(1, 0, 2, 100, "USD"), "given out already"),
        (TaskAdmitted(task(0)), "admitted twice"),
        (TaskMoved(0, Phase.DONE), "cannot move from submitting to done"),
        (RestReleased(1, 100), "cannot take RestReleased"),
    ],
)
def test_a_fact_that_cannot_follow_changes_nothing(fact: Fact, complaint: str) -> None:
    """The Bug comes before any money moved."""
    state = submitting().machine.state
    before = dict(state.accounts)
    with pytest.raises(Bug, match=complaint):
        evolve(state, fact, 0.0)
    assert state.accounts == before


def test_checking_finds_money_that_went_missing() -> None:
    """The invariants can fail: a hold that was freed without a fact is seen."""
    machine = running().machine
    machine.state.accounts["USD"] = ledger.release(machine.state.accounts["USD"], 100)
    with pytest.raises(Bug, match="held is not the sum"):
        machine.check()


def test_a_new_run_has_what_its_caps_say() -> None:
    """CapSet opens the account; views of it are copies."""
    new = ring(caps={"USD": 5})
    assert new.facts == [CapSet("USD", 5, "the test")]
    assert new.machine.accounts() == {"USD": StoredAccount("USD", 5, 0, 0, 0, 0)}
    assert new.machine.images() == 0
