"""Pages fetched in the background: in turn, once, as their host and their tenant's plan let us."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.ingest import Library
from server.ingestion import Ingestor
from server.site_pages import MAX_DEATHS, MAX_TRIES, QUEUED_AT_ONCE, SitePages
from server.sites import Sites
from server.stores import Stores
from server.web import AT_ONCE, Web
from storage.cells import Cells
from storage.control import control
from storage.directory import Directory
from storage.documents import PostgresDocuments
from storage.ingestion import PostgresIngestion
from storage.site_pages import PostgresSitePages
from tenancy.document import Document, DocumentStatus, Ingestion, Taken, Upload
from tenancy.errors import LeaseLost, QuotaExceeded
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.tenant import Tenant, TenantStatus
from tests.storage.makers import audit_event, value
from tests.storage.test_ingestion import Tiny, new_tenant
from tests.support.internet import HOST, MAP, Site, internet, urlset

ALICE = SubjectId("alice")
SHORT_SECONDS = 0.05


@pytest.fixture
def site() -> Site:
    return Site(map=urlset(f"{HOST}/one", f"{HOST}/two", f"{HOST}/three"))


@pytest.fixture
async def network(site: Site) -> AsyncIterator[Web]:
    async with internet(site) as network:
        yield network


@pytest.fixture
def documents(cells: Cells) -> PostgresDocuments:
    return PostgresDocuments(cells)


@pytest.fixture
async def tenant(stores: Stores, cells: Cells) -> Tenant:
    return await made(stores, cells)


@pytest.fixture
def here(cells: Cells, network: Web) -> SitePages:
    return fetching(cells, network)


@pytest.fixture
def reading(cells: Cells) -> Ingestor:
    return Ingestor(PostgresIngestion(cells), library(cells), back_off_seconds=0)


async def made(stores: Stores, cells: Cells) -> Tenant:
    """A tenant of the test's own."""
    found = await Directory(cells.first.pool).tenant(new_tenant(stores))
    assert found is not None
    return found


def library(cells: Cells) -> Library:
    return Library(Embedders(Tiny()), PostgresDocuments(cells))


def fetching(
    cells: Cells, network: Web, lease_seconds: float = 120, most: int = UNLIMITED
) -> SitePages:
    """What one process has."""

    async def bytes_for(_tenant_id: TenantId) -> int:
        return most

    return SitePages(
        PostgresSitePages(cells, lease_seconds=lease_seconds),
        Sites(network),
        library(cells),
        bytes_for=bytes_for,
        fetched=lambda: None,
        back_off_seconds=0,
    )


async def add(here: SitePages, tenant: Tenant, sitemap: str = MAP) -> list[Taken]:
    """Take a sitemap in."""
    return await here.add(tenant, ALICE, sitemap, lambda document_id: audit_event(str(document_id)))


async def drain(here: SitePages | Ingestor, tenant: Tenant) -> int:
    """Work until the tenant has nothing due; how many turns it took."""
    turns = 0
    while await here.work_once(tenant.tenant_id):
        turns += 1
    return turns


async def shelf(documents: PostgresDocuments, tenant: Tenant) -> dict[str, Document]:
    """The tenant's documents, by the last word of their addresses."""
    found = await documents.page(tenant.tenant_id, None, 5000)
    return {str(each.url).rpartition("/")[2]: each for each in found}


async def claimed(here: SitePages, tenant: Tenant) -> Ingestion:
    job = await here.jobs.claim(tenant.tenant_id)
    assert job is not None
    return job


async def test_each_page_becomes_a_document(
    here: SitePages, reading: Ingestor, documents: PostgresDocuments, tenant: Tenant, cells: Cells
) -> None:
    taken = await add(here, tenant)
    assert [each.source for each in taken] == [f"{HOST}/{n}" for n in ("one", "two", "three")]
    assert all(each.added for each in taken)
    queued = await shelf(documents, tenant)
    assert {each.status for each in queued.values()} == {DocumentStatus.QUEUED}
    assert await drain(here, tenant) == 3
    assert await drain(reading, tenant) == 3
    ready = await shelf(documents, tenant)
    assert {name: each.document_id for name, each in ready.items()} == {
        name: each.document_id for name, each in queued.items()
    }
    assert {each.status for each in ready.values()} == {DocumentStatus.READY}
    assert {each.url for each in ready.values()} == {each.source for each in taken}
    assert all(each.size > 0 and each.passages == 1 for each in ready.values())
    assert await value(cells, "select count(*) from uploads", tenant.tenant_id) == 0
    assert await value(cells, "select count(*) from audit_events", tenant.tenant_id) == 3


