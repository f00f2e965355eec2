"""The store's file, written by one connection that nobody shares: opened, sealed, folded and closed.

Write-ahead log, `synchronous=FULL`, exclusive locking: a second connection could run into the WAL-reset defect of
SQLite before 3.51.3, and NORMAL loses acknowledged commits when the power goes. `seal.py` bears witness beside it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self
from urllib.parse import quote

from pipeline.errors import PipelineError, RunNotFound, StorageFailed
from pipeline.failpoints import reach
from pipeline.store import schema, seal
from pipeline.store.checks import Checked
from pipeline.store.durable import open_private, refuse_links, sync_folder
from pipeline.store.migrations import MIGRATIONS, migrate
from pipeline.store.opening import copied, failing, identity, newer, state_of, statements, wal
from pipeline.store.room import is_full

#: STRICT tables.
_SQLITE_MIN: Final = (3, 37)
#: A log of this size is folded into the file. *Units* - bytes.
_FOLD_AT: Final = 4 * 1024 * 1024


class StoreFile(Checked):
    """A store in use, from one thread at a time: opened, written in transactions, folded, closed.

    After a failed commit it can only be read.
    """

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
        super().__init__(db, path, sealed)
        self._clock = clock
        self._copy = copy
        self._doubt_keeps_slot = doubt_keeps_slot
        self._poison: str | None = None
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
        #: The file's state when it was summed, and its sum found right.
        self._summed: tuple[int, ...] | None = None

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
    ) -> Self:
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
    ) -> Self:
        with failing(f"the store cannot be opened: {path}"):
            refuse_links(*(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal", seal.SUFFIX)))
            # Before SQLite sees it: a second handle on the file, once closed, would take its locks away.
            try:
                sealed = seal.read(path)
            except ValueError:
                sealed = None  # the store is looked at more closely instead, and gets a new one
            note = ""
            before = seal.state_of_file(path) if path.is_file() else None
            if path.is_file() and (faults := seal.faults_of_file(path, sealed)):
                note = cls._weighed(path, faults)
            # Made before SQLite sees it: its -wal file gets the same mode.
            body = open_private(path, os.O_RDWR | os.O_CREAT)
            # A store that another process holds is refused at once.
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        journal = cls(db, path, clock=clock, doubt_keeps_slot=doubt_keeps_slot, sealed=sealed, relief=relief)
        journal._body = body
        journal._note = note
        journal._summed = None if note else before
        reach("store.opening")
        try:
            with failing(f"the store cannot be opened: {path}"):
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
    def open_read_only(cls, path: Path) -> Self:
        """Open for looking: no byte of the folder changes, and a live or killed run's log is read as well.

        *Raises* RunNotFound, JournalNewer, StorageFailed.
        """
        if not path.is_file():
            raise RunNotFound(f"no run in this folder: {path.parent}")
        copy: TemporaryDirectory[str] | None = None
        refuse_links(path, wal(path))
        try:
            sealed = seal.read(path)
        except (OSError, ValueError):
            sealed = None
        with failing(f"the store cannot be read: {path}"):
            if state_of(wal(path))[1]:
                copy = copied(path)
                db = sqlite3.connect(Path(copy.name) / path.name, isolation_level=None, check_same_thread=False)
                db.execute("PRAGMA locking_mode=EXCLUSIVE")
            else:
                uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
                db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        journal = cls(db, path, clock=None, copy=copy, sealed=sealed)
        try:
            with failing(f"the store cannot be read: {path}"):
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
            if self._poison is None and state_of(wal(self._path))[1] == 0:
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
        log = wal(self._path)
        size = log.stat().st_size if log.is_file() else 0
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
            raise newer(self._path)
        mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise StorageFailed(f"SQLite cannot keep a write-ahead log here: {self._path}")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=0")  # see `_fold`
        # Links carry signatures: what is deleted is overwritten, not only forgotten.
        db.execute("PRAGMA secure_delete=ON")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA trusted_schema=OFF")
        in_log = state_of(wal(self._path))[1] > 0
        with self._transaction():
            if self._version() == 0:
                if self._sealed is not None and self._sealed.commits:
                    raise seal.refused([f"all of its {self._sealed.commits} commits are missing"], self._path)
                self._create(run_id)
            self._check_ours()
            migrate(db, MIGRATIONS)
            self.was_clean = self.get_meta("store:clean") == "1"
            head = self._kept_head()
            self._check(head, in_log=in_log)
            self.epoch = head.epoch + 1
            self._put({"store:clean": "0"})
            assert self._body is not None, "opened for writing"
            if self._note:
                self._put({"store:note": self._note})
            folded = 0 if in_log else head.commits
            known = self._known_sum()
            self._seal = seal.Seal(self._path, self._body, self.run_id, head.commits, folded=folded, known=known)
            self._file = identity(self._path), identity(seal.path_of(self._path))
            self._head = replace(head, epoch=self.epoch)

    def _create(self, run_id: str) -> None:
        if self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise StorageFailed(f"not a store of this program; move it away: {self._path}")
        for statement in statements(schema.TABLES):
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
            raise newer(self._path)
        self._check_ours()

    def _check_ours(self) -> None:
        if self._db.execute("PRAGMA application_id").fetchone()[0] != schema.APPLICATION:
            raise StorageFailed(f"not a store of this program; move it away: {self._path}")

    def _known_sum(self) -> str:
        """The file's sum, where nobody wrote since it was found right; by now nobody else can."""
        assert self._body is not None, "opened for writing"
        same = self._summed is not None and self._summed == seal.state_of_file(self._body)
        return self._sealed.sha256 if same and self._sealed is not None else ""

    def _check(self, head: seal.Head, *, in_log: bool) -> None:
        """Sums at every opening; every page, entry and attempt too unless the file's own sum vouches for all there is.

        What it vouches for is what our own transactions wrote, and each of them keeps attempts and entries in step.
        """
        faults = seal.faults_of_head(self._path, self._sealed, self.run_id, head)
        vouched = self.was_clean and self._sealed is not None and bool(self._sealed.sha256)
        if not vouched:
            faults += seal.faults_of_chain(self._db, head) + self._pages_off()
        faults += self._sums_off()
        if not vouched or in_log or self._note:
            faults += self._attempts_off()
        if faults:
            raise seal.refused(faults, self._path)

    # --- writing ---

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Keep words by key, durably, all or none."""
        self._durably(lambda: self._put(values))

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
        if self._file != (identity(self._path), identity(seal.path_of(self._path))):
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
