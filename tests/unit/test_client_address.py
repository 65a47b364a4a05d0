"""The address of a client is its peer's, unless a proxy that is trusted names another."""

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.client_address import HOPS, ClientAddresses

PROXIES = "10.0.0.0/8, 2001:db8:ffff::/48"


def address(peer: str | None, *forwarded: str, trusted: str = PROXIES) -> str:
    headers = [(b"X-Forwarded-For", value.encode("latin-1")) for value in forwarded]
    client = None if peer is None else (peer, 4711)
    return ClientAddresses(trusted).of({"type": "http", "client": client, "headers": headers})


PEERS = [
    ("192.0.2.1", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("::1", "::/64"),
    (None, "unknown"),
    ("", "unknown"),
    ("/run/tenantry.sock", "unknown"),
]


@pytest.mark.parametrize(("peer", "counted"), PEERS)
def test_a_peer_counts_for_its_address_or_its_network(peer: str | None, counted: str) -> None:
    assert address(peer) == counted


@pytest.mark.parametrize("trusted", ["", PROXIES])
def test_what_an_unknown_peer_says_of_itself_is_nothing(trusted: str) -> None:
    assert address("192.0.2.1", "198.51.100.7", trusted=trusted) == "192.0.2.1"


NAMED = [
    (("198.51.100.7",), "198.51.100.7"),
    (("198.51.100.7:4711",), "198.51.100.7"),
    (("[2001:db8:1:2::1]:443",), "2001:db8:1:2::/64"),
    (("2001:db8:1:2::1",), "2001:db8:1:2::/64"),
    (("::ffff:198.51.100.7",), "198.51.100.7"),
    (("203.0.113.9, 198.51.100.7",), "198.51.100.7"),  # the client wrote the first itself
    (("203.0.113.9", "198.51.100.7"), "198.51.100.7"),
    (("198.51.100.7, 10.1.1.1, 2001:db8:ffff::2",), "198.51.100.7"),
    (("198.51.100.7", "10.1.1.1"), "198.51.100.7"),
    (("10.1.1.1, 10.1.1.2",), "10.1.1.1"),
    (("198.51.100.7, unknown",), "10.0.0.1"),
    (("198.51.100.7, unknown, 10.1.1.1",), "10.1.1.1"),
    (("",), "10.0.0.1"),
    ((",",), "10.0.0.1"),
    ((), "10.0.0.1"),
]


@pytest.mark.parametrize(("forwarded", "counted"), NAMED)
def test_a_trusted_proxy_names_the_client(forwarded: tuple[str, ...], counted: str) -> None:
    assert address("10.0.0.1", *forwarded) == counted


def test_a_chain_without_end_is_read_to_its_limit() -> None:
    assert address("10.0.0.1", "198.51.100.7, " + "10.1.1.1, " * 5000 + "10.1.1.1") == "10.1.1.1"
    assert address("10.0.0.1", "198.51.100.7" + ", 10.1.1.1" * (HOPS - 1)) == "198.51.100.7"


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=4))
def test_whatever_is_forwarded_an_address_comes_out(forwarded: list[str]) -> None:
    ipaddress.ip_network(address("10.0.0.1", *forwarded))


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=4), st.ip_addresses(v=4))
def test_a_client_cannot_choose_another_than_its_proxy_saw(
    written: list[str], seen: ipaddress.IPv4Address
) -> None:
    assume(seen not in ipaddress.ip_network("10.0.0.0/8"))
    assert address("10.0.0.1", ", ".join([*written, str(seen)])) == str(seen)


@pytest.mark.parametrize("trusted", ["10.0.0.1/8", "everybody", "10.0.0.0/33", "10.0.0.0/8;::1"])
def test_what_is_no_network_is_refused(trusted: str) -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.|everybody"):
        ClientAddresses(trusted)
