"""The one door to tenant data: pools, and the connection that knows its tenant."""

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from storage.cancellation import heeding
from storage.queries import Call, Query, query
from storage.seal import AppDatabase
from tenancy.errors import LeaseLost, Unavailable
from tenancy.ids import TenantId

T = TypeVar("T")
V = TypeVar("V")
Row = dict[str, Any]
Params = Mapping[str, Any]

POOL_SIZE = 16
ACQUIRE_SECONDS = 2.0
ANSWER_SECONDS = 2.0  # for what a request waits for: a server that is silent longer is away
STATEMENT_SECONDS = 32.0  # for statements that may be long; the server stops them at 30
LEASE_LOST = "TN001"  # raised by commit_turn when the fence does not hold
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, PoolClosed, OSError)
_ENTER = query("enter")


class Silent(psycopg.OperationalError):
    """The server took a statement and said nothing: its host is gone, or it stands still."""


class _Silence:
    """Hangs up on a server that says nothing while this process is awake to hear it.

    The wait is cut in parts: a process that was itself held up misses one of them, and finds what
    arrived meanwhile.
    """

    PARTS = 4

    def __init__(self, conn: "Connection") -> None:
        self._conn = conn
        self._part = conn.patience / self.PARTS
        self._left = self.PARTS
        self._wait()

    @property
    def was_too_long(self) -> bool:
        """Whether it hung up."""
        return not self._left

    def end(self) -> None:
        """The server has spoken."""
        self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._part, self._listen)

    def _listen(self) -> None:
        if self._conn.closed:
            return
        with socket.socket(fileno=os.dup(self._conn.pgconn.socket)) as wire:
            if not _has_something(wire):
                self._left -= 1
            if self._left:
                return self._wait()
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)


def _has_something(wire: socket.socket) -> bool:
    poll = select.poll()
    poll.register(wire, select.POLLIN)
    return bool(poll.poll(0))


class Connection(AsyncConnection[Row]):
    """A connection that hangs up on a server that is silent for `patience` seconds.

    Cancelling would ask that server to cancel, and wait for it; its `statement_timeout` stands
    still with it.
    """

    patience: float = ANSWER_SECONDS

    async def wait(self, gen: PQGen[V], *limits: Any, **options: Any) -> V:
        """As the driver's; raises `Silent`, and the connection is closed then."""
        silence = _Silence(self)
        try:
            return await super().wait(gen, *limits, **options)
        except psycopg.OperationalError as error:
            if silence.was_too_long:
                raise Silent("the server is silent") from error
            raise
        finally:
            silence.end()


class Pool(AsyncConnectionPool[Connection]):
    """Connections as the app role, and what a tenant is sealed with on them.

    Made closed; open it inside the loop that will use it.
    """

    def __init__(self, database: AppDatabase, *, size: int = POOL_SIZE) -> None:
        self.database = database
        super().__init__(
            database.url,
            open=False,
            min_size=1,
            max_size=size,
            timeout=ACQUIRE_SECONDS,
            max_idle=300,
            reconnect_timeout=0,  # no back-off: who borrows next tries at once
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "prepare_threshold": 3,
                "connect_timeout": 2,
                "options": "-c search_path=tenantry,public -c statement_timeout=30s",
            },
        )

    async def getconn(self, timeout: float | None = None) -> Connection:
        """As the pool's own; a cancellation that comes together with the connection is not lost."""
        return await heeding(super().getconn(timeout), self.putconn)


