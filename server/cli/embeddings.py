"""`tenantry embeddings`"""

import asyncio
from typing import Any

from server.cli import app
from server.cli.terminal import DataDir, Json, show, stores_for
from tenancy.ids import TenantId

COLUMNS = ("tenant_id", "passages", "done", "memories", "memories_done")


@app.command("embeddings")
def embeddings(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Which tenants still have vectors of the former embedding model, and how far they are."""
    with stores_for(data_dir) as (settings, stores):
        from server.reembedding import progress_of
        from storage.control import control
        from storage.reembedding import Kind

        with control(stores.owner()) as admin:
            tenants = [TenantId(row["tenant_id"]) for row in admin.tenants()]
        found = asyncio.run(progress_of(stores, settings, tenants))
    rows: list[dict[str, Any]] = [
        {
            "tenant_id": tenant_id,
            "passages": of[Kind.PASSAGES].total,
            "done": of[Kind.PASSAGES].done,
            "memories": of[Kind.MEMORIES].total,
            "memories_done": of[Kind.MEMORIES].done,
        }
        for tenant_id, of in found.items()
    ]
    show(rows, as_json=as_json, columns=COLUMNS)
