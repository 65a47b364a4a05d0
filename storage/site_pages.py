"""The queue of pages that are fetched in the background, until they are read like any file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

from storage.document_room import find_twin, refusal_over, refuse_over, stored_by
from storage.document_rows import document_of, upload_row
from storage.jobs import Jobs, enqueue_again, of_document
from storage.ledger import insert_events
from storage.postgres import TenantConnection
from storage.queries import query
from tenancy.audit import AuditEvent
from tenancy.document import Document, DocumentStatus, Ingestion, Stored, Taken, Upload
from tenancy.errors import Conflict, QuotaExceeded
from tenancy.ids import DocumentId, SubjectId, TenantId
from tenancy.plan import UNLIMITED

EXPECTED = "text/html"  # of a page, until it is fetched


class PostgresSitePages(Jobs):
    """Queues the pages of sites, and keeps what is fetched."""

    claiming = query("claim_fetch")

    async def queue(
        self,
        tenant_id: TenantId,
        pages: Sequence[tuple[str, str]],
        *,
        embedding_model: str,
        subject_id: SubjectId,
        max_documents: int,
        max_bytes: int,
        audit: Callable[[DocumentId], AuditEvent],
    ) -> list[Taken]:
        """A document for each page, an address and a title; that of its address if there is one.

        One that failed is queued again. A page for which there is no room is refused.
        """
        async with self.entered(tenant_id) as conn:
            await conn.execute(query("lock_documents"))
            known = await _known(conn, [url for url, _ in pages])
            new = [_page(url, title) for url, title in pages if url not in known]
            room = _room(await stored_by(conn), len(new), max_documents, max_bytes)
            await _add(conn, new[: room.count(None)], subject_id, embedding_model)
            fresh = zip(new, room, strict=True)
            taken = [_again(known[url]) if url in known else _new(*next(fresh)) for url, _ in pages]
            documents = [each.outcome for each in taken if isinstance(each.outcome, Document)]
            await enqueue_again(conn, [each.document_id for each in documents])
            await insert_events(conn, audit=[audit(each.document_id) for each in documents])
        return taken

    async def url_of(self, job: Ingestion) -> str | None:
        """Where a page is; None when its document is gone."""
        async with self.entered(job.tenant_id) as conn:
            row = await conn.fetch_one(query("get_document"), of_document(job.document_id))
        return row["url"] if row else None

    async def keep(
        self, job: Ingestion, found: Document, upload: Upload, *, max_bytes: int
    ) -> None:
        """Keep what was fetched to be read; raises `Conflict` for a twin, `QuotaExceeded`."""
        of = of_document(job.document_id)
        said = {"size": found.size, "sha256": found.sha256, "media_type": found.media_type}
        async with self.holding(job, came_on=True) as conn:
            await conn.execute(query("lock_documents"))
            if twin := await find_twin(conn, found.sha256):
                raise Conflict(f"It says the same as the document {twin.document_id}.")
            await refuse_over(conn, found.size, UNLIMITED, max_bytes)
            await conn.execute(query("keep_page"), of | said)
            await conn.execute(query("add_upload"), upload_row(job.document_id, upload))
            await conn.execute(query("read_fetched"), of | {"holder": self._holder})

    async def waiting(self) -> int:
        """How many pages of all tenants are to be fetched."""
        row = await self.ask(query("pages_to_fetch"), {})
        return int(row["pages"]) if row else 0


async def _known(conn: TenantConnection, urls: Sequence[str]) -> dict[str, Document]:
    rows = await conn.fetch(query("find_documents_by_url"), {"urls": list(urls)})
    return {row["url"]: document_of(row) for row in rows}


def _page(url: str, title: str) -> Document:
    return Document(
        document_id=DocumentId(uuid4()),
        title=title,
        media_type=EXPECTED,
        size=0,
        sha256=sha256(b"\0" + url.encode()).digest(),  # no file that is read begins like this
        passages=0,
        status=DocumentStatus.QUEUED,
        created_at=datetime.now(UTC),
        url=url,
    )


def _room(
    stored: Stored, pages: int, max_documents: int, max_bytes: int
) -> list[QuotaExceeded | None]:
    """What is to be said to each of so many pages, of which no size is known."""
    so_far = (replace(stored, documents=stored.documents + number) for number in range(pages))
    return [refusal_over(each, 1, max_documents, max_bytes) for each in so_far]


def _new(page: Document, refusal: QuotaExceeded | None) -> Taken:
    return Taken(str(page.url), refusal or page, added=refusal is None)


def _again(known: Document) -> Taken:
    failed = known.status == DocumentStatus.FAILED
    queued = replace(known, status=DocumentStatus.QUEUED, error=None) if failed else known
    return Taken(str(known.url), queued, added=failed)


async def _add(
    conn: TenantConnection, pages: Sequence[Document], subject_id: SubjectId, model: str
) -> None:
    if not pages:
        return
    rows = {
        "ids": [page.document_id for page in pages],
        "titles": [page.title for page in pages],
        "contents": [page.sha256 for page in pages],
        "urls": [page.url for page in pages],
    }
    same = {"subject_id": subject_id, "media_type": EXPECTED, "embedding_model": model}
    await conn.execute(query("add_pages"), rows | same | {"created_at": pages[0].created_at})
    await conn.execute(query("enqueue_fetches"), {"document_ids": rows["ids"]})
