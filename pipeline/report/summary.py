"""What the page says above its rows: counts, money, axes, failures and charts, gathered in one pass over the rows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.engine.stored import StoredAccount
from pipeline.report.data import CHUNK, Entry, key_of
from pipeline.report.failures import Failures
from pipeline.values.money import UNLIMITED
from pipeline.values.rows import MOVES, EntryRow

#: Version of the data's shape.
VERSION: Final = 1
#: Points of the chart over time, at most.
POINTS: Final = 200
_FAILED: Final = frozenset({"failed", "short", "skipped"})


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a run besides its rows. *Units* - times: UTC microseconds."""

    job: str
    #: A state of `status --json`.
    state: str
    simulate: bool
    #: A runner holds the folder.
    live: bool
    #: The folder's name.
    folder: str
    #: {versions by name}, of the program first.
    versions: Mapping[str, str]
    #: {resume, retry, report, resolve: the command, or None where it makes no sense}.
    commands: Mapping[str, str | None]
    #: {state of tasks: how many, total}
    tasks: Mapping[str, int]
    accounts: Sequence[StoredAccount]
    created_at: int | None
    updated_at: int
    #: Of a living run: name, rate, submits, rate_limited, in_flight, why.
    lanes: Sequence[Mapping[str, object]] = ()
    #: The name of a review file that is beside the report.
    review: str | None = None
    #: Everything stands in one file.
    single: bool = False


@dataclass(slots=True)
class _Model:
    images: int = 0
    tasks: int = 0
    failed: int = 0
    settled: int = 0


