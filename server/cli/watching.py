"""`tenantry noisiest`"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, show, stores_for
from tenancy.errors import Misconfigured
from tenancy.usage import Noise

COLUMNS = ("tenant_id", "plan", "runs", "tokens", "share", "tool_calls", "refused", "failed")


@app.command("noisiest")
def noisiest(
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=24 * 60)] = 5,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000)] = 20,
    by: Annotated[Noise, typer.Option("--by", help="What counts most.")] = Noise.TOKENS,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show which tenants did most in the last minutes."""
    found = asyncio.run(_noisiest(timedelta(minutes=minutes), by, limit, data_dir))
    show(found, as_json=as_json, columns=COLUMNS)


async def _noisiest(
    span: timedelta, by: Noise, limit: int, data_dir: Path | None
) -> list[dict[str, Any]]:
    with stores_for(data_dir) as (_, stores):
        from storage.platform import Platform

        if stores.operator_url is None:
            raise Misconfigured(
                "This needs the operator of the database: set TENANTRY_OPERATOR_DATABASE_URL."
            )
        platform = Platform(stores.operator_url)
        await platform.open()
        try:
            return await platform.noisiest(datetime.now(UTC) - span, by, limit)
        finally:
            await platform.close()
