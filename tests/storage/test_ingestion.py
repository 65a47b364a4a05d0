"""Files read in the background: in turn, once, whatever dies meanwhile."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.ingest import Library
from knowledge.ports import Embedded
from server.ingestion import BATCH_PASSAGES, MAX_DEATHS, SLICE_BATCHES, Ingestor
from server.stores import Stores
from storage.cells import Cells
from storage.control import control
from storage.documents import PostgresDocuments
from storage.ingestion import PostgresIngestion
from tenancy.document import Document, DocumentStatus, Ingestion, Upload
from tenancy.errors import LeaseLost, ModelFailed, NotFound, QuotaExceeded
from tenancy.ids import DocumentId, PlanId, SubjectId, TenantId
from tenancy.tenant import TenantStatus
from tests.storage.makers import audit_event, value

ALICE = SubjectId("alice")
WORDS = "The quick brown fox jumps over the lazy dog near passage number {0}. " * 12
SHORT_SECONDS = 0.05


class Tiny:
    """Embeds anything at once, and counts; fails as often as it is told."""

    model = "tiny"

    def __init__(self) -> None:
        self.texts = 0
        self.failures = 0

    async def embed(self, texts: Sequence[str]) -> Embedded:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise ModelFailed("It is away.")
        self.texts += len(texts)
        return Embedded([(1.0, len(text) / 1000, 0.0) for text in texts], len(texts))


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


def ingestor(cells: Cells, tiny: Tiny, lease_seconds: float = 30) -> Ingestor:
    """What one process has."""
    library = Library(Embedders(tiny), PostgresDocuments(cells))
    jobs = PostgresIngestion(cells, lease_seconds=lease_seconds)
    return Ingestor(jobs, library, back_off_seconds=0)


@pytest.fixture
def here(cells: Cells, tiny: Tiny) -> Ingestor:
    return ingestor(cells, tiny)


@pytest.fixture
def documents(cells: Cells) -> PostgresDocuments:
    return PostgresDocuments(cells)


@pytest.fixture
def tenant(stores: Stores) -> TenantId:
    return new_tenant(stores)


def new_tenant(stores: Stores) -> TenantId:
    name = TenantId(f"tenant-{uuid4().hex[:8]}")
    with control(stores.owner()) as admin:
        admin.create_tenant(name, "Somebody", PlanId("pro"))
    return name


def file(passages: int = 3, name: str = "a.txt") -> Upload:
    text = "\n\n".join(WORDS.format(number) for number in range(passages))
    return Upload(name, f"{uuid4()}\n\n{text}".encode())


async def queue(here: Ingestor, tenant: TenantId, upload: Upload, most: int = -1) -> Document:
    stored, _ = await here.add(tenant, ALICE, upload, max_documents=most)
    return stored


async def drain(here: Ingestor, tenant: TenantId) -> int:
    """Work until the tenant has nothing due; how many turns it took."""
    turns = 0
    while await here.work_once(tenant):
        turns += 1
    return turns


async def claimed(here: Ingestor, tenant: TenantId) -> Ingestion:
    job = await here.jobs.claim(tenant)
    assert job is not None
    return job


# -- one document


async def test_a_queued_file_becomes_a_document(
    here: Ingestor, documents: PostgresDocuments, tenant: TenantId
) -> None:
    queued = await queue(here, tenant, file(name="my-file.txt"))
    assert queued.status == DocumentStatus.QUEUED
    await drain(here, tenant)
    ready = await documents.get(tenant, queued.document_id)
    passages = await documents.passages(tenant, queued.document_id, None, 100)
    assert (ready.status, ready.title) == (DocumentStatus.READY, "My file")
    assert ready.passages == len(passages) > 1
    text = await documents.text(tenant, queued.document_id)
    assert all(text[each.start : each.end] == each.text for each in passages)


@pytest.mark.parametrize("table", ["uploads", "staged_passages"])
async def test_nothing_is_left_behind(
    here: Ingestor, cells: Cells, tenant: TenantId, table: str
) -> None:
    await queue(here, tenant, file())
    await drain(here, tenant)
    assert await value(cells, f"select count(*) from {table}", tenant) == 0  # noqa: S608


async def test_nothing_half_indexed_is_found(
    here: Ingestor, cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    queued = await queue(here, tenant, file(BATCH_PASSAGES * SLICE_BATCHES + 1))
    await here.work_once(tenant)
    half = await documents.get(tenant, queued.document_id)
    assert (half.status, half.done) == (
        DocumentStatus.EMBEDDING,
        BATCH_PASSAGES * SLICE_BATCHES,
    )
    assert half.done < half.total
    assert await value(cells, "select count(*) from passages", tenant) == 0
    await drain(here, tenant)
    assert (await documents.get(tenant, queued.document_id)).passages == half.total


async def test_what_was_embedded_is_billed_once(
    here: Ingestor, cells: Cells, tenant: TenantId, tiny: Tiny
) -> None:
    await queue(here, tenant, file(40))
    await drain(here, tenant)
    billed = await value(cells, "select sum(quantity)::int from usage_events", tenant)
    assert billed == tiny.texts


async def test_the_same_content_is_queued_once(here: Ingestor, tenant: TenantId) -> None:
    upload = file()
    first = await queue(here, tenant, upload)
    assert (await queue(here, tenant, upload)).document_id == first.document_id
    assert await drain(here, tenant) == 1


async def test_what_is_queued_counts_as_a_document(here: Ingestor, tenant: TenantId) -> None:
    await queue(here, tenant, file(), most=1)
    with pytest.raises(QuotaExceeded):
        await queue(here, tenant, file(), most=1)
    await drain(here, tenant)


# -- what goes wrong


async def test_a_file_that_cannot_be_read_says_why(
    here: Ingestor, documents: PostgresDocuments, tenant: TenantId
) -> None:
    broken = await queue(here, tenant, Upload("a.pdf", b"%PDF-1.7 and no more"))
    sound = await queue(here, tenant, file())
    await drain(here, tenant)
    failed = await documents.get(tenant, broken.document_id)
    assert failed.status == DocumentStatus.FAILED
    assert failed.error == "The file is a PDF that is broken or too complex to read."
    assert (await documents.get(tenant, sound.document_id)).status == DocumentStatus.READY


async def test_a_model_that_is_away_is_asked_three_times(
    here: Ingestor, documents: PostgresDocuments, tenant: TenantId, tiny: Tiny
) -> None:
    tiny.failures = 2
    patient = await queue(here, tenant, file())
    assert await drain(here, tenant) == 3
    assert (await documents.get(tenant, patient.document_id)).status == DocumentStatus.READY
    tiny.failures = 3
    failed = await queue(here, tenant, file())
    assert await drain(here, tenant) == 3
    found = await documents.get(tenant, failed.document_id)
    assert (found.status, found.error) == (
        DocumentStatus.FAILED,
        "It failed 3 times: It is away.",
    )


async def test_what_failed_may_be_tried_again(
    here: Ingestor, documents: PostgresDocuments, tenant: TenantId, tiny: Tiny
) -> None:
    tiny.failures = 3
    failed = (await queue(here, tenant, file())).document_id
    await drain(here, tenant)
    assert await here.jobs.retry(tenant, failed, audit_event())
    assert not await here.jobs.retry(tenant, failed, audit_event())
    await drain(here, tenant)
    assert (await documents.get(tenant, failed)).status == DocumentStatus.READY
    assert not await here.jobs.retry(tenant, failed, audit_event())
    with pytest.raises(NotFound):
        await here.jobs.retry(tenant, DocumentId(uuid4()), audit_event())
    assert await drain(here, tenant) == 0


async def test_a_file_at_which_processes_die_is_given_up(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId, tiny: Tiny
) -> None:
    dying = ingestor(cells, tiny, lease_seconds=SHORT_SECONDS)
    queued = await queue(dying, tenant, file())
    for _ in range(MAX_DEATHS):
        await claimed(dying, tenant)
        await asyncio.sleep(SHORT_SECONDS * 2)
    await drain(ingestor(cells, tiny), tenant)
    assert (await documents.get(tenant, queued.document_id)).status == DocumentStatus.FAILED


async def test_who_lost_its_lease_writes_nothing(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId, tiny: Tiny
) -> None:
    slow, fast = ingestor(cells, tiny, lease_seconds=SHORT_SECONDS), ingestor(cells, tiny)
    queued = await queue(slow, tenant, file())
    job = await claimed(slow, tenant)
    await asyncio.sleep(SHORT_SECONDS * 2)
    await drain(fast, tenant)
    for late in (slow.jobs.begin(job), slow.jobs.fail(job, "late"), slow.jobs.finish(job, 1)):
        with pytest.raises(LeaseLost):
            await late
    assert (await documents.get(tenant, queued.document_id)).status == DocumentStatus.READY


async def test_a_document_may_be_deleted_at_any_point(
    here: Ingestor, cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    queued = await queue(here, tenant, file())
    await documents.delete(tenant, queued.document_id, audit_event())
    assert await drain(here, tenant) == 0
    begun = await queue(here, tenant, file())
    job = await claimed(here, tenant)
    await documents.delete(tenant, begun.document_id, audit_event())
    with pytest.raises(LeaseLost):
        await here.jobs.begin(job)
    assert await value(cells, "select count(*) from uploads", tenant) == 0
    await queue(here, tenant, file())
    assert await drain(here, tenant) == 1


async def test_a_suspended_tenant_is_read_when_it_is_back(
    here: Ingestor, stores: Stores, documents: PostgresDocuments, tenant: TenantId
) -> None:
    queued = await queue(here, tenant, file())
    job = await claimed(here, tenant)
    set_status(stores, tenant, TenantStatus.SUSPENDED)
    with pytest.raises(LeaseLost):
        await here.jobs.begin(job)
    await here.jobs.put_back(job, tries=0)
    assert await drain(here, tenant) == 0
    set_status(stores, tenant, TenantStatus.ACTIVE)
    await drain(here, tenant)
    assert (await documents.get(tenant, queued.document_id)).status == DocumentStatus.READY


def set_status(stores: Stores, tenant: TenantId, status: TenantStatus) -> None:
    with control(stores.owner()) as admin:
        admin.set_status(tenant, status)


async def test_an_erased_tenant_leaves_no_job(
    here: Ingestor, stores: Stores, cells: Cells, tenant: TenantId
) -> None:
    await queue(here, tenant, file())
    await queue(here, tenant, file())
    job = await claimed(here, tenant)
    with control(stores.owner()) as admin:
        admin.erase(stores.app, tenant)
    with pytest.raises(LeaseLost):
        await here.jobs.begin(job)
    assert await drain(here, tenant) == 0
    for table in ("documents", "uploads", "staged_passages"):
        assert await value(cells, f"select count(*) from {table}", tenant) == 0  # noqa: S608


# -- many tenants


async def test_a_flood_of_one_tenant_is_one_job_to_another(
    here: Ingestor, documents: PostgresDocuments, stores: Stores
) -> None:
    loud, quiet = new_tenant(stores), new_tenant(stores)
    for _ in range(20):
        await queue(here, loud, file(1))
    late = await queue(here, quiet, file(1))
    turns = 0
    while (await documents.get(quiet, late.document_id)).status != DocumentStatus.READY:
        assert await here.work_once()
        turns += 1
    assert turns <= 2
    await drain(here, loud)


async def test_a_tenant_has_one_turn_at_a_time(
    here: Ingestor, cells: Cells, tenant: TenantId, tiny: Tiny
) -> None:
    await queue(here, tenant, file())
    await queue(here, tenant, file())
    job = await claimed(here, tenant)
    assert await ingestor(cells, tiny).jobs.claim(tenant) is None
    await here.jobs.put_back(job, tries=0)
    assert await drain(here, tenant) == 2


async def test_many_processes_never_have_the_same_job(
    cells: Cells, tenant: TenantId, stores: Stores, tiny: Tiny
) -> None:
    others = [tenant, *(new_tenant(stores) for _ in range(4))]
    processes = [ingestor(cells, tiny) for _ in range(6)]
    wanted = {(await queue(processes[0], each, file(1))).document_id for each in others}
    taken = await asyncio.gather(*(each.jobs.claim() for each in processes * 3))
    got = [job.document_id for job in taken if job]
    assert len(got) == len(set(got))
    assert set(got) <= wanted
    for process in processes:
        for job in taken:
            if job:
                await process.jobs.put_back(job, tries=0)
    for each in others:
        await drain(processes[0], each)


async def test_figures_count_what_there_is(here: Ingestor, tenant: TenantId) -> None:
    before = await here.jobs.figures()
    await queue(here, tenant, file())
    await queue(here, tenant, file())
    job = await claimed(here, tenant)
    now = await here.jobs.figures()
    assert (now.waiting - before.waiting, now.working - before.working) == (1, 1)
    await here.jobs.put_back(job, tries=1, after_seconds=60)
    later = await here.jobs.figures()
    assert (later.working - before.working, later.postponed - before.postponed) == (0, 1)
    assert later.oldest_seconds > 0


async def test_only_the_platform_may_ask_for_jobs_of_all(cells: Cells, tenant: TenantId) -> None:
    claim = "select count(*) from tenantry.claim_ingestion(%(who)s, null, %(holder)s, 30)"
    asked = {"holder": uuid4()}
    for who in ("*", tenant):
        assert await value(cells, claim, tenant, who=who, **asked) == 0
