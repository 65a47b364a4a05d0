"""A tenant's assistants with their versions, its profile, and what its users prefer."""

from collections.abc import Callable, Mapping
from typing import Any

from storage.cells import Cells
from storage.ledger import insert_events
from storage.limits import document
from storage.postgres import Row, TenantConnection
from storage.queries import call, query
from tenancy.assistant import (
    MAX_ASSISTANTS,
    MAX_VERSIONS,
    Assistant,
    Chosen,
    Content,
    Speaking,
    Version,
)
from tenancy.audit import AuditEvent
from tenancy.errors import Conflict, NotFound
from tenancy.ids import AssistantId, SubjectId, TenantId
from tenancy.page import Cursor

_WHO_SPEAKS = call("who_speaks")

Change = Callable[[Content], Content]


class PostgresAssistants:
    """Every change is one transaction with its audit event."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def speaking(
        self, tenant_id: TenantId, subject_id: SubjectId, name: str, *, draft: bool
    ) -> Speaking:
        """What a user prefers, and the tenant's assistant of that id or slug, if it has one."""
        params = {"subject_id": subject_id, "assistant": name, "draft": draft}
        cell = self._cells.for_tenant(tenant_id)
        [row] = await cell.call(_WHO_SPEAKS, tenant_id, params)
        chosen = Chosen()
        if row["content"] is not None:
            chosen = Chosen(str(row["assistant_id"]), row["version"], row["content"])
        return Speaking(chosen, row["preferences"] or {})

    async def put_profile(
        self, tenant_id: TenantId, says: Mapping[str, Any], audit: AuditEvent
    ) -> None:
        """Replace what the tenant says of all its assistants."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("put_profile"), {"says": document(says)})
            await insert_events(conn, audit=[audit])

    async def preferences(self, tenant_id: TenantId, subject_id: SubjectId) -> Mapping[str, Any]:
        """What a user prefers."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_preferences"), {"subject_id": subject_id})
        says: Mapping[str, Any] = row["says"] if row else {}
        return says

    async def put_preferences(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        says: Mapping[str, Any],
        audit: AuditEvent,
    ) -> None:
        """Replace what a user prefers."""
        params = {"subject_id": subject_id, "says": document(says)}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("put_preferences"), params)
            await insert_events(conn, audit=[audit])

    async def add(
        self,
        tenant_id: TenantId,
        assistant_id: AssistantId,
        slug: str,
        draft: Content,
        audit: AuditEvent,
    ) -> Assistant:
        """A new assistant; raises `Conflict` for a slug that is taken, or for too many."""
        params = {"assistant_id": assistant_id, "slug": slug, "draft": document(draft)}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await conn.execute(query("lock_assistants"))
            counted = await conn.fetch_one(query("count_assistants"))
            if counted and counted["assistants"] >= MAX_ASSISTANTS:
                raise Conflict(f"A tenant has at most {MAX_ASSISTANTS} assistants.")
            if not await conn.execute(query("add_assistant"), params):
                raise Conflict("There is an assistant of that slug already.")
            await insert_events(conn, audit=[audit])
            return await _found(conn, params)

    async def page(self, tenant_id: TenantId, after: Cursor | None, limit: int) -> list[Assistant]:
        """The tenant's assistants, newest first."""
        params = {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [Assistant(**row) for row in await conn.fetch(query("list_assistants"), params)]

    async def get(self, tenant_id: TenantId, assistant_id: AssistantId) -> Assistant:
        """One assistant; raises `NotFound`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await _found(conn, {"assistant_id": assistant_id})

    async def change_draft(
        self, tenant_id: TenantId, assistant_id: AssistantId, change: Change, audit: AuditEvent
    ) -> Assistant:
        """Make another draft of an assistant's, one writer at a time; raises `NotFound`."""
        params: dict[str, Any] = {"assistant_id": assistant_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            draft = change((await _one(conn, "lock_assistant", params))["draft"])
            await conn.execute(query("put_draft"), {**params, "draft": document(draft)})
            await insert_events(conn, audit=[audit])
            return await _found(conn, params)

    async def publish(
        self,
        tenant_id: TenantId,
        assistant_id: AssistantId,
        subject_id: SubjectId,
        check: Change,
        audit: AuditEvent,
    ) -> Assistant:
        """Make the draft the version in use, once it was checked.

        Raises `NotFound`, and `Conflict` for too many.
        """
        params = {"assistant_id": assistant_id, "subject_id": subject_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            check((await _one(conn, "lock_assistant", params))["draft"])
            version = (await _one(conn, "add_version", params))["version"]
            if version > MAX_VERSIONS:
                raise Conflict(f"An assistant has at most {MAX_VERSIONS} versions.")
            await conn.execute(query("use_version"), {**params, "version": version})
            await insert_events(conn, audit=[audit])
            return await _found(conn, params)

    async def roll_back(
        self, tenant_id: TenantId, assistant_id: AssistantId, version: int, audit: AuditEvent
    ) -> Assistant:
        """Put a version of before into use; raises `NotFound`."""
        params = {"assistant_id": assistant_id, "version": version}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if not await conn.execute(query("use_version"), params):
                raise NotFound
            await insert_events(conn, audit=[audit])
            return await _found(conn, params)

    async def versions(
        self, tenant_id: TenantId, assistant_id: AssistantId, before: int | None, limit: int
    ) -> list[Version]:
        """What was published of an assistant, newest first; raises `NotFound`."""
        params = {"assistant_id": assistant_id, "before": before, "limit": limit}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await _found(conn, params)
            return [Version(**row) for row in await conn.fetch(query("list_versions"), params)]

    async def version(
        self, tenant_id: TenantId, assistant_id: AssistantId, version: int
    ) -> Version:
        """What was published once; raises `NotFound`."""
        params = {"assistant_id": assistant_id, "version": version}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return Version(**await _one(conn, "get_version", params))

    async def delete(
        self, tenant_id: TenantId, assistant_id: AssistantId, audit: AuditEvent
    ) -> None:
        """Delete an assistant with its versions; raises `NotFound`."""
        params = {"assistant_id": assistant_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if not await conn.execute(query("delete_assistant"), params):
                raise NotFound
            await insert_events(conn, audit=[audit])


async def _found(conn: TenantConnection, params: Mapping[str, Any]) -> Assistant:
    """The assistant; raises `NotFound`, and the transaction leaves nothing."""
    return Assistant(**await _one(conn, "find_assistant", params))


async def _one(conn: TenantConnection, name: str, params: Mapping[str, Any]) -> Row:
    """The one row of a statement; raises `NotFound`."""
    row = await conn.fetch_one(query(name), params)
    if row is None:
        raise NotFound
    return row
