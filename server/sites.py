"""The pages of a site that its sitemap lists and its robots.txt lets crawlers fetch."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from knowledge.robots import MAX_BYTES as MAX_ROBOTS_BYTES
from knowledge.robots import Robots, read_robots
from knowledge.sitemap import MAX_BYTES, MAX_PAGES, Sitemap, read_sitemap
from server.web import NoPage, Web
from tenancy.document import Upload
from tenancy.errors import Invalid, PayloadTooLarge, QuotaExceeded, Refusal
from tenancy.ids import TenantId
from tools.egress import Target, target_of

SITEMAP, ROBOTS = "sitemap", "robots.txt"
CRAWLER = "Tenantry"  # what a robots.txt calls us
MAX_SITEMAPS = 50  # of one index
SECONDS = 60.0  # of all of them: somebody waits
READERS = 2  # threads of the event loop's at once: what else needs one does not wait for many
LOOKED_AT_ONCE = 200  # addresses, by the rules of their host: then it may be too late
KEPT_SECONDS = 3600.0  # a robots.txt; the standard lets it be a day
KEPT_AWAY_SECONDS = 60.0  # a host that does not answer is not asked again for every page
MOST_KEPT = 500  # of all tenants together
MOST_OF_TENANT = 50  # whoever has sites without end forgets its own first

Key = tuple[TenantId, str, str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SitePage:
    """A page that a sitemap lists; `refusal` is why it is not fetched, where that is known."""

    url: str
    refusal: Refusal | None = None

    def __str__(self) -> str:
        return self.url


class Sites:
    """Reads sitemaps and fetches their pages, each from its own host and as that host likes it."""

    def __init__(self, web: Web, *, seconds: float = SECONDS) -> None:
        self._web = web
        self._seconds = seconds
        self._under_way: set[TenantId] = set()
        self._readers = asyncio.Semaphore(READERS)
        self._kept: dict[Key, tuple[Robots | NoPage, float]] = {}

    async def pages(self, tenant_id: TenantId, url: str) -> list[SitePage]:
        """The pages that a sitemap lists, or those of the sitemaps that an index lists.

        Raises `Invalid` for what is no sitemap or lists too much, `QuotaExceeded` while another of
        the tenant is read, and what `Web` raises.
        """
        start = target_of(url, SITEMAP)
        with self._alone(tenant_id):
            try:
                async with asyncio.timeout(self._seconds):
                    found = await self._listed(tenant_id, start)
                    allowed = _allowed(start, await self._robots(tenant_id, start, SITEMAP))
                    return await self._looked_at(found, allowed)
            except TimeoutError:
                raise Invalid(SITEMAP, "takes too long to be read") from None

    @contextmanager
    def _alone(self, tenant_id: TenantId) -> Iterator[None]:
        if tenant_id in self._under_way:
            said = "A sitemap is being read already."
            raise QuotaExceeded("fetches", timedelta(seconds=2), said)
        self._under_way.add(tenant_id)
        try:
            yield
        finally:
            self._under_way.discard(tenant_id)

    async def _apart(self, work: Callable[..., T], *of: object) -> T:
        """Do it on a thread."""
        async with self._readers:
            return await asyncio.to_thread(work, *of)

    async def page(self, tenant_id: TenantId, url: str) -> Upload:
        """A page of a sitemap; raises what `Web` raises."""
        target = target_of(url)
        robots = await self._robots(tenant_id, target, "url")
        try:
            return await self._web.fetch(tenant_id, url, allowed=_allowed(target, robots))
        except NoPage as fault:
            if fault.passing:  # perhaps it is the host: its robots.txt tells, once for all pages
                self._kept.pop(_key(tenant_id, target), None)
            raise

    async def _listed(self, tenant_id: TenantId, start: Target) -> list[str]:
        first = await self._read(tenant_id, start.url, start.host)
        if len(first.sitemaps) > MAX_SITEMAPS:
            raise Invalid(SITEMAP, f"lists more than {MAX_SITEMAPS} sitemaps")
        found = dict.fromkeys(first.pages)
        for each in first.sitemaps:
            found |= dict.fromkeys((await self._read(tenant_id, each, start.host)).pages)
            if len(found) > MAX_PAGES:
                raise Invalid(SITEMAP, f"lists more than {MAX_PAGES} addresses")
        return [*found]

    async def _read(self, tenant_id: TenantId, url: str, host: str) -> Sitemap:
        file = await self._web.fetch(
            tenant_id,
            url,
            field=SITEMAP,
            allowed=_at_home(host, SITEMAP),
            max_bytes=MAX_BYTES,
            packed=True,
        )
        return await self._apart(read_sitemap, file.data)

    async def _looked_at(
        self, urls: list[str], allowed: Callable[[Target], None]
    ) -> list[SitePage]:
        pages: list[SitePage] = []
        for first in range(0, len(urls), LOOKED_AT_ONCE):
            pages += await self._apart(_pages, urls[first : first + LOOKED_AT_ONCE], allowed)
        return pages

    async def _robots(self, tenant_id: TenantId, target: Target, field: str) -> Robots:
        """The rules of a host; raises `Invalid` where it is not said what they are."""
        key, now = _key(tenant_id, target), asyncio.get_running_loop().time()
        known, until = self._kept.get(key, (None, 0.0))
        if known is None or until < now:
            known = await self._asked(tenant_id, target)
            away = isinstance(known, NoPage)
            self._keep(key, known, now + (KEPT_AWAY_SECONDS if away else KEPT_SECONDS))
        if isinstance(known, NoPage):
            raise NoPage(field, known.message, passing=known.passing)
        return known

    def _keep(self, key: Key, known: Robots | NoPage, until: float) -> None:
        self._kept.pop(key, None)
        self._kept[key] = known, until
        own = [each for each in self._kept if each[0] == key[0]]
        if len(own) > MOST_OF_TENANT:
            del self._kept[own[0]]
        elif len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    async def _asked(self, tenant_id: TenantId, target: Target) -> Robots | NoPage:
        url = f"{target.scheme}://{target.host}/robots.txt"
        try:
            file = await self._web.fetch(tenant_id, url, field=ROBOTS, max_bytes=MAX_ROBOTS_BYTES)
        except NoPage as fault:
            said = f"is of a host whose robots.txt {fault.message}"
            return NoPage(ROBOTS, said, passing=True) if fault.passing else Robots(())
        except (Invalid, PayloadTooLarge):
            return NoPage(ROBOTS, "is of a host whose robots.txt cannot be read", passing=False)
        return await self._apart(read_robots, file.data, CRAWLER)


def _key(tenant_id: TenantId, target: Target) -> Key:
    return tenant_id, target.scheme, target.host


def _at_home(host: str, field: str) -> Callable[[Target], None]:
    def allowed(target: Target) -> None:
        if target.host != host:
            raise Invalid(field, "leads to another host")

    return allowed


def _allowed(start: Target, robots: Robots) -> Callable[[Target], None]:
    """A page, and all that it is redirected to."""
    at_home = _at_home(start.host, "url")

    def allowed(target: Target) -> None:
        at_home(target)
        if not robots.allow(target.url):
            raise Invalid("url", "is closed to crawlers by the robots.txt of its host")

    return allowed


def _pages(urls: list[str], allowed: Callable[[Target], None]) -> list[SitePage]:
    return [SitePage(url, _fault_of(url, allowed)) for url in urls]


def _fault_of(url: str, allowed: Callable[[Target], None]) -> Refusal | None:
    try:
        allowed(target_of(url))
    except Invalid as fault:
        return fault
    return None
