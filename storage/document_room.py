"""Whether a tenant has a document already, or room for one more."""

from datetime import UTC, datetime

from storage.document_rows import document_of
from storage.postgres import TenantConnection
from storage.queries import query
from tenancy.document import Document, Stored
from tenancy.errors import QuotaExceeded
from tenancy.plan import UNLIMITED
from tenancy.quota import Period, period_end


async def find_twin(conn: TenantConnection, sha256: bytes) -> Document | None:
    """The document with this content, if there is one."""
    row = await conn.fetch_one(query("find_document_by_content"), {"sha256": sha256})
    return document_of(row) if row else None


async def refuse_over(
    conn: TenantConnection, size: int, max_documents: int, max_bytes: int
) -> None:
    """Raise `QuotaExceeded` when one more, of so many bytes, would be too many or too much."""
    if max_documents == max_bytes == UNLIMITED:
        return
    if refusal := refusal_over(await stored_by(conn), size, max_documents, max_bytes):
        raise refusal


def refusal_over(
    stored: Stored, size: int, max_documents: int, max_bytes: int
) -> QuotaExceeded | None:
    """What is to be said to one more, of so many bytes, where so much is stored."""
    if UNLIMITED != max_documents <= stored.documents:
        return _over("documents", f"{max_documents} documents")
    if UNLIMITED != max_bytes < stored.size + size:
        return _over("document_bytes", f"{max_bytes} bytes of documents")
    return None


async def stored_by(conn: TenantConnection) -> Stored:
    """What the tenant's documents come to."""
    row = await conn.fetch_one(query("count_documents"))
    return Stored(row["documents"], row["size"]) if row else Stored(0, 0)


def _over(meter: str, allowed: str) -> QuotaExceeded:
    now = datetime.now(UTC)
    # no period frees a document: tomorrow is as good a time to look again as any
    pause = period_end(Period.DAY, now) - now
    detail = f"The plan allows {allowed}. Delete one, or change the plan."
    return QuotaExceeded(meter, pause, detail)
