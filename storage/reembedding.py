"""A tenant's passages get vectors of another model: beside the old ones, then in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from storage.cells import Cells
from storage.queries import query
from storage.vectors import vector_text
from tenancy.ids import PassageId, TenantId

AT_ONCE = 2_000  # passages of one statement, within its time limit


@dataclass(frozen=True, slots=True)
class Progress:
    """How many passages of the former model there are, and how many of them are embedded anew."""

    passages: int
    done: int


class PostgresReembedding:
    """From the model `former` to `model`; any process may go on where another stopped."""

    def __init__(self, cells: Cells, former: str, model: str) -> None:
        self._cells = cells
        self._models = {"former": former, "model": model}

    async def progress(self, tenant_id: TenantId) -> Progress:
        """How far a tenant is."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("count_renewed"), self._models)
        return Progress(**row) if row else Progress(0, 0)

    async def due(
        self, tenant_id: TenantId, after: PassageId | None, limit: int
    ) -> dict[PassageId, str]:
        """The next passages without a new vector, with their text."""
        params = {**self._models, "after": after, "limit": limit}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            rows = await conn.fetch(query("list_unrenewed"), params)
        return {PassageId(row["passage_id"]): row["body"] for row in rows}

    async def keep(self, tenant_id: TenantId, vectors: Mapping[PassageId, Sequence[float]]) -> None:
        """Store new vectors; no search sees them yet."""
        texts = [*map(vector_text, vectors.values())]
        params = {**self._models, "ids": [*vectors], "vectors": texts}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("keep_next_vectors"), params)

    async def switch(self, tenant_id: TenantId) -> bool:
        """Put all new vectors in place, in one transaction; False while one is missing."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("lock_documents"))
            missing = {**self._models, "after": None, "limit": 1}
            if await conn.fetch(query("list_unrenewed"), missing):
                return False
            while await conn.execute(query("renew_passages"), {"limit": AT_ONCE}):
                pass
            await conn.execute(query("renew_documents"), self._models)
        return True
