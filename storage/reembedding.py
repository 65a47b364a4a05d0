"""What a tenant has gets vectors of another model: beside the old ones, then in their place."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from storage.cells import Cells
from storage.postgres import TenantConnection
from storage.queries import query
from storage.vectors import vector_text
from tenancy.ids import TenantId

AT_ONCE = 2_000  # of one statement, within its time limit
BUSY_SECONDS = 1.0  # until another worker may have made its indexes


class Kind(StrEnum):
    """What is found by vectors."""

    PASSAGES = "passages"
    MEMORIES = "memories"


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the former model there are, and how many of them are embedded anew."""

    total: int
    done: int


@dataclass(frozen=True, slots=True)
class Due:
    """What has no vector of the next model yet, and since when it says its text."""

    id: UUID
    text: str
    said_at: datetime | None


Copied = Callable[[TenantId], bool | None]


class PostgresReembedding:
    """From the model `former` to `model`; any process may go on where another stopped.

    `copied` is asked before passages switch: whether the copies of their vectors can be searched
    until they have an index of their own; None is not to be said yet.
    """

    def __init__(
        self,
        cells: Cells,
        kind: Kind,
        former: str,
        model: str,
        copied: Copied = lambda _tenant_id: False,
    ) -> None:
        self._cells = cells
        self.kind = kind
        self._models = {"former": former, "model": model}
        self._copied = copied

    async def pending(self, tenant_id: TenantId) -> bool:
        """Whether the tenant has any that are due."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query(f"has_former_{self.kind}"), self._models)
        return bool(row and row["found"])

    async def progress(self, tenant_id: TenantId) -> Progress:
        """How far a tenant is."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query(f"count_renewed_{self.kind}"), self._models)
        return Progress(**row) if row else Progress(0, 0)

    async def due(self, tenant_id: TenantId, after: UUID | None, limit: int) -> list[Due]:
        """The next ones without a new vector."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await self._due(conn, after, limit)

    async def _due(self, conn: TenantConnection, after: UUID | None, limit: int) -> list[Due]:
        params = {**self._models, "after": after, "limit": limit}
        rows = await conn.fetch(query(f"list_unrenewed_{self.kind}"), params)
        return [Due(**row) for row in rows]

    async def keep(
        self, tenant_id: TenantId, due: Sequence[Due], vectors: Sequence[Sequence[float]]
    ) -> None:
        """Store new vectors; no search sees them yet."""
        params = {
            **self._models,
            "ids": [each.id for each in due],
            "said_at": [each.said_at for each in due],
            "vectors": [*map(vector_text, vectors)],
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query(f"keep_next_{self.kind}"), params)

    async def switch(self, tenant_id: TenantId) -> bool:
        """Put all new vectors in place, in one transaction; False while one is missing."""
        copied = await self._has_copies(tenant_id)
        if copied is None:
            await asyncio.sleep(BUSY_SECONDS)
            return False
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if self.kind is Kind.PASSAGES:
                await conn.execute(query("lock_documents"))  # no upload comes in between
            if await self._due(conn, None, 1):
                return False
            await self._renew(conn)
            if self.kind is Kind.PASSAGES:
                await self._say_renewed(conn, copied)
        return True

    async def _has_copies(self, tenant_id: TenantId) -> bool | None:
        if self.kind is not Kind.PASSAGES:
            return False
        return await asyncio.to_thread(self._copied, tenant_id)

    async def _renew(self, conn: TenantConnection) -> None:
        params = {**self._models, "limit": AT_ONCE, "after": None}
        while row := await conn.fetch_one(query(f"renew_{self.kind}"), params):
            params["after"] = row["id"]

    async def _say_renewed(self, conn: TenantConnection, copied: bool) -> None:
        await conn.execute(query("renew_documents"), {**self._models, "copied": copied})
        if not copied:
            await conn.execute(query("forget_next_vectors"))
