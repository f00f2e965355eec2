"""One run of a plan in one folder: open, recover, turn the ring, write the manifest, say how it ended."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.engine.facts import Accepted, Doubted, Fact, Released, Settled
from pipeline.engine.phases import AttemptState
from pipeline.errors import StorageFailed
from pipeline.failpoints import reach
from pipeline.plan.expand import Plan
from pipeline.providers import PROVIDERS
from pipeline.runtime import prepare, wiring
from pipeline.runtime.alive import Listener, Teller, status_now
from pipeline.runtime.clock import Clock, run_virtual
from pipeline.runtime.commits import InlineCommitter, ThreadCommitter
from pipeline.runtime.conclude import conclude
from pipeline.runtime.consent import Confirm
from pipeline.runtime.control import Control
from pipeline.runtime.desk import Desk
from pipeline.runtime.driver import Driver
from pipeline.runtime.evidence import Evidence
from pipeline.runtime.history import Result
from pipeline.runtime.inspect import finished_result
from pipeline.runtime.metrics import Metrics
from pipeline.runtime.owned import offered
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.perform import Performer
from pipeline.runtime.prepare import Options
from pipeline.runtime.session import Session
from pipeline.runtime.signals import Signals
from pipeline.store.folder import RunFolder
from pipeline.store.lock import RunLock, is_held
from pipeline.values.reply import Balance


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
            session = Session(plan, options, caps=caps, place=place, stack=stack, clock=clock or wiring.real_clock())
            try:
                session.open(confirm)
                return await _turn(session, listener, begun)
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


async def _turn(session: Session, listener: Listener | None, begun: float) -> Result:
    session.started = session.clock.now()
    pacers = wiring.pacers(session.lanes, session.it.journal, session.clock)
    poll_pacers = wiring.poll_pacers(session.plan.cards)
    committer = InlineCommitter(session.it.journal) if session.options.simulate else ThreadCommitter(session.it.journal)
    driver = Driver(
        session.machine,
        performer=Performer(
            door=session.door,
            providers=PROVIDERS,
            cards=session.plan.cards,
            files=wiring.files(session.plan, session.options),
            blobs=session.it.blobs,
            blackbox=session.it.blackbox,
            clock=session.clock,
            inline=session.plan.inline_bytes,
            run_id=session.it.journal.run_id,
            keep=committer.keep,
            placed=session.it.journal.placements(session.clock.wall_micros()),
            closed=session.closed,
        ),
        evidence=await _evidence(session, poll_pacers),
        committer=committer,
        clock=session.clock,
        pacers=pacers,
        poll_pacers=poll_pacers,
        offer=offered(session.plan, session.it.journal, session.wanted),
        again=session.plan.task,
        told=lambda facts: _told(session, desk, facts),
        listener=lambda: tell("running"),
        room=session.room.low,
        grace_s=wiring.grace_s(session.plan),
    )
    tell = Teller(session, driver, listener, Metrics(session.it.folder.metrics, session.plan.name))
    desk = Desk(session, driver, committer, lambda: status_now(session, driver, "running"))
    control = Control(session.it.folder.control, desk)
    failed: BaseException | None = None
    with Signals(driver.drain) as signals:
        # In virtual time nobody waits long enough to be told.
        beat = None if session.options.simulate else asyncio.create_task(driver.audience.beat(session.clock))
        try:
            await control.open()
            await driver.run(session.first)
        except (StorageFailed, OSError) as error:
            failed = error
            tell("storage_failed")
            raise
        finally:
            if beat is not None:
                beat.cancel()
            await control.close()
            await committer.close()
            reach("turn.closed")
            _say_unkept(session, failed)
            if failed is None:
                wiring.keep_sends(session.it.journal, pacers, session.clock)
                reach("turn.sends")
        signals.concluding = True
        return conclude(session, driver, tell, begun)


def _say_unkept(session: Session, failed: BaseException | None) -> None:
    """The last place for answers that neither black box nor store took is the screen. *Raises* StorageFailed."""
    unkept = session.it.blackbox.unkept
    if not any(unkept.values()):
        return
    try:
        known = {row.attempt for row in session.it.journal.attempt_rows() if row.state != AttemptState.SUBMITTING}
    except (sqlite3.Error, StorageFailed):
        known = set()
    place = shlex.quote(str(session.place))
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


async def _evidence(session: Session, pacers: Mapping[str, Pacer]) -> Evidence:
    """Who asks gateways for their books. Meters are read before anything is bought there: later is too late."""
    journal = session.it.journal
    metered: dict[str, Balance] = {}
    evidence = Evidence(
        session.door, PROVIDERS, session.plan.cards, session.clock, metered, frozenset(session.plan.job.dedicated)
    )
    for name in sorted({lane.partition("/")[0] for lane in session.lanes}):
        key, found = f"meter:{name}", None
        kept = journal.get_meta(key)
        if kept is not None:
            unit, _, used = kept.partition(" ")
            found = Balance(unit, int(used))
        elif name not in session.machine.state.guessed:
            found = await evidence.balance(name, pacers[name])
            if found is not None:
                journal.set_meta({key: f"{found.unit} {found.used}"})
        if found is not None:
            metered[name] = found
        elif name in session.plan.job.dedicated and session.plan.cards[name].tells_balance:
            session.notes.append(
                f"the meter of {name} was not read before anything was bought there, so it proves nothing: doubts "
                "about calls to it are for `pipeline resolve`"
            )
    return evidence


def _told(session: Session, desk: Desk, facts: list[Fact]) -> None:
    session.it.story.tell(facts)
    desk.noted(facts)
    for fact in facts:
        if isinstance(fact, Accepted | Settled | Released | Doubted):
            session.it.blackbox.committed(fact.attempt)
