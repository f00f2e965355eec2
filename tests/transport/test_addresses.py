"""Which addresses are public: a table of disguises."""

from __future__ import annotations

import socket

import pytest

from pipeline.transport.addresses import AddressGuard, BlockedAddress, is_loopback
from pipeline.values.addresses import is_public

CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
OPEN = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.255",
]
OPEN_V6 = ["2606:4700::1111", "2001:200::1", "2001:4860:4860::8888", "2400:cb00::1", "2a00:1450::1"]


@pytest.mark.parametrize("address", CLOSED)
def test_a_special_address_is_not_public(address: str) -> None:
    """Private, shared, local, reserved, tunnelled, translated and multicast addresses cannot be dialled."""
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(BlockedAddress):
        AddressGuard(loopback=False).socket((family, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", OPEN + OPEN_V6)
def test_a_usual_address_is_public(address: str) -> None:
    """Neighbours of the closed blocks are open."""
    assert is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "08.8.8.8", "8.8.8.8 ", "8.8.8.8\n", "cdn.example"]
)
def test_what_is_no_address_is_not_public(text: str) -> None:
    """Nothing is guessed."""
    assert not is_public(text)
    assert not is_loopback(text)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", False),
        ("::127.0.0.1", False),
        ("0.0.0.0", False),
        ("8.8.8.8", False),
    ],
)
def test_this_machine_is_known_without_a_disguise_only(address: str, here: bool) -> None:  # noqa: FBT001
    """A mapped loopback address is somebody's trick."""
    assert is_loopback(address) is here
    assert AddressGuard(loopback=True).allows(address) is (here or is_public(address))


def test_other_sorts_of_socket_are_refused() -> None:
    """A path of a local socket is no address."""
    with pytest.raises(BlockedAddress):
        AddressGuard(loopback=True).socket((int(socket.AF_UNIX), socket.SOCK_STREAM, 0, "", ("/run/x",)))
