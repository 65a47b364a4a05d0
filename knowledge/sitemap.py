"""The addresses that a sitemap lists (sitemaps.org)."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from tenancy.errors import Invalid

MAX_BYTES = 5 * 1024 * 1024  # as it is sent
MAX_UNPACKED_BYTES = 20_000_000
MAX_PAGES = 5_000
MAX_ADDRESS_CHARACTERS = 2_048  # of what is longer only the beginning is kept: it is no address
_GZIP = b"\x1f\x8b"
_WITH_HEADER = 31  # what zlib calls gzip
_PIECE_BYTES = 65_536
_OF_ENTRY = 3  # how deep the address of an entry stands
_MAX_DEPTH = 16
_MAX_ELEMENTS = 50 * MAX_PAGES  # an entry names its languages and images too


@dataclass(frozen=True, slots=True)
class Sitemap:
    """Addresses of pages, or of more sitemaps, each once and in the order of the file."""

    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]


def read_sitemap(data: bytes) -> Sitemap:
    """Read a sitemap, packed by gzip or not; raises `Invalid` for what is none."""
    try:
        return _parsed(_unpacked(data))
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Invalid("sitemap", "is no sitemap: its XML cannot be read") from None


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    unpacking = zlib.decompressobj(_WITH_HEADER)
    try:
        unpacked = unpacking.decompress(data, MAX_UNPACKED_BYTES + 1)
    except zlib.error:
        raise Invalid("sitemap", "is packed by gzip, and broken") from None
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise Invalid("sitemap", f"unpacks to more than {MAX_UNPACKED_BYTES // 10**6} MB")
    if not unpacking.eof:
        raise Invalid("sitemap", "is packed by gzip, and broken")
    return unpacked


def _parsed(data: bytes) -> Sitemap:
    """Parse piece by piece: no tag may go on and on, of which the parser would keep all."""
    locations = _Locations()
    parser = DefusedXMLParser(target=locations, forbid_dtd=True)
    for at in range(0, len(data), _PIECE_BYTES):
        before = locations.heard
        parser.feed(data[at : at + _PIECE_BYTES])
        if locations.heard == before and at >= _PIECE_BYTES:
            raise ValueError("a tag without end")
    return cast(Sitemap, parser.close())


class _Locations:
    """Listens to a sitemap as it is parsed: no tree of it is ever in memory."""

    def __init__(self) -> None:
        self.kind = ""
        self.found: dict[str, None] = {}
        self.heard = 0
        self._depth = 0
        self._said: str | None = None

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        """An element begins."""
        self.heard += 1
        self._depth += 1
        if self.heard > _MAX_ELEMENTS or self._depth > _MAX_DEPTH:
            raise Invalid("sitemap", "is too large, or none")
        if self._depth == 1:
            self.kind = _local(tag)
        if self.kind not in ("urlset", "sitemapindex"):
            raise Invalid("sitemap", "is no sitemap: it lists neither pages nor sitemaps")
        if self._depth == _OF_ENTRY and _local(tag) == "loc":
            self._said = ""

    def data(self, text: str) -> None:
        """Some text of it."""
        if self._said is not None:
            self._said = (self._said + text).lstrip()[: MAX_ADDRESS_CHARACTERS + 1]

    def end(self, _tag: str) -> None:
        """It ends."""
        if self._depth == _OF_ENTRY and self._said is not None:
            self._keep(self._said.rstrip())
            self._said = None
        self._depth -= 1

    def close(self) -> Sitemap:
        """All of it was read."""
        found = tuple(self.found)
        return Sitemap(found, ()) if self.kind == "urlset" else Sitemap((), found)

    def _keep(self, address: str) -> None:
        if address:
            self.found[address] = None
        if len(self.found) > MAX_PAGES:
            raise Invalid("sitemap", f"lists more than {MAX_PAGES} addresses")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
