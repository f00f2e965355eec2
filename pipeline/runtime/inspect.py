"""A run folder from outside: status, list, verify, manifest; and a person's word: retry, resolve."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.engine.machine import Doubt, Machine
from pipeline.engine.messages import Observation, RetryAsked, SubmitAnswered, VerdictGiven
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.stored import Snapshot, StoredTask
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.errors import RunError, RunNotFound, StorageFailed
from pipeline.failpoints import reach
from pipeline.runtime import prepare, wiring
from pipeline.runtime.bills import bills_of
from pipeline.runtime.control import ask
from pipeline.runtime.history import (
    EXITS,
    Result,
    doubts_of,
    failures_of,
    kept_lanes,
    kept_parked,
    lanes_of,
    state_of,
)
from pipeline.runtime.progress import money_of
from pipeline.runtime.remains import DAMAGED, gone_of, harm_of, in_short, out_of, remedy, unreadable
from pipeline.runtime.remains import reading as _reading
from pipeline.runtime.retries import Meant
from pipeline.runtime.said import said_of
from pipeline.runtime.verdicts import operation_id
from pipeline.spec.job import JobSpec
from pipeline.store.blackbox import answered, damage
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder, has_store
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock, is_held
from pipeline.store.story import Story
from pipeline.values.folder import BLACKBOX, CONTROL, IMAGES_ARROW, IMAGES_PARQUET, SPEC, STORE, TASKS_ARROW
from pipeline.values.reply import Fault, FaultKind, Unknown

if TYPE_CHECKING:
    from pipeline.manifest.table import Written

_MANIFEST = (IMAGES_ARROW, IMAGES_PARQUET, TASKS_ARROW)
#: A person's word about a hundred thousand tasks takes hundreds of commits, not as many as there are tasks.
_GROUP = 256
#: What comes of rows and notes that no run writes.
_ODD = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
#: Of what sort the parts of a status are.
_PARTS: Mapping[str, type] = {
    "state": str,
    **dict.fromkeys(("tasks", "money", "by_gateway", "faults", "gateways", "out"), dict),
    **dict.fromkeys(("in_doubt", "said", "failures", "parked"), list),
    **dict.fromkeys(("images", "unsent"), int),
}
_UNANSWERED = Fault(FaultKind.UNKNOWN, "the process ended before an answer was written down")


class Retried(NamedTuple):
    """What `retry` did: how many tasks go again, and how many stay because an operation of them is followed first."""

    tasks: int
    followed: int


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = RunLock.take(RunFolder(folder).lock)
    try:
        yield
    finally:
        lock.release()


def status(folder: Path) -> dict[str, object]:
    """The object of `status --json`: asked of the living run, or read from the store. *Raises* RunNotFound."""
    if not has_store(folder):
        raise RunNotFound(f"there is no run at {folder}; `pipeline ls` lists the runs below ./runs")
    living = ask(folder / CONTROL)
    if not living:
        return _status_of_store(folder)
    try:
        with _reading(folder) as journal:
            return {**living, "by_gateway": _bills(journal), "said": said_of(journal)}
    except (RunError, StorageFailed, *_ODD):
        # The living run has the word; what its store cannot say is left out.
        return living


def _bills(journal: Journal) -> dict[str, dict[str, dict[str, object]]]:
    return bills_of(journal.bill_rows())


def _status_of_store(folder: Path) -> dict[str, object]:
    # A run that is opening or concluding does not answer yet, or no more; the lock says that it is alive.
    alive = is_held(RunFolder(folder).lock)
    with _reading(folder) as journal:
        harm, notes = harm_of(journal, alive=alive)
        try:
            found = _told(folder, journal, alive=alive)
        except _ODD as error:
            # Rows that cannot be.
            return unreadable(folder, *harm, f"{STORE}: a row cannot be read ({error})")
    return {**found, "damage": harm, "notes": notes, **({"state": DAMAGED} if harm else {})}


def _told(folder: Path, journal: Journal, *, alive: bool) -> dict[str, object]:
    snapshot = journal.snapshot()
    counts = {phase.value: count for phase, count in snapshot.counts.items() if count}
    total = int(journal.get_meta("total") or 0)
    noted = journal.get_meta("state") or "stopped"
    # A run that says "running" and has no lock was killed.
    state = "running" if alive else "stopped" if noted == "running" else noted
    parked = kept_parked(journal.get_meta("parked")) if state == noted else []
    return {
        "state": state,
        "run": str(folder),
        "tasks": {**counts, "total": total},
        "images": snapshot.images,
        "money": {account.currency: money_of(account) for account in snapshot.accounts},
        "by_gateway": bills_of(journal.bill_rows()),
        "in_doubt": doubts_in(journal),
        "said": said_of(journal),
        "faults": journal.undone(),
        "failures": failures_of(journal.failures()),
        "gateways": lanes_of(journal.lane_rows(), kept_lanes(journal.get_meta("lanes")), parked),
        "parked": parked,
        "out": out_of(journal, prepare.cards(), alive=alive),
        "unsent": 0 if alive or state == "stopped" else int(journal.get_meta("unsent") or 0),
    }


def ls(root: Path) -> list[dict[str, object]]:
    """The status of every run below a folder, by name; a store that cannot be read hides no other run."""
    if not root.is_dir():
        return []
    return [_listed(path) for path in sorted(root.iterdir()) if has_store(path)]


def _listed(path: Path) -> dict[str, object]:
    try:
        return status(path)
    except RunError as error:
        return unreadable(path, error)


def verify(folder: Path) -> list[str]:
    """Files against manifest, manifest against store, money against entries: every fault found, in words."""
    try:
        return in_short(_verify(folder))
    except StorageFailed as error:
        return [str(error)]


def _verify(folder: Path) -> list[str]:
    with _reading(folder) as journal:
        behind = journal.get_meta("state") == "running"
        faults = journal.integrity_check()
        try:
            faults += _beside(folder, journal, behind=behind)
        except _ODD as error:
            faults.append(f"{STORE}: a note cannot be read ({error})")
    if behind and not faults:
        # The run was killed or left in a hurry: the manifest is behind, which is no fault. A living run keeps its lock.
        rebuild_manifest(folder)
    with _reading(folder) as journal:
        try:
            waiting = {kept.path for kept in Blobs(RunFolder(folder)).adoptable(journal)} if behind else ()
            from pipeline.manifest.verify import verify as verify_folder  # noqa: PLC0415 - Arrow takes 0.3 s to import

            return faults + verify_folder(folder, journal, waiting)
        except (StorageFailed, *_ODD) as error:
            # Rows that cannot be: told once, not by their traceback.
            return [*faults, f"{STORE}: a row cannot be read ({error})"]


def _beside(folder: Path, journal: Journal, *, behind: bool) -> list[str]:
    """The black box and the spec as run, against the store."""
    faults = damage(folder / BLACKBOX)
    noted, spec = journal.plan(), folder / SPEC
    if noted is not None and (spec.is_file() or spec.is_symlink()):
        found = b"" if spec.is_symlink() else spec.read_bytes()
        # A kill may have come between the store and the file.
        known = {noted.spec_text.encode(), *([journal.spec_before()] if behind else [])}
        if found not in known:
            faults.append(f"{SPEC}: is not the spec that the store keeps; the next run that has work writes it anew")
    return faults


def rebuild_manifest(folder: Path) -> Written:
    """Write the manifest anew from the store; unchanged files are left alone. *Raises* RunLocked, RunNotFound."""
    with _reading(folder):
        pass
    with _locked(folder):
        journal = Journal.open(folder / STORE, run_id="", clock=wiring.real_clock().wall_micros)
        try:
            from pipeline.manifest.table import write_manifest  # noqa: PLC0415 - Arrow takes 0.3 s to import

            written = write_manifest(folder, journal)
            if journal.get_meta("state") == "running":
                journal.set_meta({"state": "stopped"})
        finally:
            journal.close(clean=journal.was_clean)
    return written


def retry(
    folder: Path, kinds: Collection[str] = (), *, gateways: Collection[str] = (), models: Collection[str] = ()
) -> Retried:
    """Send failed and short tasks (of these fault kinds, gateways and models) again at the next run."""
    with amending(folder) as amend:
        failed = Meant(kinds, gateways, models).of(amend.journal)
        again = [stored for stored in failed if not stored.followed]
        amend.record([RetryAsked(stored.task.number) for stored in again], again)
    return Retried(len(again), len(failed) - len(again))


def doubts(folder: Path) -> list[dict[str, object]]:
    """Every attempt in doubt with its money, as `status --json` lists them. *Raises* RunNotFound."""
    with _reading(folder) as journal:
        return doubts_in(journal)


def unanswered(folder: Path) -> int:
    """How many calls had no answer when a run was killed: they are no doubts before the next run looked for them."""
    with _reading(folder) as journal:
        if is_held(RunFolder(folder).lock):
            return 0
        return journal.calls_out().get(AttemptState.SUBMITTING.value, 0)


def resolve(folder: Path, *, attempt: int | None, verdict: str, why: str, operation: str = "") -> int:
    """Book evidence about an attempt in doubt (None: all of them); answers how many.

    `verdict` is billed (written off as spent) or not_billed (bought again by the next run); with `operation` the
    next run asks the gateway for that operation's pictures. Of an attempt that ended without a bill it can be said
    that it was billed after all, and a call that a dead run left unanswered is in doubt as soon as it is named.
    *Raises* RunError for an attempt of which that cannot be said.
    """
    with amending(folder) as amend:
        found = [doubt.attempt for doubt in amend.machine().doubts()]
        if attempt is not None and attempt in amend.unanswered():
            if attempt in answered(folder / BLACKBOX):
                raise RunError(f"the answer to attempt {attempt} of {folder} is here: run the same command again")
            amend.record([SubmitAnswered(attempt, Unknown(_UNANSWERED))])
            found.append(attempt)
        chosen = found if attempt is None else [attempt]
        task = None if attempt is None else amend.journal.task_of_attempt(attempt)
        ended = None if attempt in found else task
        if not set(chosen) <= set(found) and (ended is None or (verdict == "not_billed" and not operation)):
            raise RunError(
                f"attempt {attempt} of {folder} is not in doubt; `pipeline resolve {folder}` lists those that are"
            )
        if operation:
            operation = operation_id(operation, None if task is None else task.task)
        amend.record(
            [VerdictGiven(number, verdict, why, operation) for number in chosen], () if ended is None else (ended,)
        )
    return len(chosen)


def doubts_in(journal: Journal) -> list[dict[str, object]]:
    """Every attempt in doubt, as `status --json` lists them."""
    return doubts_of(
        Doubt(
            row.attempt,
            row.task_id,
            row.open_micros,
            row.currency,
            row.fault_message,
            row.operation,
            row.request_id,
            row.submitted_at,
        )
        for row in journal.doubtful_rows()
    )


def _machine(snapshot: Snapshot, more: Sequence[StoredTask]) -> Machine:
    cards = prepare.cards()
    stored = (*snapshot.tasks, *more)
    terms = {each.task.lane: wiring.default_lane(cards, each.task).terms for each in stored}
    machine = Machine.restore(Policy(3, OnDoubt.HOLD, terms), snapshot)
    for each in more:
        machine.remember(each)
    return machine


@dataclass(frozen=True, slots=True)
class Amendment:
    """A run folder that a person's word is booked into, while no run is alive."""

    folder: RunFolder
    journal: Journal

    def machine(self, more: Sequence[StoredTask] = ()) -> Machine:
        """The engine as the store has it, with these ended tasks as well."""
        return _machine(self.journal.snapshot(), more)

    def unanswered(self) -> set[int]:
        """Attempts whose calls left, and whose answers the store does not know."""
        tasks = self.journal.snapshot().tasks
        return {each.attempt for task in tasks for each in task.attempts if each.state is AttemptState.SUBMITTING}

    def record(self, observations: Sequence[Observation], more: Sequence[StoredTask] = ()) -> None:
        """Book what follows from these observations, in commits of some hundreds, each whole or not at all."""
        if not observations:
            return
        machine = self.machine(more)
        # First, so that no death can leave a word behind that a run takes for done: not finished, manifest behind.
        self.journal.set_meta({"finished_plan": "", "state": "running"})
        reach("amend.marked")
        story = Story(self.folder.story, clock=self.journal.last_time)
        for booked in range(0, len(observations), _GROUP):
            group = observations[booked : booked + _GROUP]
            facts = [fact for observation in group for fact in machine.step(observation, 0.0)]
            try:
                self.journal.commit(facts)
            except StorageFailed as error:
                raise StorageFailed(f"{error}; {booked} of {len(observations)} were booked before that") from error
            reach("amend.committed")
            story.tell(facts)
            reach("amend.told")
        story.close()


