"""What can say what became of a call whose answer was lost: the gateway's own books, or only a person."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.values.card import GatewayCard, ModelCard


def evidence_of(gateway: GatewayCard, model: ModelCard, dedicated: Collection[str]) -> tuple[str, ...]:
    """`listing`, `meter`, both or nothing. A meter tells a sum, which says something only of a key that is ours alone.

    What answers at once leaves no operation behind that could be listed.
    """
    listing = gateway.lists_operations and not model.synchronous
    meter = gateway.tells_balance and gateway.name in dedicated
    return (*(("listing",) if listing else ()), *(("meter",) if meter else ()))
