"""What can say what became of a call whose answer was lost: the gateway's own books, or only a person."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.evidence import QUIET_S


def evidence_of(gateway: GatewayCard, model: ModelCard, dedicated: Collection[str]) -> tuple[str, ...]:
    """`listing`, `meter`, both or nothing. A meter tells a sum, which says something only of a key that is ours alone.

    What answers at once leaves no operation behind that could be listed.
    """
    listing = gateway.lists_operations and not model.synchronous
    meter = gateway.tells_balance and gateway.name in dedicated
    return (*(("listing",) if listing else ()), *(("meter",) if meter else ()))


def doubt_words(
    gateway: GatewayCard, model: ModelCard, dedicated: Collection[str], on_doubt: str = "hold", calls: int = 0
) -> str:
    """How a doubt about a call to this model ends, as `plan` says it. `calls`: so many may be in doubt at once."""
    told, own, name = evidence_of(gateway, model, dedicated), gateway.name in dedicated, gateway.name
    if on_doubt == "write_off":
        return "counted as spent at once (on_doubt: write_off), and not bought again"
    if on_doubt == "resubmit":
        wait = round(max(QUIET_S, model.submit_timeout_s) / 60)
        first = "its list finds what was accepted; the rest is " if "listing" in told else ""
        return f"{first}bought again after {wait} min of quiet (on_doubt: resubmit), up to {calls:,} of them paid twice"
    person = "yours to decide, from the vendor's own records"
    sums = "its meter says within about an hour how many were billed"
    match told:
        case ("listing", "meter"):
            return f"its list finds what was accepted, and {sums}"
        case ("listing",) if own:
            return "its list finds what was accepted, and proves what was not"
        case ("listing",):
            return f"its list finds what was accepted; the rest is yours to decide without `dedicated: [{name}]`"
        case ("meter",):
            return sums
        case _ if gateway.tells_balance:
            return f"{person}; with `dedicated: [{name}]` {sums}"
        case _:
            return person
