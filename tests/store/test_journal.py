"""What the store promises: all or nothing, nothing acknowledged is lost, nothing illegal gets in."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.facts import (
    Accepted,
    CapSet,
    Doubted,
    Fact,
    Held,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
)
from pipeline.engine.phases import Phase
from pipeline.errors import Bug, JournalNewer, RunNotFound, StorageFailed
from pipeline.store import seal
from pipeline.store.journal import Journal
from pipeline.store.record import task_from_json, task_to_json
from pipeline.values.rows import NotedPlan
from tests.store.stories import EACH, FAULT, LINK, PRICE, START, artifact, edited, made, opened, task

CAP = CapSet("USD", 10 * EACH, "the spec's budget")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the store stands."""
    return tmp_path / "state.db"


def test_a_task_comes_back_as_it_went_in() -> None:
    """A record holds everything of a task, and its number comes from the table."""
    whole = task(7, path="ink/fox")
    assert task_from_json(task_to_json(whole), 7) == whole
    assert list(task_from_json(task_to_json(whole), 7).row) == ["zebra", "animal"]


def test_files_are_private_whatever_the_umask(place: Path) -> None:
    """The store and its log are readable by their owner alone."""
    before = os.umask(0)
    try:
        journal = opened(place)
        journal.commit([CAP])
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in place.parent.iterdir()}
        journal.close(clean=True)
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db.seal"), 0o600)


def test_a_commit_is_all_or_nothing_and_a_failed_one_ends_the_journal(place: Path) -> None:
    """After a refused group nothing of it is there, nothing more is taken, and reopening goes on from before it."""
    journal = opened(place)
    journal.commit([CAP])
    with pytest.raises(StorageFailed, match="does not allow Permitted"):
        journal.commit([TaskAdmitted(task(0)), Permitted(1)])
    with pytest.raises(StorageFailed, match="nothing more is taken"):
        journal.commit([CAP])
    assert not journal.writable
    journal.close(clean=True)
    again = opened(place)
    assert (again.was_clean, list(again.task_ids())) == (False, [])
    again.close(clean=True)


REFUSED: dict[str, list[Fact]] = {
    "a hold above the cap": [TaskAdmitted(task(0)), Held(1, 0, 1, 11 * EACH, "USD")],
    "a hold without an account": [TaskAdmitted(task(0)), Held(1, 0, 1, 1, "CNY")],
    "a hold for a task that is not there": [Held(1, 5, 1, 1, "USD")],
    "two live attempts of one task": [TaskAdmitted(task(0)), Held(1, 0, 1, 1, "USD"), Held(2, 0, 2, 1, "USD")],
    "the same task twice": [TaskAdmitted(task(0)), TaskAdmitted(replace(task(0), number=1))],
    "an answer before permission": [*made(0, 1)[:2], Accepted(1, "op")],
    "permission twice": [*made(0, 1)[:4], Permitted(1)],
    "more released than held": [*made(0, 1)[:4], Released(1, 3 * EACH, FAULT, counts=True)],
    "more settled than held": [*made(0, 1)[:6], Settled(1, 2, 3 * EACH, 0, (), None, None)],
    "settled twice": [*made(0, 1), Settled(1, 2, 0, 0, (), None, None)],
    "an operation id seen before": [*made(0, 1), *made(1, 2)[:4], Accepted(2, "op-1")],
    "a picture stored twice": [
        *made(0, 1, stored=[artifact("images/a.png")]),
        PictureStored(1, 0, artifact("images/b.png")),
    ],
    "one file for two pictures": made(0, 1, stored=[artifact("images/a.png"), artifact("images/a.png")]),
    "a stored picture lost": [*made(0, 1, stored=[artifact("images/a.png")]), PictureLost(1, 0, FAULT)],
}


@pytest.mark.parametrize("facts", REFUSED.values(), ids=REFUSED.keys())
def test_the_tables_refuse_what_cannot_be(place: Path, facts: list[Fact]) -> None:
    """A decision that breaks money or lifecycle stops at the store, even if the machine made it."""
    journal = opened(place)
    journal.commit([CAP])
    with pytest.raises(StorageFailed):
        journal.commit(facts)
    journal.close(clean=False)


