"""One run of a plan in one folder: open, recover, turn the ring, write the manifest, say how it ended."""

from __future__ import annotations

import asyncio
import json
import shlex
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.engine.machine import Machine
from pipeline.engine.messages import (
    Accepted,
    AttemptState,
    CapAsked,
    Doubted,
    Fact,
    Fetched,
    Observation,
    OnDoubt,
    Phase,
    Policy,
    Released,
    Resumed,
    Settled,
)
from pipeline.errors import JournalNewer, PlanChanged, RunError, StorageFailed
from pipeline.failpoints import reach
from pipeline.manifest.table import write_manifest
from pipeline.plan.expand import Plan
from pipeline.providers import PROVIDERS
from pipeline.runtime import prepare, wiring
from pipeline.runtime.clock import Clock, run_virtual
from pipeline.runtime.commits import InlineCommitter, ThreadCommitter
from pipeline.runtime.control import Control
from pipeline.runtime.driver import Driver
from pipeline.runtime.evidence import Evidence
from pipeline.runtime.history import EXITS, Result, doubts_of, failures_of, faults_of, parked_of, state_of
from pipeline.runtime.inspect import doubts_in, finished_result
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.perform import Performer, replay
from pipeline.runtime.pictures import examine
from pipeline.runtime.prepare import Options
from pipeline.runtime.progress import ENDED, Pace, View, status_of
from pipeline.runtime.remains import out_of
from pipeline.runtime.signals import Signals
from pipeline.spec.long_form import long_form
from pipeline.store.blackbox import BlackBox, damage
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder, has_store, traces
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock, is_held
from pipeline.store.room import Room
from pipeline.store.story import Story
from pipeline.values.artifact import Artifact
from pipeline.values.folder import STORE
from pipeline.values.money import format_money
from pipeline.values.reply import Balance
from pipeline.values.rows import NotedPlan
from pipeline.values.task import Task
from pipeline.values.wire import Answered

#: A change of the spec that costs more than this asks first (micro-units, 1 USD).
ASK_ABOVE = 1_000_000


Listener = Callable[[View], None]
Confirm = Callable[[str], bool]


def run_sync(plan: Plan, options: Options, listener: Listener | None = None, confirm: Confirm | None = None) -> Result:
    """`run` on a loop of its own: virtual time for a rehearsal, the real clock otherwise."""
    if options.simulate:
        place = prepare.run_folder(plan.job, options)
        _refuse_held(place)
        start = wiring.REHEARSAL_EPOCH_S if options.fresh else wiring.rehearsal_start(place)
        return run_virtual(lambda clock: run(plan, options, listener, confirm, clock=clock), start=start)
    return asyncio.run(run(plan, options, listener, confirm))


async def run(
    plan: Plan,
    options: Options,
    listener: Listener | None = None,
    confirm: Confirm | None = None,
    *,
    clock: Clock | None = None,
) -> Result:
    """Run or continue a plan. *Raises* PlanError, SecretMissing, RunLocked, PlanChanged before anything is sent;
    StorageFailed when the disk fails (nothing is sent after that; run again).
    """
    begun = time.monotonic()
    prepare.summary(plan)
    place = prepare.run_folder(plan.job, options)
    _refuse_held(place)
    # Closing is part of it: a disk that fails then has failed all the same.
    with _storage():
        caps = prepare.caps(plan, options, place)
        mark = wiring.finish_mark(plan, options, caps)
        finished = None if options.fresh else finished_result(place, mark, wiring.spec_path(plan.job))
        if finished is not None:
            return replace(finished, seconds=time.monotonic() - begun)
        with ExitStack() as stack:
            session = _Session(plan, options, caps=caps, place=place, stack=stack, clock=clock or wiring.real_clock())
            try:
                session.open(confirm)
                return await session.turn(listener, begun)
            finally:
                await session.door.close()


