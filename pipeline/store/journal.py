"""The journal: facts made durable in SQLite, by one connection that nobody shares.

Write-ahead log, `synchronous=FULL`, exclusive locking: a second connection could run into the WAL-reset defect of
SQLite before 3.51.3, and NORMAL loses acknowledged commits when the power goes. `seal.py` bears witness beside it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote

from pipeline.engine.messages import Fact, Phase, Snapshot, StoredAccount, StoredTask
from pipeline.errors import JournalNewer, PipelineError, RunLocked, RunNotFound, StorageFailed
from pipeline.failpoints import reach
from pipeline.store import reading, schema, seal
from pipeline.store.booking import Booking
from pipeline.store.durable import open_private, refuse_links, sync_folder
from pipeline.store.migrations import MIGRATIONS, migrate
from pipeline.store.record import task_from_json, task_to_json
from pipeline.store.room import is_full
from pipeline.values.rows import AttemptRow, CapRow, EntryRow, ImageRow, NotedPlan, Placement, TaskRow
from pipeline.values.task import Task

#: STRICT tables.
_SQLITE_MIN: Final = (3, 37)
#: In these phases a task's price is that of the purchase under way or made; a new one is for new purchases.
_PRICE_KEPT: Final = (Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING, Phase.IN_DOUBT, Phase.DONE)
#: A log of this size is folded into the file. *Units* - bytes.
_FOLD_AT: Final = 4 * 1024 * 1024
#: How many faults of a damaged store are said when it is refused; `verify` says all.
_FAULTS_SAID: Final = 4
#: What SQLite says of a file whose header or pages are not a store's, and the way out.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_UNREADABLE: Final = (
    "; it is damaged: bring back a whole copy of the folder, or start anew with --fresh --yes, without knowing what "
    "was bought"
)
#: How often a store that is being written to is copied before we give up.
_COPIES: Final = 20


class Journal:
    """One run folder's store, used from one thread at a time. After a failed commit it can only be read."""

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        *,
        clock: Callable[[], int] | None,
        copy: TemporaryDirectory[str] | None = None,
        doubt_keeps_slot: bool = False,
        sealed: seal.Sealed | None = None,
        relief: Callable[[], bool] | None = None,
    ) -> None:
        self._db = db
        self._path = path
        self._clock = clock
        self._copy = copy
        self._doubt_keeps_slot = doubt_keeps_slot
        self._poison: str | None = None
        #: What the seal said when the store was opened.
        self._sealed = sealed
        #: Makes room on a full disk; False when there is none to be made.
        self._relief = relief
        self._seal: seal.Seal | None = None
        #: A handle of the file, open for as long as SQLite has it.
        self._body: int | None = None
        self._fold_at = _FOLD_AT
        self._head: seal.Head | None = None
        #: Whether the last process closed it in order; unclean ends ask for `integrity_check`.
        self.was_clean = True
        #: How often this store was opened for writing.
        self.epoch = 0
        #: What whoever goes on with this store must be told.
        self._note = ""

    # --- opening and closing ---

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        run_id: str,
        clock: Callable[[], int],
        doubt_keeps_slot: bool = False,
        relief: Callable[[], bool] | None = None,
    ) -> Journal:
        """Create or open for writing (0600). `clock` tells UTC microseconds; `run_id` is kept when the store is new.

        `doubt_keeps_slot` lets the tables themselves refuse a second purchase beside a doubt (`on_doubt: hold`).
        `relief` makes room when the disk is full, and says whether it did: what failed for that is done once more.

        *Raises* JournalNewer; RunLocked; StorageFailed when the file is not ours, is damaged, or its figures disagree.
        """
        if sqlite3.sqlite_version_info < _SQLITE_MIN:
            raise StorageFailed(f"SQLite 3.37 or newer is needed: {sqlite3.sqlite_version}")
        while True:
            try:
                return cls._open(path, run_id, clock=clock, doubt_keeps_slot=doubt_keeps_slot, relief=relief)
            except StorageFailed as exc:
                if not is_full(exc) or relief is None or not relief():
                    raise

    @classmethod
    def _open(
        cls,
        path: Path,
        run_id: str,
        *,
        clock: Callable[[], int],
        doubt_keeps_slot: bool,
        relief: Callable[[], bool] | None,
    ) -> Journal:
        with _failing(f"the store cannot be opened: {path}"):
            refuse_links(*(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal", seal.SUFFIX)))
            # Before SQLite sees it: a second handle on the file, once closed, would take its locks away.
            try:
                sealed = seal.read(path)
            except ValueError:
                sealed = None  # the store is looked at more closely instead, and gets a new one
            note = ""
            if path.is_file() and (faults := seal.faults_of_file(path, sealed)):
                note = cls._weighed(path, faults)
            # Made before SQLite sees it: its -wal file gets the same mode.
            body = open_private(path, os.O_RDWR | os.O_CREAT)
            # A store that another process holds is refused at once.
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        journal = cls(db, path, clock=clock, doubt_keeps_slot=doubt_keeps_slot, sealed=sealed, relief=relief)
        journal._body = body
        journal._note = note
        reach("store.opening")
        try:
            with _failing(f"the store cannot be opened: {path}"):
                journal._begin(run_id)
                reach("store.opened")
                sync_folder(path.parent)
        except BaseException:
            journal._let_go()
            raise
        return journal

    @classmethod
    def _weighed(cls, path: Path, faults: list[str]) -> str:
        """What to tell of a file that is not as it was summed and may be gone on with. *Raises* StorageFailed."""
        try:
            reader = cls.open_read_only(path)
        except PipelineError as exc:
            raise seal.refused(faults, path) from exc
        try:
            if reader.folded_elsewhere():
                return reader.told_of_folding()
            raise reader.refusal(faults)
        finally:
            reader.close(clean=False)

    @classmethod
    def open_read_only(cls, path: Path) -> Journal:
        """Open for looking: no byte of the folder changes, and a live or killed run's log is read as well.

        *Raises* RunNotFound, JournalNewer, StorageFailed.
        """
        if not path.is_file():
            raise RunNotFound(f"no run in this folder: {path.parent}")
        copy: TemporaryDirectory[str] | None = None
        refuse_links(path, _wal(path))
        try:
            sealed = seal.read(path)
        except (OSError, ValueError):
            sealed = None
        with _failing(f"the store cannot be read: {path}"):
            if _state_of(_wal(path))[1]:
                copy = _copied(path)
                db = sqlite3.connect(Path(copy.name) / path.name, isolation_level=None, check_same_thread=False)
                db.execute("PRAGMA locking_mode=EXCLUSIVE")
            else:
                uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
                db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        journal = cls(db, path, clock=None, copy=copy, sealed=sealed)
        try:
            with _failing(f"the store cannot be read: {path}"):
                journal._check_version()
                db.execute("PRAGMA query_only=ON")
                journal.epoch = journal._kept_head().epoch
                journal.was_clean = journal.get_meta("store:clean") == "1"
        except BaseException:
            journal.close(clean=False)
            raise
        return journal

    def close(self, *, clean: bool) -> None:
        """Close. `clean` says that the run ended in order; it is not believed after a failed commit."""
        try:
            if self.writable and clean:
                self.set_meta({"store:clean": "1"})
        finally:
            self._let_go()

    def _let_go(self) -> None:
        # Closing the last connection folds the write-ahead log into the file. Without a sum the next opening looks
        # more closely; a disk that refuses one is no reason to fail here.
        if self._seal is not None:
            with suppress(OSError):
                self._seal.open()
        self._db.close()
        if self._seal is not None:
            # What a failed write left is not vouched for.
            if self._poison is None and _state_of(_wal(self._path))[1] == 0:
                with suppress(OSError):
                    # That the log is gone must be as sure as the sum.
                    sync_folder(self._path.parent)
                    self._seal.shut()
            self._seal.close()
        if self._body is not None:
            os.close(self._body)
        if self._copy is not None:
            self._copy.cleanup()

    def _fold(self) -> None:
        """Fold the log into the file once it is long: by ourselves, so that the seal knows."""
        wal = _wal(self._path)
        size = wal.stat().st_size if wal.is_file() else 0
        # The whole file is summed after each fold: the longer the file, the rarer.
        if self._seal is None or size < max(self._fold_at, self._path.stat().st_size // 2):
            return
        self._seal.open()
        reach("fold.begun")
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as exc:
            if not is_full(exc):
                raise
            self._fold_at = 2 * size  # what is committed stands in the log; the file waits for room
            return
        self._fold_at = _FOLD_AT
        reach("fold.folded")
        self._seal.shut()
        reach("fold.done")

    @property
    def writable(self) -> bool:
        """Opened for writing, and no commit has failed."""
        return self._clock is not None and self._poison is None

    def _begin(self, run_id: str) -> None:
        db = self._db
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        if self._version() > schema.VERSION:
            raise _newer(self._path)
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageFailed(f"SQLite cannot keep a write-ahead log here: {self._path}")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=0")  # see `_fold`
        # Links carry signatures: what is deleted is overwritten, not only forgotten.
        db.execute("PRAGMA secure_delete=ON")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA trusted_schema=OFF")
        in_log = _state_of(_wal(self._path))[1] > 0
        with self._transaction():
            if self._version() == 0:
                if self._sealed is not None and self._sealed.commits:
                    raise seal.refused([f"all of its {self._sealed.commits} commits are missing"], self._path)
                self._create(run_id)
            self._check_ours()
            migrate(db, MIGRATIONS)
            self.was_clean = self.get_meta("store:clean") == "1"
            head = self._kept_head()
            self._check(head)
            self.epoch = head.epoch + 1
            self._put({"store:clean": "0"})
            assert self._body is not None, "opened for writing"
            if self._note:
                self._put({"store:note": self._note})
            folded = 0 if in_log else head.commits
            self._seal = seal.Seal(self._path, self._body, self.run_id, head.commits, folded)
            self._file = _identity(self._path), _identity(seal.path_of(self._path))
            self._head = replace(head, epoch=self.epoch)

    def _create(self, run_id: str) -> None:
        if self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StorageFailed(f"not a store of this program; move it away: {self._path}")
        for statement in _statements(schema.TABLES):
            self._db.execute(statement)
        place = str(self._path.resolve())
        self._put({"store:run_id": run_id, "store:clean": "1", "store:place": place})
        reach("store.creating")
        self._db.execute(f"PRAGMA application_id={schema.APPLICATION}")
        self._db.execute(f"PRAGMA user_version={schema.VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> None:
        if self._version() > schema.VERSION:
            raise _newer(self._path)
        self._check_ours()

    def _check_ours(self) -> None:
        if self._db.execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION:
            raise StorageFailed(f"not a store of this program; move it away: {self._path}")

    def _kept_head(self) -> seal.Head:
        kept = self.get_meta("store:head")
        if kept is None:  # made before there were heads
            return seal.chained(self._db, seal.Head(int(self.get_meta("store:epoch") or 0), 0))
        try:
            return seal.Head.parse(kept)
        except ValueError as exc:
            raise seal.refused(["its head is not readable"], self._path) from exc

    def _check(self, head: seal.Head) -> None:
        """Sums at every opening; every page and every entry too unless the file's own sum was right."""
        faults = seal.faults_of_head(self._path, self._sealed, self.run_id, head)
        if not self.was_clean or self._sealed is None or not self._sealed.sha256:
            faults += seal.faults_of_chain(self._db, head) + self._pages_off()
        faults += self._sums_off() + self._attempts_off()
        if faults:
            raise seal.refused(faults, self._path)

    def original(self) -> Path | None:
        """The folder that this one was copied from, if it is still there as the same run; None for a moved one."""
        kept, here = self.get_meta("store:place"), self._path.resolve()
        if kept is None or kept == str(here):
            return None
        there = Path(kept)
        try:
            if not there.is_file() or there.samefile(here):
                return None
            other = Journal.open_read_only(there)
        except (OSError, PipelineError):
            return None
        try:
            return there.parent if other.run_id == self.run_id else None
        finally:
            other.close(clean=False)

    def settle_here(self) -> None:
        """This is the run's place now: it was moved, or a person said that a copy goes its own way."""
        here = str(self._path.resolve())
        if self.get_meta("store:place") != here:
            self.set_meta({"store:place": here})

    # --- writing ---

    def commit(self, facts: Sequence[Fact]) -> None:
        """Make a group of facts durable, all or none. *Raises* StorageFailed; nothing more is taken after that."""
        at = self._now()
        reach("commit.begun")
        self._durably(lambda: self._book(facts, at))
        reach("commit.done")

    def _book(self, facts: Sequence[Fact], at: int) -> None:
        booking = Booking(self._db, at, doubt_keeps_slot=self._doubt_keeps_slot)
        for fact in facts:
            booking.book(fact)
        booking.finish()
        reach("commit.booked")

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Keep words by key, durably, all or none."""
        self._durably(lambda: self._put(values))

    def note_plan(
        self,
        plan: NotedPlan,
        words: Mapping[str, str] | None = None,
        tasks: Callable[[], Iterable[tuple[bytes, Task]]] | None = None,
    ) -> None:
        """Keep which plan this folder works on, and further words, durably, all or none.

        With `tasks` the spec was edited: what is owned is marked as `mark_plan` does. In one commit, because a death
        between the two would leave marks that nobody takes back when the edit is taken back.
        """
        before = self.get_meta("spec_text")
        values = {
            **({} if before in {None, plan.spec_text} else {"spec_before": str(before)}),
            "plan_sha256": plan.plan_sha256,
            "spec_sha256": plan.spec_sha256,
            "spec_text": plan.spec_text,
            "job": plan.job,
            "total": str(plan.total),
            **(words or {}),
        }

        def note() -> None:
            if tasks is not None:
                self._mark(tasks())
                reach("plan.marked")
            self._put(values)

        self._durably(note)

    def note_sends(self, stamps: Mapping[str, Sequence[int]]) -> None:
        """Keep the last sends of lanes (steady microseconds), so that a resume need not wait out a whole window."""
        self.set_meta({f"sends:{lane}": ",".join(map(str, sends)) for lane, sends in stamps.items()})

    def placements(self, now: int) -> list[Placement]:
        """Where uploaded pictures stand, after those that have expired by `now` (UTC microseconds) were erased."""

        def erase() -> None:
            self._db.execute("DELETE FROM placement WHERE expires_at <= ?", (now,))

        if self._db.execute("SELECT 1 FROM placement WHERE expires_at <= ? LIMIT 1", (now,)).fetchone():
            self._durably(erase)
        rows = self._db.execute("SELECT gateway, account, model, sha256, location, expires_at FROM placement")
        return [Placement(*row) for row in rows]

    def keep_placement(self, placement: Placement) -> None:
        """Keep where an uploaded picture stands; without a location it is forgotten."""
        key = (placement.gateway, placement.account, placement.model, placement.sha256)

        def keep() -> None:
            self._db.execute("DELETE FROM placement WHERE (gateway, account, model, sha256) = (?, ?, ?, ?)", key)
            if placement.location:
                values = (*key, placement.location, placement.expires_at)
                self._db.execute("INSERT INTO placement VALUES (?, ?, ?, ?, ?, ?)", values)

        self._durably(keep)

    def mark_plan(self, tasks: Iterable[tuple[bytes, Task]]) -> int:
        """After an edit of the spec: owned tasks take the plan's number and labels, others are marked as dropped.

        Numbers of dropped tasks become negative, so that they are unique beside the plan's. Answers how many are owned.
        """
        with self._transaction():
            return self._mark(tasks)

    def _mark(self, tasks: Iterable[tuple[bytes, Task]]) -> int:
        owned = 0
        self._db.execute("UPDATE task SET number=-key, in_spec=0")
        for key, task in tasks:
            row = self._db.execute("SELECT phase, record FROM task WHERE id=?", (key,)).fetchone()
            if row is None:
                continue
            owned += 1
            if Phase(row[0]) in _PRICE_KEPT:
                task = replace(task, price=task_from_json(row[1], 0).price)  # noqa: PLW2901
            self._db.execute(
                "UPDATE task SET number=?, in_spec=1, record=? WHERE id=?", (task.number, task_to_json(task), key)
            )
        return owned

    def _put(self, values: Mapping[str, str]) -> None:
        self._db.executemany(
            "INSERT INTO meta(k, v) VALUES (?, ?) ON CONFLICT DO UPDATE SET v=excluded.v", list(values.items())
        )

    def _now(self) -> int:
        if self._clock is None:
            raise StorageFailed(f"the store is open for reading only: {self._path}")
        return self._clock()

    def _durably(self, work: Callable[[], None]) -> None:
        """One transaction. A full disk refuses it before the commit, so that it may be done again on room made."""
        while True:
            try:
                with self._transaction():
                    work()
            except StorageFailed as exc:
                if not is_full(exc) or self._db.in_transaction or self._relief is None or not self._relief():
                    raise
                self._poison = None
            else:
                return

    def _fence(self) -> None:
        """Beyond the lock and SQLite's own: the files are still ours by name, and nobody else has broken the seal."""
        if self._head is None:
            return
        if self._file != (_identity(self._path), _identity(seal.path_of(self._path))):
            raise StorageFailed(
                "the run folder was moved, or another process opened its store, while this run was at work; nothing "
                f"more is sent. Run the same command again: {self._path}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One durable transaction. Whatever goes wrong inside poisons the journal.

        A failed commit reads as rolled back and may yet be there after a restart, so nobody may carry on from it.
        """
        if self._clock is None:
            raise StorageFailed(f"the store is open for reading only: {self._path}")
        if self._poison is not None:
            raise StorageFailed(f"an earlier write to the store failed, nothing more is taken: {self._poison}")
        try:
            self._fence()
            self._db.execute("BEGIN IMMEDIATE")
            yield
            head = self._advanced()
            self._db.execute("COMMIT")
            reach("commit.sealing")
            self._head = head
            if self._seal is not None:
                self._seal.note(head.commits)
            self._fold()
        except BaseException as exc:
            self._poison = str(exc) or type(exc).__name__
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise StorageFailed(f"the store refused a write ({exc}); run the same command again") from exc
            raise

    def _advanced(self) -> seal.Head:
        assert self._head is not None, "a transaction before the store was opened"
        head = seal.chained(self._db, replace(self._head, commits=self._head.commits + 1))
        self._put({"store:head": str(head)})
        return head

    # --- reading ---

    def get_meta(self, key: str) -> str | None:
        """The words kept under a key, None when there are none."""
        row = self._db.execute("SELECT v FROM meta WHERE k=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def run_id(self) -> str:
        """The id that the store was created with."""
        return self.get_meta("store:run_id") or ""

    def plan(self) -> NotedPlan | None:
        """The plan noted last; None before the first."""
        digest = self.get_meta("plan_sha256")
        if digest is None:
            return None
        words = {key: self.get_meta(key) or "" for key in ("spec_sha256", "spec_text", "job", "total")}
        return NotedPlan(digest, words["spec_sha256"], words["spec_text"], words["job"], int(words["total"] or 0))

    def spec_before(self) -> bytes:
        """The spec that stood in the folder before the one noted last; empty when there was none."""
        return (self.get_meta("spec_before") or "").encode()

    def sends(self) -> dict[str, tuple[int, ...]]:
        """{lane: its last sends, in microseconds of a steady clock}."""
        rows = self._db.execute("SELECT k, v FROM meta WHERE k LIKE 'sends:%'").fetchall()
        return {
            key.removeprefix("sends:"): tuple(int(stamp) for stamp in text.split(",") if stamp) for key, text in rows
        }

    def snapshot(self) -> Snapshot:
        """What is unfinished, the accounts and the counts."""
        return reading.snapshot(self._db)

    def accounts(self) -> tuple[StoredAccount, ...]:
        """Every account, by currency."""
        return reading.accounts(self._db)

    def failed_tasks(self, kinds: Collection[str] | None = None) -> list[StoredTask]:
        """FAILED and SHORT tasks of the current spec, of these fault kinds (None: of any), for a retry."""
        return reading.failed_tasks(self._db, kinds)

    def task_of_attempt(self, attempt: int) -> StoredTask | None:
        """The task of one attempt, ended or not, for late evidence."""
        return reading.task_of_attempt(self._db, attempt)

    def task_ids(self) -> Iterator[bytes]:
        """The 32-byte ids of every task in the store."""
        for (key,) in self._db.execute("SELECT id FROM task"):
            yield bytes(key)

    def has(self, task_id: bytes | str) -> Phase | None:
        """Where a task stands, by its 32 bytes or 64 hex digits; None when it never entered the store."""
        key = bytes.fromhex(task_id) if isinstance(task_id, str) else task_id
        row = self._db.execute("SELECT phase FROM task WHERE id=?", (key,)).fetchone()
        return None if row is None else Phase(row[0])

    def task_rows(self) -> Iterator[TaskRow]:
        """Every task: the spec's by number, then those it dropped."""
        return reading.task_rows(self._db)

    def image_rows(self) -> Iterator[ImageRow]:
        """Every stored picture, in the order of `task_rows`, then by image index."""
        return reading.image_rows(self._db)

    def attempt_rows(self) -> Iterator[AttemptRow]:
        """Every attempt, by number."""
        return reading.attempt_rows(self._db)

    def money_entries(self) -> Iterator[EntryRow]:
        """Every movement of money, oldest first."""
        return reading.entry_rows(self._db)

    def cap_rows(self) -> Iterator[CapRow]:
        """Every setting of a cap, oldest first."""
        return reading.cap_rows(self._db)

    def picture_paths(self) -> set[str]:
        """The paths of every stored picture, relative to the run folder."""
        return {str(path) for (path,) in self._db.execute("SELECT path FROM picture WHERE state='STORED'")}

    def pending_pictures(self) -> set[tuple[int, int]]:
        """(attempt, index) of every picture still to be fetched."""
        rows = self._db.execute("SELECT attempt, idx FROM picture WHERE state='PENDING'")
        return {(int(attempt), int(index)) for attempt, index in rows}

    def oldest_links(self) -> dict[tuple[str, str], int]:
        """{(gateway, model): when the oldest of the links that are still to be fetched came, in UTC microseconds}."""
        return reading.oldest_links(self._db)

    def last_time(self) -> int:
        """The latest wall time in the tables, in UTC microseconds; 0 when nothing has happened."""
        return reading.last_time(self._db)

    def damage(self, most: int | None = None) -> list[str]:
        """What the seal says against a store that was opened for reading: flipped bits, lost commits. In words.

        A file of more than `most` bytes is not summed.
        """
        summed = most is None or self._path.stat().st_size <= most
        faults = self._file_off() if summed else []
        return faults + seal.faults_of_head(self._path, self._sealed, self.run_id, self._kept_head())

    def folded_elsewhere(self) -> bool:
        """Whether another program folded a killed run's log into the file, and all that can be checked agrees."""
        if self._sealed is None or _state_of(_wal(self._path))[1]:
            return False
        try:
            later = self._kept_head().commits > self._sealed.folded
            return later and bool(self._file_off()) and not self._rows_off()
        except (sqlite3.Error, StorageFailed):
            return False

    def told_of_folding(self) -> str:
        """What is said of such a store."""
        return (
            f"another program, such as sqlite3 or a backup tool, opened {self._path.name} after the run was killed and "
            f"wrote its log into it; its pages, sums, entries and {self._kept_head().commits} commits agree, so it is "
            "gone on with"
        )

    def refusal(self, faults: Iterable[str]) -> StorageFailed:
        """The words for not going on with a store that was opened for reading."""
        try:
            further, out = self._rows_off(), sum(self.calls_out().values())
        except (sqlite3.Error, StorageFailed) as exc:
            further, out = [str(exc)], 0
        told = [*faults, *(fault for fault in further if fault not in faults)]
        return seal.refused(told[:_FAULTS_SAID], self._path, agrees=not further, out=out)

    def calls_out(self) -> dict[str, int]:
        """{state: attempts that may be billed and have no end yet}: SUBMITTING, ACCEPTED, DOUBT, VANISHED."""
        return reading.calls_out(self._db)

    def _file_off(self) -> list[str]:
        try:
            now = seal.read(self._path)
        except (OSError, ValueError) as exc:
            return [f"{exc}; when the rest is in order, delete it"]
        # Otherwise a run began or ended meanwhile, and has made its own check.
        if not self.writable and now == self._sealed:
            return seal.faults_of_file(self._path, self._sealed)
        return []

    def integrity_check(self) -> list[str]:
        """Every fault of the file, of its rows, of the accounts and of the attempts' own figures, in words."""
        faults: list[str] = []
        try:
            faults += [] if self.writable or not self.folded_elsewhere() else [self.told_of_folding()]
            faults += [] if faults else self._file_off()
            faults += self._rows_off()
        except sqlite3.Error as exc:
            faults.append(f"the store cannot be read: {exc}")
        except StorageFailed as exc:
            faults.append(str(exc))
        return faults

    def _rows_off(self) -> list[str]:
        """Everything that can be checked but the file's own sum."""
        head = self._kept_head()
        faults = seal.faults_of_head(self._path, self._sealed, self.run_id, head)
        faults += self._pages_off()
        faults += seal.faults_of_chain(self._db, head)
        faults += [f"the store: a row of {row[0]} names a missing {row[2]}" for row in self._foreign()]
        return faults + self._sums_off() + self._attempts_off()

    def _pages_off(self) -> list[str]:
        return [f"the store: {row[0]}" for row in self._db.execute("PRAGMA integrity_check") if row[0] != "ok"]

    def _attempts_off(self) -> list[str]:
        return [
            f"money: attempt {attempt} has {left} open and {settled} settled,"
            f" its entries say {entries_left} and {entries_settled}"
            for attempt, left, entries_left, settled, entries_settled in self._db.execute(schema.ATTEMPTS_OFF)
        ]

    def _foreign(self) -> list[tuple[str, int, str, int]]:
        return self._db.execute("PRAGMA foreign_key_check").fetchall()

    def _sums_off(self) -> list[str]:
        sums = {row[0]: row[1:] for row in self._db.execute(schema.SUMS)}
        faults = []
        for account in self.accounts():
            kept = (account.spent, account.held, account.doubt, account.overage)
            entered = sums.pop(account.currency, (0, 0, 0, 0))
            for name, has, should in zip(("spent", "held", "doubt", "overage"), kept, entered, strict=True):
                if has != should:
                    faults.append(f"money: {account.currency} {name} is {has}, its entries say {should}")
        return faults + [f"money: entries without an account: {currency}" for currency in sums]


def _newer(path: Path) -> JournalNewer:
    return JournalNewer(f"this store was written by a newer version of pipeline; upgrade to read it: {path}")


def _statements(text: str) -> Iterator[str]:
    """Single statements: `executescript` would commit what it stands in."""
    gathered = ""
    for line in text.splitlines(keepends=True):
        gathered += line
        if sqlite3.complete_statement(gathered):
            yield gathered
            gathered = ""


@contextmanager
def _failing(words: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            raise RunLocked(
                "another process is at work in this run folder, although its lock file is gone; wait for it or stop it "
                f"({words})"
            ) from exc
        way = _UNREADABLE if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGED else _writable_again(exc)
        raise StorageFailed(f"{words} ({exc}){way}") from exc


def _writable_again(error: Exception) -> str:
    """The remedy for a store that may not be written, or not be read, by us."""
    refused = isinstance(error, PermissionError) or getattr(error, "errno", 0) == errno.EROFS
    codes = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN)
    if not refused and getattr(error, "sqlite_errorcode", 0) & 0xFF not in codes:
        return ""
    return (
        "; nothing was sent or written: see that the run folder and what is in it belong to you and may be written "
        "(ls -l, lsattr, mount), then run the same command again"
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        known = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return known.st_dev, known.st_ino


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _state_of(path: Path) -> tuple[int, int, bytes]:
    """Time, size and first bytes of a file: a log begins anew with other salts, a body gets a new time."""
    try:
        with path.open("rb") as file:
            known = os.fstat(file.fileno())
            return known.st_mtime_ns, known.st_size, file.read(32)
    except FileNotFoundError:
        return 0, 0, b""


def _copied(path: Path) -> TemporaryDirectory[str]:
    """A private copy of the file and its log, taken while neither was folded into the other."""
    copy = TemporaryDirectory(prefix="pipeline-store-")
    target = Path(copy.name) / path.name
    try:
        for _ in range(_COPIES):
            before = _state_of(path), _state_of(_wal(path))[2]
            _copy_file(path, target)
            _copy_file(_wal(path), _wal(target))
            # A log that only grew is fine: what is torn at its end was not acknowledged to anybody.
            if before == (_state_of(path), _state_of(_wal(path))[2]):
                return copy
    except BaseException:
        copy.cleanup()
        raise
    copy.cleanup()
    raise StorageFailed(f"the store is written to without a pause; ask again: {path}")


def _copy_file(source: Path, target: Path) -> None:
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        target.unlink(missing_ok=True)
        return
    handle = open_private(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