@pytest.mark.parametrize("amount", [1.0, True, -1, "75000"])
def test_money_is_a_whole_number(place: Path, amount: object) -> None:
    """A float, a bool, a text or a negative never reaches the tables."""
    journal = opened(place)
    with pytest.raises(Bug):
        journal.commit([CapSet("USD", amount, "the test")])  # type: ignore[arg-type]
    journal.close(clean=False)


@pytest.mark.parametrize(("keeps", "second"), [(False, True), (True, False)])
def test_a_doubt_gives_its_slot_up_only_where_resubmitting_is_allowed(
    place: Path, *, keeps: bool, second: bool
) -> None:
    """Under `on_doubt: hold` the tables refuse a second purchase beside a doubt."""
    journal = Journal.open(place, run_id="run", clock=lambda: START, doubt_keeps_slot=keeps)
    journal.commit([CAP, *made(0, 1)[:4], Doubted(1, 2 * EACH, FAULT)])
    if second:
        journal.commit([Held(2, 0, 2, EACH, "USD")])
        assert journal.accounts()[0].doubt == 2 * EACH
    else:
        with pytest.raises(StorageFailed):
            journal.commit([Held(2, 0, 2, EACH, "USD")])
    journal.close(clean=False)


def test_a_lowered_cap_still_settles(place: Path) -> None:
    """The CHECK keeps the highest cap, so that what was bought under it can be collected."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)[:6], CapSet("USD", 0, "--budget")])
    journal.commit([Settled(1, 2, EACH, 0, (), None, None), RestReleased(1, EACH)])
    account = journal.accounts()[0]
    assert (account.cap, account.spent, account.held) == (0, EACH, 0)
    assert [row.cap_micros for row in journal.cap_rows()] == [10 * EACH, 0]
    journal.close(clean=True)


def test_links_go_when_their_picture_is_there(place: Path) -> None:
    """No byte of a presigned link's signature is left in the tables after the picture is stored or lost."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    assert [each.link for each in journal.snapshot().tasks[0].attempts[0].pictures] == [LINK, LINK]
    journal.commit([PictureStored(1, 0, artifact("images/a.png")), PictureLost(1, 1, FAULT)])
    left = journal._db.execute("SELECT link, fault_message FROM picture ORDER BY idx").fetchall()
    assert left == [(None, ""), (None, "the model fell over, see https://cdn.example/a")]
    journal.close(clean=True)


def test_entries_are_never_changed(place: Path) -> None:
    """An entry of money can be added and nothing else."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    for statement in ("UPDATE entry SET amount = 0", "DELETE FROM entry"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            journal._db.execute(statement)
    journal.close(clean=True)


def _damage(place: Path, statement: str) -> None:
    """Change a store behind its back, by someone who knows to remove the seal."""
    place.with_name("state.db.seal").unlink(missing_ok=True)
    db = sqlite3.connect(place)
    db.execute(statement)
    db.commit()
    db.close()


def test_accounts_that_differ_from_their_entries_stop_the_open(place: Path) -> None:
    """The difference is named, in figures."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    journal.close(clean=True)
    _damage(place, "UPDATE account SET spent = spent - 1")
    with pytest.raises(StorageFailed, match=f"USD spent is {2 * EACH - 1}, its entries say {2 * EACH}"):
        opened(place)
    reader = Journal.open_read_only(place)
    assert reader.integrity_check() == [f"money: USD spent is {2 * EACH - 1}, its entries say {2 * EACH}"]
    reader.close(clean=False)


def test_an_attempt_that_differs_from_its_entries_is_named(place: Path) -> None:
    """`integrity_check` looks at each attempt's own figures."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)[:2]])
    journal.close(clean=True)
    _damage(place, "UPDATE attempt SET open = open - 1")
    reader = Journal.open_read_only(place)
    assert reader.integrity_check() == [
        f"money: attempt 1 has {2 * EACH - 1} open and 0 settled, its entries say {2 * EACH} and 0"
    ]
    reader.close(clean=False)
    with pytest.raises(StorageFailed, match="money: attempt 1 has"):
        opened(place)


def test_a_file_that_was_summed_is_summed_anew_once_it_was_touched(place: Path) -> None:
    """The new seal takes the sum of before only for a file that nobody can have written to since."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    journal.close(clean=True)
    now = time.time_ns()
    for age_s, told in ((0, False), (60, True)):
        os.utime(place, ns=(now, now - age_s * 10**9))
        journal = opened(place)
        assert bool(journal._known_sum()) is told
        os.utime(place)
        assert journal._known_sum() == ""
        journal.close(clean=True)
        sealed = seal.read(place)
        assert sealed is not None
        assert sealed.sha256 == seal.sum_of(place)


