"""Reads files in the background: a job of each tenant in turn, a slice of it at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import uuid4

import structlog

from knowledge.ingest import Library
from server.ingestion_metrics import tell_ingestions
from server.rounds import Rounds
from storage.ingestion import PostgresIngestion
from tenancy.document import Document, Ingestion, Upload
from tenancy.errors import Failure, Invalid, LeaseLost, ModelFailed, Refusal, Unavailable
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.usage import embedding_usage

log = structlog.get_logger()

SLOTS = 2  # jobs at once in a process: a question never waits for more than two batches
BATCH_PASSAGES = 16  # a second of MiniLM, one request to an endpoint
SLICE_BATCHES = 16  # then the next tenant has its turn
MAX_TRIES = 3  # while a model or a store is away
MAX_DEATHS = 3  # a file at which this many processes died is not tried again
BACK_OFF_SECONDS = 5.0  # doubled with each try
TOLD_EVERY_SECONDS = 15.0  # as often as Prometheus looks


class Ingestor:
    """Takes large files in and reads them; any number of processes share the work."""

    def __init__(
        self,
        jobs: PostgresIngestion,
        library: Library,
        *,
        pages_for: Callable[[TenantId], Awaitable[int]] | None = None,
        slots: int = SLOTS,
        back_off_seconds: float = BACK_OFF_SECONDS,
    ) -> None:
        self.jobs = jobs
        self._library = library
        self._pages_for = pages_for or _unlimited
        self._back_off_seconds = back_off_seconds
        self._rounds = Rounds(self.work_once, slots)
        self.wake = self._rounds.wake

    async def add(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        upload: Upload,
        *,
        max_documents: int,
        max_bytes: int = UNLIMITED,
    ) -> tuple[Document, bool]:
        """The document of this content, queued, and whether it is new to the tenant.

        Raises `PayloadTooLarge`, `UnsupportedMedia`, `Invalid` or `QuotaExceeded`; then nothing
        is stored.
        """
        document = await self._library.announce(upload)
        stored = await self.jobs.queue(
            tenant_id,
            document,
            upload,
            embedding_model=await self._library.embedding_model(tenant_id),
            subject_id=subject_id,
            max_documents=max_documents,
            max_bytes=max_bytes,
        )
        self.wake()
        return stored, stored.document_id == document.document_id

    async def keep(self) -> None:
        """Read what is queued until cancelled."""
        await asyncio.gather(self._tell(), self._rounds.keep())

    async def _tell(self) -> None:
        while True:
            with suppress(Unavailable):
                tell_ingestions(await self.jobs.figures())
            await asyncio.sleep(TOLD_EVERY_SECONDS)

    async def work_once(self, only: TenantId | None = None) -> bool:
        """Give the tenant whose turn it is a slice; whether there was one. Raises `Unavailable`."""
        job = await self.jobs.claim(only)
        if job is None:
            return False
        with suppress(LeaseLost):  # deleted, suspended, erased, or another's
            await self._work(job)
        return True

    async def _work(self, job: Ingestion) -> None:
        if job.deaths >= MAX_DEATHS:
            await self.jobs.fail(job, "Reading it ended the process that did, several times.")
            return
        try:
            await self._read_on(job)
        except Invalid as fault:
            await self.jobs.fail(job, fault.sentence)
        except Refusal as refusal:
            await self.jobs.fail(job, refusal.detail)
        except ModelFailed as error:
            await self._try_later(job, error)
        except (asyncio.CancelledError, Unavailable):  # another process, or turn, goes on at once
            with suppress(Unavailable):
                await asyncio.shield(self.jobs.put_back(job, tries=job.tries))
            raise
        except LeaseLost:
            raise
        except Exception:
            log.exception("ingestion_broke")
            await self._try_later(job, Failure("Something unexpected happened."))

    async def _try_later(self, job: Ingestion, error: Failure) -> None:
        tries = job.tries + 1
        log.warning("ingestion_failed", tries=tries, reason=error.detail)
        if tries >= MAX_TRIES:
            await self.jobs.fail(job, f"It failed {tries} times: {error.detail}")
            return
        pause = self._back_off_seconds * 2**job.tries
        await self.jobs.put_back(job, tries=tries, after_seconds=pause)

    async def _read_on(self, job: Ingestion) -> None:
        kept = await self.jobs.kept(job)
        if kept is None:
            await self.jobs.drop(job)
            return
        async with self._renewing(job):
            model = await self._library.embedding_model(job.tenant_id)
            if kept.staged_for != model:
                await self._stage(job, kept.upload, model)
            done = await self._embed_slice(job, kept.subject_id, model)
        if not done:
            await self.jobs.put_back(job, tries=0)
            return
        await self.jobs.finish(job, await self.jobs.staged(job))

    async def _stage(self, job: Ingestion, upload: Upload, model: str) -> None:
        await self.jobs.begin(job)
        max_pages = await self._pages_for(job.tenant_id)
        read = await self._library.read(upload, job.document_id, max_pages=max_pages)
        await self.jobs.stage(
            job,
            read.passages,
            title=read.title,
            media_type=read.media_type,
            text=read.text,
            embedding_model=model,
        )

    async def _embed_slice(self, job: Ingestion, subject_id: SubjectId, model: str) -> bool:
        """Embed some batches; whether none is left."""
        for _ in range(SLICE_BATCHES):
            batch = await self.jobs.unembedded(job, BATCH_PASSAGES)
            if not batch:
                return True
            embedded = await self._library.embed([*batch.values()], model)
            usage = embedding_usage(
                uuid4(),
                "document",
                model=model,
                tokens=embedded.tokens,
                subject_id=subject_id,
                at=datetime.now(UTC),
            )
            await self.jobs.keep(job, [*batch], embedded.vectors, usage)
        return not await self.jobs.unembedded(job, 1)

    @asynccontextmanager
    async def _renewing(self, job: Ingestion) -> AsyncIterator[None]:
        """Hold the lease however long one step takes."""
        renewing = asyncio.create_task(self._renew(job))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, job: Ingestion) -> None:
        while True:
            await asyncio.sleep(self.jobs.lease_seconds / 3)
            with suppress(Unavailable):
                await self.jobs.renew(job)


async def _unlimited(_tenant_id: TenantId) -> int:
    return UNLIMITED
