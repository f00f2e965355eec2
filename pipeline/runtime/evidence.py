"""What a gateway's own books say, asked for when something is in doubt: its list and the key's meter, read twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.engine.evidence import APART_S
from pipeline.engine.messages import BalanceTold, Listed, Look, Observation
from pipeline.engine.resemblance import SKEW_S
from pipeline.runtime.clock import Clock
from pipeline.runtime.pacer import Pacer
from pipeline.transport.door import Door
from pipeline.values.card import GatewayCard
from pipeline.values.evidence import ListedOperation, Listing
from pipeline.values.provider import Provider
from pipeline.values.reply import Balance, ListedPage
from pipeline.values.wire import Request

#: Books are read twice and must agree (docs/reliability.md, E2); a little later than the engine asks for: clocks round.
READ_AGAIN_S = APART_S + 1.0
#: More pages than this are no whole list.
PAGES_MAX = 200
#: So many operations that nobody knows are asked one by one what they repeat.
DETAILS_MAX = 500
TIMEOUT_S = 60.0

#: Whether an operation id is one of ours.
Known: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Asks for lists and meters. What is not understood proves nothing, and never raises."""

    door: Door
    providers: Mapping[str, Provider]
    cards: Mapping[str, GatewayCard]
    clock: Clock
    #: {gateway: what its meter said before this folder bought anything there}.
    metered: Mapping[str, Balance]
    #: Gateways whose keys buy for this job alone, as its spec says.
    dedicated: Collection[str] = ()

    async def look(self, command: Look, pacer: Pacer, still: Callable[[], bool], known: Known) -> list[Observation]:
        """The answer to a look: always Listed, with BalanceTold before it where there is a meter that stood still.

        `still`: whether nothing of ours has been under way at the gateway since the look began. `known`: whether an
        operation of the gateway is one of ours already; the others are asked what they repeat.
        """
        before = await self.balance(command.gateway, pacer)
        first = await self._listing(command, pacer, known)
        await self.clock.until(self.clock.now() + READ_AGAIN_S)
        second = await self._listing(command, pacer, known)
        after = await self.balance(command.gateway, pacer)
        told: list[Observation] = []
        born = self.metered.get(command.gateway)
        if born is not None and after is not None and before == after and born.unit == after.unit:
            told.append(
                BalanceTold(
                    command.gateway,
                    after.unit,
                    born.used,
                    after.used,
                    dedicated=command.gateway in self.dedicated,
                    quiescent=still(),
                    grain=after.grain,
                )
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

    async def _listing(self, command: Look, pacer: Pacer, known: Known) -> Listing:
        """Every page of the window; one that fails makes the whole list incomplete."""
        provider = self.providers[command.gateway]
        taken = self.clock.wall_micros()
        # The gateway's clock may be off: the window is wider on both sides.
        since, until = taken - round((command.reach_s + SKEW_S) * 1e6), taken + round(SKEW_S * 1e6)
        operations: list[ListedOperation] = []
        page: str | None = None
        whole, ended = True, False
        for _ in range(PAGES_MAX):
            request = provider.listing(command.model, since, until, page)
            found = None if request is None else await self._page(request, provider, pacer)
            if found is None:
                break
            operations += found.operations
            whole = whole and found.whole
            page = found.following
            if ended := page is None:
                break
        strangers = [each for each in operations if each.page and not known(each.operation)][:DETAILS_MAX]
        told = {each.operation: await self._detail(command, each, pacer) for each in strangers}
        shown = tuple(told.get(each.operation, each) for each in operations)
        return Listing(taken, since, until, whole and ended, command.gateway in self.dedicated, shown)

    async def _page(self, request: Request, provider: Provider, pacer: Pacer) -> ListedPage | None:
        await pacer.slot()
        found = provider.listed(await self.door.exchange(request, timeout_s=TIMEOUT_S))
        return found if isinstance(found, ListedPage) else None

    async def _detail(self, command: Look, listed: ListedOperation, pacer: Pacer) -> ListedOperation:
        """What an operation repeats when it is asked for by itself; as it was listed where that fails."""
        provider = self.providers[command.gateway]
        request = provider.listing(command.model, 0, 0, listed.page)
        found = None if request is None else await self._page(request, provider, pacer)
        if found is None or [each.operation for each in found.operations] != [listed.operation]:
            return listed
        (own,) = found.operations
        unbilled = listed.unbilled or own.unbilled
        return replace(listed, prompt=own.prompt, n=own.n, seed=own.seed, unbilled=unbilled)
