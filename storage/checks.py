"""What must be true of a database before the server serves from it."""

from psycopg import AsyncConnection

from storage.catalogue_lint import lint
from storage.migrations import all_migrations, behind, difference
from storage.postgres import Pool, Row, translated
from storage.queries import query
from storage.roles import APP, OWNER
from storage.seal import PLATFORM, AppDatabase
from tenancy.errors import Misconfigured

MOST_TOLD = 10


async def refuse_unsafe(pool: Pool) -> None:
    """Raise `Misconfigured`, naming the culprit and the mend, unless isolation can hold here."""
    with translated():
        async with pool.connection() as conn:
            await _check_role(conn)
            await _check_migrations(conn)
            await _check_catalogue(conn)
            await _check_seal(conn, pool.database)


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


async def _check_catalogue(conn: AsyncConnection[Row]) -> None:
    if violations := await lint(conn):
        told = [str(violation) for violation in violations[:MOST_TOLD]]
        if len(violations) > MOST_TOLD:
            told.append(f"and {len(violations) - MOST_TOLD} more")
        raise Misconfigured(
            f"The database could not keep tenants apart: {'; '.join(told)}. Undo what was changed"
            f" by hand, as {OWNER}; docs/isolation.md has the rules."
        )


async def _check_seal(conn: AsyncConnection[Row], database: AppDatabase) -> None:
    """That seals of our key are believed; that others are not is the catalogue's business."""
    async with conn.transaction():
        await conn.execute(query("enter").sql, database.platform_entry())
        believed = (await _one(conn, "current_tenant"))["tenant_id"]
    if believed != PLATFORM:
        raise database.not_believed()
