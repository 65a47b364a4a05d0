"""Which addresses may be asked: the public ones, and none that only looks like one."""

import pytest

from tenancy.errors import Invalid
from tools.egress import is_public, require_public, target_of

HOSTILE = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.100.100.200")


def spellings(address: str) -> set[str]:
    """The ways in which libraries let an IPv4 address be written."""
    a, b, c, d = map(int, address.split("."))
    whole = (a << 24) | (b << 16) | (c << 8) | d
    return {
        address,
        f"{address}.",
        str(whole),
        hex(whole),
        f"0{whole:o}",
        ".".join(hex(x) for x in (a, b, c, d)),
        ".".join(f"0{x:o}" for x in (a, b, c, d)),
        f"{a}.{b}.{(c << 8) | d}",
        f"{a}.{(b << 16) | (c << 8) | d}",
        f"[::ffff:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{a * 256 + b:x}:{c * 256 + d:x}::]",
        "".join(chr(0xFF10 + int(ch)) if ch.isdigit() else ch for ch in address),
    }


FORMS = (
    *("{s}://{h}/", "{s}://{h}:22/", "{s}://x@{h}/", "{s}://example.com@{h}/"),
    *("{s}://{h}#@example.com/", "{s}://{h}\\@example.com/", "{s}://{h}%00.example.com/"),
    *(" {s}://{h}/", "{s}:\\\\{h}/", "{s}:/{h}/", "{s}:{h}/", "//{h}/"),
)
NAMES = ("localhost", "LOCALHOST.", "metadata", "metadata.google.internal", "db.local", "redis")
NAMES += ("kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "[::1]", "[fd00::1]")
NAMES += ("[fe80::1%25eth0]", "1.0.0.127.in-addr.arpa", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "0", "127.1", "a..com")
ODD = ("", "x", "https://", "https:///x", "https://[::1", "https://example.com:99999/")
ODD += ("https://example.com:0/", "https://example.com:8080/", "https://exa mple.com/")
ODD += ("https://example.com\r\nHost: x/", "https://example.com:443:80/", "https://ex%61mple.com/")
ODD += ("file:///etc/passwd", "ftp://example.com/", "data:text/html,x", "gopher://example.com/")
ODD += ("https://u:p@example.com/", "https://-a.example.com/", "https://a.1/", "HTTPS//example.com")
ODD += ("https://example.com/" + "a" * 2048, "https://example.com/ü", "javascript:alert(1)")


def hostile() -> list[str]:
    hosts = [form for address in HOSTILE for form in spellings(address)] + [*NAMES]
    return [form.format(s=s, h=h) for h in hosts for s in ("http", "https") for form in FORMS]


def test_no_hostile_address_is_taken() -> None:
    taken = []
    for url in (*hostile(), *ODD):
        try:
            taken.append(target_of(url).url)
        except Invalid:
            continue
    assert taken == []


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.com/", "example.com", 443),
        ("http://docs.example.co.uk:80/a?b=c#d", "docs.example.co.uk", 80),
        ("HTTPS://Example.COM.", "example.com", 443),
        ("https://xn--bcher-kva.example/b%C3%BCcher", "xn--bcher-kva.example", 443),
    ],
)
def test_a_public_name_is_taken(url: str, host: str, port: int) -> None:
    target = target_of(url)
    assert (target.url, target.host, target.port) == (url, host, port)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.0.1", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("198.18.0.1", "192.88.99.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::"),
        *("2001:0:7f00:1::", "2001:db8::1", "3fff::1", "5f00::1", "100::1", "fc00::1", "fe80::1"),
        *("fd00:ec2::254", "fec0::1", "ff02::1", "2606:4700::1%eth0", "", "example.com"),
    ],
)
def test_an_address_that_is_not_public_is_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111"])
def test_a_public_address_is_one(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "addresses", [[], ["8.8.8.8", "127.0.0.1"], ["::1", "8.8.8.8"], ["::ffff:10.0.0.1"]]
)
def test_one_private_address_condemns_the_name(addresses: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        require_public(addresses)
    assert refused.value.message == "does not lead to a public address"


def test_the_first_address_is_the_one() -> None:
    assert require_public(["8.8.8.8", "2606:4700:4700::1111"]) == "8.8.8.8"
