"""The door to tenant data when connections die, run out or are let go of half-way."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from server.stores import Stores
from storage.cells import Cells
from storage.directory import Directory
from storage.ledger import PostgresLedger
from storage.postgres import ANSWER_SECONDS, Connection
from storage.queries import Query, call
from tenancy.errors import Unavailable
from tenancy.ids import TenantId
from tests.storage.makers import (
    ACME,
    Trips,
    audit_event,
    away,
    kill_backends,
    new_run,
    open_cells,
    rows,
    warm,
)
from tests.support.stores import Cluster
from tests.support.waiting import HANG_SECONDS

Deed = Callable[[Cells], Awaitable[object]]
ROUNDS, TENANTS = 500, 50
DICE = random.Random(5)  # noqa: S311  # the same game every time
MADE = "insert into threads (thread_id, subject_id) values (gen_random_uuid(), '') returning 1"
WHOSE = Query("whose", b"select tenant_id from threads")


async def by_transaction(cells: Cells) -> object:
    return await rows(cells, "select 1 as one")


async def by_call(cells: Cells) -> object:
    return await PostgresLedger(cells).record(ACME, audit=[audit_event()])


async def by_directory(cells: Cells) -> object:
    return await Directory(cells.first.pool).tenant(ACME)


each_way = pytest.mark.parametrize("deed", [by_transaction, by_call, by_directory])


# -- dead connections


@each_way
@pytest.mark.parametrize("idle", [1, 5])
async def test_killed_idle_connections_are_not_noticed(
    stores: Stores, deed: Deed, idle: int
) -> None:
    async with open_cells(stores) as cells:
        await warm(cells, idle)
        assert kill_backends(stores) >= idle
        await deed(cells)


@pytest.mark.parametrize("answers_after", [0.1, 1.3])
async def test_a_server_is_not_silent_while_nobody_listens(
    cells: Cells, answers_after: float
) -> None:
    async with cells.first.pool.connection() as conn:
        conn.patience = 1.0
        answer = asyncio.create_task(conn.execute(f"select pg_sleep({answers_after})"))
        await asyncio.sleep(0.05)
        time.sleep(1.1)  # noqa: ASYNC251  the loop stands still, as it does where a machine does
        await answer
        conn.patience = ANSWER_SECONDS


async def test_with_the_database_away_it_is_unavailable_within_seconds(
    servers: Cluster, stores: Stores
) -> None:
    async with open_cells(stores) as cells:
        await warm(cells, 2)
        with away(servers, stores), pytest.raises(Unavailable):
            async with asyncio.timeout(HANG_SECONDS):
                await by_call(cells)


async def test_it_works_at_once_when_the_database_is_back(servers: Cluster, stores: Stores) -> None:
    async with open_cells(stores) as cells:
        await warm(cells, 2)
        with away(servers, stores), pytest.raises(Unavailable):
            await by_transaction(cells)
        await by_transaction(cells)


# -- a full pool


@each_way
async def test_a_full_pool_is_unavailable_within_seconds(stores: Stores, deed: Deed) -> None:
    async with open_cells(stores, size=1) as cells, cells.first.pool.connection():
        with pytest.raises(Unavailable):
            async with asyncio.timeout(HANG_SECONDS):
                await deed(cells)


async def test_a_connection_of_an_error_goes_back_to_the_pool(stores: Stores) -> None:
    async with open_cells(stores, size=1) as cells:
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await _divide(cells)
        await by_transaction(cells)


async def _divide(cells: Cells) -> None:
    async with cells.first.as_tenant(ACME):
        raise ZeroDivisionError


async def test_a_statement_that_fails_is_not_repeated(stores: Stores) -> None:
    trips = Trips()
    async with open_cells(stores, trips) as cells:
        bad = {"run_id": new_run(), "thread_id": "no uuid", "fence": 1, "lease_seconds": 1}
        with pytest.raises(errors.InvalidTextRepresentation):
            await cells.first.call(call("renew_lease"), ACME, bad)
    assert trips == ["renew_lease"]


# -- cancellation


@pytest.fixture(scope="module")
async def two_connections(stores: Stores) -> AsyncIterator[Cells]:
    """Fifty tenants with a thread each, and two connections for all of them."""
    async with open_cells(stores, size=2) as cells:
        for number in range(TENANTS):
            await rows(cells, MADE, TenantId(f"t{number}"))
        yield cells


async def whose(cells: Cells, tenant_id: TenantId) -> list[str]:
    async with cells.first.as_tenant(tenant_id) as conn:
        return [row["tenant_id"] for row in await conn.fetch(WHOSE)]


async def test_a_cancelled_transaction_never_shows_anothers_rows(two_connections: Cells) -> None:
    seen = []

    async def read(tenant_id: TenantId) -> None:
        seen.append((tenant_id, await whose(two_connections, tenant_id)))

    for _ in range(ROUNDS // 4):
        tasks = [
            asyncio.create_task(read(TenantId(f"t{DICE.randrange(TENANTS)}"))) for _ in range(4)
        ]
        for task in tasks:
            await asyncio.sleep(DICE.uniform(0, 0.001))
            if DICE.random() < 0.7:
                task.cancel()
                if DICE.random() < 0.3:
                    await asyncio.sleep(0)
                    task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(seen) > ROUNDS / 10
    assert [found for found in seen if found[1] != [found[0]]] == []


async def test_after_a_cancellation_every_connection_is_as_it_was(two_connections: Cells) -> None:
    pool = two_connections.first.pool
    for _ in range(ROUNDS // 5):
        task = asyncio.create_task(whose(two_connections, TenantId("t1")))
        for _ in range(DICE.choice((1, 2, 3))):  # the second one may meet the rollback
            await asyncio.sleep(DICE.uniform(0, 0.001))
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with pool.connection() as one, pool.connection() as two:
            states = [(conn.autocommit, conn.info.transaction_status) for conn in (one, two)]
            assert states == [(True, TransactionStatus.IDLE)] * 2
    who = Query("who", b"select tenantry.current_tenant() as who")
    async with pool.connection() as one, pool.connection() as two:
        for conn in (one, two):
            assert await (await conn.execute(who.sql)).fetchone() == {"who": None}


async def test_a_cancellation_that_meets_the_connection_is_not_lost(stores: Stores) -> None:
    async with open_cells(stores, size=1) as cells:
        pool = cells.first.pool

        async def borrow() -> None:
            async with pool.connection():
                await asyncio.Event().wait()

        for turns in range(20):  # of the loop, between the connection's return and the cancellation
            held = await pool.getconn()
            borrowing = asyncio.create_task(borrow())
            await asyncio.sleep(0.001)
            returning = asyncio.create_task(pool.putconn(held))
            for _ in range(turns):
                await asyncio.sleep(0)
            borrowing.cancel()
            await asyncio.wait([borrowing, returning], timeout=10)
            assert borrowing.cancelled(), turns


async def test_a_connection_whose_rollback_was_cancelled_serves_nobody_else(
    stores: Stores,
) -> None:
    rolling_back = asyncio.Event()

    class Slow(Connection):
        async def rollback(self) -> None:
            rolling_back.set()
            await asyncio.sleep(0.05)
            await super().rollback()

    async with open_cells(stores, size=1) as cells:
        cells.first.pool.connection_class = Slow
        await cells.first.pool.drain()
        task = asyncio.create_task(whose(cells, ACME))
        await rolling_back.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with cells.first.pool.connection() as conn:
            state = (conn.autocommit, conn.info.transaction_status)
            assert state == (True, TransactionStatus.IDLE)
