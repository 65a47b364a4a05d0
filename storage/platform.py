"""What an operator reads and changes across tenants, as a database role of its own.

The server's role reaches none of it: what gets SQL onto its connections reaches none of it either.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from storage.directory import issuer_row
from storage.limits import document, limits_of, plan_of, plan_row, require_done
from storage.postgres import (
    ANSWER_SECONDS,
    STATEMENT_SECONDS,
    Connection,
    Pool,
    Row,
    repeated,
    translated,
)
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.assistant import MAX_UNIVERSAL, Content, require_version
from tenancy.credentials import Issuer
from tenancy.errors import NotFound, Unavailable
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.limits import Limits, Said
from tenancy.plan import Plan, change_plan, new_plan
from tenancy.price import Price
from tenancy.tenant import TenantStatus
from tenancy.usage import Noise

T = TypeVar("T")

POOL_SIZE = 2
NO_OPERATOR = "This server has no database role for operators: TENANTRY_OPERATOR_DATABASE_URL."


class Platform:
    """Tenants, issuers and revocations; every change is announced to the running servers.

    Without a URL, whatever is asked raises `Unavailable`.
    """

    def __init__(self, operator_url: str | None) -> None:
        self._pool = operator_url and Pool(AppDatabase(operator_url, None), size=POOL_SIZE)

    async def open(self) -> None:
        """Open the pool, if there is one, without waiting for Postgres."""
        if self._pool:
            await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close the pool."""
        if self._pool:
            await self._pool.close()

    async def tenants(self, after: str | None, limit: int) -> list[Row]:
        """Tenants by id."""
        return await self._all("list_tenants", {"after": after, "limit": limit})

    async def tenant(self, tenant_id: TenantId) -> Row:
        """One tenant; raises `NotFound`."""
        rows = await self._all("get_tenant", {"tenant_id": tenant_id})
        if not rows:
            raise NotFound
        return rows[0]

    async def set_status(self, tenant_id: TenantId, status: TenantStatus) -> Row:
        """Suspend or resume a tenant; raises `NotFound`."""
        await self._done("set_status", {"tenant_id": tenant_id, "status": status})
        return await self.tenant(tenant_id)

    async def limits(self, tenant_id: TenantId) -> Limits:
        """All that bounds a tenant; raises `NotFound`."""
        rows = await self._all("limits_of", {"tenant_id": tenant_id})
        if not rows:
            raise NotFound
        return limits_of(rows[0])

    async def limit(self, tenant_id: TenantId, said: Said, subject_id: SubjectId | None) -> Limits:
        """Merge limits into a tenant's own or a user's; an empty one is removed.

        Raises `NotFound`, and `Conflict` for too many users.
        """
        params = {"tenant_id": tenant_id, "subject_id": subject_id, "said": document(said)}
        [row] = await self._all("limit_tenant" if subject_id is None else "limit_user", params)
        require_done(row)
        return await self.limits(tenant_id)

    async def plans(self, after: PlanId | None, limit: int) -> list[Plan]:
        """Plans by name."""
        rows = await self._all("list_plans", {"after": after, "limit": limit})
        return [plan_of(**row) for row in rows]

    async def change_plan(self, plan_id: PlanId, said: Said) -> tuple[Plan, bool]:
        """Create or change a plan, and whether it is new; raises `Invalid`."""

        async def change(conn: Connection) -> tuple[Plan, bool]:
            async with conn.transaction():
                rows = await _fetch(conn, "lock_plan", {"plan_id": plan_id})
                plan = change_plan(plan_of(**rows[0]), said) if rows else new_plan(plan_id, said)
                await _fetch(conn, "put_plan", plan_row(plan))
            return plan, not rows

        return await self._with_connection(change)

    async def prices(self, after: str | None, limit: int) -> list[Price]:
        """Prices by model."""
        rows = await self._all("list_prices", {"after": after, "limit": limit})
        return [Price(**row) for row in rows]

    async def put_price(self, price: Price) -> None:
        """Say what a model costs."""
        await self._all("put_price", asdict(price))

    async def remove_price(self, model: str) -> None:
        """Remove a price; raises `NotFound`."""
        await self._done("remove_price", {"model": model})

    async def profiles(self) -> list[Row]:
        """What the deployment says of assistants: of all under the empty name, and by plan."""
        return await self._all("list_profiles", {})

    async def put_profile(self, name: str, says: Content) -> None:
        """Replace what is said of all assistants, or of a plan's; raises `NotFound`."""
        await self._done("put_profile", {"name": name, "says": document(says)})

    async def universal_assistants(self) -> list[Row]:
        """The assistants that every tenant sees, by slug."""
        return await self._all("list_universal_assistants", {})

    async def put_universal_assistant(self, slug: str, content: Content) -> int:
        """Store one, new or changed; its version. Raises `Conflict` for too many."""
        params = {"slug": slug, "content": document(content), "most": MAX_UNIVERSAL}
        [row] = await self._all("put_universal_assistant", params)
        return require_version(row["version"])

    async def remove_universal_assistant(self, slug: str) -> None:
        """Remove one; raises `NotFound`."""
        await self._done("remove_universal_assistant", {"slug": slug})

    async def issuers(self, after: str | None, limit: int) -> list[Row]:
        """Registered issuers by URL."""
        return await self._all("list_issuers", {"after": after, "limit": limit})

    async def put_issuer(self, issuer: Issuer) -> None:
        """Register an issuer, new or changed."""
        await self._all("put_issuer", issuer_row(issuer))

    async def remove_issuer(self, url: str) -> None:
        """Remove an issuer; raises `NotFound`."""
        await self._done("remove_issuer", {"url": url})

    async def revocations(self, tenant_id: TenantId) -> list[Row]:
        """What was revoked of a tenant."""
        return await self._all("list_revocations", {"tenant_id": tenant_id})

    async def revoke(
        self, tenant_id: TenantId, subject: str, issuer: str, token_id: str
    ) -> datetime:
        """Revoke as `tenantry revocation add` does; returns when. Raises `NotFound`."""
        params = {"tenant_id": tenant_id, "subject_id": subject, "issuer": issuer}
        [row] = await self._all("revoke", {**params, "token_id": token_id})
        if row["revoked_at"] is None:
            raise NotFound
        revoked_at: datetime = row["revoked_at"]
        return revoked_at

    async def noisiest(self, since: datetime, by: Noise, limit: int) -> list[Row]:
        """What tenants did since a time, most of `by` first; `share` is of everybody's tokens."""
        params = {"since": since, "by": by, "limit": limit}
        return await self._all("list_noisiest", params, patience=STATEMENT_SECONDS)

    async def _done(self, name: str, params: Mapping[str, Any]) -> None:
        [row] = await self._all(name, params)
        if not row["done"]:
            raise NotFound

    async def _all(
        self, name: str, params: Mapping[str, Any], *, patience: float = ANSWER_SECONDS
    ) -> list[Row]:
        return await self._with_connection(lambda conn: _fetch(conn, name, params), patience)

    async def _with_connection(
        self, work: Callable[[Connection], Awaitable[T]], patience: float = ANSWER_SECONDS
    ) -> T:
        """What `work` returns; it is done again where it finds its connection dead."""
        pool = self._pool
        if not pool:
            raise Unavailable(NO_OPERATOR)

        async def attempt() -> T:
            async with pool.connection() as conn:
                conn.patience = patience
                return await work(conn)

        with translated():
            return await repeated(pool, attempt)


async def _fetch(conn: Connection, name: str, params: Mapping[str, Any]) -> list[Row]:
    cursor = await conn.execute(query(name, "platform").sql, params)
    return await cursor.fetchall()
