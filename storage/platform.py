"""What an operator reads and changes across tenants, as a database role of its own.

The server's role reaches none of it: what gets SQL onto its connections reaches none of it either.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storage.directory import issuer_row
from storage.postgres import Pool, Row, repeated, translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.credentials import Issuer
from tenancy.errors import NotFound, Unavailable
from tenancy.ids import TenantId
from tenancy.tenant import TenantStatus

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

    async def _done(self, name: str, params: Mapping[str, Any]) -> None:
        [row] = await self._all(name, params)
        if not row["done"]:
            raise NotFound

    async def _all(self, name: str, params: Mapping[str, Any]) -> list[Row]:
        pool = self._pool
        if not pool:
            raise Unavailable(NO_OPERATOR)

        async def attempt() -> list[Row]:
            async with pool.connection() as conn:
                cursor = await conn.execute(query(name, "platform").sql, params)
                return await cursor.fetchall()

        with translated():
            return await repeated(pool, attempt)
