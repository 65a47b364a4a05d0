"""All that is kept of a person, or of a tenant itself: memories, and what tools put beside them."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from storage.cells import Cells
from storage.ledger import insert_events
from storage.memories import audit_of
from storage.postgres import Row
from storage.queries import query
from storage.store_names import OF_TENANT, Place, namespace_of
from tenancy.audit import AuditEvent
from tenancy.errors import NotFound, require_own
from tenancy.ids import MemoryId, SubjectId, TenantId, ThreadId
from tenancy.memory import Kept


class PostgresKept:
    """What somebody may ask to see, or to have deleted. Without a subject it is the tenant's."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def all_of(
        self, tenant_id: TenantId, subject_id: SubjectId | None, audit: AuditEvent
    ) -> list[Kept]:
        """All of it, oldest first; that it was shown is in the audit."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            rows = await conn.fetch(query("list_kept"), {"subject_id": subject_id})
            await insert_events(conn, audit=[audit])
        found = (f"{row['tenant_id']}/{row['subject_id'] or OF_TENANT}" for row in rows)
        require_own(f"{tenant_id}/{subject_id or OF_TENANT}", found, "memory")
        return [_kept(row) for row in rows]

    async def owner_of(
        self, tenant_id: TenantId, subject_id: SubjectId, memory_id: MemoryId
    ) -> SubjectId | None:
        """Whose it is: the person's, or None for its tenant's; raises `NotFound`."""
        params = {"subject_id": subject_id, "memory_id": memory_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("find_owner"), params)
        if row is None:
            raise NotFound
        return row["subject_id"]  # type: ignore[no-any-return]  # a row is untyped

    async def forget(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        memory_ids: Sequence[MemoryId],
        audit: AuditEvent,
    ) -> int:
        """Delete these of an owner, each with an event like `audit`; how many there were."""
        params = {"subject_id": subject_id, "memory_ids": list(memory_ids)}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            gone = [row["memory_id"] for row in await conn.fetch(query("delete_kept"), params)]
            each = [audit_of(replace(audit, event_id=uuid4()), memory_id) for memory_id in gone]
            await insert_events(conn, audit=each)
        return len(gone)


def _kept(row: Row) -> Kept:
    place = Place(row["subject_id"] or OF_TENANT, tuple(row["namespace"]))
    thread_id = row["thread_id"]
    return Kept(
        memory_id=MemoryId(row["memory_id"]),
        subject_id=row["subject_id"],
        namespace=namespace_of(place),
        key=row["key"],
        value=row["value"],
        thread_id=None if thread_id is None else ThreadId(thread_id),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
