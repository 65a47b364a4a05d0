"""Who is at the other end: the peer, or whom a proxy names that the deployment trusts."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope  # the settings of every command are read by this module

FORWARDED = b"x-forwarded-for"
HOPS = 16  # read from the right: what a client writes itself is left of what proxies add
NOBODY = "unknown"  # a peer without an address, such as a Unix socket's
HOST_BITS = 64  # of an IPv6 network: one customer has all of them

Address = IPv4Address | IPv6Address


class ClientAddresses:
    """Reads a request's address: one of IPv4, or the /64 network of one of IPv6.

    `trusted` are the networks of proxies, with commas between them; raises `ValueError`.
    """

    def __init__(self, trusted: str = "") -> None:
        self._trusted = [ip_network(each.strip()) for each in trusted.split(",") if each.strip()]

    def of(self, scope: "Scope") -> str:
        """The address that this request counts for."""
        peer = scope.get("client")
        address = _parsed(peer[0]) if peer else None
        if address is None:
            return NOBODY
        for named in reversed(_forwarded(scope["headers"])):
            further = _parsed(named) if self._trusts(address) else None
            if further is None:
                break
            address = further
        return _network(address)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name.lower() == FORWARDED]
    return ",".join(values).rsplit(",", HOPS)[-HOPS:]


def _parsed(text: str) -> Address | None:
    """An address, with or without brackets and port; IPv4 that was mapped into IPv6 is IPv4."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _network(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> HOST_BITS << HOST_BITS, HOST_BITS)))
