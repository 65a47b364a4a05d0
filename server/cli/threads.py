"""`tenantry thread …`"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from server.cli import app
from server.cli.terminal import DataDir, TenantName

CHECKPOINTS_KEPT = 1
THREADS_AT_ONCE = 500

thread = typer.Typer(help="Look after the threads of a tenant.", no_args_is_help=True)
app.add_typer(thread, name="thread")


@thread.command("prune")
def prune(tenant: TenantName, data_dir: DataDir = None) -> None:
    """Delete the checkpoints that no thread needs any more, of threads that no run holds."""
    typer.echo(f"{asyncio.run(_prune(tenant, data_dir))} checkpoints deleted")


async def _prune(tenant: str, data_dir: Path | None) -> int:
    from server.cli.rooms import tenant_for
    from storage.checkpointer import TenantPostgresSaver
    from storage.threads import PostgresThreads

    async with tenant_for(data_dir, tenant) as (known, cells):
        threads, gone = PostgresThreads(cells, TenantPostgresSaver(cells)), 0
        while some := await threads.prune(known.tenant_id, CHECKPOINTS_KEPT, THREADS_AT_ONCE):
            gone += some
        return gone


@thread.command("release")
def release(
    thread_id: Annotated[UUID, typer.Argument(help="the quarantined thread")],
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """Open a quarantined thread again, after having looked at what happened."""
    asyncio.run(_release(tenant, thread_id, data_dir))


async def _release(tenant: str, thread_id: UUID, data_dir: Path | None) -> None:
    from server.cli.rooms import OPERATOR_SUBJECT, tenant_for
    from storage.checkpointer import TenantPostgresSaver
    from storage.threads import PostgresThreads
    from tenancy.audit import AuditEvent, Outcome
    from tenancy.ids import SubjectId, ThreadId

    event = AuditEvent(
        event_id=uuid4(),
        actor=OPERATOR_SUBJECT,
        subject_id=SubjectId(OPERATOR_SUBJECT),
        action="thread.release",
        resource=str(thread_id),
        outcome=Outcome.ALLOWED,
        created_at=datetime.now(UTC),
        thread_id=ThreadId(thread_id),
    )
    async with tenant_for(data_dir, tenant) as (known, cells):
        threads = PostgresThreads(cells, TenantPostgresSaver(cells))
        await threads.release(known.tenant_id, ThreadId(thread_id), event)
