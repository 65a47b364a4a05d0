"""`tenantry ingest …`"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, say, show
from tenancy.errors import Invalid


@app.command("ingest")
def ingest(
    tenant: TenantName,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add documents to a tenant's knowledge: md, html, pdf, docx, xlsx, csv, code …"""
    counts = asyncio.run(_ingest(tenant, list(_files(paths)), data_dir))
    if as_json:
        show(counts, as_json=True)
    else:
        failed = counts["failed"]
        line = f"{counts['added']} added, {counts['unchanged']} unchanged, {len(failed)} failed"
        typer.echo(line)
        for each in failed:
            say(f"{each['path']}: {each['reason']}")
    if counts["failed"]:
        raise typer.Exit(1)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and p.name[0] != ".")
        elif path.is_file():
            yield path
        else:
            raise Invalid("PATH", f"{path} does not exist")


async def _ingest(tenant: str, files: Sequence[Path], data_dir: Path | None) -> dict[str, Any]:
    from server.cli.rooms import known_tenant, services_for

    async with services_for(data_dir) as services:
        known = await known_tenant(services.directory, tenant)
        from server.loading import load_files

        return await load_files(services, known, files)
