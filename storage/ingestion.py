"""The queue of files that are read in the background, and what has become of each so far."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from storage.cells import Cells
from storage.document_room import find_twin, refuse_over
from storage.document_rows import document_row, place_of
from storage.ledger import insert_events
from storage.postgres import Row, TenantConnection, repeated, translated
from storage.queries import Query, query
from storage.vectors import vector_text
from tenancy.audit import AuditEvent
from tenancy.document import Document, DocumentStatus, Ingestion, NewPassage, Upload
from tenancy.errors import Conflict, LeaseLost, NotFound
from tenancy.ids import DocumentId, SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.usage import UsageEvent

LEASE_SECONDS = 30.0  # a job whose process died goes on after that
PUBLISHED_AT_ONCE = 500  # passages: a statement stays far below its time limit
PASSAGES_A_SECOND = 50  # that are published, on a slow day


@dataclass(frozen=True, slots=True)
class Figures:
    """Jobs of all tenants: waiting for a turn, being worked on, waiting for another try."""

    waiting: int
    working: int
    postponed: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """An upload as it waits, whose it is, and whether its passages are staged."""

    upload: Upload
    subject_id: SubjectId
    staged_for: str | None  # the embedding model


class PostgresIngestion:
    """Queues documents and keeps what becomes of them; each process holds jobs in its own name.

    Whatever writes to a job raises `LeaseLost` when it is this process's no longer.
    """

    def __init__(self, cells: Cells, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._cells = cells
        self.lease_seconds = lease_seconds
        self._holder = uuid4()

    async def queue(
        self,
        tenant_id: TenantId,
        document: Document,
        upload: Upload,
        *,
        embedding_model: str,
        subject_id: SubjectId,
        max_documents: int,
        max_bytes: int = UNLIMITED,
    ) -> Document:
        """Keep the file and queue it; the twin when there is one. Raises `QuotaExceeded`."""
        async with self._as(tenant_id) as conn:
            await conn.execute(query("lock_documents"))
            if twin := await find_twin(conn, document.sha256):
                return twin
            await refuse_over(conn, document.size, max_documents, max_bytes)
            row = document_row(document, subject_id, embedding_model)
            await conn.execute(query("add_document"), row)
            await conn.execute(query("add_upload"), _upload(document.document_id, upload))
            await conn.execute(query("enqueue_ingestion"), _of(document.document_id))
        return document

    async def retry(self, tenant_id: TenantId, document_id: DocumentId, audit: AuditEvent) -> bool:
        """Queue a document that failed; false for any other, which stays as it is.

        Raises `NotFound`, or `Conflict` when somebody else just did.
        """
        async with self._as(tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), _of(document_id))
            if row is None:
                raise NotFound
            if row["status"] != DocumentStatus.FAILED:
                return False
            await conn.execute(query("enqueue_ingestion"), _of(document_id))
            if not await conn.execute(query("queue_document"), _of(document_id)):
                raise Conflict("It is being tried again.")
            await insert_events(conn, audit=[audit])
        return True

    async def claim(self, only: TenantId | None = None) -> Ingestion | None:
        """The next job of the tenant whose turn it is; None when nothing is due."""
        row = await self._ask(
            query("claim_ingestion"),
            {"only": only, "holder": self._holder, "lease_seconds": self.lease_seconds},
        )
        if row is None:
            return None
        return Ingestion(
            tenant_id=TenantId(row["tenant_id"]),
            document_id=DocumentId(row["document_id"]),
            tries=row["tries"],
            deaths=row["deaths"],
        )

    async def figures(self) -> Figures:
        """How the queue stands."""
        row = await self._ask(query("ingestion_figures"), {})
        return Figures(**row) if row else Figures(0, 0, 0, 0.0)

    async def renew(self, job: Ingestion) -> None:
        """Hold the job for another lease."""
        async with self._holding(job, came_on=False):
            pass

    async def kept(self, job: Ingestion) -> Kept | None:
        """The file of a job; None when its document is gone."""
        async with self._as(job.tenant_id) as conn:
            row = await conn.fetch_one(query("get_upload"), _of(job.document_id))
        return _kept(row) if row else None

    async def begin(self, job: Ingestion) -> None:
        """Say that the document is being read."""
        async with self._holding(job, came_on=False) as conn:
            await conn.execute(query("begin_reading"), _of(job.document_id))

    async def stage(
        self,
        job: Ingestion,
        passages: Sequence[NewPassage],
        *,
        title: str,
        media_type: str,
        text: str,
        embedding_model: str,
    ) -> None:
        """Keep the passages that are to be embedded, in place of any that were kept before."""
        of = _of(job.document_id)
        said = {"title": title, "media_type": media_type, "passages": len(passages)}
        async with self._holding(job, came_on=True) as conn:
            await conn.execute(query("clear_staged"), of)
            await conn.execute(query("clear_document_text"), of)
            await conn.execute(query("stage_passages"), of | place_of(passages))
            await conn.execute(query("add_document_text"), of | {"body": text})
            await conn.execute(
                query("begin_embedding"), of | said | {"embedding_model": embedding_model}
            )

    async def unembedded(self, job: Ingestion, limit: int) -> dict[int, str]:
        """The first passages without a vector, by ordinal."""
        params = _of(job.document_id) | {"limit": limit}
        async with self._as(job.tenant_id) as conn:
            rows = await conn.fetch(query("list_unembedded"), params)
        return {row["ordinal"]: row["body"] for row in rows}

    async def staged(self, job: Ingestion) -> int:
        """How many passages the document will have."""
        async with self._as(job.tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), _of(job.document_id))
        return int(row["passages_total"]) if row else 0

    async def keep(
        self,
        job: Ingestion,
        ordinals: Sequence[int],
        vectors: Sequence[Sequence[float]],
        usage: Sequence[UsageEvent],
    ) -> None:
        """Store vectors and what they cost: no death makes anybody pay for them again."""
        of = _of(job.document_id)
        rows = {"ordinals": [*ordinals], "vectors": [vector_text(each) for each in vectors]}
        async with self._holding(job, came_on=True) as conn:
            await conn.execute(query("keep_vectors"), of | rows)
            await conn.execute(query("come_on"), of | {"passages": len(ordinals)})
            await insert_events(conn, usage=usage)

    async def finish(self, job: Ingestion, passages: int) -> None:
        """Make the document ready: all its `passages` are found from one moment on."""
        patience = self.lease_seconds + passages / PASSAGES_A_SECOND
        async with self._holding(job, came_on=True, seconds=patience):
            pass  # seen by others at once: nobody takes for dead who publishes
        of = _of(job.document_id)
        async with self._holding(job, came_on=True, seconds=patience) as conn:
            for first in range(0, passages, PUBLISHED_AT_ONCE):
                part = {"from_ordinal": first, "to_ordinal": first + PUBLISHED_AT_ONCE}
                await conn.execute(query("publish_passages"), of | part)
            for step in ("finish_document", "clear_staged", "delete_upload", "end_ingestion"):
                await conn.execute(query(step), of)

    async def fail(self, job: Ingestion, error: str) -> None:
        """Say why it cannot be read; the file is kept for another try."""
        of = _of(job.document_id)
        async with self._holding(job, came_on=False) as conn:
            await conn.execute(query("fail_document"), of | {"error": error})
            for step in ("clear_staged", "clear_document_text", "end_ingestion"):
                await conn.execute(query(step), of)

    async def put_back(self, job: Ingestion, *, tries: int, after_seconds: float = 0) -> None:
        """Give the job back to its line: for its next turn, or for a later try."""
        params = {"holder": self._holder, "tries": tries, "after_seconds": after_seconds}
        async with self._as(job.tenant_id) as conn:
            await conn.execute(query("put_ingestion_back"), _of(job.document_id) | params)

    async def drop(self, job: Ingestion) -> None:
        """End the job of a document that is gone."""
        async with self._as(job.tenant_id) as conn:
            await conn.execute(query("end_ingestion"), _of(job.document_id))

    @asynccontextmanager
    async def _holding(
        self, job: Ingestion, *, came_on: bool, seconds: float | None = None
    ) -> AsyncIterator[TenantConnection]:
        """A transaction that no other holder of the job can be beside."""
        params = {
            "holder": self._holder,
            "lease_seconds": seconds or self.lease_seconds,
            "came_on": came_on,
        }
        async with self._as(job.tenant_id) as conn:
            row = await conn.fetch_one(query("renew_ingestion"), _of(job.document_id) | params)
            if row is None or not row["held"]:
                raise LeaseLost
            yield conn

    @asynccontextmanager
    async def _as(self, tenant_id: TenantId) -> AsyncIterator[TenantConnection]:
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            yield conn

    async def _ask(self, statement: Query, params: dict[str, Any]) -> Row | None:
        """Ask on behalf of the platform."""
        pool = self._cells.first.pool
        with translated():
            return await repeated(pool, lambda: self._fetch(statement, params))

    async def _fetch(self, statement: Query, params: dict[str, Any]) -> Row | None:
        pool = self._cells.first.pool
        async with pool.connection() as conn:
            asked = {**pool.database.platform_entry(), **params}
            return await (await conn.execute(statement.sql, asked)).fetchone()


def _of(document_id: UUID) -> dict[str, Any]:
    return {"document_id": document_id}


def _upload(document_id: DocumentId, upload: Upload) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "name": upload.name,
        "title": upload.title,
        "media_type": upload.media_type,
        "content": upload.data,
    }


def _kept(row: Row) -> Kept:
    staged = row["status"] == DocumentStatus.EMBEDDING
    return Kept(
        Upload(row["name"], bytes(row["content"]), row["title"], row["media_type"]),
        SubjectId(row["subject_id"]),
        row["embedding_model"] if staged else None,
    )
