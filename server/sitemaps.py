"""The pages of a site, by its sitemap."""

from dataclasses import dataclass

from knowledge.sitemap import MAX_BYTES, MAX_PAGES, Sitemap, read_sitemap
from server.web import Web
from tenancy.errors import Invalid
from tenancy.ids import TenantId
from tools.egress import target_of

SITEMAP = "sitemap"
MAX_SITEMAPS = 50  # of one index


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page to fetch; `only_host` when it must not lead anywhere else."""

    url: str
    only_host: str | None = None

    def __str__(self) -> str:
        return self.url


async def pages_of(web: Web, tenant_id: TenantId, url: str) -> list[WebPage]:
    """The pages that a sitemap lists, or those of the sitemaps that an index lists.

    Raises `Invalid` for what is no sitemap or lists more than 500 pages, and what `Web` raises.
    """
    host = target_of(url, SITEMAP).host
    first = await _read(web, tenant_id, url, host)
    if len(first.sitemaps) > MAX_SITEMAPS:
        raise Invalid(SITEMAP, f"lists more than {MAX_SITEMAPS} sitemaps")
    found = dict.fromkeys(first.pages)
    for each in first.sitemaps:
        found |= dict.fromkeys((await _read(web, tenant_id, each, host)).pages)
        if len(found) > MAX_PAGES:
            raise Invalid(SITEMAP, f"lists more than {MAX_PAGES} addresses")
    return [WebPage(page, host) for page in found]


async def _read(web: Web, tenant_id: TenantId, url: str, host: str) -> Sitemap:
    file = await web.fetch(tenant_id, url, field=SITEMAP, only_host=host, max_bytes=MAX_BYTES)
    return read_sitemap(file.data)
