"""API keys of a tenant, as its own admins see them: never a secret, never a digest."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from storage.cells import Cells
from storage.directory import key_of
from storage.ledger import insert_events
from storage.postgres import Params, Pool, repeated, translated
from storage.queries import query
from tenancy.audit import AuditEvent
from tenancy.credentials import ApiKey, Rotation
from tenancy.errors import Conflict, NotFound
from tenancy.ids import KeyId, TenantId
from tenancy.page import Cursor


class PostgresKeys:
    """Makes, lists, rotates and revokes API keys through definer functions bound to the tenant."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def add(
        self, tenant_id: TenantId, key: ApiKey, digest: bytes, audit: AuditEvent
    ) -> datetime:
        """Store a key's digest; returns when it was created."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(
                query("add_key"),
                {
                    "key_id": key.key_id,
                    "digest": digest,
                    "subject_id": key.subject_id,
                    "role": key.role,
                    "scopes": list(key.scopes),
                    "expires_at": key.expires_at,
                },
            )
            await insert_events(conn, audit=[audit])
        created: datetime = (row or {})["created_at"]
        return created

    async def page(self, tenant_id: TenantId, after: Cursor | None, limit: int) -> list[ApiKey]:
        """Keys, oldest first, revoked ones included."""
        params = {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [key_of(row) for row in await conn.fetch(query("list_keys"), params)]

    async def key(self, tenant_id: TenantId, key_id: KeyId) -> ApiKey:
        """One key; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("find_key"), {"key_id": key_id})
        if row is None:
            raise NotFound
        return key_of(row)

    async def rotate(
        self,
        tenant_id: TenantId,
        key_id: KeyId,
        new: tuple[KeyId, bytes],
        overlap: timedelta,
        audit: AuditEvent,
    ) -> Rotation:
        """Put the key `new`, an id and a digest, in the place of one that ends after `overlap`.

        It has the old one's subject, role, scopes and lifetime. Raises `NotFound`, and `Conflict`
        for a key that has ended or was rotated before.
        """
        new_id, digest = new
        params = {"key_id": key_id, "new_id": new_id, "digest": digest}
        params |= {"overlap_seconds": overlap.total_seconds()}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("rotate_key"), params) or {"outcome": "missing"}
            _require_rotated(row["outcome"])
            await insert_events(conn, audit=[audit])
        return Rotation(new_id, row["created_at"], row["expires_at"], row["old_expires_at"])

    async def note_uses(self, ages: Mapping[KeyId, float]) -> None:
        """Note when keys of any tenants were last used, in seconds before now."""
        pool = self._cells.first.pool
        params = {"keys": list(ages), "ages": list(ages.values())}
        with translated():
            await repeated(pool, lambda: _note(pool, params))

    async def revoke(self, tenant_id: TenantId, key_id: KeyId, audit: AuditEvent) -> None:
        """Revoke a key for good; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("revoke_key"), {"key_id": key_id})
            if not row or not row["revoked"]:
                raise NotFound
            await insert_events(conn, audit=[audit])


async def _note(pool: Pool, params: Params) -> None:
    async with pool.connection() as conn:
        entry = pool.database.platform_entry()
        await conn.execute(query("note_key_uses").sql, {**params, **entry})


def _require_rotated(outcome: str) -> None:
    if outcome == "missing":
        raise NotFound
    if outcome == "replaced":
        raise Conflict("The key was rotated already: rotate the one that replaced it.")
    if outcome == "ended":
        raise Conflict("The key has expired or is revoked: make a new one.")
