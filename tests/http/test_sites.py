"""Sitemaps: the pages of one host, as its robots.txt lets crawlers have them."""

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp import web

from knowledge.robots import MAX_BYTES
from server.sites import MAX_SITEMAPS, MOST_KEPT, MOST_OF_TENANT, Sites
from server.web import AT_ONCE, OFF, NoPage, Web
from tenancy.errors import Forbidden, Invalid, QuotaExceeded
from tenancy.ids import TenantId
from tests.support.internet import HOST, MAP, PUBLIC, Site, index, internet, urlset

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


async def listed(network: Web, url: str = MAP) -> dict[str, str | None]:
    """The pages of a sitemap, with what is said against each."""
    pages = await Sites(network).pages(ACME, url)
    return {page.url: getattr(page.refusal, "message", None) for page in pages}


async def refused(network: Web, url: str = MAP) -> str:
    """Why a sitemap is refused as a whole."""
    with pytest.raises(Invalid) as found:
        await Sites(network).pages(ACME, url)
    assert found.value.field == "sitemap"
    return found.value.message


async def test_only_public_pages_of_its_own_host_are_taken() -> None:
    urls = [
        f"{HOST}/a",
        "http://elsewhere.example.com/",
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "nonsense",
    ]
    async with internet(Site(map=urlset(*urls))) as network:
        found = await listed(network)
    assert list(found) == urls
    assert [said is None for said in found.values()] == [True, *[False] * 5]
    assert found["http://elsewhere.example.com/"] == "leads to another host"


async def test_a_page_that_is_redirected_inside_is_not_fetched() -> None:
    site = Site(a="http://169.254.169.254/", b="http://inside.example.com/", c="//[::1]/")
    async with internet(site, {"inside.example.com": ["10.0.0.1"]}) as network:
        for page in "abc":
            with pytest.raises(Invalid):
                await Sites(network).page(ACME, f"{HOST}/{page}")
        assert set(network.dialled) == {(PUBLIC, 80)}


async def test_an_index_and_packed_sitemaps_are_read() -> None:
    site = Site(
        index=index(f"{HOST}/one.xml.gz", f"{HOST}/two.xml"),
        one=gzip.compress(urlset(f"{HOST}/1", f"{HOST}/2")),
        two=urlset(f"{HOST}/2", f"{HOST}/3"),
    )
    async with internet(site) as network:
        assert [*await listed(network, f"{HOST}/index.xml")] == [f"{HOST}/{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html></html>", "no sitemap"),
        (404, "404"),
        ("http://elsewhere.example.com/map.xml", "another host"),
        (index(*(f"{HOST}/{n}" for n in range(MAX_SITEMAPS + 1))), "50 sitemaps"),
        (index(f"{HOST}/nothing.xml"), "no sitemap"),
        (index("http://169.254.169.254/map.xml"), "public host"),
        (urlset(*(f"{HOST}/{n}" for n in range(5001))), "5000 addresses"),
    ],
    ids=["page", "missing", "elsewhere", "many", "empty", "inside", "long"],
)
async def test_what_is_no_sitemap_is_refused(answer: Any, says: str) -> None:
    async with internet(Site(map=answer)) as network:
        assert says in await refused(network)


async def test_sitemaps_are_not_read_for_ever() -> None:
    async with internet(Site(map=urlset(f"{HOST}/a"))) as network:
        with pytest.raises(Invalid, match="not valid") as found:
            await Sites(network, seconds=0).pages(ACME, MAP)
    assert "too long" in found.value.message


