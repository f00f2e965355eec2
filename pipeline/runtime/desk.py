"""What a living run answers to those who ask by its control socket, and does for those who tell it something."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol, TypeVar

from pipeline.engine.facts import Fact
from pipeline.engine.machine import Machine
from pipeline.engine.messages import CapAsked, ContinueAsked, DrainAsked, Observation, PauseAsked
from pipeline.engine.stored import StoredAccount
from pipeline.errors import RunError
from pipeline.report.data import entries, row_chunk
from pipeline.runtime import prepare
from pipeline.runtime.changes import Changes
from pipeline.runtime.clock import VirtualLoop
from pipeline.runtime.control import ANSWER_MAX, DONE_S, VERSION, refusal
from pipeline.runtime.served import links
from pipeline.runtime.session import Session
from pipeline.store.journal import Journal
from pipeline.values.money import UNLIMITED, Money, format_money, parse_money

T = TypeVar("T")

#: Tasks in one answer about changes, at most.
TASKS_MAX: Final = 100
#: The name of whoever tells a run something, in letters.
BY_MAX: Final = 120


class Ring(Protocol):
    """What turns: a driver."""

    machine: Machine
    draining: bool

    def hear(self, observation: Observation) -> list[Fact]:
        """Tell the machine; answers what follows, which is on its way to the disk. Nothing once the run is over."""
        ...

    def drain(self) -> None:
        """Begin to end in order."""
        ...


class Looker(Protocol):
    """The way to the journal while others write to it."""

    def look(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do something short in the journal's thread."""
        ...


