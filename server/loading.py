"""Files from disk into a tenant's knowledge, with a progress bar."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress

from server.intake import take_in
from server.services import Services
from tenancy.document import Upload
from tenancy.errors import Failure, Invalid, Refusal
from tenancy.ids import SubjectId
from tenancy.tenant import Tenant

SUBJECT = SubjectId("cli")


class Teller(Protocol):
    """Told what became of each file."""

    def __call__(self, path: Path, outcome: str) -> None: ...


async def load_files(services: Services, tenant: Tenant, files: Sequence[Path]) -> dict[str, Any]:
    """Ingest `files`: how many were added and unchanged, and which failed, with the reason."""
    counts: dict[str, Any] = {"added": 0, "unchanged": 0, "failed": []}
    with _progress(len(files), tenant) as tell:
        for path in files:
            try:
                outcome = await _load(services, tenant, path)
            except (Refusal, Failure, OSError) as error:
                counts["failed"].append({"path": str(path), "reason": reason_of(error)})
                tell(path, "failed")
            else:
                counts[outcome] += 1
                tell(path, outcome)
    return counts


async def _load(services: Services, tenant: Tenant, path: Path) -> str:
    upload = Upload(path.name, await asyncio.to_thread(path.read_bytes))
    _, new = await take_in(services, tenant, SUBJECT, upload, waits=True)
    return "added" if new else "unchanged"


@contextmanager
def _progress(count: int, tenant: Tenant) -> Iterator[Teller]:
    """A bar for who watches, a line for each file in a log."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        console.print(f"{tenant.tenant_id}: {count} documents")
        yield lambda path, outcome: console.print(f"{outcome} {path}")
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"{tenant.tenant_id}: documents", total=count)
        yield lambda _path, _outcome: bar.advance(task)


def reason_of(error: Refusal | Failure | OSError) -> str:
    """Why a file failed, in a few words."""
    if isinstance(error, Invalid):
        return f"{error.field} {error.message}"
    return str(error.strerror) if isinstance(error, OSError) else error.detail
