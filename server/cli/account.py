"""`tenantry usage …` and `tenantry audit …`"""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, say, settings_for, show
from tenancy.price import minor_units

audit = typer.Typer(help="Read the audit of a tenant.", no_args_is_help=True)
app.add_typer(audit, name="audit")

AUDIT_COLUMNS = ("created_at", "subject", "action", "resource", "outcome", "run_id")


@app.command("usage")
def usage(tenant: TenantName, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show what a tenant has used this month, and what it cost."""
    used = asyncio.run(_usage(tenant, data_dir))
    if as_json:
        show(used, as_json=True)
    else:
        rows = [{**row, "cost": minor_units(row["cost"])} for row in used["meters"]]
        show(rows, as_json=False, columns=("meter", "model", "quantity", "cost"))
        say(f"The cost is in minor units of {used['currency']}.")


async def _usage(tenant: str, data_dir: Path | None) -> dict[str, Any]:
    from server.cli.rooms import tenant_for
    from storage.ledger import PostgresLedger

    end = datetime.now(UTC) + timedelta(seconds=1)
    start = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    async with tenant_for(data_dir, tenant) as (known, cells):
        meters = await PostgresLedger(cells).usage(known.tenant_id, start, end)
    currency = settings_for(data_dir, warn=False).currency
    return {"from": start, "to": end, "meters": meters, "currency": currency}


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
    from server.cli.rooms import tenant_for
    from storage.ledger import PostgresLedger

    async with tenant_for(data_dir, tenant) as (known, cells):
        events = await PostgresLedger(cells).audit(known.tenant_id, None, limit)
    return [_item(asdict(event)) for event in events]


def _item(event: dict[str, Any]) -> dict[str, Any]:
    """An audit event as `GET /v1/audit` shows it."""
    return {"subject": event.pop("subject_id")} | event
