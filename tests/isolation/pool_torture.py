"""Two connections, many tenants, and all that can go wrong between the setting and the query.

Readers share a pool of two. Each reads as a tenant by a transaction or by a tenant function, or as
nobody at all, while reads are cancelled at any step, and backends are killed between the statement
that sets the tenant and the query, and at any other time.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg

from server.stores import Stores
from storage.cells import Cell
from storage.queries import Query, call
from tenancy.errors import Unavailable
from tenancy.ids import TenantId
from tests.storage.makers import open_cells

READERS = 16
THREAD = "00000000-0000-4000-8000-000000000001"  # the same for all
INSERT = Query(
    "plant",
    b"insert into tenantry.checkpoints (thread_id, checkpoint_id, checkpoint)"
    b" values (%(thread)s, '1', '{}') on conflict do nothing",
)
EVERYTHING = Query("everything", b"select tenant_id from tenantry.checkpoints")
MY_PID = Query("my_pid", b"select pg_backend_pid() as pid")


@dataclass(slots=True)
class Tally:
    """What came of the reads."""

    reads: int = 0  # that were answered
    foreign: int = 0  # rows of somebody else's
    missing: int = 0  # answers without the one row that is there
    interfered: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Torture:
    """One pool under attack."""

    cell: Cell
    admin: psycopg.AsyncConnection[Any]
    tenants: list[TenantId]
    dice: random.Random
    tally: Tally = field(default_factory=Tally)

    async def run(self, reads: int) -> Tally:
        """Read until so many reads were answered."""
        killer = asyncio.create_task(self._kill_any())
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._read_on(reads))
        killer.cancel()
        with suppress(asyncio.CancelledError):
            await killer
        return self.tally

    async def _read_on(self, reads: int) -> None:
        while self.tally.reads < reads:
            tenant = self.dice.choice(self.tenants)
            roll = self.dice.random()
            try:
                if roll < 0.2:
                    await self._cancelled(tenant)
                else:
                    await self._read(tenant)
            except Unavailable:
                self.tally.interfered["refused"] += 1

    async def _cancelled(self, tenant: TenantId) -> None:
        """A read whose caller goes away after any number of steps."""
        reading = asyncio.create_task(self._read(tenant))
        for _ in range(self.dice.randrange(60)):
            await asyncio.sleep(0)
        if reading.cancel():
            self.tally.interfered["cancelled"] += 1
        with suppress(asyncio.CancelledError):
            await reading

    async def _read(self, tenant: TenantId) -> None:
        roll = self.dice.random()
        if roll < 0.1:
            self._count(await self._as_nobody(), None)
        elif roll < 0.5:
            self._count(await self._by_function(tenant), tenant)
        else:
            self._count(await self._by_transaction(tenant), tenant)

    def _count(self, owners: list[str], tenant: TenantId | None) -> None:
        self.tally.reads += 1
        self.tally.foreign += sum(owner != tenant for owner in owners)
        self.tally.missing += tenant is not None and tenant not in owners

    async def _as_nobody(self) -> list[str]:
        """What a connection shows that was given no tenant."""
        try:
            async with self.cell.pool.connection() as conn:
                found = await (await conn.execute(EVERYTHING.sql)).fetchall()
        except psycopg.OperationalError as error:  # a raw connection is not our door
            raise Unavailable("killed") from error
        return [row["tenant_id"] for row in found]

    async def _by_function(self, tenant: TenantId) -> list[str]:
        wanted = {"thread_id": THREAD, "checkpoint_ns": "", "checkpoint_id": None}
        found = await self.cell.call(call("get_checkpoint"), tenant, wanted)
        return [owner for row in found for owner in row["tenant_ids"]]

    async def _by_transaction(self, tenant: TenantId) -> list[str]:
        async with self.cell.as_tenant(tenant) as conn:
            if self.dice.random() < 0.05:
                me = await conn.fetch_one(MY_PID)
                assert me
                await self._kill(me["pid"])
            elif self.dice.random() < 0.5:
                await asyncio.sleep(0)
            return [row["tenant_id"] for row in await conn.fetch(EVERYTHING)]

    async def _kill(self, pid: int) -> None:
        """End a backend; most often it is gone when the query comes, now and then not yet."""
        await self.admin.execute("select pg_terminate_backend(%s)", [pid])
        await asyncio.sleep(self.dice.random() * 0.004)
        self.tally.interfered["killed after the setting"] += 1

    async def _kill_any(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            await self.admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'tenantry_app' and datname = current_database()"
                "   and pid <> pg_backend_pid() order by random() limit 1"
            )
            self.tally.interfered["killed at any time"] += 1


@asynccontextmanager
async def torture(stores: Stores, count: int, seed: int) -> AsyncIterator[Torture]:
    """A pool of two over the rows of `count` tenants, one a tenant."""
    admin: psycopg.AsyncConnection[Any]
    async with (
        open_cells(stores, size=2) as cells,
        await psycopg.AsyncConnection.connect(stores.app_url, autocommit=True) as admin,
    ):
        owners = [TenantId(f"t{number}") for number in range(count)]
        for owner in owners:
            async with cells.first.as_tenant(owner) as conn:
                await conn.execute(INSERT, {"thread": THREAD})
        yield Torture(cells.first, admin, owners, random.Random(seed))  # noqa: S311
