"""What the seal promises: no bit changes unseen, no commit is lost unseen, and no kill is taken for damage."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zlib
from pathlib import Path
from random import Random

import pytest

from pipeline.engine.facts import CapSet, TaskAdmitted
from pipeline.errors import RunLocked, StorageFailed
from pipeline.store import file as file_module
from pipeline.store import seal
from pipeline.store.journal import Journal
from pipeline.store.migrations import MIGRATIONS, migrate
from pipeline.store.schema import VERSION
from pipeline.store.seal import Head, Sealed
from tests.store.stories import EACH, Storyteller, made, opened, task

CAP = CapSet("USD", 100 * EACH, "the spec's budget")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the store stands."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "state.db"


def killed(place: Path, to: Path) -> Path:
    """A copy of a folder as a kill would leave it now."""
    shutil.copytree(place.parent, to)
    return to / place.name


def test_a_kill_at_any_commit_is_no_damage(place: Path, tmp_path: Path) -> None:
    """Killed after each commit, the folder opens, has every commit, and finds no fault."""
    journal = opened(place)
    for number in range(6):
        journal.commit([CAP, *made(number, number + 1)])
        again = opened(killed(place, tmp_path / f"killed-{number}"))
        assert len(list(again.task_ids())) == number + 1
        assert again.integrity_check() == []
        again.close(clean=True)
    journal.close(clean=True)


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_a_seal_that_is_behind_is_no_damage(place: Path, tmp_path: Path, lag: int) -> None:
    """A power cut may leave the seal some commits behind its store; it is ahead that means loss."""
    journal = opened(place)
    for _ in range(4):
        journal.commit([CAP])
        if journal._head is not None and journal._head.commits == 5 - lag:
            old = seal.path_of(place).read_bytes()
    copy = killed(place, tmp_path / "killed")
    seal.path_of(copy).write_bytes(old)
    opened(copy).close(clean=True)
    journal.close(clean=True)


@pytest.mark.parametrize("clean", [True, False])
def test_any_flipped_bit_of_a_store_is_refused(place: Path, tmp_path: Path, *, clean: bool) -> None:
    """Closed in order or killed: file and log are covered to the last bit."""
    dice = Random(1)
    journal = opened(place)
    journal.commit([CAP])
    journal.close(clean=True)
    journal = opened(place)
    for fact in Storyteller(dice).tell(25):
        journal.commit([fact])
    if clean:
        journal.close(clean=True)
    whole = killed(place, tmp_path / "whole")
    for number in range(60):
        harmed = tmp_path / f"harmed-{number}"
        shutil.copytree(whole.parent, harmed)
        path = harmed / dice.choice(["state.db"] if clean else ["state.db", "state.db-wal"])
        data = bytearray(path.read_bytes())
        at = dice.randrange(len(data))
        data[at] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        with pytest.raises(StorageFailed, match=r"damaged|not a store|cannot be opened"):
            opened(harmed / "state.db")
    if not clean:
        journal.close(clean=True)


def test_a_log_that_another_program_folded_is_gone_on_with(place: Path, tmp_path: Path) -> None:
    """sqlite3 opens a killed run's store: its log goes into the file. All agrees, so the run goes on and says so."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    copy = killed(place, tmp_path / "killed")
    other = sqlite3.connect(copy)
    assert other.execute("SELECT count(*) FROM task").fetchone() == (1,)
    other.close()
    assert not copy.with_name("state.db-wal").exists()
    reader = Journal.open_read_only(copy)
    assert reader.folded_elsewhere()
    assert any("sqlite3" in fault for fault in reader.integrity_check())
    reader.close(clean=False)
    again = opened(copy)
    assert "sqlite3" in (again.get_meta("store:note") or "")
    again.close(clean=True)
    assert opened(copy).integrity_check() == []
    journal.close(clean=True)


