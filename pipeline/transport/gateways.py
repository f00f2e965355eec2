"""Gateways as this process talks to them: their addresses, whose override the environment may name, and their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from yarl import URL

from pipeline.errors import Bug, CardError
from pipeline.transport.addresses import names_loopback
from pipeline.transport.secrets import Header, Hider, Secret, need_key
from pipeline.values.card import GatewayCard

#: How a result link begins that is a key below the gateway's own base of this name.
ASSET: Final = "asset"


@dataclass(frozen=True, slots=True)
class Base:
    """One address of a gateway, and whether the key may go there."""

    url: URL
    keyed: bool

    def below(self, path: str) -> URL | None:
        """The address of a path below it; None when it leads anywhere else."""
        return _below(self.url, path)


@lru_cache(maxsize=64)
def _below(url: URL, path: str) -> URL | None:
    """Paid calls go to the same few paths again and again."""
    if not path.startswith("/") or not path.isprintable() or "\\" in path or "#" in path or " " in path:
        return None
    if any(part in {".", ".."} for part in path.partition("?")[0].lower().replace("%2e", ".").split("/")):
        return None
    return URL(str(url) + path, encoded=path.isascii())


@dataclass(frozen=True, slots=True)
class KnownGateway:
    """One gateway as this process talks to it."""

    #: {"": the API, and the further addresses by name}.
    bases: Mapping[str, Base]
    key: Secret
    user_agent: str
    reuse: bool
    loopback: bool
    #: Takes the key out of what comes back.
    hider: Hider
    #: What every request says, the key last.
    own: tuple[tuple[str, str], ...]

    def headers(self, given: tuple[tuple[str, str], ...], *, keyed: bool) -> list[tuple[str, str]]:
        """A request's headers, with the key where it may go, and with nothing that could be a second one."""
        taken = {name.lower() for name, _ in self.own}
        if any(name.lower() in taken for name, _ in given):
            raise Bug("a request names a header that transport sets")
        return [*given, *(self.own if keyed else self.own[:-1])]

    def base(self, name: str) -> Base:
        """The address that a request names."""
        found = self.bases.get(name)
        if found is None:
            raise Bug(f"a request to an address that is not on the gateway's card: {name}")
        return found

    def result(self, link: str) -> str:
        """A result link as a URL: `asset:KEY` is a key below the gateway's base of that name."""
        if not link.startswith(f"{ASSET}:") or ASSET not in self.bases:
            return link
        url = self.bases[ASSET].below("/" + quote(link.partition(":")[2].lstrip("/"), safe="/-_.~"))
        return "" if url is None else str(url)


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a gateway as it is used from here: "" is the API."""

    name: str
    url: URL
    keyed: bool
    #: The variable that leads there; empty when it is the card's own.
    said_by: str


def addresses(card: GatewayCard, environ: Mapping[str, str]) -> list[Place]:
    """Every address of a gateway, the API first. *Raises* CardError for one that may not be used."""
    api = base_url(card, environ)
    made = [Place("", api, keyed=True, said_by=_said_by(card.base_url_env, environ))]
    for name, base in card.bases.items():
        url = _address(base.url, base.env, f"the address `{name}` of {card.name}", environ)
        if names_loopback(url.host or "") != names_loopback(api.host or ""):
            # A rehearsal must not send pictures, or the key, to the vendor, nor a real run to this machine.
            raise CardError(
                f"{card.base_url_env} and {base.env} must both lead to this machine, or neither: `pipeline simulate` "
                "prints every line to export"
            )
        made.append(Place(name, url, base.keyed, _said_by(base.env, environ)))
    return made


def _said_by(env: str, environ: Mapping[str, str]) -> str:
    return env if env and environ.get(env, "").strip() else ""


def known_gateway(
    card: GatewayCard, environ: Mapping[str, str], dotenv: Mapping[str, str], key: Secret | None = None
) -> KnownGateway:
    """A gateway with its addresses and its key. *Raises* SecretMissing, unless a key is given, and CardError."""
    bases = {place.name: Base(place.url, place.keyed) for place in addresses(card, environ)}
    found = need_key(card.key_env, card.title or card.name, environ, dotenv) if key is None else key
    return KnownGateway(
        bases,
        found,
        card.user_agent,
        reuse=card.reuse_connections,
        loopback=names_loopback(bases[""].url.host or ""),
        hider=Hider(found),
        own=(
            ("User-Agent", card.user_agent),
            # An answer in a coding that we asked not to have would be one more thing that can break after payment.
            ("Accept-Encoding", "identity"),
            (card.auth_header, Header(card.auth_prefix + found.reveal())),
        ),
    )


def base_url(card: GatewayCard, environ: Mapping[str, str]) -> URL:
    """Where a gateway lives: the card's word or the environment's, without a slash at its end. *Raises* CardError."""
    return _address(card.base_url, card.base_url_env, f"the base URL of {card.name}", environ)


def _address(of_card: str, env: str, place: str, environ: Mapping[str, str]) -> URL:
    override = environ.get(env, "").strip() if env else ""
    place = env if override else place
    try:
        url = URL((override or of_card).rstrip("/"))
        host, port = url.host, url.port
    except ValueError:
        raise CardError(f"{place} is not a URL") from None
    if not host or not port or url.scheme not in {"http", "https"}:
        raise CardError(f"{place} must be an https URL, or http on this machine")
    if url.raw_user or url.raw_password or url.raw_query_string or url.raw_fragment:
        # The value is not shown: this is how a key gets into a URL.
        raise CardError(f"{place} must hold no user name, query or fragment")
    if url.scheme == "http" and not names_loopback(host):
        raise CardError(f"{place} must be https: only this machine may be asked over plain http")
    return url
