"""What must be true of a database before the server serves from it."""

from psycopg import AsyncConnection

from storage.migrations import all_migrations, behind, difference
from storage.postgres import Pool, Row, translated
from storage.queries import query
from storage.roles import APP
from tenancy.errors import Misconfigured


async def refuse_unsafe(pool: Pool) -> None:
    """Raise `Misconfigured`, naming the culprit and the mend, unless isolation can hold here."""
    with translated():
        async with pool.connection() as conn:
            await _check_role(conn)
            await _check_migrations(conn)
            await _check_tables(conn)


async def _one(conn: AsyncConnection[Row], name: str) -> Row:
    row = await (await conn.execute(query(name).sql)).fetchone()
    return row or {}


async def _check_role(conn: AsyncConnection[Row]) -> None:
    me = await _one(conn, "who_am_i")
    faults = {
        "superuser": "is a superuser",
        "bypasses": "may bypass row-level security",
        "creates_roles": "may create roles",
        "creates_databases": "may create databases",
        "owns_tables": "owns tables, or may become who does",
        "can_become_more": "is a member of a role that bypasses row-level security",
    }
    for column, fault in faults.items():
        if me[column]:
            raise Misconfigured(
                f"The role {me['role']} of DATABASE_URL {fault}: row-level security "
                f"would not bind it. Serve as {APP}, which `tenantry up` or "
                f"`tenantry migrate` creates."
            )


async def _check_migrations(conn: AsyncConnection[Row]) -> None:
    if not (await _one(conn, "has_schema"))["migrated"]:
        raise Misconfigured("The database is empty. Run `tenantry migrate` first.")
    rows = await (await conn.execute(query("applied_migrations").sql)).fetchall()
    applied = {row["number"]: row["checksum"] for row in rows}
    if reason := difference(all_migrations(), applied):
        raise Misconfigured(f"The database does not fit this version: {reason}.")
    if missing := behind(all_migrations(), applied):
        raise Misconfigured(f"Migrations are behind ({missing[0]} …). Run `tenantry migrate`.")


async def _check_tables(conn: AsyncConnection[Row]) -> None:
    rows = await (await conn.execute(query("open_tables").sql)).fetchall()
    if rows:
        names = ", ".join(row["name"] for row in rows)
        raise Misconfigured(f"Row-level security does not hold these tables: {names}.")
