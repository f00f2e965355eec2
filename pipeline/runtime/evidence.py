"""What a gateway's own books say, asked for when something is in doubt: its list of operations, read twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine.messages import BalanceTold, Listed, Look, Observation
from pipeline.runtime.clock import Clock
from pipeline.runtime.pacer import Pacer
from pipeline.transport.door import Door
from pipeline.values.card import GatewayCard
from pipeline.values.evidence import ListedOperation, Listing
from pipeline.values.provider import Provider
from pipeline.values.reply import Balance, ListedPage

#: Books are read twice, more than 30 seconds apart, and must agree (reliability.md 3.1).
APART_S = 31.0
#: More pages than this are no whole list.
PAGES_MAX = 200
TIMEOUT_S = 60.0
#: The gateway's clock may be off by so many seconds: the window is wider on both sides.
SKEW_S = 300.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Asks for lists and meters. What is not understood proves nothing, and never raises."""

    door: Door
    providers: Mapping[str, Provider]
    cards: Mapping[str, GatewayCard]
    clock: Clock
    #: {gateway: what its meter said when the run folder was born}.
    metered: Mapping[str, Balance]

    async def look(self, command: Look, pacer: Pacer, *, quiescent: bool) -> list[Observation]:
        """The answer to a look: always Listed, with BalanceTold before it where there is a meter that stood still."""
        before = await self.balance(command.gateway, pacer)
        first = await self._listing(command, pacer)
        await self.clock.until(self.clock.now() + APART_S)
        second = await self._listing(command, pacer)
        after = await self.balance(command.gateway, pacer)
        told: list[Observation] = []
        born = self.metered.get(command.gateway)
        if born is not None and after is not None and before == after and born.unit == after.unit:
            # Whether nobody else buys with this key is not for us to say, so it is never claimed.
            told.append(
                BalanceTold(command.gateway, after.unit, born.used, after.used, dedicated=False, quiescent=quiescent)
            )
        return [*told, Listed(command.gateway, command.model, first, second)]

    async def balance(self, gateway: str, pacer: Pacer) -> Balance | None:
        """What a gateway's meter says now; None without one, or without an answer that is understood."""
        provider = self.providers[gateway]
        request = provider.balance() if self.cards[gateway].tells_balance else None
        if request is None:
            return None
        await pacer.slot()
        found = provider.balanced(await self.door.exchange(request, timeout_s=TIMEOUT_S))
        return found if isinstance(found, Balance) else None

    async def _listing(self, command: Look, pacer: Pacer) -> Listing:
        """Every page of the window; one that fails makes the whole list incomplete."""
        provider = self.providers[command.gateway]
        taken = self.clock.wall_micros()
        since, until = taken - round((command.reach_s + SKEW_S) * 1e6), taken + round(SKEW_S * 1e6)
        operations: list[ListedOperation] = []
        page: str | None = None
        complete = True
        for _ in range(PAGES_MAX):
            request = provider.listing(command.model, since, until, page)
            if request is None:
                break
            await pacer.slot()
            found = provider.listed(await self.door.exchange(request, timeout_s=TIMEOUT_S))
            if not isinstance(found, ListedPage):
                break
            operations += found.operations
            complete = complete and found.whole
            page = found.following
            if page is None:
                return Listing(taken, since, until, complete=complete, exclusive=False, operations=tuple(operations))
        return Listing(taken, since, until, complete=False, exclusive=False, operations=tuple(operations))
