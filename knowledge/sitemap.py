"""The addresses that a sitemap lists (sitemaps.org)."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tenancy.errors import Invalid

MAX_BYTES = 5_000_000
MAX_PAGES = 500


@dataclass(frozen=True, slots=True)
class Sitemap:
    """Addresses of pages, or of more sitemaps, each once and in the order of the file."""

    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]


def read_sitemap(data: bytes) -> Sitemap:
    """Read a sitemap; raises `Invalid` for what is none."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        raise Invalid("sitemap", "is no sitemap: its XML cannot be read") from None
    kind = _local(root)
    if kind not in ("urlset", "sitemapindex"):
        raise Invalid("sitemap", "is no sitemap: it lists neither pages nor sitemaps")
    found = tuple(dict.fromkeys(_addresses(root)))
    if len(found) > MAX_PAGES:
        raise Invalid("sitemap", f"lists more than {MAX_PAGES} addresses")
    return Sitemap(found, ()) if kind == "urlset" else Sitemap((), found)


def _addresses(root: Element) -> list[str]:
    return [
        each.text.strip()
        for entry in root
        for each in entry
        if _local(each) == "loc" and each.text and each.text.strip()
    ]


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