def test_a_folded_log_in_which_anything_disagrees_is_refused(place: Path, tmp_path: Path) -> None:
    """The same, but whoever folded it changed a sum as well, or an older log was folded: commits are missing."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    old = killed(place, tmp_path / "old")
    journal.commit([CAP])
    for number, change in enumerate(["UPDATE account SET spent = spent + 1", ""]):
        copy = killed(place, tmp_path / f"killed-{number}")
        if not change:
            copy.with_name("state.db-wal").write_bytes(old.with_name("state.db-wal").read_bytes())
        other = sqlite3.connect(copy)
        other.execute(change or "SELECT count(*) FROM task")
        other.commit()
        other.close()
        with pytest.raises(
            StorageFailed, match=r"damaged, nothing is sent.*(spent is|commits are missing).*Bring back a whole copy"
        ):
            opened(copy)
    journal.close(clean=True)


def test_a_whole_store_that_another_program_wrote_in_says_the_right_remedy_first(place: Path) -> None:
    """Closed in order, then changed where no sum looks: refused, and the seal is what stands in the way."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    journal.close(clean=True)
    db = sqlite3.connect(place)
    db.execute("VACUUM")
    db.close()
    with pytest.raises(StorageFailed, match=r"all agree.*sqlite3.*delete state.db.seal\. If it was the disk, bring"):
        opened(place)
    seal.path_of(place).unlink()
    opened(place).close(clean=True)


def test_a_seal_of_before_is_read(place: Path) -> None:
    """The first version did not say how many commits the file held."""
    opened(place).close(clean=True)
    text = b"seal 1 run=%-64s commits=%020d sha256=%s " % (b"run", 3, b"ab" * 32)
    seal.path_of(place).write_bytes(b"%s%08x\n" % (text, zlib.crc32(text[:-1])))
    assert seal.read(place) == Sealed("run", 3, "ab" * 32, 3)


def test_a_lost_log_is_refused(place: Path, tmp_path: Path) -> None:
    """Commits that the seal knows of are missing: the words say how many, and what to do."""
    journal = opened(place)
    journal.commit([CAP])
    journal.close(clean=True)
    journal = opened(place)
    journal.commit([TaskAdmitted(task(0))])
    copy = killed(place, tmp_path / "killed")
    copy.with_name("state.db-wal").unlink()
    with pytest.raises(StorageFailed, match=r"2 of 5 commits are missing.*--fresh.*delete state.db.seal"):
        opened(copy)
    seal.path_of(copy).unlink()
    opened(copy).close(clean=True)
    journal.close(clean=True)


def test_an_older_copy_of_the_store_is_refused(place: Path) -> None:
    """A store put back without its seal would not know what was bought since."""
    opened(place).close(clean=True)
    old = place.read_bytes()
    journal = opened(place)
    journal.commit([CAP])
    journal.close(clean=True)
    place.write_bytes(old)
    with pytest.raises(StorageFailed, match="its bytes are not those"):
        opened(place)


def test_an_entry_changed_behind_the_store_breaks_the_chain(place: Path) -> None:
    """Even by someone who keeps every sum right and removes the seal."""
    journal = opened(place)
    journal.commit([CAP, *made(0, 1)])
    journal.close(clean=True)
    seal.path_of(place).unlink()
    db = sqlite3.connect(place)
    db.execute("DROP TRIGGER entry_unchanged")
    db.execute("UPDATE entry SET why = 'because', at = at + 1 WHERE id = 1")
    db.commit()
    db.close()
    with pytest.raises(StorageFailed, match="chain of digests"):
        opened(place)


def test_a_damaged_seal_is_told_and_heals(place: Path) -> None:
    """It is told by a look, and the next opening, which looks at everything, writes a new one."""
    opened(place).close(clean=True)
    path = seal.path_of(place)
    path.write_bytes(path.read_bytes()[:-3])
    reader = Journal.open_read_only(place)
    assert reader.integrity_check() == ["state.db.seal is damaged; when the rest is in order, delete it"]
    reader.close(clean=False)
    opened(place).close(clean=True)
    found = seal.read(place)
    assert found is not None
    assert (found.commits, found.sha256) == (4, seal.sum_of(place))


def test_the_file_is_summed_anew_when_the_log_is_folded_into_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does not grow for ever, and at every moment the seal has the sum of the file as it stands."""
    monkeypatch.setattr(file_module, "_FOLD_AT", 60_000)
    journal = opened(place)
    sizes = []
    for number in range(40):
        journal.commit([CAP, *made(number, number + 1)])
        sizes.append(place.with_name("state.db-wal").stat().st_size)
        found = seal.read(place)
        # Asked of another process's point of view: closing a handle here would drop SQLite's locks.
        assert found is not None
        assert found.sha256 == seal._sum(journal._body or 0)
    assert sizes.count(0) > 2
    assert journal.integrity_check() == []
    journal.close(clean=True)


def test_a_seal_is_read_as_it_was_written() -> None:
    """A head comes back from its text; a seal's sum is either there or not."""
    head = Head(3, 14, 15, "ab" * 32)
    assert Head.parse(str(head)) == head
    assert Sealed("run", 1).sha256 == ""


