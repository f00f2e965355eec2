"""The vendors' own bill: what each gateway of a simulated world counts and charges at a moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

from pipeline.simulator.orders import Operation, Upload

#: What a gateway's bill counts.
_BOOK: Final = ("accepted", "completed", "failed", "running", "images", "micros", "uploads")


def bill_of(
    operations: Collection[Operation], uploads: Collection[Upload], clock: float, *, whole: bool
) -> dict[str, object]:
    """The bill at a moment, with an entry for each operation if it is asked for whole.

    *Shape* - {"clock", "gateways": {name: {"unit", "micros", "accepted", "completed", "failed", "running",
    "images", "uploads"}}}, and "operations". *Units* - micros: 10^-6 of the gateway's `unit`.

    *Raises* ValueError when a gateway billed in two units: one world is one region.
    """
    counts: dict[str, Counter[str]] = {}
    units: dict[str, str] = {}
    for operation in operations:
        gateway, unit = operation.order.gateway, operation.order.unit
        if units.setdefault(gateway, unit) != unit:
            raise ValueError(f"{gateway} billed in {units[gateway]} and in {unit}")
        book = counts.setdefault(gateway, Counter())
        book["accepted"] += 1
        book[_standing(operation, clock)] += 1
        book["images"] += operation.billed_images(clock)
        book["micros"] += operation.billed_micros(clock)
    for upload in uploads:
        counts.setdefault(upload.gateway, Counter())["uploads"] += 1
    gateways = {name: {"unit": units.get(name), **{key: book[key] for key in _BOOK}} for name, book in counts.items()}
    bill: dict[str, object] = {"clock": clock, "gateways": gateways}
    if whole:
        bill["operations"] = [entry_of(operation, clock) for operation in operations]
    return bill


def entry_of(operation: Operation, clock: float) -> dict[str, object]:
    """What the bill says of one operation at a moment."""
    images = operation.billed_images(clock)
    return {
        "id": operation.id,
        "gateway": operation.order.gateway,
        "model": operation.order.model,
        "status": _standing(operation, clock),
        "asked": operation.order.n,
        "images": images,
        "unit": operation.order.unit,
        "micros": operation.billed_micros(clock),
        "at": operation.ends_at,
    }


def _standing(operation: Operation, clock: float) -> str:
    if not operation.has_ended(clock):
        return "running"
    return "completed" if operation.end == "completed" else "failed"
