"""How a run stands: the object of `status --json`, typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.values.money import format_money

#: The states of `status --json` in words.
STATES: Final = {
    "running": "running",
    "complete": "done",
    "budget_reached": "stopped at the budget",
    "failed_tasks": "done, with failed tasks",
    "in_doubt": "done, with attempts in doubt",
    "parked": "parked",
    "stopped": "stopped",
    "damaged": "DAMAGED",
}
#: The order in which task states are named; unknown ones follow.
_ORDER: Final = (
    "done",
    "short",
    "failed",
    "in_doubt",
    "skipped",
    "fetching",
    "running",
    "submitting",
    "held",
    "waiting",
)


@dataclass(frozen=True, slots=True)
class Account:
    """A currency's account. *Units* - micro-units; `limit` None: no limit."""

    unit: str
    limit: int | None
    settled: int
    held: int
    doubt: int

    @property
    def free(self) -> int:
        """What may still be put aside; below zero when the cap was lowered below what is gone."""
        return 0 if self.limit is None else self.limit - self.settled - self.held - self.doubt

    def line(self) -> str:
        """`0.60 USD of 1.00 USD`, with what is held and in doubt when there is any."""
        parts = [format_money(self.settled, self.unit)]
        parts.append("without a limit" if self.limit is None else f"of {format_money(self.limit, self.unit)}")
        extra = [f"{format_money(self.held, self.unit)} held"] if self.held else []
        extra += [f"{format_money(self.doubt, self.unit)} in doubt"] if self.doubt else []
        return " ".join(parts) + (f" ({', '.join(extra)})" if extra else "")


@dataclass(frozen=True, slots=True)
class Lane:
    """One gateway and model of a run, as `status --json` has it."""

    name: str
    rate: str
    submits: int
    rate_limited: int
    in_flight: int
    parked: str


@dataclass(frozen=True, slots=True)
class Standing:
    """The object of `status --json`, typed."""

    state: str
    total: int
    #: {state of tasks: how many}, in the order of reading.
    tasks: Mapping[str, int]
    images: int
    accounts: tuple[Account, ...]
    doubts: int
    #: {kind: how many}
    faults: Mapping[str, int]
    lanes: tuple[Lane, ...]


def standing(status: Mapping[str, object]) -> Standing:
    """Read the status object; what is not there is nothing."""
    counts = {name: number_of(count) for name, count in mapping_of(status.get("tasks")).items()}
    total = counts.pop("total", sum(counts.values()))
    known = [name for name in _ORDER if counts.get(name)]
    others = [name for name in counts if name not in _ORDER and counts[name]]
    doubts = status.get("in_doubt")
    return Standing(
        state=str(status.get("state", "")),
        total=total,
        tasks={name: counts[name] for name in (*known, *others)},
        images=number_of(status.get("images")),
        accounts=tuple(_account(unit, mapping_of(found)) for unit, found in mapping_of(status.get("money")).items()),
        doubts=len(doubts) if isinstance(doubts, Sequence) else 0,
        faults={kind: number_of(count) for kind, count in mapping_of(status.get("faults")).items() if count},
        lanes=tuple(_lane(name, mapping_of(found)) for name, found in mapping_of(status.get("gateways")).items()),
    )


def _account(unit: str, found: Mapping[str, object]) -> Account:
    limit = found.get("limit_micros")
    settled, held, doubt = (number_of(found.get(f"{name}_micros")) for name in ("settled", "held", "doubt"))
    return Account(unit, None if limit is None else number_of(limit), settled, held, doubt)


def _lane(name: str, found: Mapping[str, object]) -> Lane:
    submits, limited, flying = (number_of(found.get(key)) for key in ("submits", "rate_limited", "in_flight"))
    return Lane(name, str(found.get("rate", "")), submits, limited, flying, str(found.get("parked") or ""))


def mapping_of(value: object) -> Mapping[str, object]:
    """An object of JSON; what is none is empty."""
    return value if isinstance(value, Mapping) else {}


def number_of(value: object) -> int:
    """A whole number of JSON; what is none is 0."""
    return value if isinstance(value, int) else 0


def list_of(value: object) -> Sequence[object]:
    """A list of JSON; what is none is empty."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
