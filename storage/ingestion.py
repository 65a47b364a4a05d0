"""The queue of files that are read in the background, and what has become of each so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.document_room import find_twin, refuse_over
from storage.document_rows import document_row, place_of, upload_row
from storage.jobs import Jobs, enqueue_again, of_document
from storage.ledger import insert_events
from storage.postgres import Row
from storage.queries import query
from storage.vectors import vector_text
from tenancy.audit import AuditEvent
from tenancy.document import Document, DocumentStatus, Ingestion, NewPassage, Upload
from tenancy.errors import Conflict, NotFound
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


class PostgresIngestion(Jobs):
    """Queues files and keeps what becomes of them."""

    claiming = query("claim_ingestion")

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
        async with self.entered(tenant_id) as conn:
            await conn.execute(query("lock_documents"))
            if twin := await find_twin(conn, document.sha256):
                return twin
            await refuse_over(conn, document.size, max_documents, max_bytes)
            row = document_row(document, subject_id, embedding_model)
            await conn.execute(query("add_document"), row)
            await conn.execute(query("add_upload"), upload_row(document.document_id, upload))
            await conn.execute(query("enqueue_ingestion"), of_document(document.document_id))
        return document

    async def retry(self, tenant_id: TenantId, document_id: DocumentId, audit: AuditEvent) -> bool:
        """Queue a document that failed; false for any other, which stays as it is.

        Raises `NotFound`, or `Conflict` when somebody else just did.
        """
        async with self.entered(tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), of_document(document_id))
            if row is None:
                raise NotFound
            if row["status"] != DocumentStatus.FAILED:
                return False
            if not await enqueue_again(conn, [document_id]):
                raise Conflict("It is being tried again.")
            await insert_events(conn, audit=[audit])
        return True

    async def figures(self) -> Figures:
        """How the queue stands."""
        row = await self.ask(query("ingestion_figures"), {})
        return Figures(**row) if row else Figures(0, 0, 0, 0.0)

    async def kept(self, job: Ingestion) -> Kept | None:
        """The file of a job; None when its document is gone."""
        async with self.entered(job.tenant_id) as conn:
            row = await conn.fetch_one(query("get_upload"), of_document(job.document_id))
        return _kept(row) if row else None

    async def begin(self, job: Ingestion) -> None:
        """Say that the document is being read."""
        async with self.holding(job, came_on=False) as conn:
            await conn.execute(query("begin_reading"), of_document(job.document_id))

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
        of = of_document(job.document_id)
        said = {"title": title, "media_type": media_type, "passages": len(passages)}
        async with self.holding(job, came_on=True) as conn:
            await conn.execute(query("clear_staged"), of)
            await conn.execute(query("clear_document_text"), of)
            await conn.execute(query("stage_passages"), of | place_of(passages))
            await conn.execute(query("add_document_text"), of | {"body": text})
            await conn.execute(
                query("begin_embedding"), of | said | {"embedding_model": embedding_model}
            )

    async def unembedded(self, job: Ingestion, limit: int) -> dict[int, str]:
        """The first passages without a vector, by ordinal."""
        params = of_document(job.document_id) | {"limit": limit}
        async with self.entered(job.tenant_id) as conn:
            rows = await conn.fetch(query("list_unembedded"), params)
        return {row["ordinal"]: row["body"] for row in rows}

    async def staged(self, job: Ingestion) -> int:
        """How many passages the document will have."""
        async with self.entered(job.tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), of_document(job.document_id))
        return int(row["passages_total"]) if row else 0

    async def keep(
        self,
        job: Ingestion,
        ordinals: Sequence[int],
        vectors: Sequence[Sequence[float]],
        usage: Sequence[UsageEvent],
    ) -> None:
        """Store vectors and what they cost: no death makes anybody pay for them again."""
        of = of_document(job.document_id)
        rows = {"ordinals": [*ordinals], "vectors": [vector_text(each) for each in vectors]}
        async with self.holding(job, came_on=True) as conn:
            await conn.execute(query("keep_vectors"), of | rows)
            await conn.execute(query("come_on"), of | {"passages": len(ordinals)})
            await insert_events(conn, usage=usage)

    async def finish(self, job: Ingestion, passages: int) -> None:
        """Make the document ready: all its `passages` are found from one moment on."""
        patience = self.lease_seconds + passages / PASSAGES_A_SECOND
        async with self.holding(job, came_on=True, seconds=patience):
            pass  # seen by others at once: nobody takes for dead who publishes
        of = of_document(job.document_id)
        async with self.holding(job, came_on=True, seconds=patience) as conn:
            for first in range(0, passages, PUBLISHED_AT_ONCE):
                part = {"from_ordinal": first, "to_ordinal": first + PUBLISHED_AT_ONCE}
                await conn.execute(query("publish_passages"), of | part)
            for step in ("finish_document", "clear_staged", "delete_upload", "end_ingestion"):
                await conn.execute(query(step), of)


def _kept(row: Row) -> Kept:
    staged = row["status"] == DocumentStatus.EMBEDDING
    return Kept(
        Upload(row["name"], bytes(row["content"]), row["title"], row["media_type"]),
        SubjectId(row["subject_id"]),
        row["embedding_model"] if staged else None,
    )
