"""`tenantry thread …`"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from server.cli import app
from server.cli.terminal import DataDir, TenantName

thread = typer.Typer(help="Look after the threads of a tenant.", no_args_is_help=True)
app.add_typer(thread, name="thread")


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
