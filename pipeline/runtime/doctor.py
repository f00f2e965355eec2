"""What `doctor` looks at: keys, addresses, meters, proxies, disk and clock. It asks nothing that costs money."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import CardError, SecretMissing
from pipeline.providers import PROVIDERS
from pipeline.runtime import prepare
from pipeline.transport.gateways import addresses
from pipeline.transport.http import HttpDoor
from pipeline.transport.probe import Probe, probe
from pipeline.transport.secrets import located_key
from pipeline.values.card import GatewayCard
from pipeline.values.money import format_money
from pipeline.values.reply import Balance

#: Less room than this is said (bytes): a hundred pictures or so.
ROOM_MIN: Final = 1_000_000_000
#: A clock that is off by more is said (seconds): gateways sign links and requests by the time.
SKEW_MAX_S: Final = 60.0
_METER_TIMEOUT_S: Final = 20.0
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a gateway, and whether anything answers there."""

    #: Empty for the API.
    base: str
    url: str
    #: The variable that says so; empty when it is the card's own.
    said_by: str
    answers: bool
    found: str


@dataclass(frozen=True, slots=True)
class GatewayHealth:
    """How one gateway stands from here."""

    name: str
    title: str
    has_key: bool
    #: Where the key comes from, or why there is none.
    key: str
    addresses: tuple[Address, ...]
    #: What the key's meter says; empty where there is none, or no key.
    meter: str
    #: What is wrong for certain: a run would be refused.
    wrong: str = ""
    #: Whether the gateway took the key; None: it was not asked.
    key_taken: bool | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Everything. *Units* - room_bytes: free in the working directory; skew_s: ours minus theirs, None: unknown."""

    gateways: tuple[GatewayHealth, ...]
    #: Variables that are set and ignored.
    proxies: tuple[str, ...]
    room_bytes: int
    skew_s: float | None


def look(environ: Mapping[str, str], dotenv: Mapping[str, str], cards: Mapping[str, GatewayCard]) -> Health:
    """Look at everything, with one GET to each address and one to each meter whose key is there."""
    return asyncio.run(_look(environ, dotenv, cards))


def look_here() -> Health:
    """As `look`, with this process's own variables and files."""
    cards = prepare.cards()
    return look(*prepare.environment(cards), cards)


async def _look(environ: Mapping[str, str], dotenv: Mapping[str, str], cards: Mapping[str, GatewayCard]) -> Health:
    found = await asyncio.gather(*(_gateway(card, environ, dotenv) for card in cards.values()))
    skews = sorted((skew for _, skew in found if skew is not None), key=abs)
    return Health(
        tuple(health for health, _ in found),
        tuple(name for each in _PROXIES for name in (each, each.lower()) if environ.get(name)),
        shutil.disk_usage(Path()).free,
        skews[0] if skews else None,
    )


async def _gateway(
    card: GatewayCard, environ: Mapping[str, str], dotenv: Mapping[str, str]
) -> tuple[GatewayHealth, float | None]:
    wrong, key, has_key = "", f"not set: {card.key_env}", False
    try:
        located = located_key(card.key_env, environ, dotenv)
        if located is not None:
            has_key, key = True, f"from {located[1]}"
    except SecretMissing as error:
        wrong = key = str(error)
    try:
        places = addresses(card, environ)
    except CardError as error:
        return GatewayHealth(card.name, card.title, has_key, key, (), "", str(error)), None
    probes = await asyncio.gather(*(probe(place.url, card.user_agent) for place in places))
    asked = [
        Address(place.name, str(place.url), place.said_by, bool(probed.status), _words(probed))
        for place, probed in zip(places, probes, strict=True)
    ]
    skew = next((time.time() - probed.date_s for probed in probes if probed.date_s is not None), None)
    meter, taken = "", None
    if has_key and not wrong and asked[0].answers:
        meter, taken = await _meter(card, environ, dotenv)
    return GatewayHealth(card.name, card.title, has_key, key, tuple(asked), meter, wrong, taken), skew


def _words(probed: Probe) -> str:
    if not probed.status:
        return f"does not answer: {probed.why}"
    # An API has nothing to say at its own root; what answers there may be anybody.
    whose = "" if 200 <= probed.status < 300 else "; that it is the API, only a call with a key shows"
    return f"somebody answers ({probed.status}){whose}"


async def _meter(card: GatewayCard, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[str, bool | None]:
    request = PROVIDERS[card.name].balance()
    if request is None:
        return "", None
    door = HttpDoor({card.name: card}, environ, dotenv)
    try:
        told = PROVIDERS[card.name].balanced(await door.exchange(request, timeout_s=_METER_TIMEOUT_S))
    finally:
        await door.close()
    if isinstance(told, Balance):
        return f"{format_money(told.used, told.unit)} used with this key so far", True
    return f"its meter says nothing: {told.fault.message}", False if told.fault.status in {401, 403} else None
