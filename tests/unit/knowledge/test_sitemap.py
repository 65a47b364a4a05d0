"""Sitemaps, the harmless and the hostile."""

import pytest

from knowledge.sitemap import MAX_PAGES, Sitemap, read_sitemap
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


def test_five_hundred_pages_are_as_many_as_may_be() -> None:
    assert len(read_sitemap(urlset(*(f"https://a.example/{n}" for n in range(500)))).pages) == 500
