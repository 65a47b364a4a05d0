"""Documents and passages of a tenant in its cell."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from storage.cells import Cells
from storage.ledger import insert_events
from storage.postgres import Row, TenantConnection
from storage.queries import call, query
from storage.vectors import vector_text
from tenancy.audit import AuditEvent
from tenancy.document import (
    Document,
    DocumentStatus,
    Neighbour,
    NewPassage,
    Passage,
    PlacedPassage,
    Reasons,
    Stored,
)
from tenancy.errors import NotFound, QuotaExceeded
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tenancy.page import Cursor
from tenancy.plan import UNLIMITED
from tenancy.quota import Period, period_end
from tenancy.search_filter import Condition, Metadata, SearchFilter
from tenancy.usage import UsageEvent

_SEARCH = call("search_passages")


class PostgresDocuments:
    """Implements the ports `Documents` and `PassageIndex` of knowledge."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def find_by_content(self, tenant_id: TenantId, sha256: bytes) -> Document | None:
        """The tenant's document with this content, if it has one."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await find_twin(conn, sha256)

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
        """Store all of it or nothing; the twin when another upload of it won the race."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("lock_documents"))
            if twin := await find_twin(conn, document.sha256):
                return twin
            await refuse_over(conn, document.size, max_documents, max_bytes)
            await conn.execute(
                query("add_document"), document_row(document, subject_id, embedding_model)
            )
            await conn.execute(
                query("add_passages"), _rows(document.document_id, passages, embedding_model)
            )
            if text is not None:
                of = {"document_id": document.document_id, "body": text}
                await conn.execute(query("add_document_text"), of)
            await insert_events(conn, usage=usage)
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
                "filter": None if within is None or within.is_empty else _filter(within),
            },
        )
        return [_passage(row) for row in rows]

    async def has_model(self, tenant_id: TenantId, embedding_model: str) -> bool:
        """Whether documents of the tenant that are ready have vectors of this model."""
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
        return [_neighbour(row) for row in rows]

    async def describe(
        self, tenant_id: TenantId, document_id: DocumentId, metadata: Metadata
    ) -> None:
        """Replace a document's metadata."""
        params = {"document_id": document_id, "metadata": orjson.dumps(metadata).decode()}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("describe_document"), params)

    async def get(self, tenant_id: TenantId, document_id: DocumentId) -> Document:
        """A document; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), {"document_id": document_id})
        if row is None:
            raise NotFound
        return _document(row)

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
        return [_placed(row) for row in rows]

    async def page(self, tenant_id: TenantId, after: Cursor | None, limit: int) -> list[Document]:
        """Documents, latest first."""
        params = {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [_document(row) for row in await conn.fetch(query("list_documents"), params)]

    async def stored(self, tenant_id: TenantId) -> Stored:
        """What the tenant's documents come to."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await _stored(conn)

    async def delete(self, tenant_id: TenantId, document_id: DocumentId, audit: AuditEvent) -> None:
        """Delete a document with its passages; raises `NotFound`."""
        of = {"document_id": document_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("end_ingestion"), of)  # first: so do those who work on it
            if not await conn.execute(query("delete_document"), of):
                raise NotFound
            await insert_events(conn, audit=[audit])


async def find_twin(conn: TenantConnection, sha256: bytes) -> Document | None:
    """The document with this content, if there is one."""
    row = await conn.fetch_one(query("find_document_by_content"), {"sha256": sha256})
    return _document(row) if row else None


async def refuse_over(
    conn: TenantConnection, size: int, max_documents: int, max_bytes: int
) -> None:
    """Raise `QuotaExceeded` when one more, of so many bytes, would be too many or too much."""
    if max_documents == max_bytes == UNLIMITED:
        return
    stored = await _stored(conn)
    if UNLIMITED != max_documents <= stored.documents:
        raise _over("documents", f"{max_documents} documents")
    if UNLIMITED != max_bytes < stored.size + size:
        raise _over("document_bytes", f"{max_bytes} bytes of documents")