async def test_a_page_that_is_there_is_not_fetched_again(
    here: SitePages, reading: Ingestor, site: Site, tenant: Tenant
) -> None:
    first = await add(here, tenant)
    pending = await add(here, tenant)
    assert not any(each.added for each in pending)
    assert await drain(here, tenant) == 3
    await drain(reading, tenant)
    again = await add(here, tenant)
    ids = [[each.outcome.document_id for each in some] for some in (first, pending, again)]
    assert ids[0] == ids[1] == ids[2]
    assert await drain(here, tenant) == 0
    assert site.asked.count("/one") == 1


async def test_a_page_that_failed_is_tried_again_with_its_sitemap(
    here: SitePages, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    site.answers["two"] = 404
    await add(here, tenant)
    await drain(here, tenant)
    failed = (await shelf(documents, tenant))["two"]
    assert (failed.status, failed.error) == (
        DocumentStatus.FAILED,
        "The url is answered with the status 404.",
    )
    del site.answers["two"]
    again = {each.source: each for each in await add(here, tenant)}
    assert [each.added for each in again.values()] == [False, True, False]
    assert await drain(here, tenant) == 1
    assert (await shelf(documents, tenant))["two"].error is None


async def test_a_failed_page_is_retried_by_fetching_it(
    here: SitePages, reading: Ingestor, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    site.answers["two"] = 404
    await add(here, tenant)
    await drain(here, tenant)
    failed = (await shelf(documents, tenant))["two"]
    del site.answers["two"]
    assert await reading.jobs.retry(tenant.tenant_id, failed.document_id, audit_event("retry"))
    assert await drain(here, tenant) == 1
    await drain(reading, tenant)
    assert (await shelf(documents, tenant))["two"].status == DocumentStatus.READY


async def test_a_page_that_was_fetched_is_retried_by_reading_it(
    here: SitePages, reading: Ingestor, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    site.answers["two"] = b"%PDF-1.4 broken"
    await add(here, tenant)
    await drain(here, tenant)
    await drain(reading, tenant)
    failed = (await shelf(documents, tenant))["two"]
    assert failed.error == "The file is a PDF that is broken or too complex to read."
    assert await reading.jobs.retry(tenant.tenant_id, failed.document_id, audit_event("retry"))
    assert (await drain(here, tenant), await drain(reading, tenant)) == (0, 1)


async def test_two_pages_that_say_the_same_are_one_document(
    here: SitePages, reading: Ingestor, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    site.answers["one"] = site.answers["two"] = b"<p>Coming soon</p>"
    await add(here, tenant)
    await drain(here, tenant)
    await drain(reading, tenant)
    found = await shelf(documents, tenant)
    twins = sorted((found["one"], found["two"]), key=lambda each: each.status)
    assert [each.status for each in twins] == [DocumentStatus.FAILED, DocumentStatus.READY]
    assert str(twins[1].document_id) in str(twins[0].error)


async def test_a_plan_holds_so_many_pages(
    here: SitePages, documents: PostgresDocuments, tenant: Tenant, cells: Cells
) -> None:
    small = replace(tenant, plan=replace(tenant.plan, documents=2))
    taken = await add(here, small)
    assert [isinstance(each.outcome, QuotaExceeded) for each in taken] == [False, False, True]
    assert len(await shelf(documents, tenant)) == 2
    assert await drain(here, tenant) == 2


async def test_a_page_without_room_for_its_bytes_says_so(
    cells: Cells, network: Web, documents: PostgresDocuments, tenant: Tenant
) -> None:
    here = fetching(cells, network, most=20)
    await add(here, tenant)
    await drain(here, tenant)
    statuses = [each.status for each in (await shelf(documents, tenant)).values()]
    assert sorted(statuses) == ["failed", "failed", "queued"]


async def test_more_pages_than_a_transaction_takes_are_all_queued(
    here: SitePages, site: Site, cells: Cells, tenant: Tenant
) -> None:
    many = QUEUED_AT_ONCE + 1
    site.answers["map"] = urlset(*(f"{HOST}/{number}" for number in range(many)))
    assert sum(each.added for each in await add(here, tenant)) == many
    assert await value(cells, "select count(*) from documents", tenant.tenant_id) == many


async def test_a_tenant_of_many_pages_has_one_turn_at_a_time(
    here: SitePages, stores: Stores, cells: Cells, tenant: Tenant
) -> None:
    other = await made(stores, cells)
    for each in (tenant, other):
        await add(here, each)
        assert await claimed(here, each)
        assert await here.jobs.claim(each.tenant_id) is None


async def test_pages_to_fetch_hold_up_no_file(
    here: SitePages, reading: Ingestor, documents: PostgresDocuments, tenant: Tenant
) -> None:
    await add(here, tenant)
    job = await claimed(here, tenant)
    file, _ = await reading.add(
        tenant.tenant_id, ALICE, Upload("a.txt", f"Words {uuid4()}".encode()), max_documents=-1
    )
    assert await drain(reading, tenant) == 1
    found = await documents.get(tenant.tenant_id, file.document_id)
    assert found.status == DocumentStatus.READY
    assert await here.jobs.url_of(job) is not None


async def test_a_page_whose_process_died_is_fetched_by_another(
    cells: Cells, network: Web, here: SitePages, tenant: Tenant, site: Site
) -> None:
    dead = fetching(cells, network, lease_seconds=-1)
    await add(dead, tenant)
    job = await claimed(dead, tenant)
    assert await drain(here, tenant) == 3
    with pytest.raises(LeaseLost):
        await dead._fetch(job)


async def test_a_page_at_which_processes_die_is_given_up(
    cells: Cells, network: Web, here: SitePages, tenant: Tenant, documents: PostgresDocuments
) -> None:
    dead = fetching(cells, network, lease_seconds=-1)
    await add(dead, tenant)
    for _ in range(MAX_DEATHS):
        assert await claimed(dead, tenant)
    await drain(here, tenant)
    errors = [each.error for each in (await shelf(documents, tenant)).values()]
    assert sum("ended the process" in str(error) for error in errors) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_page_that_is_not_there_now_is_tried_again(
    here: SitePages, site: Site, documents: PostgresDocuments, tenant: Tenant, status: int
) -> None:
    site.answers["two"] = status
    await add(here, tenant)
    assert await drain(here, tenant) == 2 + MAX_TRIES
    found = (await shelf(documents, tenant))["two"]
    assert (found.status, site.asked.count("/two")) == (DocumentStatus.FAILED, MAX_TRIES)


async def test_who_fetches_by_hand_goes_first(
    here: SitePages, network: Web, tenant: Tenant, documents: PostgresDocuments
) -> None:
    await add(here, tenant)
    network._under_way[tenant.tenant_id] = AT_ONCE
    await here.work_once(tenant.tenant_id)
    assert {each.status for each in (await shelf(documents, tenant)).values()} == {"queued"}
    assert await here.jobs.waiting() >= 3


async def test_a_suspended_tenants_pages_wait(
    here: SitePages, stores: Stores, tenant: Tenant
) -> None:
    await add(here, tenant)
    with control(stores.owner()) as admin:
        admin.set_status(tenant.tenant_id, TenantStatus.SUSPENDED)
    assert await drain(here, tenant) == 0


async def test_a_document_that_is_deleted_is_not_fetched(
    here: SitePages, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    await add(here, tenant)
    job = await claimed(here, tenant)
    await documents.delete(tenant.tenant_id, job.document_id, audit_event("delete"))
    with pytest.raises(LeaseLost):
        await here.jobs.fail(job, "late")
    assert await drain(here, tenant) == 2


async def test_what_is_queued_is_not_fetched_once_fetching_is_off(
    here: SitePages, network: Web, site: Site, documents: PostgresDocuments, tenant: Tenant
) -> None:
    await add(here, tenant)
    network._off = True
    await drain(here, tenant)
    found = await shelf(documents, tenant)
    assert {each.error for each in found.values()} == {
        "This deployment fetches nothing from the web."
    }
    assert "/one" not in site.asked


@pytest.mark.parametrize("claimed_by", ["*", "the tenant"])
async def test_only_the_platform_may_ask_for_pages_of_all(
    here: SitePages, cells: Cells, tenant: Tenant, claimed_by: str
) -> None:
    await add(here, tenant)
    who = tenant.tenant_id if claimed_by == "the tenant" else claimed_by
    claim = "select count(*) from tenantry.claim_fetch(%(who)s, null, %(holder)s, 30)"
    assert await value(cells, claim, tenant.tenant_id, who=who, holder=uuid4()) == 0
    waiting = "select tenantry.pages_to_fetch(%(who)s)"
    assert await value(cells, waiting, tenant.tenant_id, who=who) == 0
