"""What is remembered of people and tenants, in the tenant's cell."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from storage.cells import Cells
from storage.ledger import billed, insert_events
from storage.postgres import Row, TenantConnection
from storage.queries import call, query
from storage.vectors import vector_text
from tenancy.audit import AuditEvent
from tenancy.errors import Conflict, NotFound, QuotaExceeded
from tenancy.ids import MemoryId, SubjectId, TenantId, ThreadId
from tenancy.memory import SHOWN, Memory, NewMemory, Recall, key_of
from tenancy.page import Cursor
from tenancy.plan import UNLIMITED
from tenancy.quota import Period, period_end
from tenancy.usage import UsageEvent

_RECALL = call("recall_memories")


class PostgresMemories:
    """Implements the port `MemoryStore` of knowledge. Another person's memories do not exist."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def put(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        new: NewMemory,
        *,
        most: int,
        thread_id: ThreadId | None,
        audit: AuditEvent,
        usage: Sequence[UsageEvent] = (),
    ) -> Memory:
        """Remember it, once whatever how often it is said.

        Raises `QuotaExceeded` where the person, or the tenant itself, has `most` others already.
        """
        params = _row(new) | {"subject_id": subject_id, "memory_id": uuid4(), "namespace": [*SHOWN]}
        async with (
            billed(self._cells, tenant_id, usage),
            self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn,
        ):
            await conn.execute(query("lock_memories"), {"subject_id": subject_id})
            await refuse_over(conn, params, most)
            row = await conn.fetch_one(query("put_memory"), params | {"thread_id": thread_id})
            memory = _memory(row or {})
            await insert_events(conn, audit=[audit_of(audit, memory.memory_id)], usage=usage)
        return memory

    async def recall(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        vector: Sequence[float] | None,
        *,
        embedding_model: str,
        limit: int,
        anyway: bool = False,
    ) -> Sequence[Memory]:
        """The nearest to `vector`, or without one the latest, of the person and its tenant.

        None for a person who switched memory off, unless `anyway`.
        """
        rows = await self._cells.for_tenant(tenant_id).call(
            _RECALL,
            tenant_id,
            {
                "subject_id": subject_id,
                "model": embedding_model,
                "vector": None if vector is None else vector_text(vector),
                "limit": limit,
                "anyway": anyway,
            },
        )
        return [_memory(row) for row in rows]

    async def recall_of(self, tenant_id: TenantId, subject_id: SubjectId) -> Recall:
        """What a run may know of a person's memory, where nothing else asked when it opened."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_recall"), {"subject_id": subject_id})
        return Recall(row["memory"]) if row else Recall.OFF

    async def has_model(self, tenant_id: TenantId, embedding_model: str) -> bool:
        """Whether all memories of the tenant, and there are some, have vectors of this model."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("has_memory_model"), {"model": embedding_model})
        return bool(row and row["found"])

    async def page(
        self, tenant_id: TenantId, subject_id: SubjectId, after: Cursor | None, limit: int
    ) -> list[Memory]:
        """The person's memories and its tenant's, latest first."""
        params = {
            "subject_id": subject_id,
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [_memory(row) for row in await conn.fetch(query("list_memories"), params)]

    async def get(self, tenant_id: TenantId, subject_id: SubjectId, memory_id: MemoryId) -> Memory:
        """One of the person's or its tenant's memories; raises `NotFound`."""
        params = {"subject_id": subject_id, "memory_id": memory_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("find_memory"), params)
        if row is None:
            raise NotFound
        return _memory(row)

    async def change(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        memory_id: MemoryId,
        memory: NewMemory,
        *,
        audit: AuditEvent,
        usage: Sequence[UsageEvent] = (),
    ) -> Memory:
        """Give a memory another text; raises `NotFound`, `Conflict` where another says it."""
        params = _row(memory) | {"subject_id": subject_id, "memory_id": memory_id}
        async with (
            billed(self._cells, tenant_id, usage),
            self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn,
        ):
            found = await conn.fetch_one(query("find_memory"), params)
            if found is None:
                raise NotFound
            await conn.execute(query("lock_memories"), {"subject_id": found["subject_id"]})
            row = await conn.fetch_one(query("change_memory"), params)
            if row is None:
                raise Conflict("Another memory says that already.")
            await insert_events(conn, audit=[audit], usage=usage)
        return _memory(row)

    async def delete(
        self, tenant_id: TenantId, subject_id: SubjectId, memory_id: MemoryId, audit: AuditEvent
    ) -> None:
        """Delete one of the person's or its tenant's memories; raises `NotFound`."""
        params = {"subject_id": subject_id, "memory_id": memory_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if not await conn.execute(query("delete_memory"), params):
                raise NotFound
            await insert_events(conn, audit=[audit])

    async def forget(
        self, tenant_id: TenantId, subject_id: SubjectId, named: str, audit: AuditEvent
    ) -> bool:
        """Delete the person's own memory of this id or text; False where there is none."""
        params = {"subject_id": subject_id, "named": named.strip(), "key": key_of(named)}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            gone = await conn.fetch(query("delete_own_memory"), params)
            await insert_events(conn, audit=[audit_of(audit, row["memory_id"]) for row in gone[:1]])
        return bool(gone)

    async def delete_own(
        self, tenant_id: TenantId, subject_id: SubjectId, audit: AuditEvent
    ) -> int:
        """Delete everything that is kept of a person; how much there was."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            gone = await conn.execute(query("delete_own_memories"), {"subject_id": subject_id})
            await insert_events(conn, audit=[audit])
        return gone

    async def enabled(self, tenant_id: TenantId, subject_id: SubjectId) -> bool:
        """Whether the person lets itself be remembered; who never said anything does."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_memory_switch"), {"subject_id": subject_id})
        return bool(row and row["enabled"])

    async def switch(
        self, tenant_id: TenantId, subject_id: SubjectId, enabled: bool, audit: AuditEvent
    ) -> None:
        """Say whether the person lets itself be remembered; nothing is deleted."""
        params = {"subject_id": subject_id, "enabled": enabled}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("put_memory_switch"), params)
            await insert_events(conn, audit=[audit])


async def refuse_over(conn: TenantConnection, params: dict[str, Any], most: int) -> None:
    """Raise `QuotaExceeded` where the owner has `most` others, in whatever namespace."""
    if most == UNLIMITED:
        return
    row = await conn.fetch_one(query("count_other_memories"), params)
    if row and row["memories"] >= most:
        now = datetime.now(UTC)
        # no period frees a memory: tomorrow is as good a time to look again as any
        raise QuotaExceeded(
            "memories",
            period_end(Period.DAY, now) - now,
            f"The plan allows {most} memories of a person. Delete one, or change the plan.",
        )


def audit_of(audit: AuditEvent, memory_id: UUID) -> AuditEvent:
    """The event, of this memory."""
    return replace(audit, resource=str(memory_id))


def _row(memory: NewMemory) -> dict[str, Any]:
    return {
        "key": memory.key,
        "text": memory.text,
        "model": memory.embedding_model,
        "vector": vector_text(memory.vector),
    }


def _memory(row: Row) -> Memory:
    subject_id = row["subject_id"]
    return Memory(
        tenant_id=TenantId(row["tenant_id"]),
        memory_id=MemoryId(row["memory_id"]),
        subject_id=None if subject_id is None else SubjectId(subject_id),
        text=row["text"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
