"""Small makers for the tests of `storage`."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from server.stores import Stores
from storage import postgres, redis_client
from storage.cells import Cell, Cells
from storage.postgres import Row
from storage.queries import Query, load
from tenancy.audit import AuditEvent, Outcome
from tenancy.ids import RunId, SubjectId, TenantId, ThreadId
from tenancy.principal import SCOPES_OF_ROLE, Principal, Role
from tenancy.usage import Meter, UsageEvent, usage_event_id
from tests.support.stores import Cluster

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NAMES = {statement.sql: name for name, statement in load().items()}


def new_run() -> RunId:
    return RunId(uuid4())


def new_thread() -> ThreadId:
    return ThreadId(uuid4())


def principal(tenant: str = "acme", subject: str = "alice", role: Role = Role.MEMBER) -> Principal:
    return Principal(TenantId(tenant), SubjectId(subject), role, SCOPES_OF_ROLE[role], "key")


def audit_event(action: str = "test.act", event_id: UUID | None = None, **more: Any) -> AuditEvent:
    return AuditEvent(
        event_id=event_id or uuid4(),
        actor="key",
        subject_id=SubjectId("alice"),
        action=action,
        resource="",
        outcome=Outcome.ALLOWED,
        **{"created_at": datetime.now(UTC), **more},
    )


def usage_event(run_id: RunId, quantity: int = 1, part: str = "call/0", **more: Any) -> UsageEvent:
    fields = {"model": "scripted", "created_at": datetime.now(UTC), **more}
    return UsageEvent(
        event_id=usage_event_id(run_id, Meter.INPUT_TOKENS, part),
        meter=Meter.INPUT_TOKENS,
        quantity=quantity,
        run_id=run_id,
        subject_id=SubjectId("alice"),
        **fields,
    )


class Trips(list[str]):
    """The names of the statements that a pool sent, in order."""

    def cursors(self) -> type[psycopg.AsyncCursor[Any]]:
        sent = self

        class Recording(psycopg.AsyncCursor[Any]):
            async def execute(self, query: Any, *args: Any, **more: Any) -> Any:
                sent.append(NAMES.get(query, str(query)))
                return await super().execute(query, *args, **more)

        return Recording


@asynccontextmanager
async def open_cells(
    stores: Stores, trips: Trips | None = None, size: int = postgres.POOL_SIZE
) -> AsyncIterator[Cells]:
    """The cells of a process of one's own, which may write down what it sends."""
    pool = postgres.Pool(stores.app, size=size)
    if trips is not None:
        assert isinstance(pool.kwargs, dict)
        pool.kwargs["cursor_factory"] = trips.cursors()
    cell = Cell("first", pool, redis_client.connect(stores.redis_url))
    await cell.open()
    try:
        yield Cells(cell)
    finally:
        await cell.close()


async def warm(cells: Cells, count: int) -> None:
    """Leave `count` connections idle in the pool."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(cells.first.pool.connection())


async def rows(
    cells: Cells, statement: str, tenant_id: TenantId = ACME, **params: object
) -> list[Row]:
    """What `statement` shows to a tenant."""
    async with cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
        return await conn.fetch(Query("of a test", statement.encode()), params)


async def value(cells: Cells, statement: str, tenant_id: TenantId = ACME, **params: object) -> Any:
    """The one value of the one row."""
    [row] = await rows(cells, statement, tenant_id, **params)
    [only] = row.values()
    return only


def kill_backends(stores: Stores) -> int:
    """End every other connection of the app role, as a restarting Postgres does."""
    with psycopg.connect(stores.app_url, autocommit=True) as conn:
        return conn.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity"
            " where usename = current_user and datname = current_database()"
            " and pid <> pg_backend_pid()"
        ).rowcount


@contextmanager
def superuser(servers: Cluster, stores: Stores) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the database of `stores` as the role that made the server."""
    url = make_conninfo(servers.postgres_url, dbname=conninfo_to_dict(stores.app_url)["dbname"])
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


@contextmanager
def away(servers: Cluster, stores: Stores) -> Iterator[None]:
    """A time in which nobody can connect to the database of `stores`."""
    name = sql.Identifier(str(conninfo_to_dict(stores.app_url)["dbname"]))
    with psycopg.connect(servers.postgres_url, autocommit=True) as conn:
        conn.execute(sql.SQL("alter database {} allow_connections false").format(name))
        try:
            conn.execute(
                "select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = %s",
                [conninfo_to_dict(stores.app_url)["dbname"]],
            )
            yield
        finally:
            conn.execute(sql.SQL("alter database {} allow_connections true").format(name))
