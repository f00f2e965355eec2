"""What opening a run folder yields beyond the bare states: times, reasons, sums per gateway, and what was sent when."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.facts import (
    BY_METER,
    Accepted,
    CapSet,
    Doubted,
    DoubtReleased,
    Fact,
    Held,
    LateBilled,
    LateFound,
    Permitted,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.phases import AttemptState, Phase
from pipeline.errors import StorageFailed
from pipeline.store.journal import Journal
from pipeline.store.schema import SUMS, TABLES
from pipeline.values.rows import MOVES
from pipeline.values.task import Price
from tests.store.stories import EACH, FAULT, artifact, made, opened, task

CAP = CapSet("USD", 10**9, "the test")
GATEWAY = task(0).gateway
LANE = task(0).lane


def sent(number: int, attempt: int, *, ordinal: int = 1) -> list[Fact]:
    """A task whose POST is out."""
    first: list[Fact] = [TaskAdmitted(task(number))] if ordinal == 1 else []
    return [*first, Held(attempt, number, ordinal, 2 * EACH, "USD"), Permitted(attempt)]


def journal(path: Path, *facts: Fact) -> Journal:
    """A journal with these facts, each a commit of its own: the clock ticks between them."""
    new = opened(path / "state.db")
    for fact in (CAP, *facts):
        new.commit([fact])
    return new


def test_a_doubt_is_loaded_with_its_reason_and_its_times(tmp_path: Path) -> None:
    """A new process says why it is in doubt, and knows when its POST left."""
    new = journal(tmp_path, *sent(0, 1), Doubted(1, 2 * EACH, FAULT))
    known = new.snapshot().tasks[0].attempts[0]
    assert (known.hold, known.settled, known.images) == (2 * EACH, 0, 0)
    assert known.why.startswith("HTTP 500: the model fell over")
    assert known.submitted_at is not None
    assert known.ended_at is None
    new.close(clean=True)


def test_operations_are_loaded_with_their_times_from_the_oldest_doubt_on(tmp_path: Path) -> None:
    """A listing must show those; without a doubt none is looked for."""
    early, late = made(0, 1), made(2, 3)
    new = journal(tmp_path, *early)
    assert new.snapshot().sent == {}
    new.commit([*sent(1, 2), Doubted(2, 2 * EACH, FAULT)])
    new.commit(late)
    assert {lane: set(known) for lane, known in new.snapshot().sent.items()} == {LANE: {"op-3"}}
    new.close(clean=True)


def test_what_is_known_to_be_billed_is_loaded_apart_from_what_was_written_off(tmp_path: Path) -> None:
    """A meter is compared with the one; the other may or may not be in it."""
    off: list[Fact] = [*sent(1, 2), Doubted(2, 2 * EACH, FAULT), WrittenOff(2, 2 * EACH, "given up")]
    new = journal(tmp_path, *made(0, 1), *off)
    snapshot = new.snapshot()
    assert (snapshot.billed, snapshot.guessed) == ({}, {GATEWAY: 1})
    new.set_meta({f"meter:{GATEWAY}": "USD 0"})
    assert new.snapshot().billed == {(GATEWAY, "USD"): 2 * EACH}
    new.close(clean=True)


def test_what_a_meter_has_shown_is_known_to_be_billed(tmp_path: Path) -> None:
    """It is no guess: the next remainder has it in it already."""
    off: list[Fact] = [
        *sent(1, 2),
        Doubted(2, 2 * EACH, FAULT),
        WrittenOff(2, 2 * EACH, f"{BY_METER} 1 of 1 as billed"),
    ]
    new = journal(tmp_path, *off)
    new.set_meta({f"meter:{GATEWAY}": "USD 0"})
    snapshot = new.snapshot()
    assert (snapshot.billed, snapshot.guessed) == ({(GATEWAY, "USD"): 2 * EACH}, {GATEWAY: 0})
    new.close(clean=True)


def test_a_meter_is_compared_in_the_gateways_own_unit(tmp_path: Path) -> None:
    """The cap may be in dollars; the key's meter counts credits."""
    credit = Price("USD", EACH, 7, "credit", 1_500_000, "a list", native_per_call=200_000)
    facts: list[Fact] = [
        replace(fact, task=replace(fact.task, price=credit)) if isinstance(fact, TaskAdmitted) else fact
        for fact in made(0, 1)
    ]
    new = journal(tmp_path, *facts)
    new.set_meta({f"meter:{GATEWAY}": "credit 5"})
    images = sum(len(fact.links) for fact in facts if isinstance(fact, Settled))
    assert new.snapshot().billed == {(GATEWAY, "credit"): images * 1_500_000 + 200_000}
    new.close(clean=True)


def test_a_task_is_found_by_an_attempt_of_it(tmp_path: Path) -> None:
    """Ended or not, with all of its attempts; no attempt, no task."""
    new = journal(tmp_path, *sent(0, 1), Released(1, 2 * EACH, FAULT, counts=True), TaskMoved(0, Phase.FAILED, FAULT))
    found = new.task_of_attempt(1)
    assert found is not None
    assert [each.state for each in found.attempts] == [AttemptState.VOID]
    assert new.task_of_attempt(2) is None
    new.close(clean=True)


