"""What a person is asked before a run folder is gone on with, or put aside: edits that cost, copies, lost stores."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import JournalNewer, PlanChanged, RunError, StorageFailed
from pipeline.plan.expand import Plan
from pipeline.runtime import wiring
from pipeline.runtime.comparison import compare_known
from pipeline.runtime.owned import wanted
from pipeline.runtime.prepare import Options
from pipeline.store.folder import RunFolder, has_store, traces
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.values.folder import STORE
from pipeline.values.money import format_money

#: A change of the spec that costs more than this asks first (micro-units, 1 USD).
ASK_ABOVE = 1_000_000

Confirm = Callable[[str], bool]


class Consent:
    """One run folder, and who may say yes to what is to become of it; `notes` is added to."""

    def __init__(self, plan: Plan, options: Options, place: Path, notes: list[str], confirm: Confirm | None) -> None:
        self._plan = plan
        self._options = options
        self._place = place
        self._notes = notes
        self._confirm = confirm

    def set_aside(self) -> None:
        """`--fresh`: the old folder gets another name. *Raises* RunError while anything is out, PlanChanged."""
        folder = RunFolder(self._place)
        if not has_store(self._place):
            if traces(self._place):
                self._agree_to_unknown("is gone")
                self._notes.append(f"the old folder, which had lost its store, is kept as {folder.set_aside()}")
            return
        lock = RunLock.take(folder.lock)
        try:
            still = self._still_open(folder.store)
            if still:
                are = "1 task is" if still == 1 else f"{still:,} tasks are"
                raise RunError(
                    f"--fresh is refused: in {self._place} {are} at the gateway or in doubt, and would be forgotten. "
                    f"Run without --fresh to collect what is out; `pipeline resolve {self._place}` lists doubts"
                )
            if still is None:
                self._agree_to_unknown("cannot be read")
            aside = folder.set_aside()
        finally:
            lock.release()
        self._notes.append(f"the old run is kept as {aside}")

    @staticmethod
    def _still_open(store: Path) -> int | None:
        """Tasks that are at a gateway or in doubt; None where the store cannot say."""
        try:
            journal = Journal.open_read_only(store)
        except JournalNewer:
            raise
        except StorageFailed:
            return None
        try:
            unfinished = journal.snapshot().tasks
        except (sqlite3.Error, ValueError, LookupError, TypeError):
            return None
        finally:
            journal.close(clean=False)
        return sum(task.phase.value in {"submitting", "running", "fetching", "in_doubt"} for task in unfinished)

    def _agree_to_unknown(self, what: str) -> None:
        """Without its store nobody can say what a run has bought, or has at a gateway: starting anew may buy it twice.

        A rehearsal buys nothing.
        """
        line = f"the store of {self._place} {what}, so nobody knows what it bought or has at a gateway now"
        if not self._options.simulate:
            self._notes.append(line)
            if not self._options.yes and not (
                self._confirm is not None and self._confirm(f"{line}. Start anew all the same?")
            ):
                raise PlanChanged(f"{line}; say --yes as well to start anew all the same")

    def agree(self) -> None:
        """A folder belongs to one spec; an edit that costs real money is agreed to first.

        Read without opening for writing: whoever declines leaves everything as it was.
        """
        if not has_store(self._place):
            return
        journal = Journal.open_read_only(self._place / STORE)
        try:
            line, costly = self._change(journal)
            original = journal.original()
        finally:
            journal.close(clean=False)
        if original is not None:
            self._refuse_copy(original)
        if line:
            self._notes.append(line)
        if (
            costly
            and not (self._options.simulate or self._options.yes)
            and not (self._confirm is not None and self._confirm(line + ". Go on?"))
        ):
            raise PlanChanged(line + "; say --yes to agree")

    def _refuse_copy(self, original: Path) -> None:
        """A moved folder is simply gone on with; a copy beside its original would buy everything that is left twice.

        Not even --yes waives that: scripts say it for every run. A rehearsal buys nothing.
        """
        if not self._options.simulate:
            raise PlanChanged(
                f"{self._place} is a copy of {original}, and that run is still there: both would buy what is left. Go "
                f"on with the original (--run-dir {shlex.quote(str(original))}), or delete one of the two"
            )

    def _change(self, journal: Journal) -> tuple[str, bool]:
        """What the plan changes in words, empty for nothing, and whether it costs more than may go unasked."""
        spec = wiring.spec_path(self._plan.job)
        rehearsed = journal.get_meta("simulate")
        if rehearsed is not None and (rehearsed == "1") is not self._options.simulate:
            kind = "a rehearsal's" if rehearsed == "1" else "a real run's"
            raise RunError(
                f"{self._place} is {kind} folder, and the other sort would ruin it; choose another --run-dir"
            )
        owner = journal.get_meta("spec_path")
        if owner is not None and owner != spec and not self._options.yes:
            raise PlanChanged(
                f"{self._place} belongs to another spec of the same name, {owner}: "
                "rename this one, choose another folder with --run-dir, or say --yes to take the folder over"
            )
        noted = journal.plan()
        if noted is None or noted.plan_sha256 == self._plan.digest:
            return "", False
        change = compare_known(self._plan, journal, wanted(self._plan, self._options.part))
        words = ", ".join(format_money(micros, unit) for unit, micros in change.new_micros.items()) or "nothing"
        owned = f"{change.owned} {'task' if change.owned == 1 else 'tasks'}"
        line = (
            f"the spec changed: {owned} owned, {change.new} new ({change.changed} of them changed), "
            f"{change.dropped} dropped; at most {words} more"
        )
        return line, any(micros > ASK_ABOVE for micros in change.new_micros.values())
