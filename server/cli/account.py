"""`tenantry usage …` and `tenantry audit …`"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, show

audit = typer.Typer(help="Read the audit of a tenant.", no_args_is_help=True)
app.add_typer(audit, name="audit")

AUDIT_COLUMNS = ("created_at", "subject", "action", "resource", "outcome", "run_id")


@app.command("usage")
def usage(tenant: TenantName, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what a tenant has used this month."""
    used = asyncio.run(_usage(tenant, data_dir))
    if as_json:
        show(used, as_json=True)
    else:
        show(used["meters"], as_json=False, columns=("meter", "model", "quantity"))


async def _usage(tenant: str, data_dir: Path | None) -> dict[str, Any]:
    from server.cli.rooms import known_tenant, services_for

    end = datetime.now(UTC) + timedelta(seconds=1)
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    async with services_for(data_dir) as services:
        known = await known_tenant(services, tenant)
        meters = await services.ledger.usage(known.tenant_id, start, end)
    return {"from": start, "to": end, "meters": meters}


@audit.command("list")
def list_audit(
    tenant: TenantName,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 50,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what was done in a tenant, latest first."""
    show(asyncio.run(_audit(tenant, limit, data_dir)), as_json=as_json, columns=AUDIT_COLUMNS)


async def _audit(tenant: str, limit: int, data_dir: Path | None) -> list[dict[str, Any]]:
    from server.cli.rooms import known_tenant, services_for
    from server.routes.account import audit_item

    async with services_for(data_dir) as services:
        known = await known_tenant(services, tenant)
        return [audit_item(e) for e in await services.ledger.audit(known.tenant_id, None, limit)]
