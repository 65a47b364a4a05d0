"""Sitemaps, the harmless and the hostile."""

import gzip

import pytest

from knowledge.sitemap import (
    MAX_ADDRESS_CHARACTERS,
    MAX_PAGES,
    MAX_UNPACKED_BYTES,
    Sitemap,
    read_sitemap,
)
from tenancy.errors import Invalid

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*urls: str) -> bytes:
    """A sitemap of pages."""
    inside = "".join(f"<url><loc> {url}\n</loc><lastmod>2026</lastmod></url>" for url in urls)
    return f'<?xml version="1.0"?><urlset {NAMESPACE}>{inside}</urlset>'.encode()


def test_pages_are_listed_once_in_order() -> None:
    found = read_sitemap(
        urlset("https://a.example/2", "https://a.example/1", "https://a.example/2")
    )
    assert found == Sitemap(("https://a.example/2", "https://a.example/1"), ())


def test_an_index_lists_sitemaps() -> None:
    inside = "<sitemap><loc>https://a.example/s.xml</loc></sitemap><sitemap><loc/></sitemap>"
    data = f"<sitemapindex {NAMESPACE}>{inside}</sitemapindex>".encode()
    assert read_sitemap(data) == Sitemap((), ("https://a.example/s.xml",))


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"words",
        b"<html></html>",
        b"<urlset>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="nonsense"?><urlset/>',
        f'<!DOCTYPE urlset [<!ENTITY l0 "ha">{LAUGHS}]><urlset>&l9;</urlset>'.encode(),
        b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>',
        b'<!DOCTYPE u SYSTEM "http://127.0.0.1/x.dtd"><urlset/>',
        urlset(*(f"https://a.example/{n}" for n in range(MAX_PAGES + 1))),
    ],
)
def test_what_is_no_sitemap_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_sitemap(data)


def test_five_thousand_pages_are_as_many_as_may_be() -> None:
    assert len(read_sitemap(urlset(*(f"https://a.example/{n}" for n in range(5000)))).pages) == 5000


def test_addresses_of_images_are_none_of_pages() -> None:
    image = (
        "<url><loc>https://a.example/</loc><image><loc>https://a.example/a.png</loc></image></url>"
    )
    assert read_sitemap(f"<urlset>{image}</urlset>".encode()).pages == ("https://a.example/",)


def test_a_packed_sitemap_is_unpacked() -> None:
    assert read_sitemap(gzip.compress(urlset("https://a.example/"))).pages == (
        "https://a.example/",
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (gzip.compress(bytes(MAX_UNPACKED_BYTES + 1)), "more than 20 MB"),
        (gzip.compress(urlset("https://a.example/"))[:-9], "broken"),
        (b"\x1f\x8bnonsense", "broken"),
        (gzip.compress(gzip.compress(urlset("https://a.example/"))), "XML"),
    ],
    ids=["bomb", "cut", "nonsense", "twice"],
)
def test_what_unpacks_badly_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_sitemap(data)
    assert says in refused.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"<urlset>" + b"<a>" * 17 + b"</a>" * 17 + b"</urlset>",
        b"<urlset><url>" + b"<a/>" * 250_001 + b"</url></urlset>",
        b"<urlset><u " + b" ".join(b'a%d=""' % n for n in range(20_000)) + b"/></urlset>",
    ],
    ids=["deep", "wide", "many attributes"],
)
def test_what_a_parser_would_keep_all_of_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_sitemap(data)


@pytest.mark.parametrize("between", ["", "<b/>", "\n<!-- -->", "&#97;"])
def test_of_an_address_without_end_only_the_beginning_is_kept(between: str) -> None:
    """Of an index of fifty such sitemaps, 22 kB each as they are sent, 900 MB were kept."""
    long = between.join(["a" * 5_000] * 10)
    [kept] = read_sitemap(urlset(f"https://a.example/{long}")).pages
    assert kept == f"https://a.example/{long.replace(between, '')}"[: MAX_ADDRESS_CHARACTERS + 1]


def test_an_address_of_the_longest_kind_is_whole() -> None:
    longest = "https://a.example/".ljust(MAX_ADDRESS_CHARACTERS, "a")
    padded = f"{chr(10) * 3000}{longest}{chr(32) * 3000}"
    assert read_sitemap(urlset(padded)).pages == (longest,)
