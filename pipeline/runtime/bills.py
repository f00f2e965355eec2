"""Money by gateway, in the unit that its vendor bills in and in the cap's: what a bill can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.engine.messages import AttemptState
from pipeline.values.rows import AttemptRow
from pipeline.values.task import Price

_DOUBTFUL = (AttemptState.DOUBT, AttemptState.VANISHED)


def bills_of(attempts: Iterable[AttemptRow], prices: Mapping[int, Price]) -> dict[str, dict[str, dict[str, object]]]:
    """`by_gateway` of `status --json`: {gateway: {vendor's unit: settled, held and doubt, and `in_cap` by cap's unit}}.

    `prices`: {task's number: its price}. An amount in the vendor's unit is the booked one by the rate that the hold
    was made with, so it may differ by rounding.
    """
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in attempts:
        price = prices.get(row.task)
        own = price.native_unit if price is not None else row.currency
        doubtful = row.state in _DOUBTFUL
        amounts = {
            "settled_micros": row.settled_micros,
            "held_micros": 0 if doubtful else row.open_micros,
            "doubt_micros": row.open_micros if doubtful else 0,
        }
        if not any(amounts.values()):
            continue
        bill = found.setdefault(row.gateway, {}).setdefault(own, {**dict.fromkeys(amounts, 0), "in_cap": {}})
        capped = bill["in_cap"]
        assert isinstance(capped, dict)
        in_cap = capped.setdefault(row.currency, dict.fromkeys(amounts, 0))
        for name, micros in amounts.items():
            in_cap[name] += micros
            known = bill[name]
            assert isinstance(known, int)
            bill[name] = known + _native(micros, row.currency, price)
    return found


def _native(micros: int, currency: str, price: Price | None) -> int:
    if price is None or currency == price.native_unit or not price.per_image:
        return micros
    return round(micros * price.native_per_image / price.per_image)
