"""What is done for documents in the background: a queue across tenants, a turn for each."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID, uuid4

from storage.cells import Cells
from storage.postgres import Row, TenantConnection, repeated, translated
from storage.queries import Query, query
from tenancy.document import Ingestion
from tenancy.errors import LeaseLost
from tenancy.ids import DocumentId, TenantId

LEASE_SECONDS = 30.0  # a job whose process died goes on after that


class Jobs:
    """Jobs of one kind; each process holds some in its own name.

    Whatever writes to a job raises `LeaseLost` when it is this process's no longer.
    """

    claiming: ClassVar[Query]

    def __init__(self, cells: Cells, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._cells = cells
        self.lease_seconds = lease_seconds
        self._holder = uuid4()

    async def claim(self, only: TenantId | None = None) -> Ingestion | None:
        """The next job of the tenant whose turn it is; None when nothing is due."""
        row = await self.ask(
            self.claiming,
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

    async def renew(self, job: Ingestion) -> None:
        """Hold the job for another lease."""
        async with self.holding(job, came_on=False):
            pass

    async def fail(self, job: Ingestion, error: str) -> None:
        """Say why it cannot be read; the file is kept for another try."""
        of = of_document(job.document_id)
        async with self.holding(job, came_on=False) as conn:
            await conn.execute(query("fail_document"), of | {"error": error})
            for step in ("clear_staged", "clear_document_text", "end_ingestion"):
                await conn.execute(query(step), of)

    async def put_back(self, job: Ingestion, *, tries: int, after_seconds: float = 0) -> None:
        """Give the job back to its line: for its next turn, or for a later try."""
        params = {"holder": self._holder, "tries": tries, "after_seconds": after_seconds}
        async with self.entered(job.tenant_id) as conn:
            await conn.execute(query("put_ingestion_back"), of_document(job.document_id) | params)

    async def drop(self, job: Ingestion) -> None:
        """End the job of a document that is gone."""
        async with self.entered(job.tenant_id) as conn:
            await conn.execute(query("end_ingestion"), of_document(job.document_id))

    @asynccontextmanager
    async def holding(
        self, job: Ingestion, *, came_on: bool, seconds: float | None = None
    ) -> AsyncIterator[TenantConnection]:
        """A transaction that no other holder of the job can be beside."""
        params = {
            "holder": self._holder,
            "lease_seconds": seconds or self.lease_seconds,
            "came_on": came_on,
        }
        async with self.entered(job.tenant_id) as conn:
            row = await conn.fetch_one(
                query("renew_ingestion"), of_document(job.document_id) | params
            )
            if row is None or not row["held"]:
                raise LeaseLost
            yield conn

    @asynccontextmanager
    async def entered(self, tenant_id: TenantId) -> AsyncIterator[TenantConnection]:
        """A transaction on the rows of a tenant."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            yield conn

    async def ask(self, statement: Query, params: dict[str, Any]) -> Row | None:
        """Ask on behalf of the platform."""
        pool = self._cells.first.pool
        with translated():
            return await repeated(pool, lambda: self._fetch(statement, params))

    async def _fetch(self, statement: Query, params: dict[str, Any]) -> Row | None:
        pool = self._cells.first.pool
        async with pool.connection() as conn:
            asked = {**pool.database.platform_entry(), **params}
            return await (await conn.execute(statement.sql, asked)).fetchone()


async def enqueue_again(conn: TenantConnection, document_ids: Sequence[DocumentId]) -> int:
    """Queue those that failed: to be read where their file is kept, else to be fetched."""
    of = {"document_ids": list(document_ids)}
    await conn.execute(query("enqueue_failed"), of)
    return await conn.execute(query("queue_failed"), of)


def of_document(document_id: UUID) -> dict[str, Any]:
    """Names a document to a statement."""
    return {"document_id": document_id}