class TenantConnection:
    """A connection inside a transaction that can touch one tenant's rows only."""

    def __init__(self, conn: Connection, tenant_id: TenantId) -> None:
        self._conn = conn
        self._tenant_id = tenant_id

    async def fetch(self, statement: Query, params: Params | None = None) -> list[Row]:
        """All rows of `statement`; `tenant_id` is among its parameters by itself."""
        cursor = await self._run(statement, params)
        return await cursor.fetchall()

    async def fetch_one(self, statement: Query, params: Params | None = None) -> Row | None:
        """The first row, if there is one."""
        cursor = await self._run(statement, params)
        return await cursor.fetchone()

    async def execute(self, statement: Query, params: Params | None = None) -> int:
        """Run `statement` and return how many rows it touched."""
        cursor = await self._run(statement, params)
        return cursor.rowcount

    async def _run(self, statement: Query, params: Params | None) -> psycopg.AsyncCursor[Row]:
        return await self._conn.execute(
            statement.sql, {**(params or {}), "tenant_id": self._tenant_id}
        )


@asynccontextmanager
async def as_tenant(pool: Pool, tenant_id: TenantId) -> AsyncIterator[TenantConnection]:
    """A transaction that sees `tenant_id` alone. Raises `Unavailable` when Postgres is away."""
    with translated():
        conn = await _begin(pool, tenant_id)
        try:
            yield TenantConnection(conn, tenant_id)
            await conn.commit()
        finally:
            await _give_back(pool, conn)


async def repeated(pool: Pool, attempt: Callable[[], Awaitable[T]]) -> T:
    """`attempt`, once more when its connection was dead.

    What killed one idle connection killed its neighbours: all are looked at before the repetition.
    """
    try:
        return await attempt()
    except psycopg.OperationalError as error:
        if not _is_dead(error):
            raise
    await asyncio.shield(pool.check())  # cancelled half-way, it would lose connections
    return await attempt()


def _is_dead(error: psycopg.OperationalError) -> bool:
    """Whether the connection died, which says nothing of the statement or of a full pool."""
    if isinstance(error, PoolTimeout | Silent):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("57P", "08"))


async def _begin(pool: Pool, tenant_id: TenantId) -> Connection:
    """A connection whose transaction has its tenant."""
    return await repeated(pool, lambda: _try_begin(pool, tenant_id))


async def _try_begin(pool: Pool, tenant_id: TenantId) -> Connection:
    conn = await pool.getconn()
    try:
        await conn.set_autocommit(False)
        await conn.execute(_ENTER.sql, pool.database.entry(tenant_id))
        conn.patience = STATEMENT_SECONDS
    except BaseException:
        await _give_back(pool, conn)
        raise
    return conn


async def _give_back(pool: Pool, conn: Connection) -> None:
    """Return `conn` as it was borrowed: no transaction, no tenant, no patience."""
    conn.patience = ANSWER_SECONDS
    try:
        if not conn.closed:
            await conn.rollback()
            await conn.set_autocommit(True)
    except psycopg.Error:
        await conn.close()
    except BaseException:  # cancelled half-way: nobody shall find out in what state
        await conn.close()
        raise
    finally:
        await pool.putconn(conn)


async def call(
    pool: Pool, statement: Call, tenant_id: TenantId, params: Params, *, binary: bool = False
) -> list[Row]:
    """Run one tenant function in one round trip; repeated once when the connection was dead.

    Every function is idempotent, so the repetition of one whose answer was lost is harmless.
    """
    arguments = {**params, **pool.database.entry(tenant_id)}
    with translated():
        return await repeated(pool, lambda: _call(pool, statement, arguments, binary))


async def _call(pool: Pool, statement: Call, arguments: Params, binary: bool) -> list[Row]:
    async with pool.connection() as conn:
        cursor = conn.cursor(binary=binary)
        await cursor.execute(statement.sql, arguments)
        return await cursor.fetchall()


class translated:  # reads as a word at its call sites
    """Turns the driver's failures into ours: `Unavailable`, or `LeaseLost` for a lost fence."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, psycopg.Error) and error.sqlstate == LEASE_LOST:
            raise LeaseLost from error
        if isinstance(error, psycopg.errors.QueryCanceled):
            raise Unavailable("The database took too long.") from error
        if isinstance(error, AWAY):
            raise Unavailable("The database is not reachable.") from error
