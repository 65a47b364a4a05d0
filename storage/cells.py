"""Cells: where a tenant's data lives, and the only way to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from storage import postgres, redis_client
from storage.postgres import Params, Pool, Row, TenantConnection
from storage.queries import Call
from storage.redis_client import AnyRedis
from storage.seal import AppDatabase
from tenancy.ids import TenantId
from tenancy.placement import FIRST_CELL


@dataclass(frozen=True, slots=True)
class Cell:
    """One Postgres database and one Redis, or Redis Cluster, open."""

    cell_id: str
    pool: Pool
    redis: AnyRedis

    @asynccontextmanager
    async def as_tenant(self, tenant_id: TenantId) -> AsyncIterator[TenantConnection]:
        """A transaction on one tenant's rows; the only maker of a `TenantConnection`."""
        async with postgres.as_tenant(self.pool, tenant_id) as conn:
            yield conn

    async def call(
        self, statement: Call, tenant_id: TenantId, params: Params, *, binary: bool = False
    ) -> list[Row]:
        """Run one tenant function in one round trip."""
        return await postgres.call(self.pool, statement, tenant_id, params, binary=binary)

    async def open(self) -> None:
        """Open the pool without waiting for Postgres: what needs it finds out."""
        await self.pool.open(wait=False)

    async def close(self) -> None:
        """Close both stores."""
        await self.pool.close()
        await self.redis.aclose()


@dataclass(frozen=True, slots=True)
class Cells:
    """Every cell of the deployment; a tenant without a placement of its own lives in the first."""

    first: Cell
    placed: Mapping[TenantId, Cell] = field(default_factory=dict)

    def for_tenant(self, tenant_id: TenantId) -> Cell:
        """The cell that holds `tenant_id`: one dictionary look-up."""
        return self.placed.get(tenant_id, self.first)


@asynccontextmanager
async def open_cells(database: AppDatabase, redis_url: str, *, size: int) -> AsyncIterator[Cells]:
    """The cells of a process that is no server, with so many connections; closed afterwards."""
    cells = Cells(Cell(FIRST_CELL, Pool(database, size=size), redis_client.connect(redis_url)))
    await cells.first.open()
    try:
        yield cells
    finally:
        await cells.first.close()
