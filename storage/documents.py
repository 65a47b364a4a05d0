"""Documents and passages of a tenant in its cell."""

from collections.abc import Sequence

import orjson

from storage.cells import Cells
from storage.document_room import find_twin, refuse_over, stored_by
from storage.document_rows import (
    document_of,
    document_row,
    filter_text,
    neighbour_of,
    passage_of,
    passage_rows,
    placed_of,
)
from storage.ledger import billed, insert_events
from storage.queries import call, query
from storage.vectors import vector_text
from tenancy.audit import AuditEvent
from tenancy.document import (
    Document,
    Neighbour,
    NewPassage,
    Passage,
    PlacedPassage,
    Stored,
)
from tenancy.errors import NotFound
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tenancy.page import Cursor
from tenancy.plan import UNLIMITED
from tenancy.search_filter import Metadata, SearchFilter
from tenancy.usage import UsageEvent

_SEARCH = call("search_passages")


class PostgresDocuments:
    """Implements the ports `Documents` and `PassageIndex` of knowledge."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def twin_or_room(
        self,
        tenant_id: TenantId,
        sha256: bytes,
        size: int,
        *,
        max_documents: int,
        max_bytes: int = UNLIMITED,
    ) -> Document | None:
        """The tenant's document with this content; raises `QuotaExceeded` as `add` would."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if twin := await find_twin(conn, sha256):
                return twin
            await refuse_over(conn, size, max_documents, max_bytes)
        return None

    async def add(
        self,
        tenant_id: TenantId,
        document: Document,
        passages: Sequence[NewPassage],
        *,
        embedding_model: str,
        subject_id: SubjectId,
        usage: Sequence[UsageEvent],
        max_documents: int,
        max_bytes: int = UNLIMITED,
        text: str | None = None,
    ) -> Document:
        """Store all of it or nothing; the twin when another upload of it won the race.

        The bill is written whatever becomes of it.
        """
        async with (
            billed(self._cells, tenant_id, usage),
            self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn,
        ):
            await conn.execute(query("lock_documents"))
            await insert_events(conn, usage=usage)
            if twin := await find_twin(conn, document.sha256):
                return twin
            await refuse_over(conn, document.size, max_documents, max_bytes)
            await conn.execute(
                query("add_document"), document_row(document, subject_id, embedding_model)
            )
            await conn.execute(
                query("add_passages"), passage_rows(document.document_id, passages, embedding_model)
            )
            if text is not None:
                of = {"document_id": document.document_id, "body": text}
                await conn.execute(query("add_document_text"), of)
        return document

    async def search(
        self,
        tenant_id: TenantId,
        query: str,
        vector: Sequence[float],
        *,
        embedding_model: str,
        limit: int,
        within: SearchFilter | None = None,
    ) -> Sequence[Passage]:
        """The best `limit` passages by meaning and word, best first."""
        rows = await self._cells.for_tenant(tenant_id).call(
            _SEARCH,
            tenant_id,
            {
                "query": query,
                "vector": vector_text(vector),
                "model": embedding_model,
                "limit": limit,
                "filter": None if within is None or within.is_empty else filter_text(within),
            },
        )
        return [passage_of(row) for row in rows]

    async def has_model(self, tenant_id: TenantId, embedding_model: str) -> bool:
        """Whether vectors of this model are searched: some are, and none gave way to others."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("has_model"), {"model": embedding_model})
        return bool(row and row["found"])

    async def neighbours(
        self, tenant_id: TenantId, passage_ids: Sequence[PassageId], distance: int
    ) -> Sequence[Neighbour]:
        """The passages and what stands at most so far from them, document by document in order."""
        params = {"passage_ids": list(passage_ids), "distance": distance}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            rows = await conn.fetch(query("list_neighbours"), params)
        return [neighbour_of(row) for row in rows]

    async def describe(
        self, tenant_id: TenantId, document_ids: Sequence[DocumentId], metadata: Metadata
    ) -> None:
        """Replace the metadata of documents."""
        said = orjson.dumps(metadata).decode()
        params = {"document_ids": list(document_ids), "metadata": said}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("describe_documents"), params)

    async def get(self, tenant_id: TenantId, document_id: DocumentId) -> Document:
        """A document; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), {"document_id": document_id})
        if row is None:
            raise NotFound
        return document_of(row)

    async def text(self, tenant_id: TenantId, document_id: DocumentId) -> str:
        """What the passages' offsets count in; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_document_text"), {"document_id": document_id})
        if row is None:
            raise NotFound
        return str(row["body"])

    async def passages(
        self, tenant_id: TenantId, document_id: DocumentId, after: PassageId | None, limit: int
    ) -> list[PlacedPassage]:
        """Passages of a document in its order; raises `NotFound` without one."""
        params = {"document_id": document_id, "after_id": after, "limit": limit}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            rows = await conn.fetch(query("list_passages"), params)
            known = await conn.fetch_one(query("get_document"), {"document_id": document_id})
        if known is None:
            raise NotFound
        return [placed_of(row) for row in rows]

    async def page(self, tenant_id: TenantId, after: Cursor | None, limit: int) -> list[Document]:
        """Documents, latest first."""
        params = {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [document_of(row) for row in await conn.fetch(query("list_documents"), params)]

    async def stored(self, tenant_id: TenantId) -> Stored:
        """What the tenant's documents come to."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await stored_by(conn)

    async def delete(self, tenant_id: TenantId, document_id: DocumentId, audit: AuditEvent) -> None:
        """Delete a document with its passages; raises `NotFound`."""
        of = {"document_id": document_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("end_ingestion"), of)  # first: so do those who work on it
            if not await conn.execute(query("delete_document"), of):
                raise NotFound
            await insert_events(conn, audit=[audit])
