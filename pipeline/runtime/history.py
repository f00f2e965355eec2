"""How a run stands or ended, from counts and money alone: the words of `status` and the exit codes behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.engine.lanes import LaneView
from pipeline.engine.machine import Doubt
from pipeline.engine.phases import Phase
from pipeline.values.card import GatewayCard
from pipeline.values.reply import PRICE_TOO_LOW, Fault, FaultKind
from pipeline.values.rows import FailureRow, LaneRow

#: {why a lane is parked: what to do about it}. The same command goes on in each case.
REMEDIES: Mapping[FaultKind, str] = {
    **dict.fromkeys(FaultKind, "look at the gateway's words, then run the same command again"),
    FaultKind.UNAUTHORIZED: "put a key that the gateway takes into its variable, then run the same command again",
    FaultKind.OUT_OF_CREDIT: "settle the account with the gateway, then run the same command again",
    FaultKind.CLOSED: "see at the gateway to what its words name (a right to this model, a quota), then run the same "
    "command again; other models go on without it",
    FaultKind.TRANSIENT: "see that the gateway can be reached from here, then run the same command again",
    FaultKind.RATE_LIMITED: "wait a while, then run the same command again",
    FaultKind.TIMEOUT: "ask the vendor what became of the operation, then run the same command again",
}
#: Where a gateway has regions, the likeliest reason of a refused key.
_REGION = "put a key of the region that {base} names into {key} (a key of another region is refused)"

#: The `fault` of a run that the disk parked, and what to do about it.
DISK = "disk"
_DISK_REMEDY = "make room on the disk: what is left of this job needs about {size} more, besides what stays free"

_FAILED = (Phase.FAILED, Phase.SHORT, Phase.SKIPPED)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. *Units* - seconds: real time; simulated_s: the rehearsal's own time, None for a real run."""

    state: str
    exit_code: int
    folder: Path
    status: dict[str, object]
    seconds: float
    simulated_s: float | None
    notes: tuple[str, ...] = ()


#: {state: exit code}, in the order in which the first that holds wins (docs/commands.md).
EXITS = {"stopped": 130, "parked": 6, "in_doubt": 5, "budget_reached": 3, "failed_tasks": 4, "complete": 0}


def state_of(*, draining: bool, parked: bool, doubts: int, budget: bool, counts: Mapping[Phase, int]) -> str:
    """The first that holds of stopped, parked, in_doubt, budget_reached, failed_tasks, complete.

    `doubts`: attempts in doubt. One may wait although its task has ended, by pictures of another attempt.
    """
    if draining:
        return "stopped"
    if parked:
        return "parked"
    if doubts:
        return "in_doubt"
    if budget:
        return "budget_reached"
    if any(counts.get(phase, 0) for phase in _FAILED):
        return "failed_tasks"
    return "complete"


def utc(micros: int) -> str:
    """`2026-11-21T18:40:00Z` of UTC microseconds."""
    return datetime.fromtimestamp(micros // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def failures_of(failures: Iterable[FailureRow]) -> list[dict[str, object]]:
    """The `failures` list of `status --json`: per kind of fault, how many tasks, what they cost all the same, and the
    latest gateway's words.
    """
    return [
        {
            "fault": row.fault,
            "tasks": row.tasks,
            "message": row.message,
            "settled_micros": dict(row.settled_micros),
        }
        for row in failures
    ]


def doubts_of(doubts: Iterable[Doubt]) -> list[dict[str, object]]:
    """The `in_doubt` list of `status --json`."""
    return [
        {
            "attempt": doubt.attempt,
            "task_id": doubt.task_id,
            "micros": doubt.micros,
            "currency": doubt.currency,
            "why": doubt.why,
            "operation": doubt.operation,
            "request_id": doubt.request_id,
            "sent_at": None if doubt.sent_at is None else utc(doubt.sent_at),
        }
        for doubt in doubts
    ]


def remedy_of(fault: Fault, card: GatewayCard | None = None) -> str:
    """What to do about what parked a lane of this gateway."""
    if fault.code == PRICE_TOO_LOW:
        return "state the price that the gateway's words name in `prices:`, then run the same command again"
    if fault.kind is not FaultKind.UNAUTHORIZED:
        return REMEDIES[fault.kind]
    if card is None:
        return REMEDIES[fault.kind]
    if card.regions:
        return f"{_REGION.format(key=card.key_env, base=card.base_url_env)}, then run the same command again"
    return REMEDIES[fault.kind].replace("its variable", card.key_env)


def parked_of(
    lanes: Mapping[str, LaneView],
    disk: str | None,
    wanted_bytes: int = 0,
    cards: Mapping[str, GatewayCard] | None = None,
) -> list[dict[str, object]]:
    """The `parked` list of `status --json`: which lane, why, and what to do about it; the disk stops every lane.

    `wanted_bytes`: what the pictures that are still to come will take.
    """
    room = _DISK_REMEDY.format(size=f"{max(1, round(wanted_bytes / 1e6)):,} MB")
    full: list[dict[str, object]] = [] if disk is None else [{"lane": "", "fault": DISK, "why": disk, "remedy": room}]
    return full + [
        {
            "lane": name,
            "fault": view.parked.kind.value,
            "why": view.parked.message,
            "remedy": remedy_of(view.parked, (cards or {}).get(name.partition("/")[0])),
        }
        for name, view in lanes.items()
        if view.parked is not None
    ]


def lanes_of(
    rows: Iterable[LaneRow], rates: Mapping[str, str], parked: Iterable[Mapping[str, object]]
) -> dict[str, dict[str, object]]:
    """`gateways` of `status --json` as the store tells it: a run that is over has no other memory."""
    lanes = {name: _lane(rate) for name, rate in rates.items()}
    for row in rows:
        lane = lanes.setdefault(row.lane, _lane(""))
        lane |= {"submits": row.submits, "rate_limited": row.rate_limited, "in_flight": row.in_flight}
    for each in parked:
        if not each["lane"]:
            continue
        lanes.setdefault(str(each["lane"]), _lane(""))["parked"] = each["why"]
    return dict(lanes)


def _lane(rate: str) -> dict[str, Any]:
    return {"rate": rate, "submits": 0, "rate_limited": 0, "in_flight": 0, "parked": None}


def kept_lanes(text: str | None) -> dict[str, str]:
    """{lane: permitted rate}, as a run noted it in its store."""
    found = json.loads(text) if text else {}
    return {str(name): str(rate) for name, rate in found.items()} if isinstance(found, dict) else {}


def kept_parked(text: str | None) -> list[dict[str, object]]:
    """The `parked` list, as a run noted it in its store."""
    found = json.loads(text) if text else []
    return found if isinstance(found, list) else []