class Desk:
    """One for a run, on its loop. What it is told becomes facts like any other, and is answered once it is durable."""

    def __init__(
        self, session: Session, driver: Ring, committer: Looker, status: Callable[[], dict[str, object]]
    ) -> None:
        self._session = session
        self._driver = driver
        self._committer = committer
        self._status = status
        self._changes = Changes(str(session.it.journal.epoch))
        #: Facts that somebody waits for, until they are durable.
        self._awaited: list[tuple[Fact, asyncio.Future[None]]] = []

    def noted(self, facts: list[Fact]) -> None:
        """These facts are durable."""
        self._changes.note(facts)
        if self._awaited:
            for fact, future in self._awaited:
                if not future.done() and any(fact is each for each in facts):
                    future.set_result(None)
            self._awaited = [each for each in self._awaited if not each[1].done()]

    async def answer(self, request: Mapping[str, object]) -> dict[str, object]:
        """The answer to one request. *Raises* RunError in words for whoever asked."""
        match request:
            case {"ask": "status"}:
                return self._status()
            case {"ask": "watch"}:
                batch = self._changes.since(None, 0)
                return {"v": VERSION, "status": self._status(), "cursor": None if batch is None else batch.cursor}
            case {"ask": "rows"}:
                return await self._rows(request.get("since"))
            case {"do": str(what)}:
                return {"v": VERSION, "ok": True, "said": await self._do(what, request)}
            case _:
                return refusal("unknown request")

    # --- looking ----------------------------------------------------------------------------------------------------

    async def _rows(self, since: object) -> dict[str, object]:
        most = TASKS_MAX
        while True:
            batch = self._changes.since(since, most)
            if batch is None:
                return {"v": VERSION, "rows": None, "cursor": None, "more": False}
            journal, tasks, attempts = self._session.it.journal, batch.tasks, batch.attempts
            rows = await self._committer.look(lambda: changed_rows(journal, tasks, attempts))  # noqa: B023 - awaited here
            if most == 1 or _size(rows) < ANSWER_MAX // 4:
                return {"v": VERSION, "rows": rows, "cursor": batch.cursor, "more": batch.more}
            most //= 4  # Few tasks with very long texts.

    # --- doing ------------------------------------------------------------------------------------------------------

    async def _do(self, what: str, request: Mapping[str, object]) -> str:
        by, lane = _by(request), _text(request, "lane")
        if lane is not None and lane not in self._session.lanes:
            raise RunError(f"this run has no lane {lane}; its lanes are: {', '.join(sorted(self._session.lanes))}")
        match what:
            case "pause":
                return await self._pause(lane, by)
            case "resume":
                return await self._resume(lane, by)
            case "drain":
                return await self._drain(by)
            case "budget":
                return await self._budget(_text(request, "amount") or "", by)
            case _:
                raise RunError("a run can be told to pause, resume, drain, or what its budget is")

    async def _pause(self, lane: str | None, by: str) -> str:
        self._refuse_ending()
        machine = self._driver.machine
        if (known := machine.paused().get(lane)) is not None:
            return f"{_what(lane)} is paused already ({known.why})"
        await self._told(PauseAsked(lane, by))
        under_way = sum(view.in_flight for name, view in machine.lane_views().items() if lane is None or name == lane)
        follows = f"; {under_way} under way are followed to their end" if under_way else ""
        return f"{_what(lane)} is paused: nothing new is sent{follows}"

    async def _resume(self, lane: str | None, by: str) -> str:
        self._refuse_ending()
        machine = self._driver.machine
        if lane not in machine.paused() and not (lane is None and machine.paused()):
            return f"{_what(lane)} is not paused"
        await self._told(ContinueAsked(lane, by))
        if lane is not None and machine.pauses(lane):
            return f"{lane} is released, and waits for the whole run, which is still paused"
        return f"{_what(lane)} goes on"

    async def _drain(self, by: str) -> str:
        if self._driver.draining:
            return "the run is draining already"
        told = self._told(DrainAsked(by))
        self._driver.drain()
        await told
        return "the run drains: nothing new is sent, what was sent is awaited; the same command goes on with it"

    async def _budget(self, text: str, by: str) -> str:
        """A new cap, as `--budget` would set it; `+5 USD` adds to the one that stands."""
        self._refuse_ending()
        try:
            money = parse_money(text.removeprefix("+"))
        except ValueError as error:
            raise RunError(str(error)) from error
        accounts = self._driver.machine.accounts()
        account = accounts.get(money.unit)
        if account is None:
            raise RunError(f"this run pays in {' and '.join(sorted(accounts))}, not in {money.unit}")
        if text.startswith("+"):
            if account.cap >= UNLIMITED:
                raise RunError(f"there is no limit in {money.unit} that could be raised")
            money = Money(min(account.cap + money.micros, UNLIMITED - 1), money.unit)
        session = self._session
        journal, job = session.it.journal, session.plan.job
        # Kept first: the next run is to have the same cap, whatever happens to this one.
        await self._committer.look(lambda: journal.set_meta(prepare.topped_up(journal.get_meta, job, money)))
        session.caps = {**session.caps, money.unit: money.micros}
        await self._told(CapAsked(money.unit, money.micros, by))
        was = format_money(account.cap, money.unit)
        now = self._driver.machine.accounts()[money.unit]
        below = " (below what is spent and set aside: nothing more is bought)" if _exhausted(now) else ""
        return f"the budget is {money} now, it was {was}{below}; it holds until the spec's own budget changes"

    def _refuse_ending(self) -> None:
        if self._driver.draining:
            raise RunError("the run is ending: nothing more is sent in any case; start it again to go on")

    def _told(self, observation: Observation) -> asyncio.Future[None]:
        """Tell the machine; done once the disk has what follows. *Raises* RunError when nothing follows any more."""
        facts = self._driver.hear(observation)
        _attend(paused=bool(self._driver.machine.paused()))
        if not facts:
            raise RunError("the run is ending")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.append((facts[0], future))
        return asyncio.ensure_future(asyncio.wait_for(future, DONE_S))


def changed_rows(journal: Journal, tasks: Collection[int], attempts: Collection[int]) -> dict[str, Any]:
    """The rows of these tasks, and of the tasks of these attempts, as a page takes them."""
    numbers = {*tasks, *(journal.numbers_of(attempts) if attempts else ())}
    return row_chunk(entries(journal.task_rows(numbers), journal.image_rows(numbers)), 0, links)


def _size(rows: Mapping[str, Any]) -> int:
    """About so many bytes on the wire."""
    return sum(1000 + sum(len(cell) for cell in row if isinstance(cell, str)) for row in rows["rows"])


def _attend(*, paused: bool) -> None:
    """A rehearsal that is paused waits for people, in their time; otherwise its loop would see a deadlock."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        loop.attended = paused


def _what(lane: str | None) -> str:
    return "the run" if lane is None else lane


def _exhausted(account: StoredAccount) -> bool:
    return account.cap < account.spent + account.held + account.doubt


def _text(request: Mapping[str, object], key: str) -> str | None:
    value = request.get(key)
    if value is None or isinstance(value, str):
        return value
    raise RunError(f"{key} is a text: {value!r}"[:200])


def _by(request: Mapping[str, object]) -> str:
    """Who asks, as it goes into the ledger: one line of printable letters."""
    text = _text(request, "by") or "the control socket"
    plain = "".join(letter for letter in text if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    return plain[:BY_MAX].strip() or "the control socket"
