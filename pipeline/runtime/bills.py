"""Money by gateway, in the unit that its vendor bills in and in the cap's: what a bill can be compared with."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index

from pipeline.values.rows import BillRow
from pipeline.values.task import Price


def bills_of(rows: Iterable[BillRow]) -> dict[str, dict[str, dict[str, object]]]:
    """`by_gateway` of `status --json`: {gateway: {vendor's unit: settled, held and doubt, and `in_cap` by cap's unit}}.

    An amount in the vendor's unit is the booked one by the rate that the hold was made with, so it may differ by
    rounding.
    """
    found: dict[str, dict[str, dict[str, object]]] = {}
    for row in rows:
        # A damaged store may say half a micro: a TypeError, as of other rows that cannot be.
        amounts = {
            "settled_micros": index(row.settled_micros),
            "held_micros": index(row.held_micros),
            "doubt_micros": index(row.doubt_micros),
        }
        own = row.price.native_unit
        bill = found.setdefault(row.gateway, {}).setdefault(own, {**dict.fromkeys(amounts, 0), "in_cap": {}})
        capped = bill["in_cap"]
        assert isinstance(capped, dict)
        in_cap = capped.setdefault(row.currency, dict.fromkeys(amounts, 0))
        for name, micros in amounts.items():
            in_cap[name] += row.attempts * micros
            known = bill[name]
            assert isinstance(known, int)
            bill[name] = known + row.attempts * native_of(micros, row.currency, row.price)
    return found


def native_of(micros: int, currency: str, price: Price) -> int:
    """An amount of the cap's currency in the vendor's own unit, by the rate that the hold was made with."""
    if currency == price.native_unit or not price.per_image:
        return micros
    return round(micros * price.native_per_image / price.per_image)