def _refuse_held(place: Path) -> None:
    """Before anything of a folder is read: a living run changes it under our eyes. *Raises* RunLocked."""
    lock = RunFolder(place).lock
    if is_held(lock):
        RunLock.take(lock).release()


@contextmanager
def _storage() -> Iterator[None]:
    """What the disk refuses anywhere is fail-stop, and not a bug of ours."""
    try:
        yield
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        raise StorageFailed(f"the disk refused ({error.strerror or type(error).__name__}){place}") from error


@dataclass(slots=True)
class _Opened:
    """What opening a folder yields."""

    folder: RunFolder
    journal: Journal
    story: Story
    blackbox: BlackBox
    blobs: Blobs


class _Session:
    """A run folder in use, from lock to last word."""

    def __init__(
        self, plan: Plan, options: Options, *, caps: dict[str, int], place: Path, stack: ExitStack, clock: Clock
    ) -> None:
        self.plan = plan
        self.options = options
        self.caps = caps
        self.place = place
        self.stack = stack
        self.clock = clock
        self.room = Room(place)
        self.notes: list[str] = []
        self.pace = Pace()
        #: Whether the store may say that it was left in order.
        self.clean = False
        # Keys are asked for first: a missing one must not leave a folder behind.
        self.door = wiring.door(plan, options, place, clock)

    # --- opening ---

    def open(self, confirm: Confirm | None) -> None:
        if self.options.fresh:
            self._set_aside(confirm)
        if not has_store(self.place) and (found := traces(self.place)):
            raise RunError(
                f"{self.place} shows an earlier run ({', '.join(found)}) whose store, {STORE}, is gone: what it bought "
                "is not known any more; bring the store back, or start anew with --fresh --yes"
            )
        folder = RunFolder.create(self.place)
        self.stack.callback(RunLock.take(folder.lock).release)
        reach("open.locked")
        self._agree(confirm)
        reach("open.agreed")
        journal = Journal.open(
            folder.store,
            run_id=wiring.new_run_id(),
            clock=self.clock.wall_micros,
            doubt_keeps_slot=self.plan.job.on_doubt == "hold",
            relief=self.room.release,
        )
        self.stack.callback(lambda: journal.close(clean=self.clean))
        if not self.options.simulate:
            self.room.stock()
        reach("open.stocked")
        if note := journal.get_meta("store:note"):
            self.notes.append(note)
            journal.set_meta({"store:note": ""})
        journal.settle_here()
        reach("open.settled")
        story = Story(folder.story, clock=self.clock.wall_micros, relief=self.room.release)
        self.stack.callback(story.close)
        self.notes.extend(damage(folder.black_box))
        blackbox = BlackBox(folder.black_box, relief=self.room.release)
        self.stack.callback(blackbox.close)
        self.it = _Opened(folder, journal, story, blackbox, Blobs(folder))
        self._note_plan()
        reach("plan.noted")
        self._recover()

    def _set_aside(self, confirm: Confirm | None) -> None:
        folder = RunFolder(self.place)
        if not has_store(self.place):
            if traces(self.place):
                self._agree_to_unknown("is gone", confirm)
                self.notes.append(f"the old folder, which had lost its store, is kept as {folder.set_aside()}")
            return
        lock = RunLock.take(folder.lock)
        try:
            still = self._still_open(folder.store)
            if still:
                raise RunError(
                    f"--fresh is refused, run again without it first: {still} tasks of {self.place} are at the "
                    "gateway or in doubt"
                )
            if still is None:
                self._agree_to_unknown("cannot be read", confirm)
            aside = folder.set_aside()
        finally:
            lock.release()
        self.notes.append(f"the old run is kept as {aside}")

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

    def _agree_to_unknown(self, what: str, confirm: Confirm | None) -> None:
        """Without its store nobody can say what a run has bought, or has at a gateway: starting anew may buy it twice.

        A rehearsal buys nothing.
        """
        line = f"the store of {self.place} {what}, so nobody knows what it bought or has at a gateway now"
        if not self.options.simulate:
            self.notes.append(line)
            if not self.options.yes and not (confirm is not None and confirm(f"{line}. Start anew all the same?")):
                raise PlanChanged(f"{line}; say --yes as well to start anew all the same")

    def _agree(self, confirm: Confirm | None) -> None:
        """A folder belongs to one spec; an edit that costs real money is agreed to first.

        Read without opening for writing: whoever declines leaves everything as it was.
        """
        if not has_store(self.place):
            return
        journal = Journal.open_read_only(self.place / STORE)
        try:
            line, costly = self._change(journal)
            original = journal.original()
        finally:
            journal.close(clean=False)
        if original is not None:
            self._refuse_copy(original)
        if line:
            self.notes.append(line)
        if (
            costly
            and not (self.options.simulate or self.options.yes)
            and not (confirm is not None and confirm(line + ". Go on?"))
        ):
            raise PlanChanged(line + "; say --yes to agree")

    def _refuse_copy(self, original: Path) -> None:
        """A moved folder is simply gone on with; a copy beside its original would buy everything that is left twice.

        Not even --yes waives that: scripts say it for every run. A rehearsal buys nothing.
        """
        if not self.options.simulate:
            raise PlanChanged(
                f"{self.place} is a copy of {original}, and that run is still there: both would buy what is left. Go "
                f"on with the original (--run-dir {shlex.quote(str(original))}), or delete one of the two"
            )

    def _change(self, journal: Journal) -> tuple[str, bool]:
        """What the plan changes in words, empty for nothing, and whether it costs more than may go unasked."""
        spec = wiring.spec_path(self.plan.job)
        rehearsed = journal.get_meta("simulate")
        if rehearsed is not None and (rehearsed == "1") is not self.options.simulate:
            kind = "a rehearsal's" if rehearsed == "1" else "a real run's"
            raise RunError(f"{self.place} is {kind} folder, and the other sort would ruin it; choose another --run-dir")
        owner = journal.get_meta("spec_path")
        if owner is not None and owner != spec and not self.options.yes:
            raise PlanChanged(
                f"{self.place} belongs to another spec of the same name, {owner}: "
                "rename this one, choose another folder with --run-dir, or say --yes to take the folder over"
            )
        noted = journal.plan()
        if noted is None or noted.plan_sha256 == self.plan.digest:
            return "", False
        change = prepare.compare_known(self.plan, journal, self.options.limit)
        words = ", ".join(format_money(micros, unit) for unit, micros in change.new_micros.items()) or "nothing"
        line = (
            f"the spec changed: {change.owned} tasks owned, {change.new} new ({change.changed} of them changed), "
            f"{change.dropped} dropped; at most {words} more"
        )
        return line, any(micros > ASK_ABOVE for micros in change.new_micros.values())

    def _note_plan(self) -> None:
        """The edit, the plan and the words beside it in one commit; then the spec as run, which a death may leave one
        edit behind the store and never more.
        """
        journal, plan, folder = self.it.journal, self.plan, self.it.folder
        noted, spec = journal.plan(), wiring.spec_digest(plan.job)
        edited = noted is not None and (noted.plan_sha256, noted.spec_sha256) != (plan.digest, spec)
        if noted is not None and edited:
            folder.write_spec(noted.spec_text)
        text = long_form(plan.job)
        journal.note_plan(
            NotedPlan(plan.digest, spec, text, plan.name, self._total()),
            {
                "spec_path": wiring.spec_path(plan.job),
                "simulate": "1" if self.options.simulate else "0",
                "state": "running",
                "finished_plan": "",
                **prepare.budget_memory(self.options, plan.job, journal.get_meta),
            },
            (lambda: ((bytes.fromhex(task.id), task) for task in plan.tasks())) if edited else None,
        )
        reach("plan.kept")
        folder.write_spec(text)

    def _policy(self, stored: tuple[Task, ...]) -> Policy:
        lanes = wiring.run_lanes(self.plan)
        for task in stored:
            if task.lane not in lanes:
                lanes[task.lane] = wiring.default_lane(self.plan.cards, task, self.plan.job.dedicated)
        self.lanes = lanes
        job = self.plan.job
        return Policy(job.attempts_max, OnDoubt(job.on_doubt), {name: lane.terms for name, lane in lanes.items()})

    def _recover(self) -> None:
        """Black box first, then what the store says is unfinished; polls and fetches come before new submits."""
        reach("recover.begun")
        journal = self.it.journal
        snapshot = journal.snapshot()
        self.before = {phase: count for phase, count in snapshot.counts.items() if phase in ENDED}
        self.machine = Machine.restore(
            self._policy(tuple(stored.task for stored in snapshot.tasks)), snapshot, seed=self.options.seed
        )
        self.closed = wiring.admit(self.door, self.plan.cards, {name.partition("/")[0] for name in self.lanes})
        self.notes += [f"{name} left the spec and has work of this run: {why}" for name, why in self.closed.items()]
        for currency, cap in self.caps.items():
            account = self.machine.accounts().get(currency)
            if account is None or account.cap != cap:
                self._record(CapAsked(currency, cap, self._cap_reason()))
        tasks = {attempt.attempt: stored.task for stored in snapshot.tasks for attempt in stored.attempts}
        for attempt, response in self.it.blackbox.read():
            task = tasks.get(attempt)
            if task is not None and wiring.awaits_answer(snapshot, attempt):
                provider, card = PROVIDERS[task.gateway], self.plan.cards[task.gateway]
                self._record(replay(provider, card, task, attempt, Answered(response)))
                reach("recover.answer")
        reach("recover.resuming")
        self._record(Resumed(self.clock.wall_micros()))
        reach("recover.resumed")
        self.it.blackbox.clear()
        reach("recover.cleared")
        for kept in self.it.blobs.adoptable(journal):
            try:
                seen = examine(self.place / kept.path)
            except ValueError:
                continue  # It is fetched again.
            artifact = Artifact(
                kept.sha256,
                seen.media_type,
                kept.size_bytes,
                seen.width,
                seen.height,
                kept.path,
                self.clock.wall_micros(),
            )
            self._record(Fetched(kept.attempt, kept.index, artifact))
            reach("recover.adopted")
        self.notes.extend(self.it.blobs.recover(journal))
        self.first = self.machine.resume_commands(self.clock.now())
        journal.set_meta({"lanes": json.dumps({name: lane.rate_text for name, lane in self.lanes.items()})})
        reach("recover.done")

    def _cap_reason(self) -> str:
        return "--budget" if self.options.budget is not None else "the spec's budget"

    def _record(self, observation: Observation) -> None:
        facts = self.machine.step(observation, self.clock.now())
        if facts:
            self.it.journal.commit(facts)
            self.it.story.tell(facts)

    # --- turning ---

    async def turn(self, listener: Listener | None, begun: float) -> Result:
        started = self.clock.now()
        self.started = started
        pacers = wiring.pacers(self.lanes, self.it.journal, self.clock)
        poll_pacers = wiring.poll_pacers(self.plan.cards)
        committer = InlineCommitter(self.it.journal) if self.options.simulate else ThreadCommitter(self.it.journal)
        driver = Driver(
            self.machine,
            performer=Performer(
                door=self.door,
                providers=PROVIDERS,
                cards=self.plan.cards,
                files=wiring.files(self.plan, self.options),
                blobs=self.it.blobs,
                blackbox=self.it.blackbox,
                clock=self.clock,
                inline=self.plan.inline_bytes,
                run_id=self.it.journal.run_id,
                keep=committer.keep,
                placed=self.it.journal.placements(self.clock.wall_micros()),
                closed=self.closed,
            ),
            evidence=await self._evidence(poll_pacers),
            committer=committer,
            clock=self.clock,
            pacers=pacers,
            poll_pacers=poll_pacers,
            offer=self._offer(),
            told=self._told,
            listener=None if listener is None else lambda: listener(self._view(driver, "running")),
            room=self.room.low,
            grace_s=wiring.grace_s(self.plan),
        )
        control = Control(self.it.folder.control, lambda: self._status(driver, "running"))
        failed: BaseException | None = None
        with Signals(driver.drain) as signals:
            # In virtual time nobody waits long enough to be told.
            beat = None if self.options.simulate else asyncio.create_task(driver.beat())
            try:
                await control.open()
                await driver.run(self.first)
            except (StorageFailed, OSError) as error:
                failed = error
                raise
            finally:
                if beat is not None:
                    beat.cancel()
                await control.close()
                await committer.close()
                reach("turn.closed")
                self._say_unkept(failed)
                if failed is None:
                    wiring.keep_sends(self.it.journal, pacers, self.clock)
                    reach("turn.sends")
            signals.concluding = True
            return self._conclude(driver, listener, begun, started)

    def _say_unkept(self, failed: BaseException | None) -> None:
        """The last place for answers that neither black box nor store took is the screen. *Raises* StorageFailed."""
        unkept = self.it.blackbox.unkept
        if not any(unkept.values()):
            return
        try:
            known = {row.attempt for row in self.it.journal.attempt_rows() if row.state != AttemptState.SUBMITTING}
        except (sqlite3.Error, StorageFailed):
            known = set()
        place = shlex.quote(str(self.place))
        lines = [
            f"  pipeline resolve {place} --attempt {attempt} {verdict} --why 'its answer'"
            for attempt, verdict in sorted(unkept.items())
            if verdict and attempt not in known
        ]
        if lines:
            raise StorageFailed(
                f"{failed or 'the disk refused'}. Answers of the gateway stand nowhere else: keep these lines, and say "
                "them before the next run:\n" + "\n".join(lines)
            ) from failed

    async def _evidence(self, pacers: Mapping[str, Pacer]) -> Evidence:
        """Who asks gateways for their books. Meters are read before anything is bought there: later is too late."""
        journal = self.it.journal
        metered: dict[str, Balance] = {}
        evidence = Evidence(
            self.door, PROVIDERS, self.plan.cards, self.clock, metered, frozenset(self.plan.job.dedicated)
        )
        for name in sorted({lane.partition("/")[0] for lane in self.lanes}):
            key, found = f"meter:{name}", None
            kept = journal.get_meta(key)
            if kept is not None:
                unit, _, used = kept.partition(" ")
                found = Balance(unit, int(used))
            elif name not in self.machine.state.guessed:
                found = await evidence.balance(name, pacers[name])
                if found is not None:
                    journal.set_meta({key: f"{found.unit} {found.used}"})
            if found is not None:
                metered[name] = found
            elif name in self.plan.job.dedicated and self.plan.cards[name].tells_balance:
                self.notes.append(
                    f"the meter of {name} was not read before anything was bought there, so it proves nothing: doubts "
                    "about calls to it are for `pipeline resolve`"
                )
        return evidence

    def _offer(self) -> Iterator[Task]:
        known = set(self.it.journal.task_ids())
        for task in self.plan.tasks():
            if self.options.limit is not None and task.number >= self.options.limit:
                return
            key = bytes.fromhex(task.id)
            if key not in known:
                known.add(key)
                yield task

    def _told(self, facts: list[Fact]) -> None:
        self.it.story.tell(facts)
        for fact in facts:
            if isinstance(fact, Accepted | Settled | Released | Doubted):
                self.it.blackbox.committed(fact.attempt)

    def _conclude(self, driver: Driver, listener: Listener | None, begun: float, started: float) -> Result:
        parked = parked_of(self.machine.lane_views(), driver.full, self._room_wanted())
        state = state_of(
            draining=driver.draining,
            parked=bool(parked),
            doubts=len(self.machine.doubts()),
            budget=self.machine.budget_blocked() is not None,
            counts=self.machine.counts(),
        )
        journal = self.it.journal
        tasks = list(journal.task_rows())
        unbought = self.machine.budget_blocked() is not None
        told = {
            "faults": faults_of(tasks),
            "failures": failures_of(tasks),
            "parked": parked,
            "in_doubt": doubts_in(journal),
            "out": out_of(journal, self.plan.cards, alive=False),
            "unsent": self._unsent() if unbought else 0,
        }
        status = {**self._status(driver, state), **told}
        if driver.left:
            # In a hurry: the store says "running" still, so that whoever looks next brings the manifest up to date.
            return self._result(driver, state, status, begun, started)
        write_manifest(self.it.folder.path, journal)
        marks = {
            "state": state,
            "ended_at": str(self.clock.wall_micros()),
            "parked": json.dumps(parked),
            "unsent": str(told["unsent"]),
        }
        # Where a gateway's books may still tell, the same command reads them again.
        if state in ("complete", "failed_tasks", "in_doubt") and not unbought and not self.machine.may_learn():
            marks["finished_plan"] = wiring.finish_mark(self.plan, self.options, self.caps)
        reach("finish.marking")
        journal.set_meta(marks)
        reach("finish.marked")
        self.clean = True
        if state == "complete":
            self.it.blackbox.clear()
            self.room.clear()
            reach("finish.cleared")
        if listener is not None and driver.listener_broke is None:
            listener(self._view(driver, state))
        return self._result(driver, state, status, begun, started)

    def _result(self, driver: Driver, state: str, status: dict[str, object], begun: float, started: float) -> Result:
        if driver.listener_broke is not None:
            self.notes.append(f"the display broke and was left off: {driver.listener_broke}")
        took = self.clock.now() - started
        # A rehearsal that had nothing to do says nothing of how long the real job takes.
        simulated = took if self.options.simulate and took > 0 else None
        return Result(state, EXITS[state], self.place, status, time.monotonic() - begun, simulated, tuple(self.notes))

    def _unsent(self) -> int:
        """Tasks that were never sent, or are to be sent again."""
        counts = self.machine.counts()
        begun = sum(count for phase, count in counts.items() if phase not in (Phase.WAITING, Phase.HELD))
        return max(0, self._total() - begun)

    def _room_wanted(self) -> int:
        """Bytes of the pictures that are still to come, by what their sizes usually take."""
        counts, total = self.machine.counts(), self._total()
        left = max(0, total - sum(counts.get(phase, 0) for phase in ENDED))
        return prepare.summary(self.plan).disk_bytes * left // max(1, len(self.plan))

    # --- looking ---

    def _total(self) -> int:
        return len(self.plan) if self.options.limit is None else min(self.options.limit, len(self.plan))

    def _view(self, driver: Driver, state: str) -> View:
        now = self.clock.now()
        counts = self.machine.counts()
        total = self._total()
        ended = sum(counts.get(phase, 0) for phase in ENDED)
        fresh = ended - sum(self.before.values())
        elapsed = now - self.started
        unheard = self.machine.unheard()
        # Of doubts, and of what the gateway does not know, nobody can say when they end.
        endless = counts.get(Phase.IN_DOUBT, 0) + sum(found.operations for found in unheard.values())
        left = max(0, total - ended - endless)
        return View(
            state=state,
            total=total,
            counts=counts,
            images=self.machine.images(),
            money=self.machine.accounts(),
            lanes=self.machine.lane_views(),
            rates={name: lane.rate_text for name, lane in self.lanes.items()},
            faults=self.machine.faults(),
            now=now,
            elapsed_s=elapsed,
            eta_s=self.pace.eta_s(ended=ended, fresh=fresh, left=left, elapsed_s=elapsed),
            last_fault=driver.last_fault,
            unheard=unheard,
            again=self.machine.again(),
        )

    def _status(self, driver: Driver, state: str) -> dict[str, object]:
        return status_of(self._view(driver, state), in_doubt=doubts_of(self.machine.doubts()), folder=str(self.place))
