"""The journal: facts made durable, and what a run must remember besides, each in one commit of the store's file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.engine.facts import Fact
from pipeline.engine.phases import Phase
from pipeline.errors import PipelineError
from pipeline.failpoints import reach
from pipeline.store.booking import Booking
from pipeline.store.file import StoreFile
from pipeline.store.record import task_from_json, task_to_json
from pipeline.values.rows import NotedPlan, Placement
from pipeline.values.task import Task

#: In these phases a task's price is that of the purchase under way or made; a new one is for new purchases.
_PRICE_KEPT: Final = (Phase.SUBMITTING, Phase.RUNNING, Phase.FETCHING, Phase.IN_DOUBT, Phase.DONE)


class Journal(StoreFile):
    """One run folder's store."""

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

    def note_plan(
        self,
        plan: NotedPlan,
        words: Mapping[str, str] | None = None,
        tasks: Callable[[], Iterable[tuple[bytes, Task]]] | None = None,
    ) -> None:
        """Keep which plan this folder works on, and further words, durably, all or none.

        With `tasks` the spec was edited: owned tasks take the plan's number and labels, others are marked as dropped.
        Numbers of dropped tasks become negative, so that they are unique beside the plan's. In one commit, because a
        death between the two would leave marks that nobody takes back when the edit is taken back.
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

    def _mark(self, tasks: Iterable[tuple[bytes, Task]]) -> None:
        self._db.execute("UPDATE task SET number=-key, in_spec=0")
        for key, task in tasks:
            row = self._db.execute("SELECT phase, record FROM task WHERE id=?", (key,)).fetchone()
            if row is None:
                continue
            if Phase(row[0]) in _PRICE_KEPT:
                task = replace(task, price=task_from_json(row[1], 0).price)  # noqa: PLW2901
            self._db.execute(
                "UPDATE task SET number=?, in_spec=1, record=? WHERE id=?", (task.number, task_to_json(task), key)
            )
