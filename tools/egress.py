"""Which addresses outside this house may be asked on a tenant's behalf: public ones, by name."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tenancy.errors import Invalid

MAX_URL_CHARACTERS = 2048
PORTS = {"http": 80, "https": 443}
_UNSPEAKABLE = re.compile(r"[\x00-\x20\x7f\\`\"<>{}|^]")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"\A(?=.{{1,253}}\Z)({_LABEL}\.)+[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?\Z")
_INTERNAL = (
    *(".internal", ".intranet", ".local", ".localhost", ".localdomain", ".lan", ".home.arpa"),
    *(".svc", ".onion", ".in-addr.arpa", ".ip6.arpa"),
)
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_SPECIAL = [  # which `is_global` takes for public
    ipaddress.ip_network(each)
    for each in (
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # of Azure's hosts
        "100.100.100.200/32",  # metadata: Alibaba
        "192.0.0.192/32",  # metadata: Oracle
        "2001::/23",  # protocols, Teredo among them
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
]


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be looked up: what it leads to is another question."""

    url: str
    scheme: str
    host: str
    port: int


def target_of(url: str, field: str = "url") -> Target:
    """The host that a URL names; raises `Invalid` for one that must not be asked."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or _UNSPEAKABLE.search(url):
        raise Invalid(field, "is no address: it must be encoded, and of 2,048 characters at most")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid(field, "is no address") from None
    if parts.scheme not in PORTS:
        raise Invalid(field, "must begin with https:// or http://")
    if "@" in parts.netloc:
        raise Invalid(field, "must not hold a name or password")
    if port is not None and port != PORTS[parts.scheme]:
        raise Invalid(field, "must not name a port of its own")
    host = (parts.hostname or "").removesuffix(".")
    if not _NAME.match(host) or f".{host}".endswith(_INTERNAL):
        raise Invalid(field, "must name a public host, not a number or an internal name")
    return Target(url, parts.scheme, host, PORTS[parts.scheme])


def require_public(addresses: Iterable[str], field: str = "url") -> str:
    """The address to connect to; raises `Invalid` unless every one of them is public."""
    found = list(addresses)
    if not found or not all(is_public(each) for each in found):
        raise Invalid(field, "does not lead to a public address")
    return found[0]


def is_public(address: str) -> bool:
    """Whether an address is of the public network, whatever is hidden in it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and (ip not in _PUBLIC_6 or ip.scope_id):
        return False  # mapped, compatible, translated, local
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return not any(ip in network for network in _SPECIAL if network.version == ip.version)
