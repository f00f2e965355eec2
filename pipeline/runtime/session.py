"""A run folder in use: opened, locked and recovered, from the first look to what was left unfinished."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.lifecycle import ENDED
from pipeline.engine.machine import Machine
from pipeline.engine.messages import CapAsked, Fetched, Observation, Resumed
from pipeline.engine.terms import OnDoubt, Policy
from pipeline.errors import RunError
from pipeline.failpoints import reach
from pipeline.plan.expand import Plan
from pipeline.providers import PROVIDERS
from pipeline.runtime import prepare, wiring
from pipeline.runtime.clock import Clock
from pipeline.runtime.consent import Confirm, Consent
from pipeline.runtime.owned import distinct, together, wanted
from pipeline.runtime.perform import replay
from pipeline.runtime.pictures import examine
from pipeline.runtime.prepare import Options
from pipeline.runtime.progress import Pace, Tempo
from pipeline.spec.long_form import long_form
from pipeline.store.blackbox import BlackBox, damage
from pipeline.store.blobs import Blobs
from pipeline.store.folder import RunFolder, has_store, traces
from pipeline.store.journal import Journal
from pipeline.store.lock import RunLock
from pipeline.store.room import Room
from pipeline.store.story import Story
from pipeline.values.artifact import Artifact
from pipeline.values.folder import STORE
from pipeline.values.rows import NotedPlan
from pipeline.values.task import Task
from pipeline.values.wire import Answered


@dataclass(slots=True)
class Opened:
    """What opening a folder yields."""

    folder: RunFolder
    journal: Journal
    story: Story
    blackbox: BlackBox
    blobs: Blobs


class Session:
    """A run folder in use, from lock to last word."""

    def __init__(
        self, plan: Plan, options: Options, *, caps: dict[str, int], place: Path, stack: ExitStack, clock: Clock
    ) -> None:
        self.plan = plan
        #: The numbers of the tasks that are wanted now: all, or a part to try first.
        self.wanted = wanted(plan, options.part)
        self._total = len(self.wanted)
        self.options = options
        self.caps = caps
        self.place = place
        self.stack = stack
        self.clock = clock
        self.room = Room(place)
        self.notes: list[str] = []
        self.pace, self.tempo = Pace(), Tempo()
        #: When the ring began to turn.
        self.started = clock.now()
        #: Whether the store may say that it was left in order.
        self.clean = False
        # Keys are asked for first: a missing one must not leave a folder behind.
        self.door = wiring.door(plan, options, place, clock)

    def open(self, confirm: Confirm | None) -> None:
        """Lock, agree, open and recover. *Raises* RunLocked, PlanChanged, RunError, StorageFailed."""
        consent = Consent(self.plan, self.options, self.place, self.notes, confirm)
        if self.options.fresh:
            consent.set_aside()
        if not has_store(self.place) and (found := traces(self.place)):
            raise RunError(
                f"{self.place} shows an earlier run ({', '.join(found)}) whose store, {STORE}, is gone: what it bought "
                "is not known any more; bring the store back, or start anew with --fresh --yes"
            )
        folder = RunFolder.create(self.place)
        self.stack.callback(RunLock.take(folder.lock).release)
        reach("open.locked")
        consent.agree()
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
        blobs = Blobs(folder)
        self.stack.callback(blobs.close)
        self.it = Opened(folder, journal, story, blackbox, blobs)
        self._note_plan()
        reach("plan.noted")
        self._recover()

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
            NotedPlan(plan.digest, spec, text, plan.name, self.total()),
            {
                "spec_path": wiring.spec_path(plan.job),
                "simulate": "1" if self.options.simulate else "0",
                "state": "running",
                "finished_plan": "",
                **prepare.budget_memory(self.options, plan.job, journal.get_meta),
            },
            (lambda: ((bytes.fromhex(task.id), task) for task in distinct(plan))) if edited else None,
        )
        reach("plan.kept")
        if not self.options.part.is_whole:
            # Of another part, that was wanted before, tasks are here as well.
            self._total = together(self.wanted, journal)
            journal.set_meta({"total": str(self._total)})
            if self._total < len(plan):
                option = self.options.part.option
                self.notes.append(
                    f"{self._total:,} of {len(plan):,} tasks: without {option} the same command makes the rest"
                )
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
        self.billed_before = dict(self.machine.state.billed)
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
        for kept in self.it.blobs.adopt(journal):
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

    def total(self) -> int:
        """How many tasks this run is about."""
        return self._total
