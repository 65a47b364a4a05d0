"""`tenantry documents …` and `tenantry ingest`"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, say, show
from tenancy.errors import Invalid

PAGE = 200
COLUMNS = ("document_id", "title", "status", "bytes", "passages", "created_at", "error")

documents = typer.Typer(help="Add, list and delete a tenant's documents.", no_args_is_help=True)
app.add_typer(documents, name="documents")

Paths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH", help="Files, folders and ZIP archives.")
]
Urls = Annotated[list[str] | None, typer.Option("--url", help="A public page; may be repeated.")]
SitemapUrl = Annotated[
    str | None, typer.Option("--sitemap", help="A sitemap: up to 5,000 pages of its own host.")
]


@app.command("ingest")
@documents.command("add")
def add(
    tenant: TenantName,
    paths: Paths = None,
    url: Urls = None,
    sitemap: SitemapUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Add documents to a tenant's knowledge: md, html, pdf, docx, xlsx, csv, code …

    A file that fails is named, and the rest goes on.
    """
    if not (paths or url or sitemap):
        raise Invalid("PATH", "is missing: name files or folders, --url or --sitemap")
    files = list(_files(paths or []))
    _tell(asyncio.run(_add(tenant, files, url or [], sitemap, data_dir)), as_json=as_json)


def _tell(counts: dict[str, Any], *, as_json: bool) -> None:
    failed = counts["failed"]
    if as_json:
        show(counts, as_json=True)
    else:
        line = f"{counts['added']} added, {counts['unchanged']} unchanged, {len(failed)} failed"
        typer.echo(line)
        for each in failed:
            say(f"{each['path']}: {each['reason']}")
    if failed:
        raise typer.Exit(1)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and those below the folders that nothing hides."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
        elif path.is_file():
            yield path
        else:
            raise Invalid("PATH", f"{path} does not exist")


def _hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


async def _add(
    tenant: str,
    files: Sequence[Path],
    urls: Sequence[str],
    sitemap: str | None,
    data_dir: Path | None,
) -> dict[str, Any]:
    from server.cli.rooms import known_tenant, services_for

    async with services_for(data_dir) as services:
        known = await known_tenant(services.directory, tenant)
        from server.loading import WebPage, load_files

        listed = await services.sites.pages(known.tenant_id, sitemap) if sitemap else []
        return await load_files(services, known, [*files, *map(WebPage, urls), *listed])


@documents.command("list")
def list_all(tenant: TenantName, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List a tenant's documents, latest first, with what became of each."""
    show(asyncio.run(_list(tenant, data_dir)), as_json=as_json, columns=COLUMNS)


async def _list(tenant: str, data_dir: Path | None) -> list[dict[str, Any]]:
    from server.cli.rooms import tenant_for
    from storage.documents import PostgresDocuments
    from tenancy.page import Cursor

    found: list[dict[str, Any]] = []
    async with tenant_for(data_dir, tenant) as (known, cells):
        shelf, after = PostgresDocuments(cells), None
        while some := await shelf.page(known.tenant_id, after, PAGE):
            after = Cursor(some[-1].created_at, some[-1].document_id)
            found += [
                {name: getattr(each, "size" if name == "bytes" else name) for name in COLUMNS}
                for each in some
            ]
    return found


@documents.command("delete")
def delete(
    tenant: TenantName,
    document_ids: Annotated[list[UUID], typer.Argument(metavar="DOCUMENT")],
    data_dir: DataDir = None,
) -> None:
    """Delete documents with their passages."""
    asyncio.run(_delete(tenant, document_ids, data_dir))


async def _delete(tenant: str, document_ids: Sequence[UUID], data_dir: Path | None) -> None:
    from server.cli.rooms import OPERATOR_SUBJECT, tenant_for
    from storage.documents import PostgresDocuments
    from tenancy.audit import AuditEvent, Outcome
    from tenancy.ids import DocumentId, SubjectId

    async with tenant_for(data_dir, tenant) as (known, cells):
        for document_id in document_ids:
            event = AuditEvent(
                event_id=uuid4(),
                actor=OPERATOR_SUBJECT,
                subject_id=SubjectId(OPERATOR_SUBJECT),
                action="document.delete",
                resource=str(document_id),
                outcome=Outcome.ALLOWED,
                created_at=datetime.now(UTC),
            )
            await PostgresDocuments(cells).delete(known.tenant_id, DocumentId(document_id), event)