class TestRobots:
    async def test_what_a_site_keeps_to_itself_is_not_fetched(self) -> None:
        site = Site("User-agent: *\nDisallow: /secret", map=urlset(f"{HOST}/a", f"{HOST}/secret/b"))
        async with internet(site) as network:
            found = await listed(network)
            with pytest.raises(Invalid):
                await Sites(network).page(ACME, f"{HOST}/secret/b")
        assert [said is None for said in found.values()] == [True, False]
        assert "robots.txt" in str(found[f"{HOST}/secret/b"])
        assert "/secret/b" not in site.asked

    async def test_a_redirect_leads_to_no_such_page_either(self) -> None:
        site = Site("User-agent: tenantry\nDisallow: /secret", a="/secret/b")
        async with internet(site) as network:
            with pytest.raises(Invalid):
                await Sites(network).page(ACME, f"{HOST}/a")
        assert site.asked == ["/robots.txt", "/a"]

    async def test_a_page_that_somebody_names_is_fetched_all_the_same(self) -> None:
        site = Site("User-agent: *\nDisallow: /")
        async with internet(site) as network:
            assert await network.fetch(ACME, f"{HOST}/a")
        assert site.asked == ["/a"]

    @pytest.mark.parametrize("status", [204, 304, 401, 403, 404, 410])
    async def test_a_site_without_one_is_open(self, status: int) -> None:
        site = Site()
        site.robots_status = status
        async with internet(site) as network:
            assert await Sites(network).page(ACME, f"{HOST}/a")

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_a_site_that_cannot_tell_now_is_closed_for_now(self, status: int) -> None:
        site = Site(map=urlset(f"{HOST}/a"))
        site.robots_status = status
        async with internet(site) as network:
            sites = Sites(network)
            for _ in range(2):
                with pytest.raises(NoPage) as found:
                    await sites.page(ACME, f"{HOST}/a")
                assert found.value.passing
            assert site.asked == ["/robots.txt"]
            assert "robots.txt" in await refused(network)

    async def test_one_that_is_too_long_keeps_us_out(self) -> None:
        async with internet(Site("#" * (MAX_BYTES + 1))) as network:
            with pytest.raises(Invalid):
                await Sites(network).page(ACME, f"{HOST}/a")

    async def test_it_is_asked_for_once(self) -> None:
        site = Site()
        async with internet(site) as network:
            sites = Sites(network)
            for tenant in (ACME, ACME, GLOBEX):
                await sites.page(tenant, f"{HOST}/a")
        assert site.asked == ["/robots.txt", "/a", "/a", "/robots.txt", "/a"]

    async def test_a_host_that_is_busy_is_asked_for_it_again(self) -> None:
        site = Site(a=503)
        async with internet(site) as network:
            sites = Sites(network)
            for _ in range(2):
                with pytest.raises(NoPage):
                    await sites.page(ACME, f"{HOST}/a")
        assert site.asked == ["/robots.txt", "/a"] * 2

    async def test_a_tenants_own_limit_is_not_the_sites_fault(self) -> None:
        async with internet(Site()) as network:
            network._under_way[ACME] = AT_ONCE
            with pytest.raises(QuotaExceeded):
                await Sites(network).page(ACME, f"{HOST}/a")

    async def test_a_tenant_with_sites_without_end_is_forgotten_first(self) -> None:
        site = Site()
        async with internet(site) as network:
            sites = Sites(network)
            await sites.page(GLOBEX, f"{HOST}/a")
            for number in range(MOST_KEPT):
                await sites.page(ACME, f"http://{number}.example.com/a")
            assert len(sites._kept) == MOST_OF_TENANT + 1
            site.asked.clear()
            await sites.page(GLOBEX, f"{HOST}/a")
        assert site.asked == ["/a"]


async def test_of_a_tenant_one_sitemap_at_a_time_is_read() -> None:
    """Each took a thread of six for a second, fifty times: a dozen of them had everybody wait."""
    released = asyncio.Event()

    class Slow(Site):
        async def __call__(self, request: web.Request) -> web.Response:
            await released.wait()
            return await super().__call__(request)

    async with internet(Slow(map=urlset(f"{HOST}/a"))) as network:
        sites = Sites(network)
        reading = [asyncio.create_task(sites.pages(each, MAP)) for each in (ACME, GLOBEX)]
        await asyncio.sleep(0)
        try:
            with pytest.raises(QuotaExceeded):
                await sites.pages(ACME, MAP)
        finally:
            released.set()
            await asyncio.gather(*reading, return_exceptions=True)
        assert await sites.pages(ACME, MAP)


async def test_rules_without_end_are_not_followed_for_ever() -> None:
    """They took minutes, and held the interpreter, after the time that there is for a sitemap."""
    rules = "".join(f"Disallow: /*{'a' * 49}b{'a' * (49 + n % 50)}{n:b}*\n" for n in range(100))
    pages = urlset(*(f"{HOST}/{'a' * 1900}{number}" for number in range(5000)))
    site = Site(f"User-agent: *\n{rules}", map=gzip.compress(pages))
    async with internet(site) as network:
        with pytest.raises(Invalid) as found:
            await Sites(network, seconds=0.5).pages(ACME, MAP)
    assert "too long" in found.value.message


async def test_nothing_is_fetched_where_fetching_is_off() -> None:
    async with internet(Site(map=urlset(f"{HOST}/a"))) as network:
        network._off = True
        for fetch in (
            network.fetch(ACME, f"{HOST}/a"),
            Sites(network).pages(ACME, MAP),
            Sites(network).page(ACME, f"{HOST}/a"),
        ):
            with pytest.raises(Forbidden) as found:
                await fetch
            assert found.value.detail == OFF
        assert network.dialled == []