@contextmanager
def amending(folder: Path) -> Iterator[Amendment]:
    """A run folder while a person's word is booked into it. *Raises* RunLocked, RunNotFound, StorageFailed."""
    rehearsed = origin(folder).simulate
    with _reading(folder) as seen:
        latest = seen.last_time()
    # A rehearsal has a calendar of its own; a person's word must not move it by months.
    clock = (lambda: latest) if rehearsed else wiring.real_clock().wall_micros
    with _locked(folder):
        try:
            journal = Journal.open(folder / STORE, run_id=wiring.new_run_id(), clock=clock)
        except StorageFailed as error:
            raise StorageFailed(f"nothing was booked: {error}") from error
        reach("amend.opened")
        try:
            yield Amendment(RunFolder(folder), journal)
        finally:
            journal.close(clean=journal.was_clean)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run folder came from."""

    spec: Path
    simulate: bool
    #: As its last run was called; the run folder is this one.
    options: prepare.Options
    #: SHA-256 of the spec as it was run.
    spec_sha256: str

    def is_of(self, job: JobSpec) -> bool:
        """Whether a job, read with these options, is the one that was run."""
        return wiring.spec_digest(job) == self.spec_sha256


def origin(folder: Path) -> Origin:
    """Which spec a run folder belongs to, and how it was run. *Raises* RunNotFound, StorageFailed."""
    with _reading(folder) as journal:
        spec = journal.get_meta("spec_path")
        if spec is None:
            raise RunNotFound(f"{folder} does not say which spec it belongs to")
        try:
            simulate, noted = journal.get_meta("simulate") == "1", journal.plan()
            options = prepare.remembered(journal.get_meta("options"), simulate=simulate, folder=folder)
        except _ODD as error:
            why = f"{STORE}: what it says of how it was run cannot be read ({error})"
            raise StorageFailed(f"{why}. {remedy(folder)}") from error
        return Origin(Path(spec), simulate, options, "" if noted is None else noted.spec_sha256)


def keep_status(folder: Path, journal: Journal) -> None:
    """Keep what `status` says of a run that has just ended, so that asking again costs nothing."""
    kept = {"ended_at": journal.get_meta("ended_at"), "status": _told(folder, journal, alive=False)}
    journal.set_meta({"finished_status": json.dumps(kept)})


def _kept_status(folder: Path, journal: Journal) -> dict[str, Any]:
    found = _noted_status(journal.get_meta("finished_status"), journal.get_meta("ended_at"))
    # A death may have come between the end and this note; the folder may have been moved since.
    if found is None:
        found = _told(folder, journal, alive=False)
    note = journal.get_meta("store:note")
    return {**found, "run": str(folder), "damage": [], "notes": [note] if note else []}


def _noted_status(note: str | None, ended_at: str | None) -> dict[str, Any] | None:
    """The status that a note holds; None for one of another end, and for what is no such note: the rows know it all."""
    try:
        kept = json.loads(note or "{}")
        found = kept["status"] if kept.get("ended_at") == ended_at else None
    except _ODD:
        return None
    whole = isinstance(found, dict) and all(isinstance(found.get(part), sort) for part, sort in _PARTS.items())
    return found if whole else None


def finished_result(folder: Path, mark: str, spec: str) -> Result | None:
    """The result of this spec's finished run, read without writing a byte; None when there is work to do."""
    if not has_store(folder) or not all((folder / name).is_file() for name in _MANIFEST):
        return None
    with _reading(folder) as journal:
        if journal.get_meta("finished_plan") != mark or journal.get_meta("spec_path") != spec:
            return None
        if harm := journal.damage():
            raise journal.refusal(harm)
        gone = gone_of(folder, journal.picture_paths())
        found = _kept_status(folder, journal)
    counts = {Phase(name): count for name, count in found["tasks"].items() if name != "total"}
    state = state_of(draining=False, parked=False, doubts=len(found["in_doubt"]), budget=False, counts=counts)
    ended = counts.get(Phase.DONE, 0)
    done = "1 task was" if ended == 1 else f"{ended:,} tasks were"
    note = f"nothing to do: {done} done before, nothing more to pay (--fresh starts over)"
    notes: tuple[str, ...] = (note,)
    if gone:
        are, them = ("1 picture is", "it") if gone == 1 else (f"{gone:,} pictures are", "them")
        notes += (f"WARNING: {are} no longer where the run put {them}; `pipeline verify {folder}` names {them}",)
    return Result(state, EXITS[state], folder, found, 0.0, None, notes)