def _newer(place: Path) -> None:
    opened(place).close(clean=True)
    _damage(place, "PRAGMA user_version = 99")


def _strange(place: Path) -> None:
    _damage(place, "CREATE TABLE other(x)")


def _no_database(place: Path) -> None:
    place.write_bytes(b"this is no database, and long enough to be looked at as one " * 20)


@pytest.mark.parametrize(
    ("prepare", "error"),
    [(_newer, JournalNewer), (_strange, StorageFailed), (_no_database, StorageFailed)],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_not_ours_is_refused_unchanged(
    place: Path, prepare: Callable[[Path], None], error: type[Exception], *, read_only: bool
) -> None:
    """A newer store, somebody else's database and plain bytes are not touched."""
    prepare(place)
    before = place.read_bytes()
    with pytest.raises(error):
        Journal.open_read_only(place) if read_only else opened(place)
    assert place.read_bytes()[100:] == before[100:]


def test_a_symbolic_link_is_no_store(place: Path, tmp_path: Path) -> None:
    """A link in the store's place is not followed."""
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFailed):
        opened(place)
    assert not (tmp_path / "elsewhere").exists()


def test_looking_changes_no_byte(place: Path) -> None:
    """Reading a closed store, and one whose log was left by a crash, leaves every file as it was."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    for closed in (False, True):
        if closed:
            journal.close(clean=True)
        before = {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in place.parent.iterdir()}
        assert len(before) == (2 if closed else 3)
        reader = Journal.open_read_only(place)
        assert reader.snapshot().images == 0
        assert len(reader.snapshot().tasks) == 1
        with pytest.raises(StorageFailed, match="reading only"):
            reader.commit([CAP])
        reader.close(clean=True)
        after = {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in place.parent.iterdir()}
        assert after == before


def test_no_store_is_no_run(place: Path) -> None:
    """Looking at nothing says so and makes nothing."""
    with pytest.raises(RunNotFound):
        Journal.open_read_only(place)
    assert not place.exists()


def test_epochs_count_and_clean_ends_are_known(place: Path) -> None:
    """The run's id stays that of its first process; a kill is seen at the next open."""
    seen = []
    for run_id, clean in (("first", True), ("second", False), ("third", True)):
        journal = opened(place, run_id)
        seen.append((journal.run_id, journal.epoch, journal.was_clean))
        journal.close(clean=clean)
    assert seen == [("first", 1, True), ("first", 2, True), ("first", 3, False)]


def test_the_plan_and_the_sends_are_kept(place: Path) -> None:
    """What was noted last is read back by the next process."""
    journal = opened(place)
    assert (journal.plan(), journal.sends(), journal.last_time()) == (None, {}, 0)
    plan = NotedPlan("aa", "bb", "name: test\n", "test", 12)
    journal.note_plan(plan)
    journal.note_sends({"mulerouter/m": (1, 2), "evolink/m": ()})
    journal.commit([CAP])
    journal.close(clean=True)
    again = opened(place)
    assert (again.plan(), again.sends()) == (plan, {"mulerouter/m": (1, 2), "evolink/m": ()})
    assert again.last_time() == START + 1_000_000
    again.close(clean=True)


def test_a_plan_that_no_run_noted_is_a_fault_of_the_store(place: Path) -> None:
    """How many tasks there are is a number; whoever goes on with such a store is told what to do."""
    journal = opened(place)
    journal.note_plan(NotedPlan("aa", "bb", "name: test\n", "test", 12))
    journal.set_meta({"total": "many"})
    with pytest.raises(StorageFailed, match="no run wrote it"):
        journal.plan()
    journal.close(clean=True)


