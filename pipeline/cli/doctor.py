"""`pipeline doctor`: what stands between this machine and a paid run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli import exits, words
from pipeline.cli.exits import Exit
from pipeline.cli.options import json_option
from pipeline.cli.output import answer, answer_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.runtime.doctor import GatewayHealth, Health


@click.command()
@json_option
def doctor(*, as_json: bool) -> Exit:
    """Look at keys, addresses, meters, proxies, disk and clock: one question each, and none that costs money."""
    from dataclasses import asdict

    from pipeline.runtime.doctor import look_here

    health = look_here()
    if as_json:
        answer_json({**here(), **asdict(health)})
    else:
        answer("\n".join([here_line(), *_lines(health)]))
    return verdict(health)


def verdict(health: Health) -> Exit:
    """2 when a key or an address cannot be used, or no key is set at all; else 0, or 6 when somebody does not answer.

    6: a gateway with a key does not answer or refuses the key, or nothing answers anywhere.
    """
    found = []
    if not any(gateway.has_key for gateway in health.gateways):
        found.append(Exit.INVALID)
    if not any(each.answers for gateway in health.gateways for each in gateway.addresses):
        found.append(Exit.PARKED)
    for gateway in health.gateways:
        if gateway.wrong:
            found.append(Exit.INVALID)
        elif gateway.has_key and (gateway.key_taken is False or not all(each.answers for each in gateway.addresses)):
            found.append(Exit.PARKED)
    return exits.worst(found)


def here() -> dict[str, str]:
    """What runs here, and how old the price table is: the dates of its oldest and of its newest price."""
    import platform

    from pipeline.cli.main import version
    from pipeline.runtime import prepare

    dates = sorted(model.price_date for card in prepare.cards().values() for model in card.models.values())
    known = [date for date in dates if date]
    oldest, newest = (known[0], known[-1]) if known else ("", "")
    return {"version": version(), "python": platform.python_version(), "prices_from": oldest, "prices_to": newest}


def here_line() -> str:
    """`pipeline  0.1.0 on Python 3.11.2; prices read 2026-10 to 2026-11`."""
    found = here()
    read = " to ".join(dict.fromkeys((found["prices_from"], found["prices_to"])))
    return words.clean(
        f"pipeline  {found['version']} on Python {found['python']}; prices read {read} (`pipeline models`)"
    )


def _lines(health: Health) -> Iterator[str]:
    from pipeline.runtime.doctor import ROOM_MIN, SKEW_MAX_S

    for gateway in health.gateways:
        yield from _gateway(gateway)
    if not any(gateway.has_key for gateway in health.gateways):
        yield "keys      none is set: a paid run needs one; a rehearsal does not (--simulate)"
    if health.proxies:
        yield f"proxy     {', '.join(health.proxies)}: set, and ignored: nothing goes through a proxy"
    little = "   LITTLE: paid pictures need room" if health.room_bytes < ROOM_MIN else ""
    yield f"disk      {health.room_bytes / 1e9:,.1f} GB free here{little}"
    if health.skew_s is None:
        yield "clock     nobody was there to compare it with"
    else:
        wrong = "   WRONG: set it" if abs(health.skew_s) > SKEW_MAX_S else ""
        yield f"clock     {abs(health.skew_s):.0f} s {'ahead of' if health.skew_s > 0 else 'behind'} a gateway's{wrong}"


def _gateway(gateway: GatewayHealth) -> Iterator[str]:
    yield words.clean(f"{gateway.title}   ({gateway.name}/...)")
    if gateway.wrong:
        yield words.clean(f"  WRONG   {gateway.wrong}")
    if gateway.wrong != gateway.key:
        yield words.clean(f"  key     {gateway.key}{'   REFUSED' if gateway.key_taken is False else ''}")
    for each in gateway.addresses:
        place = f"   (by {each.said_by})" if each.said_by else ""
        yield words.clean(f"  {each.base or 'API':6}  {each.url}{place}   {each.found}")
    if gateway.meter:
        yield words.clean(f"  meter   {gateway.meter}")
