"""What Postgres and Redis hold, and what they show to whom."""

import re
from typing import Any

from psycopg import sql

from server.verification.rivals import Rival
from server.verification.world import World, text_of
from storage.catalogue_lint import lint
from storage.queries import Query, query

BORROWED = 8
TABLES = Query(
    "tenant_tables",
    b"select c.relname as name from pg_class c"
    b" where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p') order by 1",
)
STATE = (
    b"select tenantry.current_tenant() as tenant_id, current_setting('app.tenant_id', true) as name"
)
OURS = re.compile(r"\{[a-z0-9][a-z0-9_-]{0,62}\}:|\{cell:")


async def check_catalogue(here: World) -> int:
    """Tables, policies, keys, functions and grants are as they must be."""
    async with here.services.cells.first.pool.connection() as conn:
        for violation in await lint(conn):
            here.observer.found("the catalogue", str(violation))
    return 1


async def check_tables(here: World) -> int:
    """Each table shows each tenant its own rows, of which there are some, and no others."""
    names = [row["name"] for row in await _as(here, here.rivals[0], TABLES)]
    for name in names:
        found = [len(await _rows(here, rival, name)) for rival in here.rivals]
        if not all(found):
            here.observer.found(f"table {name}", "there is no probe: no canary reached it")
    return len(names) * len(here.rivals)


async def _rows(here: World, rival: Rival, table: str) -> list[dict[str, Any]]:
    statement = sql.SQL("select t.tenant_id, t::text as text from tenantry.{} t")
    rows = await _as(
        here, rival, Query(table, statement.format(sql.Identifier(table)).as_string().encode())
    )
    for row in rows:
        here.observer.saw(rival, f"table {table}", row["text"])
        if row["tenant_id"] != rival.tenant_id:
            here.observer.found(f"table {table}", "a tenant sees a row of another's")
    return rows


async def _as(here: World, rival: Rival, statement: Query) -> list[dict[str, Any]]:
    async with here.services.cells.first.as_tenant(rival.tenant_id) as conn:
        return await conn.fetch(statement)


async def check_seal(here: World) -> int:
    """Naming the neighbour, with one's own seal, shows none of it."""
    pool = here.services.cells.first.pool
    for rival in here.rivals:
        other = here.observer.other(rival)
        own = pool.database.entry(rival.tenant_id)
        async with pool.connection() as conn, conn.transaction():
            await conn.execute(query("enter").sql, own)
            await conn.execute(
                b"select set_config('app.tenant_id', %(tenant_id)s, true)",
                {"tenant_id": other.tenant_id},
            )
            cursor = await conn.execute(b"select t::text as text from tenantry.threads t")
            for row in await cursor.fetchall():
                here.observer.found("the seal", f"{other.tenant_id} was entered without its seal")
                here.observer.saw(rival, "the seal", row["text"])
    return len(here.rivals)


async def check_pool(here: World) -> int:
    """A connection that is borrowed without a tenant has none."""
    pool = here.services.cells.first.pool
    for _ in range(BORROWED):
        async with pool.connection() as conn:
            state = await (await conn.execute(STATE)).fetchone() or {}
            cursor = await conn.execute(b"select count(*) as n from tenantry.threads")
            count = (await cursor.fetchone() or {})["n"]
        if state["tenant_id"] or state["name"] or count:
            here.observer.found("the pool", "a connection kept the tenant of who had it before")
    return BORROWED


async def check_redis(here: World) -> int:
    """Every key made here begins with the tenant it is of, and holds nothing of the other's."""
    redis = here.services.cells.first.redis
    made = {text_of(key) async for key in redis.scan_iter(count=1000)} - here.keys_before
    for key in made:
        if not OURS.match(key):
            here.observer.found("Redis", f"the key {key} names no tenant")
        for rival in here.rivals:
            if rival.tenant_id in key and not key.startswith(f"{{{rival.tenant_id}}}:"):
                here.observer.found("Redis", f"the key {key} does not begin with its tenant")
            if key.startswith(f"{{{rival.tenant_id}}}:"):
                value = await redis.dump(key)
                here.observer.saw(rival, "Redis", bytes(value or b""))
                here.observer.saw(rival, "Redis", key)
    for rival in here.rivals:
        for area in here.areas:
            begins = f"{{{rival.tenant_id}}}:{area}:"
            if not any(key.startswith(begins) for key in made):
                here.observer.found("Redis", f"no key begins with {begins}")
    return len(made)
