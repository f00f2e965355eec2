"""What a run is put together from: doors, clocks, pacers and lanes, for the real world or for a rehearsal."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from pipeline.engine.phases import AttemptState
from pipeline.engine.stored import Snapshot
from pipeline.engine.terms import LaneTerms
from pipeline.plan.expand import Plan
from pipeline.plan.proof import evidence_of
from pipeline.runtime import prepare
from pipeline.runtime.clock import Clock, RealClock
from pipeline.runtime.driver import DRAIN_S
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.resources import Files
from pipeline.simulator.faults import parse_faults
from pipeline.spec.job import JobSpec
from pipeline.spec.long_form import long_form
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.transport.door import Door
from pipeline.transport.http import HttpDoor
from pipeline.transport.memory import MemoryDoor, open_world
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.digest import digest
from pipeline.values.evidence import QUIET_S
from pipeline.values.folder import STORE
from pipeline.values.task import Task

WORLD: Final = "world.jsonl"
#: Which clock the kept sends are read by.
_SENDS_CLOCK: Final = "sends_clock"
#: Where a rehearsal's clock starts: a fixed moment, so that the same rehearsal is the same byte for byte.
REHEARSAL_EPOCH_S: Final = 1_767_225_600.0


@dataclass(frozen=True, slots=True)
class RunLane:
    """One lane as this run uses it."""

    terms: LaneTerms
    #: Submits per `period_s` seconds.
    count: int
    period_s: float

    @property
    def rate_text(self) -> str:
        """`60/min`."""
        unit = {1.0: "s", 60.0: "min", 3600.0: "h"}.get(self.period_s)
        return f"{self.count}/{unit}" if unit else f"{self.count}/{self.period_s:g} s"


def run_lanes(plan: Plan) -> dict[str, RunLane]:
    """{lane: how it is used}, from cards and the spec's limits."""
    lanes = {}
    for name, lane in plan.lanes.items():
        gateway = plan.cards[name.partition("/")[0]]
        terms = _terms(gateway, lane.card, lane.in_flight, lane.unanswered, plan.job.dedicated)
        lanes[name] = _paced(terms, lane.rate_count, lane.rate_period_s)
    return lanes


def default_lane(cards: Mapping[str, GatewayCard], task: Task, dedicated: Collection[str] = ()) -> RunLane:
    """The lane of a stored task that the spec no longer names: its card's own figures."""
    gateway = cards[task.gateway]
    card = gateway.models[task.model]
    terms = _terms(gateway, card, int(card.in_flight.value or 1), int(card.unanswered.value or 1), dedicated)
    return _paced(terms, int(card.rate.value or 1), card.rate_period_s)


def _paced(terms: LaneTerms, count: int, period_s: float) -> RunLane:
    return RunLane(replace(terms, rate_period_s=period_s, slot_s=period_s / count), count, period_s)


def _terms(
    gateway: GatewayCard, card: ModelCard, in_flight: int, unanswered: int, dedicated: Collection[str]
) -> LaneTerms:
    resolved = evidence_of(gateway, card, dedicated)
    return LaneTerms(
        in_flight_max=in_flight,
        unanswered_max=unanswered,
        poll_first_s=card.poll_first_s,
        poll_every_s=card.poll_every_s,
        poll_patience_s=card.poll_patience_s,
        release_lag_s=card.release_lag_s,
        links_live_s=card.links_live_s,
        lists="listing" in resolved,
        meters="meter" in resolved,
        quiet_s=max(QUIET_S, card.submit_timeout_s),
    )


def real_clock() -> Clock:
    """The running loop's clock and the wall's."""
    return RealClock()


def rehearsal_start(place: Path) -> float:
    """Where a rehearsal's clock goes on: after everything that its world has seen."""
    latest = REHEARSAL_EPOCH_S
    if has_store(place):
        journal = Journal.open_read_only(place / STORE)
        try:
            latest = max(latest, journal.last_time() / 1e6)
        finally:
            journal.close(clean=False)
    if (place / WORLD).exists():
        latest = max(latest, open_world(place / WORLD).clock)
    return math.ceil(latest)


