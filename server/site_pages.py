"""Fetches the pages of sites in the background: one of each tenant at a time, in turn."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import structlog

from knowledge.ingest import Library
from knowledge.media import base_name
from knowledge.parse import title_of
from server.ingestion_metrics import tell_pages
from server.rounds import Rounds
from server.sites import SitePage, Sites
from server.web import NoPage
from storage.site_pages import PostgresSitePages
from tenancy.audit import AuditEvent
from tenancy.document import Ingestion, Taken
from tenancy.errors import Invalid, LeaseLost, QuotaExceeded, Refusal, Unavailable
from tenancy.ids import DocumentId, SubjectId, TenantId
from tenancy.tenant import Tenant

log = structlog.get_logger()

SLOTS = 4  # pages at once in a process: they are in memory, 25 MiB each at most
LEASE_SECONDS = 120.0  # a page and its robots.txt take a minute at most
QUEUED_AT_ONCE = 500  # in a transaction: it holds up the tenant's other uploads
MAX_TRIES = 3
MAX_DEATHS = 3
BACK_OFF_SECONDS = 60.0  # doubled with each try: a host that asks for time gets some
TOLD_EVERY_SECONDS = 15.0  # as often as Prometheus looks


class SitePages:
    """Takes pages of sites in and fetches them; any number of processes share the work."""

    def __init__(
        self,
        jobs: PostgresSitePages,
        sites: Sites,
        library: Library,
        *,
        bytes_for: Callable[[TenantId], Awaitable[int]],
        fetched: Callable[[], None],
        back_off_seconds: float = BACK_OFF_SECONDS,
    ) -> None:
        self.jobs = jobs
        self._sites = sites
        self._library = library
        self._bytes_for = bytes_for
        self._fetched = fetched
        self._back_off_seconds = back_off_seconds
        self._rounds = Rounds(self.work_once, SLOTS)
        self.wake = self._rounds.wake

    async def add(
        self,
        tenant: Tenant,
        subject_id: SubjectId,
        sitemap: str,
        audit: Callable[[DocumentId], AuditEvent],
    ) -> list[Taken]:
        """What becomes of each page of a sitemap, in its order; raises as `Sites.pages` does."""
        pages = await self._sites.pages(tenant.tenant_id, sitemap)
        model = await self._library.embedding_model(tenant.tenant_id)
        taken: dict[str, Taken] = {}
        wanted = [(page.url, _title(page.url)) for page in pages if page.refusal is None]
        for first in range(0, len(wanted), QUEUED_AT_ONCE):
            some = await self.jobs.queue(
                tenant.tenant_id,
                wanted[first : first + QUEUED_AT_ONCE],
                embedding_model=model,
                subject_id=subject_id,
                max_documents=tenant.plan.documents,
                max_bytes=tenant.plan.document_bytes,
                audit=audit,
            )
            taken |= {each.source: each for each in some}
        self.wake()
        return [_refused(page) or taken[page.url] for page in pages]

    async def keep(self) -> None:
        """Fetch what is queued until cancelled."""
        await asyncio.gather(self._tell(), self._rounds.keep())

    async def _tell(self) -> None:
        while True:
            with suppress(Unavailable):
                tell_pages(await self.jobs.waiting())
            await asyncio.sleep(TOLD_EVERY_SECONDS)

    async def work_once(self, only: TenantId | None = None) -> bool:
        """Fetch a page of whom it is the turn; whether there was one. Raises `Unavailable`."""
        job = await self.jobs.claim(only)
        if job is None:
            return False
        with suppress(LeaseLost):  # deleted, suspended, erased, or another's
            await self._work(job)
        return True

    async def _work(self, job: Ingestion) -> None:
        if job.deaths >= MAX_DEATHS:
            await self.jobs.fail(job, "Fetching it ended the process that did, several times.")
            return
        try:
            await self._fetch(job)
        except NoPage as fault:
            await self._try_later(job, fault)
        except QuotaExceeded as refusal:
            await self._stand_back(job, refusal)
        except Invalid as fault:
            await self.jobs.fail(job, fault.sentence)
        except Refusal as refusal:
            await self.jobs.fail(job, refusal.detail)
        except (asyncio.CancelledError, Unavailable):  # another process, or turn, goes on at once
            with suppress(Unavailable):
                await asyncio.shield(self.jobs.put_back(job, tries=job.tries))
            raise
        except LeaseLost:
            raise
        except Exception:
            log.exception("fetching_broke")
            await self.jobs.fail(job, "Something unexpected happened.")

    async def _fetch(self, job: Ingestion) -> None:
        url = await self.jobs.url_of(job)
        if url is None:
            await self.jobs.drop(job)
            return
        upload = await self._sites.page(job.tenant_id, url)
        found = await self._library.announce(upload)
        max_bytes = await self._bytes_for(job.tenant_id)
        await self.jobs.keep(job, found, upload, max_bytes=max_bytes)
        self._fetched()

    async def _try_later(self, job: Ingestion, fault: NoPage) -> None:
        if not fault.passing or job.tries + 1 >= MAX_TRIES:
            await self.jobs.fail(job, fault.sentence)
            return
        pause = self._back_off_seconds * 2**job.tries
        await self.jobs.put_back(job, tries=job.tries + 1, after_seconds=pause)

    async def _stand_back(self, job: Ingestion, refusal: QuotaExceeded) -> None:
        """Let its people fetch first; what the plan has no room for fails."""
        if refusal.meter != "fetches":
            await self.jobs.fail(job, refusal.detail)
            return
        pause = refusal.retry_after.total_seconds()
        await self.jobs.put_back(job, tries=job.tries, after_seconds=pause)


def _refused(page: SitePage) -> Taken | None:
    return None if page.refusal is None else Taken(page.url, page.refusal)


def _title(url: str) -> str:
    parts = urlsplit(url)
    return title_of(base_name(unquote(parts.path))) or parts.netloc