def test_an_edited_spec_renumbers_what_it_owns_and_drops_the_rest(place: Path) -> None:
    """Owned tasks take new labels, dropped ones stay readable under numbers that nobody else has."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1, stored=[artifact("images/a.png"), artifact("images/b.png")])])
    journal.commit([TaskAdmitted(task(1)), Held(2, 1, 1, EACH, "USD"), TaskMoved(1, Phase.HELD)])
    dearer = replace(PRICE, per_image=2 * EACH)
    moved = replace(task(0), number=1, row_id="renamed", path="new/name", price=dearer)
    fresh = replace(task(5), number=0)
    edited(journal, fresh, moved)
    journal.commit([TaskAdmitted(fresh)])
    rows = [(row.task.number, row.row_id, row.in_spec, row.phase) for row in journal.task_rows()]
    assert rows == [(0, "row-5", True, "waiting"), (1, "renamed", True, "done"), (-2, "row-1", False, "held")]
    snapshot = journal.snapshot()
    assert [stored.task.number for stored in snapshot.tasks] == [0, -2]
    assert dict(snapshot.counts) == {Phase.WAITING: 1, Phase.DONE: 1, Phase.HELD: 1}
    assert next(iter(journal.image_rows())).task.price == PRICE, "what is bought keeps its price"
    journal.commit([Permitted(2), TaskMoved(-2, Phase.SUBMITTING)])
    journal.close(clean=True)


def test_failed_and_short_tasks_are_found_by_their_fault(place: Path) -> None:
    """A retry loads what failed, with its attempts, and leaves what the spec dropped."""
    journal = opened(place)
    for number, phase in enumerate([Phase.FAILED, Phase.SHORT, Phase.DONE, Phase.FAILED]):
        journal.commit([CAP, TaskAdmitted(task(number)), TaskMoved(number, phase, FAULT if number else None)])
    assert [stored.task.number for stored in journal.failed_tasks()] == [0, 1, 3]
    assert [stored.task.number for stored in journal.failed_tasks({"upstream"})] == [1, 3]
    edited(journal, task(3))
    assert [stored.task.number for stored in journal.failed_tasks({"upstream"})] == [3]
    assert journal.has(task(3).id) is Phase.FAILED
    assert journal.has(bytes.fromhex(task(9).id)) is None
    journal.close(clean=True)


WRITER = """
import itertools, sys
from pathlib import Path
from tests.store.stories import CapSet, made, opened
journal = opened(Path(sys.argv[1]))
journal.commit([CapSet("USD", 2**60, "the test")])
for number in itertools.count():
    journal.commit(made(number, number + 1))
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 40, 150])
def test_kill_9_loses_no_acknowledged_commit(place: Path, after: int) -> None:
    """Whatever a killed process was told is safe, is there; a group is there whole or not at all."""
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE, cwd=root, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(after)]
    child.kill()
    lines += child.stdout.readlines()
    child.wait(30)
    child.stdout.close()
    acknowledged = max(int(line) for line in lines if line.endswith("\n") and line.strip()) + 1
    assert acknowledged >= after
    reader = Journal.open_read_only(place)
    assert len(list(reader.task_ids())) >= acknowledged
    reader.close(clean=False)
    journal = opened(place)
    attempts = [row.state for row in journal.attempt_rows()]
    assert len(attempts) in {acknowledged, acknowledged + 1}
    assert set(attempts) == {"SETTLED"}
    assert journal.integrity_check() == []
    assert not journal.was_clean
    journal.close(clean=True)


def test_a_large_group_commits_in_milliseconds(place: Path) -> None:
    """256 facts are one fsync and some thousand small statements; a tenth of a second would be a mistake."""
    journal = opened(place)
    journal.commit([CapSet("USD", 2**60, "the test")])
    facts = [fact for number in range(29) for fact in made(number, number + 1)]
    statements = 0

    def count(_: str) -> None:
        nonlocal statements
        statements += 1

    journal._db.set_trace_callback(count)
    journal.commit(facts)
    journal._db.set_trace_callback(None)
    # Nine facts a task; about two statements each, the account and the transaction's own ends once.
    assert statements < 3 * len(facts)
    journal.close(clean=True)