@dataclass(slots=True)
class Tally:
    """Sums over the entries as they pass; nothing is kept of a row but its seconds and the values of its axes."""

    began: int
    ended: int
    rows: int = 0
    images: int = 0
    failures: Failures = field(default_factory=Failures)
    _axes: dict[str, dict[str, None]] = field(default_factory=dict)
    _pseudo: dict[str, dict[str, None]] = field(default_factory=dict)
    _models: dict[tuple[str, str, str, str], _Model] = field(default_factory=dict)
    _seconds: dict[str, array[float]] = field(default_factory=dict)
    _made: array[int] = field(default_factory=lambda: array("q", bytes(8 * POINTS)))
    _last: str = ""
    _timed: tuple[str, int | None] = ("", None)

    def add(self, entry: Entry) -> None:
        """Count one row; rows of one task come together."""
        self.rows += 1
        task, record = entry.task, entry.task.task
        model = self._models.setdefault((record.model, record.gateway, record.step, task.currency), _Model())
        if self._last != task.task_id:
            self._last = task.task_id
            model.tasks += 1
            model.failed += task.phase in _FAILED
            model.settled += task.settled_micros
            self.failures.add(entry)
            for name, value in record.axes.items():
                self._axes.setdefault(name, {})[value] = None
            others: dict[str, str | None] = {
                "step": record.step,
                "model": record.model,
                "gateway": record.gateway,
                "size": record.size,
                "row": record.row_id,
                "sample": str(record.sample),
            }
            for name, known in others.items():
                if known is not None:
                    self._pseudo.setdefault(name, {})[known] = None
        image = entry.image
        if image is None:
            return
        self.images += 1
        model.images += 1
        self._made[self._bucket(image.artifact.stored_at)] += 1
        sent, completed = image.submitted_at, image.completed_at
        if sent is not None and completed is not None and self._timed != (task.task_id, sent):
            self._timed = (task.task_id, sent)
            self._seconds.setdefault(record.model, array("d")).append(max(0, completed - sent) / 1e6)

    def _bucket(self, at: int) -> int:
        span = max(1, self.ended - self.began)
        return min(POINTS - 1, max(0, (at - self.began) * POINTS // span))

    def axes(self) -> list[dict[str, object]]:
        """Axes of the matrix in written order, then what else a grid may be laid out by; of more than one value."""
        found = {**self._pseudo, **self._axes}
        order = [*self._axes, *(name for name in self._pseudo if name not in self._axes)]
        return [{"name": key_of(name), "values": list(found[name])} for name in order if len(found[name]) > 1]

    def models(self) -> list[str]:
        """Names of the models, in the order of the rows."""
        return list(self._pseudo.get("model", {}))

    def by_model(self) -> list[dict[str, object]]:
        """The chart of models: pictures, tasks, failures and money of each step."""
        return [
            {
                "model": model,
                "gateway": gateway,
                "step": step,
                "currency": currency,
                "images": found.images,
                "tasks": found.tasks,
                "failed": found.failed,
                "settled_micros": found.settled,
            }
            for (model, gateway, step, currency), found in self._models.items()
        ]

    def seconds(self) -> list[dict[str, object]]:
        """The chart of waiting: from the permission to send to the result, of calls that brought pictures."""
        return [
            {"model": model, "count": len(found), **_quantiles(sorted(found))} for model, found in self._seconds.items()
        ]

    def over_time(self, moves: Iterable[EntryRow]) -> list[dict[str, object]]:
        """The chart of money and pictures over time: cumulative, at most 200 points."""
        settled: dict[str, list[int]] = {}
        held: dict[str, list[int]] = {}
        for move in moves:
            place = self._bucket(move.at)
            for sums, sign in zip((settled, held), MOVES[move.kind], strict=False):
                sums.setdefault(move.currency, [0] * POINTS)[place] += sign * move.amount_micros
        span = max(1, self.ended - self.began)
        points: list[dict[str, object]] = []
        images, sums_now = 0, [dict.fromkeys(settled, 0), dict.fromkeys(held, 0)]
        for place in range(POINTS):
            moved = self._made[place] != 0
            images += self._made[place]
            for now, sums in zip(sums_now, (settled, held), strict=True):
                for currency, amounts in sums.items():
                    now[currency] += amounts[place]
                    moved = moved or amounts[place] != 0
            # A stretch in which nothing moved needs no point of its own, but its end, or a line would slope through it.
            if moved or place == POINTS - 1:
                at = self.ended if place == POINTS - 1 else self.began + (place + 1) * span // POINTS
                points.append(
                    {"at": at, "images": images, "settled_micros": dict(sums_now[0]), "held_micros": dict(sums_now[1])}
                )
        return points if settled or images else []


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    """The nearest-rank quantiles of sorted values."""
    at = {"p50": 0.5, "p90": 0.9, "max": 1.0}
    return {name: round(values[max(0, math.ceil(part * len(values)) - 1)], 3) for name, part in at.items()}


def meta(told: Told, tally: Tally, moves: Iterable[EntryRow], shown: int | None = None) -> dict[str, Any]:
    """The object of kind `meta`, after every entry was added to the tally; `shown` rows are there (None: all)."""
    rows = tally.rows if shown is None else shown
    return {
        "kind": "meta",
        "version": VERSION,
        "job": told.job,
        "state": told.state,
        "simulate": told.simulate,
        "live": told.live,
        "created_at": told.created_at,
        "updated_at": told.updated_at,
        "seconds": None if told.created_at is None else round(max(0, told.updated_at - told.created_at) / 1e6, 3),
        "versions": dict(told.versions),
        "folder": told.folder,
        "commands": dict(told.commands),
        "tasks": dict(told.tasks),
        "images": tally.images,
        "money": [_money(account) for account in told.accounts],
        "axes": tally.axes(),
        "models": tally.models(),
        "lanes": [dict(lane) for lane in told.lanes],
        "failures": tally.failures.told(told.commands),
        "charts": {
            "by_model": tally.by_model(),
            "over_time": tally.over_time(moves),
            "seconds": tally.seconds(),
        },
        "rows": rows,
        "chunks": -(-rows // CHUNK),
        "left_out": tally.rows - rows,
        "review": told.review,
        "single": told.single,
    }


def _money(account: StoredAccount) -> dict[str, object]:
    return {
        "currency": account.currency,
        "limit_micros": None if account.cap >= UNLIMITED else account.cap,
        "settled_micros": account.spent,
        "held_micros": account.held,
        "doubt_micros": account.doubt,
    }