async def _stored(conn: TenantConnection) -> Stored:
    row = await conn.fetch_one(query("count_documents"))
    return Stored(row["documents"], row["size"]) if row else Stored(0, 0)


def _over(meter: str, allowed: str) -> QuotaExceeded:
    now = datetime.now(UTC)
    # no period frees a document: tomorrow is as good a time to look again as any
    pause = period_end(Period.DAY, now) - now
    detail = f"The plan allows {allowed}. Delete one, or change the plan."
    return QuotaExceeded(meter, pause, detail)


def document_row(document: Document, subject_id: SubjectId, embedding_model: str) -> dict[str, Any]:
    """A document as `add_document` takes it."""
    return {
        "document_id": document.document_id,
        "subject_id": subject_id,
        "title": document.title,
        "media_type": document.media_type,
        "size": document.size,
        "sha256": document.sha256,
        "passages": document.passages,
        "embedding_model": embedding_model,
        "status": document.status,
        "created_at": document.created_at,
    }


def _rows(
    document_id: DocumentId, passages: Sequence[NewPassage], embedding_model: str
) -> dict[str, Any]:
    return {
        "document_id": document_id,
        "embedding_model": embedding_model,
        "vectors": [vector_text(p.vector) for p in passages],
        **place_of(passages),
    }


def place_of(passages: Sequence[NewPassage]) -> dict[str, Any]:
    """Columns of passages: what they say and where they stand."""
    return {
        "ids": [p.passage_id for p in passages],
        "ordinals": [p.ordinal for p in passages],
        "bodies": [p.text for p in passages],
        "paths": [orjson.dumps(list(p.path)).decode() for p in passages],  # no array of arrays
        "pages": [p.page for p in passages],
        "starts": [p.start for p in passages],
        "ends": [p.end for p in passages],
    }


def _document(row: Row) -> Document:
    return Document(
        document_id=DocumentId(row["document_id"]),
        title=row["title"],
        media_type=row["media_type"],
        size=row["size"],
        sha256=row["sha256"],
        passages=row["passages"],
        status=DocumentStatus(row["status"]),
        created_at=row["created_at"],
        error=row["error"],
        done=row["passages_done"],
        total=row["passages_total"],
        metadata=row["metadata"],
    )


def _placed(row: Row) -> PlacedPassage:
    return PlacedPassage(
        passage_id=PassageId(row["passage_id"]),
        ordinal=row["ordinal"],
        path=tuple(row["path"]),
        page=row["page"],
        start=row["start_offset"],
        end=row["end_offset"],
        text=row["body"],
    )


def _passage(row: Row) -> Passage:
    return Passage(
        tenant_id=TenantId(row["tenant_id"]),
        passage_id=PassageId(row["passage_id"]),
        document_id=DocumentId(row["document_id"]),
        title=row["title"],
        text=row["body"],
        score=row["score"],
        path=tuple(row["path"]),
        page=row["page"],
        start=row["start_offset"],
        end=row["end_offset"],
        ordinal=row["ordinal"],
        reasons=Reasons(row["distance"], row["distance_rank"], row["word_score"], row["word_rank"]),
    )


def _neighbour(row: Row) -> Neighbour:
    return Neighbour(
        TenantId(row["tenant_id"]),
        DocumentId(row["document_id"]),
        PassageId(row["passage_id"]),
        row["ordinal"],
        row["body"],
    )


def _filter(within: SearchFilter) -> str:
    parts = {
        "document_ids": within.document_ids,
        "media_types": within.media_types,
        "created_from": within.created_from,
        "created_before": within.created_before,
        "metadata": [_condition(each) for each in within.metadata],
    }
    return orjson.dumps({name: part for name, part in parts.items() if part is not None}).decode()


def _condition(of: Condition) -> dict[str, Any]:
    if of.present is None:
        return {"key": of.name, "any_of": of.any_of}
    return {"key": of.name, "present": of.present}
