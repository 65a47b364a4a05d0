"""Files from disk into a tenant's knowledge, with a progress bar."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from server.intake import take_in
from server.services import Services
from tenancy.document import Upload
from tenancy.errors import Invalid, Refusal
from tenancy.ids import SubjectId
from tenancy.tenant import Tenant

SUBJECT = SubjectId("cli")


async def load_files(services: Services, tenant: Tenant, files: Sequence[Path]) -> dict[str, Any]:
    """Ingest `files`: how many were added and unchanged, and which failed, with the reason."""
    added, unchanged, failed = 0, 0, []
    for path in _tracked(files, tenant):
        try:
            data = await asyncio.to_thread(path.read_bytes)
            upload = Upload(path.name, data)
            _, new = await take_in(services, tenant, SUBJECT, upload, waits=True)
        except (Refusal, OSError) as error:
            failed.append({"path": str(path), "reason": _reason(error)})
        else:
            added, unchanged = added + new, unchanged + (not new)
    return {"added": added, "unchanged": unchanged, "failed": failed}


def _tracked(files: Sequence[Path], tenant: Tenant) -> Iterable[Path]:
    """The files, with a bar for who watches and a line for a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{tenant.tenant_id}: {len(files)} documents", highlight=False)
        return files
    return track(files, f"{tenant.tenant_id}: documents", console=console, transient=True)


def _reason(error: Refusal | OSError) -> str:
    if isinstance(error, Invalid):
        return f"{error.field} {error.message}"
    return error.detail if isinstance(error, Refusal) else str(error.strerror)