def test_retry_begins_a_new_allowance(tmp_path: Path) -> None:
    """What had been used up counts no longer; moving to waiting by itself changes nothing."""
    facts: list[Fact] = [*sent(0, 1), Released(1, 2 * EACH, FAULT, counts=True), TaskMoved(0, Phase.FAILED, FAULT)]
    new = journal(tmp_path, *facts)
    assert [each.counts for each in new.failed_tasks()[0].attempts] == [True]
    new.commit([TaskMoved(0, Phase.WAITING)])
    assert [each.counts for each in new.snapshot().tasks[0].attempts] == [False]
    new.commit([*sent(0, 2, ordinal=2), Released(2, 2 * EACH, FAULT, counts=True), TaskMoved(0, Phase.WAITING)])
    assert [each.counts for each in new.snapshot().tasks[0].attempts] == [False, True]
    new.close(clean=True)


ENDS: dict[str, list[Fact]] = {
    "VOID": [*sent(0, 1), Doubted(1, 2 * EACH, FAULT), DoubtReleased(1, 2 * EACH, "absent")],
    "SETTLED": [*sent(0, 1), Accepted(1, "op-1"), Settled(1, 0, 0, 0, (), None, FAULT), RestReleased(1, 2 * EACH)],
}


@pytest.mark.parametrize("name", ENDS)
def test_a_late_bill_is_above_every_hold_and_the_sums_hold(tmp_path: Path, name: str) -> None:
    """Even when the cap is used up: it is overage, with its reason in the ledger."""
    new = journal(tmp_path, *ENDS[name], CapSet("USD", 0, "lowered"))
    new.commit([LateBilled(1, 2 * EACH, "the bill")])
    account = new.accounts()[0]
    assert (account.spent, account.overage, account.held) == (2 * EACH, 2 * EACH, 0)
    assert [each.why for each in new.money_entries() if each.kind == "overage"] == ["the bill"]
    assert new.integrity_check() == []
    with pytest.raises(StorageFailed, match="does not allow LateBilled"):
        new.commit([LateBilled(1, EACH, "twice")])


def test_an_attempt_with_pictures_billed_takes_no_late_evidence(tmp_path: Path) -> None:
    """The tables refuse what the machine would."""
    new = journal(tmp_path, *made(0, 1))
    with pytest.raises(StorageFailed, match="does not allow LateFound"):
        new.commit([LateFound(1, "op-9", "the bill")])


@pytest.mark.parametrize("kind", MOVES)
def test_an_entry_moves_money_as_the_tables_say(kind: str) -> None:
    """Statement, charts and `verify` read one table; the store's own sums, by which it is believed, agree with it."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE entry(currency TEXT, kind TEXT, amount INTEGER)")
    db.execute("INSERT INTO entry VALUES ('USD', ?, 7)", (kind,))
    assert db.execute(SUMS).fetchone()[1:4] == tuple(7 * sign for sign in MOVES[kind])
    db.close()


def test_every_kind_of_entry_has_its_place_in_the_table() -> None:
    """The store takes these kinds and no other."""
    kinds = re.search(r"kind IN \(('hold'.*?)\)\)", TABLES, re.DOTALL)
    assert kinds is not None
    assert set(re.findall(r"'(\w+)'", kinds[1])) == MOVES.keys()


def test_columns_count_a_second_delivery_on_and_call_a_vanished_operation_a_doubt(tmp_path: Path) -> None:
    """The manifest: a short first delivery keeps its places; money of what a gateway forgot may still be billed."""
    short = [
        *sent(0, 1),
        Settled(1, 1, EACH, 0, ("https://a.example/1",), None, None, "req-1"),
        RestReleased(1, EACH),
        PictureStored(1, 0, artifact("images/0.png")),
        *sent(0, 2, ordinal=2),
        Settled(2, 2, 2 * EACH, 0, ("https://a.example/2", "https://a.example/3"), None, None, "req-2"),
        PictureStored(2, 0, artifact("images/2.png")),
        PictureStored(2, 1, artifact("images/3.png")),
    ]
    gone = [*sent(1, 3), Accepted(3, "op-3"), Doubted(3, 2 * EACH, FAULT, vanished=True)]
    journal = opened(tmp_path / "state.db")
    journal.commit([CAP, *short, *gone])
    tasks: dict[str, Sequence[object]] = {}
    images: dict[str, Sequence[object]] = {}
    for each in journal.columns(10):
        (tasks if each.table == "tasks" else images).update(each.values)
    assert list(images["image_index"]) == [0, 2, 3] == [row.image_index for row in journal.image_rows()]
    assert (tuple(tasks["held_micros"]), tuple(tasks["doubt_micros"])) == ((0, 0), (0, 2 * EACH))
    journal.close(clean=True)