def door(plan: Plan, options: prepare.Options, place: Path, clock: Clock) -> Door:
    """The network, or the emulators. *Raises* SecretMissing when a gateway of the plan has no key."""
    if not options.simulate:
        environ, dotenv = prepare.environment(plan.cards)
        used = {lane.partition("/")[0] for lane in plan.lanes}
        return HttpDoor({name: plan.cards[name] for name in sorted(used)}, environ, dotenv)
    faults: dict[str, object] = {}
    if options.faults is not None:
        faults = yaml.safe_load(options.faults.read_text()) or {}
    # --fresh is about to put the old world aside, with the folder that it stands in.
    kept = None if options.fresh else place / WORLD
    world = open_world(kept, seed=options.seed, faults=parse_faults(faults))
    return MemoryDoor(world, clock, journal=place / WORLD, cards=plan.cards)


def admit(door: Door, cards: Mapping[str, GatewayCard], gateways: Collection[str]) -> dict[str, str]:
    """Lead a door to gateways that left the spec and have work of ours; {gateway: why not} of those without a key.

    A rehearsal's door leads everywhere.
    """
    if not isinstance(door, HttpDoor):
        return {}
    return door.admit({name: cards[name] for name in sorted(gateways)}, *prepare.environment(cards))


def pacers(lanes: Mapping[str, RunLane], journal: Journal, clock: Clock) -> dict[str, Pacer]:
    """One pacer a lane. After an unclean end, or when the time since the last sends is not known for certain, each
    starts as if the last window had been full. The wall clock is not asked: somebody may have set it meanwhile.
    """
    made = {}
    sends, (life, now) = journal.sends(), clock.steady()
    known = journal.was_clean and life != "" and life == journal.get_meta(_SENDS_CLOCK)
    for name, lane in lanes.items():
        made[name] = pacer = Pacer(lane.count, lane.period_s)
        if not known and (name in sends or not journal.was_clean):
            pacer.assume_full()
        elif name in sends:
            pacer.restore((now - stamp) / 1e6 for stamp in sends[name])
    return made


def poll_pacers(cards: Mapping[str, GatewayCard]) -> dict[str, Pacer]:
    """One pacer an account for polls."""
    return {name: Pacer(int(card.poll_rate.value or 1), 1.0) for name, card in cards.items()}


def grace_s(plan: Plan) -> float:
    """How long unanswered POSTs are awaited in the end: a synchronous call that is given up was paid for in vain."""
    calls = [lane.card.submit_timeout_s for lane in plan.lanes.values() if lane.card.synchronous]
    return max([DRAIN_S, *calls])


def files(plan: Plan, options: prepare.Options) -> Files:
    """The files that the spec may read."""
    return Files(Path(plan.job.file).parent, options.allow_paths)


def awaits_answer(snapshot: Snapshot, attempt: int) -> bool:
    """Whether a black box answer is news: its attempt was sent and never answered, as far as the store knows."""
    return any(
        known.attempt == attempt and known.state in (AttemptState.SUBMITTING, AttemptState.DOUBT)
        for stored in snapshot.tasks
        for known in stored.attempts
    )


def spec_path(job: JobSpec) -> str:
    """Where the spec stands, absolute: a run folder belongs to one."""
    return str(Path(job.file).resolve())


def spec_digest(job: JobSpec) -> str:
    """SHA-256 of the spec as run: with every default and every --set written out."""
    return hashlib.sha256(long_form(job).encode()).hexdigest()


def finish_mark(plan: Plan, options: prepare.Options, caps: Mapping[str, int]) -> str:
    """What makes a finished run recognisable: plan, part of it, caps, and whether it was a rehearsal."""
    part = {"limit": options.limit, **options.part.words(), "caps": dict(caps), "simulate": options.simulate}
    return digest({"plan": plan.digest, "spec": spec_digest(plan.job), **part})


def new_run_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def keep_sends(journal: Journal, pacers_used: Mapping[str, Pacer], clock: Clock) -> None:
    """Remember when lanes sent, so that a resume need not wait out a whole window."""
    life, now = clock.steady()
    journal.set_meta({_SENDS_CLOCK: life})
    journal.note_sends(
        {name: [now - round(ago * 1e6) for ago in pacer.stamps()] for name, pacer in pacers_used.items()}
    )
