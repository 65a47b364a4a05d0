"""`tenantry reconcile`"""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, say, show, stores_for
from tenancy.errors import NotFound
from tenancy.ids import TenantId, parse_tenant_id

if TYPE_CHECKING:
    from server.stores import Stores

COLUMNS = ("tenant", "period", "ledger", "counters", "page", "held", "drift", "agrees")


@app.command("reconcile")
def reconcile(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare, and repair nothing.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Compare ledger, counters and usage page of each tenant, and repair the counters."""
    rows, failed = asyncio.run(_reconcile(tenant, data_dir, repair=not dry_run))
    show(rows, as_json=as_json, columns=COLUMNS)
    for line in failed:
        say(f"tenantry: {line}")
    off = [row for row in rows if not row["agrees"]]
    say(f"{len({row['tenant'] for row in rows})} tenants, {len(off)} figures that do not agree.")
    if off or failed:
        raise typer.Exit(1)


async def _reconcile(
    tenant: str | None, data_dir: Path | None, *, repair: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    with stores_for(data_dir) as (_, stores):
        from server.reconciler import reconcile_all

        found, failed = await reconcile_all(stores, _tenants(stores, tenant), repair=repair)
    return [{**asdict(each), "agrees": each.agrees} for each in found], failed


def _tenants(stores: "Stores", name: str | None) -> list[TenantId]:
    from storage.control import control

    wanted = None if name is None else parse_tenant_id(name, "--tenant")
    with control(stores.owner()) as admin:
        known = [TenantId(row["tenant_id"]) for row in admin.tenants()]
    if wanted is not None and wanted not in known:
        raise NotFound(f"There is no tenant {wanted}.")
    return known if wanted is None else [wanted]
