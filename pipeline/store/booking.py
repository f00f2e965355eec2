"""Facts into tables: each fact is a small group of statements; the account row is written once a commit."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from pipeline.engine.facts import (
    Accepted,
    BudgetReached,
    CapSet,
    Continued,
    DiskNoted,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    Draining,
    DrainNoted,
    Fact,
    Held,
    LaneCooled,
    LaneParked,
    LateBilled,
    LateFound,
    LinksRenewed,
    Paused,
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
from pipeline.engine.lifecycle import ENDED
from pipeline.engine.phases import AttemptState, Phase
from pipeline.errors import Bug, StorageFailed
from pipeline.store.gathered import Gathered, Step
from pipeline.store.record import task_to_json
from pipeline.store.redact import without_queries
from pipeline.values.reply import Fault, why_of

_S = AttemptState
#: Facts that look at what stands in the tables, or that are too rare to be gathered.
_Rare: TypeAlias = (
    CapSet
    | Released
    | Doubted
    | DoubtLifted
    | DoubtReleased
    | WrittenOff
    | LateFound
    | LateBilled
    | RestReleased
    | LinksRenewed
    | PictureLost
    | TaskMoved
    | Paused
    | Continued
    | DrainNoted
)
#: Attempts of which late evidence may say that they were billed after all.
_UNBILLED: Final = (
    " WHERE id=? AND (state IN ('VOID', 'WRITTEN_OFF') OR (state = 'SETTLED' AND images = 0 AND settled = 0))"
)
_UNSPENT: Final = " AND open=0 AND state <> 'WRITTEN_OFF'"
#: {`again:TASK ID`: the last attempt of which a review rejected the pictures}; written only when a done task is sent
#: again, so that a restart knows which pictures no longer make it done.
_AGAIN: Final = (
    "INSERT INTO meta(k, v) SELECT 'again:' || lower(hex(id)), (SELECT max(id) FROM attempt WHERE task = key)"
    " FROM task WHERE number=? AND phase = 'done' AND key IN (SELECT task FROM attempt)"
    " ON CONFLICT(k) DO UPDATE SET v=excluded.v"
)
_ALLOWANCE: Final = (
    "UPDATE attempt SET counts=0"
    " WHERE task=(SELECT key FROM task WHERE number=? AND phase IN ('done', 'short', 'failed', 'skipped'))"
)


@dataclass(slots=True)
class _Moves:
    """What one commit moves in one account. *Units* - micro-units."""

    spent: int = 0
    held: int = 0
    doubt: int = 0
    overage: int = 0


class Booking:
    """One transaction's worth of facts. *Raises* StorageFailed for a fact that the tables do not allow."""

    __slots__ = ("_at", "_currencies", "_db", "_doubt_keeps_slot", "_gathered", "_moves", "_only")

    def __init__(self, db: sqlite3.Connection, at: int, *, doubt_keeps_slot: bool) -> None:
        self._db = db
        self._at = at
        self._doubt_keeps_slot = doubt_keeps_slot
        self._moves: dict[str, _Moves] = {}
        self._gathered = Gathered(db)
        #: {attempt: the currency of its hold}, of those held in this commit; and the only currency of this store.
        self._currencies: dict[int, str] = {}
        self._only: str | None = None

    def book(self, fact: Fact) -> None:
        """Take one fact; it is written by `finish` at the latest."""
        match fact:
            case TaskAdmitted():
                self._admit(fact)
            case Held():
                self._hold(fact)
            case Permitted(attempt):
                self._gathered.of_attempt(Step.PERMIT, attempt, (self._at, attempt), _refused(fact))
                self._gathered.add(Step.SENT, (self._at, attempt))
            case Accepted(attempt, operation):
                self._gathered.of_attempt(Step.ACCEPT, attempt, (operation, attempt), _refused(fact))
            case Settled():
                self._settle(fact)
            case PictureStored():
                self._stored(fact)
            case TaskMoved(task, phase, fault) if phase is not Phase.WAITING:
                ended = self._at if phase in ENDED else None
                self._gathered.move(task, (phase, *_fault(fault), ended))
            case BudgetReached() | LaneCooled() | LaneParked() | Draining() | DiskNoted():
                pass
            case _:
                self._gathered.write()
                self._rare(fact)

    def _rare(self, fact: _Rare) -> None:
        match fact:
            case CapSet(currency, cap, why):
                self._cap(currency, _whole(cap), why)
            case Released():
                self._released(fact)
            case Doubted(attempt, amount, fault, vanished):
                state = _S.VANISHED if vanished else _S.DOUBT
                sql = (
                    "UPDATE attempt SET state=?, fault=?, fault_message=?, request_id=? WHERE id=? AND open=?"
                    " AND state IN (?, ?)"
                )
                told = _fault(replace(fault, message=why_of(fault)))
                doubted = (state, *told, fault.request_id, attempt, _whole(amount), _S.SUBMITTING, _S.ACCEPTED)
                self._move(self._state(fact, sql, doubted), attempt, "doubt", amount, held=-amount, doubt=amount)
            case DoubtLifted(attempt, amount, why):
                # An attempt that gave its slot up to a second one does not get it back.
                sql = "UPDATE attempt SET state=?, fault='', fault_message='' WHERE id=? AND open=? AND state IN (?, ?)"
                lifted = (_S.SUBMITTING, attempt, _whole(amount), _S.DOUBT, _S.VANISHED)
                self._move(self._state(fact, sql, lifted), attempt, "lift", amount, why, held=amount, doubt=-amount)
            case DoubtReleased(attempt, amount, why):
                currency = self._end_doubt(fact, _S.VOID, amount, settled=0)
                self._move(currency, attempt, "doubt_release", amount, why, doubt=-amount)
            case WrittenOff(attempt, amount, why):
                currency = self._end_doubt(fact, _S.WRITTEN_OFF, amount, settled=amount)
                self._move(currency, attempt, "write_off", amount, why, doubt=-amount, spent=amount)
            case LateFound(attempt, operation, why):
                # Of the settled ones only those for which nothing was billed.
                sql = "UPDATE attempt SET state=?, operation=?, counts=1, fault='', fault_message='', ended_at=NULL"
                currency = self._state(fact, sql + _UNBILLED, (_S.ACCEPTED, operation, attempt))
                self._move(currency, attempt, "overage", 0, why)
            case LateBilled(attempt, amount, why):
                sql = "UPDATE attempt SET state=?, settled=settled+?"
                currency = self._state(fact, sql + _UNBILLED + _UNSPENT, (_S.WRITTEN_OFF, _whole(amount), attempt))
                self._move(currency, attempt, "overage", amount, why, spent=amount, overage=amount)
            case RestReleased(attempt, amount):
                sql = "UPDATE attempt SET open=open-? WHERE id=? AND open=? AND state=?"
                currency = self._state(fact, sql, (_whole(amount), attempt, amount, _S.SETTLED))
                self._move(currency, attempt, "release", amount, held=-amount)
            case LinksRenewed(attempt, links):
                sql = "UPDATE picture SET link=? WHERE attempt=? AND idx=? AND state='PENDING'"
                self._db.executemany(sql, [(link, attempt, index) for index, link in enumerate(links)])
            case PictureLost(attempt, index, fault):
                # The gateway may bill a picture for which it never gave a link.
                sql = (
                    "INSERT INTO picture(attempt, idx, state, fault, fault_message) VALUES (?, ?, 'LOST', ?, ?)"
                    " ON CONFLICT DO UPDATE SET state='LOST', link=NULL, fault=excluded.fault,"
                    " fault_message=excluded.fault_message WHERE state='PENDING'"
                )
                self._one(fact, sql, (attempt, index, *_fault(fault)))
            case TaskMoved(task, phase, fault):
                # Only a user leads out of an end: the allowance of attempts begins anew.
                self._db.execute(_ALLOWANCE, (task,))
                self._db.execute(_AGAIN, (task,))
                self._gathered.move(task, (phase, *_fault(fault), None))
            case Paused(lane, why):
                self._said("pause", lane, why)
            case Continued(lane, why):
                self._said("continue", lane, why)
            case DrainNoted(why):
                self._said("drain", None, why)
            case _ as never:
                assert_never(never)

    def finish(self) -> None:
        """Write what was gathered, then the accounts; the CHECK on them judges the whole group at once."""
        self._gathered.write()
        sql = "UPDATE account SET spent=spent+?, held=held+?, doubt=doubt+?, overage=overage+? WHERE currency=?"
        for currency, moves in self._moves.items():
            row = (moves.spent, moves.held, moves.doubt, moves.overage, currency)
            if self._db.execute(sql, row).rowcount != 1:
                raise StorageFailed(f"the store has no account for this currency: {currency}")

    def _cap(self, currency: str, cap: int, why: str) -> None:
        self._db.execute(
            "INSERT INTO account(currency, cap, high_cap) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
            " cap=excluded.cap, high_cap=max(high_cap, excluded.high_cap)",
            (currency, cap, cap),
        )
        self._db.execute("INSERT INTO cap(currency, cap, why, at) VALUES (?, ?, ?, ?)", (currency, cap, why, self._at))

    def _said(self, what: str, lane: str | None, why: str) -> None:
        """What a person told a living run, beside the ledger: it moves no money, and caps have a table of their own."""
        sql = (
            "INSERT INTO meta(k, v) SELECT printf('said:%08d', 1 + count(*)), ? FROM meta"
            " WHERE k >= 'said:' AND k < 'said;'"
        )
        said = {"at": self._at, "what": what, "lane": lane, "why": without_queries(why)}
        self._db.execute(sql, (json.dumps(said, ensure_ascii=False, separators=(",", ":")),))

    def _admit(self, fact: TaskAdmitted) -> None:
        task = fact.task
        row = (bytes.fromhex(task.id), task.number, task.gateway, task.model, task_to_json(task), self._at)
        self._gathered.add(Step.ADMIT, row)

    def _hold(self, fact: Held) -> None:
        amount = _whole(fact.amount)
        if fact.ordinal > 1:
            # What the attempts before it are must stand in the tables.
            self._gathered.write()
        if fact.ordinal > 1 and not self._doubt_keeps_slot:
            self._db.execute(
                "UPDATE attempt SET live_slot=NULL WHERE live_slot=(SELECT key FROM task WHERE number=?)"
                " AND state IN ('DOUBT', 'VANISHED')",
                (fact.task,),
            )
        row = (fact.attempt, fact.ordinal, fact.currency, amount, amount, self._at, fact.task)
        self._gathered.of_attempt(Step.HOLD, fact.attempt, row, _refused(fact))
        self._currencies[fact.attempt] = fact.currency
        self._move(fact.currency, fact.attempt, "hold", amount, held=amount)

    def _released(self, fact: Released) -> None:
        sql = (
            "UPDATE attempt SET state='VOID', open=0, counts=?, live_slot=NULL, ended_at=?, fault=?, fault_message=?,"
            " request_id=? WHERE id=? AND open=? AND state IN ('RESERVED', 'SUBMITTING')"
        )
        amount = _whole(fact.amount)
        fault = fact.fault
        row = (int(fact.counts), self._at, *_fault(fault), fault.request_id, fact.attempt, amount)
        self._move(self._state(fact, sql, row), fact.attempt, "release", amount, held=-amount)

    def _end_doubt(self, fact: DoubtReleased | WrittenOff, state: AttemptState, amount: int, *, settled: int) -> str:
        sql = (
            "UPDATE attempt SET state=?, open=0, settled=settled+?, live_slot=NULL, ended_at=?"
            " WHERE id=? AND open=? AND state IN ('DOUBT', 'VANISHED')"
        )
        return self._state(fact, sql, (state, _whole(settled), self._at, fact.attempt, _whole(amount)))

    def _settle(self, fact: Settled) -> None:
        amount, overage = _whole(fact.amount), _whole(fact.overage)
        counts = fact.counts and fact.fault is not None and not fact.images
        row = (amount, amount + overage, _whole(fact.images), fact.request_id, fact.revised_prompt, int(counts))
        currency = self._currency(fact)
        whole = (*row, *_fault(fact.fault), self._at, fact.attempt, amount)
        self._gathered.of_attempt(Step.SETTLE, fact.attempt, whole, _refused(fact))
        self._move(currency, fact.attempt, "settle", amount, held=-amount, spent=amount)
        if overage:
            self._move(currency, fact.attempt, "overage", overage, spent=overage, overage=overage)
        for index, link in enumerate(fact.links):
            self._gathered.add(Step.LINK, (fact.attempt, index, link))

    def _stored(self, fact: PictureStored) -> None:
        artifact = fact.artifact
        size = (artifact.size_bytes, artifact.width, artifact.height)
        row = (artifact.sha256, artifact.media_type, *size, artifact.path, artifact.stored_at)
        self._gathered.of_attempt(Step.STORE, fact.attempt, (*row, fact.attempt, fact.index), _refused(fact))

    def _currency(self, fact: Settled) -> str:
        """The currency of an attempt's hold. Most stores have one only, and then nobody needs to look."""
        known = self._only or self._currencies.get(fact.attempt)
        if known is None:
            accounts = self._db.execute("SELECT currency FROM account").fetchall()
            if len(accounts) == 1:
                self._only = str(accounts[0][0])
                return self._only
            found = self._db.execute("SELECT currency FROM attempt WHERE id=?", (fact.attempt,)).fetchone()
            if found is None:
                raise StorageFailed(_refused(fact))
            known = str(found[0])
        return known

    def _move(
        self,
        currency: str,
        attempt: int,
        kind: str,
        amount: int,
        why: str = "",
        *,
        spent: int = 0,
        held: int = 0,
        doubt: int = 0,
        overage: int = 0,
    ) -> None:
        """One entry and what it does to its account, in the same breath."""
        row = (attempt, currency, kind, _whole(amount), without_queries(why), self._at)
        self._gathered.add(Step.ENTER, row)
        moves = self._moves.setdefault(currency, _Moves())
        moves.spent += spent
        moves.held += held
        moves.doubt += doubt
        moves.overage += overage

    def _state(self, fact: Fact, sql: str, row: tuple[object, ...]) -> str:
        """Change one attempt and answer its currency; none matched means that the machine and the tables disagree."""
        # All rows are read, or the statement would still be open.
        found = self._db.execute(sql + " RETURNING currency", row).fetchall()
        if len(found) != 1:
            raise StorageFailed(_refused(fact))
        return str(found[0][0])

    def _one(self, fact: Fact, sql: str, row: tuple[object, ...]) -> None:
        if self._db.execute(sql, row).rowcount != 1:
            raise StorageFailed(_refused(fact))


def _refused(fact: Fact) -> str:
    # No field of the fact: links and prompts stand there.
    number = getattr(fact, "attempt", getattr(fact, "task", "?"))
    return f"the store does not allow {type(fact).__name__} for {number} as it stands"


def _whole(amount: int) -> int:
    # A float or a bool would be stored silently; STRICT tables take 75000.0 as well.
    if type(amount) is not int or amount < 0:
        raise Bug(f"not a whole amount: {amount!r}")
    return amount


def _fault(fault: Fault | None) -> tuple[str, str]:
    return ("", "") if fault is None else (fault.kind.value, without_queries(fault.message)[:500])