class Poor:
    """A disk limited by the kernel: no file may grow beyond a limit until there is relief."""

    def __init__(self, journal: Journal) -> None:
        """Limit the store to the pages that it has, by SQLite's own measure of a full disk."""
        self.db = journal._db
        pages = self.db.execute("PRAGMA page_count").fetchone()[0]
        self.db.execute(f"PRAGMA max_page_count={pages}")
        self.asked = 0

    def relief(self) -> bool:
        """Make room the second time."""
        self.asked += 1
        if self.asked == 2:
            self.db.execute("PRAGMA max_page_count=1000000")
        return self.asked <= 2


def test_a_full_disk_gets_its_commit_once_there_is_room(place: Path) -> None:
    """SQLITE_FULL comes before the commit, so the same facts are written again; nothing is written twice."""
    journal = opened(place)
    journal.commit([CAP])
    poor = Poor(journal)
    journal._relief = poor.relief
    many = [TaskAdmitted(task(number)) for number in range(200)]
    journal.commit(many)
    assert poor.asked == 2
    assert len(list(journal.task_ids())) == 200
    assert journal.writable
    journal.close(clean=True)
    again = opened(place)
    assert again.integrity_check() == []
    again.close(clean=True)


def test_a_full_disk_without_relief_is_fail_stop(place: Path) -> None:
    """Once nothing helps, nothing more is taken, and what was there before is there after."""
    journal = opened(place)
    journal.commit([CAP])
    Poor(journal)
    journal._relief = lambda: False
    with pytest.raises(StorageFailed, match="full"):
        journal.commit([TaskAdmitted(task(number)) for number in range(200)])
    assert not journal.writable
    journal.close(clean=True)
    again = opened(place)
    assert (list(again.task_ids()), len(again.accounts())) == ([], 1)
    again.close(clean=True)


def test_a_second_connection_is_refused_at_once(place: Path) -> None:
    """Beyond the lock file SQLite's own exclusive lock refuses, from the opening on, without waiting."""
    journal = opened(place)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            opened(place)
        except RunLocked:
            code = 75
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 75
    journal.commit([CAP])
    journal.close(clean=True)


@pytest.mark.parametrize("how", ["copied", "moved", "linked", "same"])
def test_a_copy_knows_its_original(place: Path, tmp_path: Path, how: str) -> None:
    """Only a copy beside its original asks; a moved folder, or one reached by another name, is simply gone on with."""
    opened(place).close(clean=True)
    other = tmp_path / "other"
    match how:
        case "copied":
            shutil.copytree(place.parent, other)
        case "moved":
            place.parent.rename(other)
        case "linked":
            other.symlink_to(place.parent)
        case _:
            other = place.parent
    journal = opened(other / "state.db")
    assert journal.original() == (place.parent if how == "copied" else None)
    journal.settle_here()
    assert journal.original() is None
    journal.close(clean=True)


def test_another_run_at_the_old_place_is_no_original(place: Path, tmp_path: Path) -> None:
    """A folder that was put aside, and a new run in its place, are two runs."""
    opened(place, "first").close(clean=True)
    place.parent.rename(tmp_path / "run.1")
    place.parent.mkdir()
    opened(place, "second").close(clean=True)
    journal = opened(tmp_path / "run.1" / "state.db")
    assert journal.original() is None
    journal.close(clean=True)


def test_migrations_run_once_and_in_order() -> None:
    """A store of an older version gets what it lacks, and each step has its version."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA user_version=1")
    db.execute("CREATE TABLE task(key INTEGER PRIMARY KEY)")
    first = ["ALTER TABLE task ADD COLUMN label TEXT", "INSERT INTO task(label) VALUES ('one')"]
    assert migrate(db, [first]) == 2
    assert migrate(db, [first, ["UPDATE task SET label = label || '!'"]]) == 3
    assert migrate(db, [first, ["UPDATE task SET label = label || '!'"]]) == 3
    assert db.execute("SELECT label FROM task").fetchall() == [("one!",)]
    assert len(MIGRATIONS) + 1 == VERSION
    db.close()
