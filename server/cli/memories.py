"""`tenantry memories …`"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, say, show
from tenancy.errors import Invalid
from tenancy.ids import MemoryId, SubjectId, parse_subject_id

if TYPE_CHECKING:
    from tenancy.audit import AuditEvent

COLUMNS = ("memory_id", "namespace", "value", "created_at")

memories = typer.Typer(help="See and delete what is remembered.", no_args_is_help=True)
app.add_typer(memories, name="memories")

Subject = Annotated[
    str | None, typer.Option("--subject", help="A person; without one, the tenant itself.")
]
Ids = Annotated[
    list[UUID] | None, typer.Argument(metavar="ID", help="Without any, all of the person.")
]


@memories.command("list")
def list_all(
    tenant: TenantName, subject: Subject = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """List all that is kept of a person, or of a tenant itself, oldest first."""
    kept = asyncio.run(_list(tenant, _parsed(subject), data_dir))
    show(kept, as_json=as_json, columns=COLUMNS)


@memories.command("forget")
def forget(
    tenant: TenantName,
    memory_ids: Ids = None,
    subject: Subject = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Delete all that is kept of a person, or what is named by its id."""
    who = _parsed(subject)
    if who is None and not memory_ids:
        raise Invalid("--subject", "is missing: name a person, or the ids of what is the tenant's")
    named = list(dict.fromkeys(memory_ids or []))
    gone = asyncio.run(_forget(tenant, who, named, data_dir))
    if as_json:
        show({"forgotten": gone}, as_json=True)
    else:
        typer.echo(f"{gone} forgotten")
    if gone < len(named):
        say(f"tenantry: {len(named) - gone} of those ids name nothing of this owner")
        raise typer.Exit(1)


def _parsed(subject: str | None) -> SubjectId | None:
    return None if subject is None else parse_subject_id(subject, "--subject")


async def _list(
    tenant: str, subject: SubjectId | None, data_dir: Path | None
) -> list[dict[str, Any]]:
    from server.cli.rooms import tenant_for
    from server.memory_export import exported
    from storage.kept import PostgresKept

    async with tenant_for(data_dir, tenant) as (known, cells):
        event = _event("memory.export", subject)
        kept = await PostgresKept(cells).all_of(known.tenant_id, subject, event)
    return [exported(each) for each in kept]


async def _forget(
    tenant: str, subject: SubjectId | None, memory_ids: list[UUID], data_dir: Path | None
) -> int:
    from server.cli.rooms import tenant_for
    from storage.kept import PostgresKept
    from storage.memories import PostgresMemories

    async with tenant_for(data_dir, tenant) as (known, cells):
        if subject is not None and not memory_ids:
            event = _event("memory.forget_all", subject)
            return await PostgresMemories(cells).delete_own(known.tenant_id, subject, event)
        named, event = [MemoryId(each) for each in memory_ids], _event("memory.forget", subject)
        return await PostgresKept(cells).forget(known.tenant_id, subject, named, event)


def _event(action: str, subject: SubjectId | None) -> "AuditEvent":
    """What an operator did, and to whose memories."""
    from server.cli.rooms import OPERATOR_SUBJECT
    from tenancy.audit import AuditEvent, Outcome

    return AuditEvent(
        event_id=uuid4(),
        actor=OPERATOR_SUBJECT,
        subject_id=SubjectId(OPERATOR_SUBJECT),
        action=action,
        resource=subject or "",
        outcome=Outcome.ALLOWED,
        created_at=datetime.now(UTC),
    )
