"""Which shared corpora a tenant subscribes to."""

from storage.cells import Cells
from storage.ledger import insert_events
from storage.queries import query
from tenancy.audit import AuditEvent
from tenancy.corpus import MAX_SUBSCRIPTIONS
from tenancy.errors import Conflict, NotFound
from tenancy.ids import TenantId

FULL = f"A tenant subscribes to at most {MAX_SUBSCRIPTIONS} corpora."


class PostgresCorpora:
    """Subscriptions, as the admins of a tenant change them."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def subscribe(self, tenant_id: TenantId, corpus_id: str, audit: AuditEvent) -> None:
        """Search the corpus too; raises `NotFound`, and `Conflict` for one too many."""
        params = {"corpus_id": corpus_id, "most": MAX_SUBSCRIPTIONS}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("subscribe"), params)
            require_subscribed(row["outcome"] if row else "missing")
            await insert_events(conn, audit=[audit])

    async def unsubscribe(self, tenant_id: TenantId, corpus_id: str, audit: AuditEvent) -> None:
        """Search the corpus no more; raises `NotFound` where the tenant does not."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("unsubscribe"), {"corpus_id": corpus_id})
            if not row or not row["done"]:
                raise NotFound
            await insert_events(conn, audit=[audit])


def require_subscribed(outcome: str) -> None:
    """Raise what an outcome of `control.subscribe` means, unless it is done."""
    if outcome == "missing":
        raise NotFound("There is no such corpus.")
    if outcome == "full":
        raise Conflict(FULL)
