"""Which addresses and names belong to the public Internet, by their text alone: nothing is looked up."""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

#: Everything that is not the public Internet, by hand: `is_global` of Python 3.11 says True for several of these.
#: *Source* - IANA's special-purpose address registries for IPv4 and IPv6, and RFC 6890.
_CLOSED_V4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
#: The one block that is given out to the public, and what inside it is not: tunnels carry any IPv4 address in them.
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6: Final = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
#: Names that are nobody's on the public Internet. *Source* - IANA's registry of special-use domain names, RFC 6761,
#: 6762 and 8375, and ICANN's reservation of `internal`.
_CLOSED_NAMES: Final = ("localhost", "local", "internal", "home.arpa", "onion", "invalid", "test")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)+", re.ASCII)
#: 2130706433, 0177.0.0.1 and 0x7f.1: addresses to some, names to others.
_NUMERIC: Final = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)", re.ASCII)


def is_public(address: str) -> bool:
    """Whether this address, in text, belongs to the public Internet; False for whatever is no address at all."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    match parsed:
        case IPv4Address():
            return not any(parsed in network for network in _CLOSED_V4)
        case IPv6Address():
            # NAT64, mapped, compatible, local, link-local and multicast addresses all lie outside of 2000::/3.
            return parsed in _OPEN_V6 and not any(parsed in network for network in _CLOSED_V6)


def may_be_public(host: str) -> bool:
    """Whether the host of a URL is a public address, or a name that could be one's: with a dot, and not reserved."""
    name = host.lower().removesuffix(".")
    if is_public(name):
        return True
    reserved = any(name == closed or name.endswith(f".{closed}") for closed in _CLOSED_NAMES)
    return _NAME.fullmatch(name) is not None and _NUMERIC.fullmatch(name) is None and not reserved
