"""Files from disk and pages from the web into a tenant's knowledge, with a progress bar."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress

from knowledge.archive import is_archive
from server.intake import take_in, take_in_archive
from server.services import Services
from server.sites import SitePage
from tenancy.document import Taken, Upload
from tenancy.errors import Failure, Invalid, Refusal
from tenancy.ids import SubjectId
from tenancy.tenant import Tenant

SUBJECT = SubjectId("cli")


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page that somebody named."""

    url: str

    def __str__(self) -> str:
        return self.url


class Teller(Protocol):
    """Told what became of each file."""

    def __call__(self, path: str, outcome: str) -> None: ...


async def load_files(
    services: Services, tenant: Tenant, files: Sequence[Path | WebPage | SitePage]
) -> dict[str, Any]:
    """Ingest `files`: how many were added and unchanged, and which failed, with the reason."""
    counts: dict[str, Any] = {"added": 0, "unchanged": 0, "failed": []}
    with _progress(len(files), tenant) as tell:
        for path in files:
            try:
                async for taken in _load(services, tenant, path):
                    outcome = _count(counts, taken)
                    tell(taken.source, outcome)
            except (Refusal, Failure, OSError) as error:
                counts["failed"].append({"path": str(path), "reason": reason_of(error)})
                tell(str(path), "failed")
    return counts


async def _load(
    services: Services, tenant: Tenant, path: Path | WebPage | SitePage
) -> AsyncIterator[Taken]:
    """The documents of a file: one, or those of an archive."""
    upload = await _upload(services, tenant, path)
    if not is_archive(upload):
        document, added = await take_in(services, tenant, SUBJECT, upload, waits=True)
        yield Taken(str(path), document, added)
        return
    async for taken in take_in_archive(services, tenant, SUBJECT, upload, waits=True):
        yield replace(taken, source=f"{path}/{taken.source}")


async def _upload(services: Services, tenant: Tenant, path: Path | WebPage | SitePage) -> Upload:
    if isinstance(path, Path):
        return Upload(path.name, await asyncio.to_thread(path.read_bytes))
    if isinstance(path, WebPage):
        return await services.web.fetch(tenant.tenant_id, path.url)
    if path.refusal is not None:
        raise path.refusal
    return await services.sites.page(tenant.tenant_id, path.url)


def _count(counts: dict[str, Any], taken: Taken) -> str:
    if isinstance(taken.outcome, Refusal):
        counts["failed"].append({"path": taken.source, "reason": reason_of(taken.outcome)})
        return "failed"
    outcome = "added" if taken.added else "unchanged"
    counts[outcome] += 1
    return outcome


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
