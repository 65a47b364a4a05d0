"""A command's own copy of the house, or of the one room it needs: imports are most of its time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.terminal import stores_for
from tenancy.document import Found
from tenancy.errors import NotFound
from tenancy.ids import SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import SCOPES_OF_ROLE, Principal, Role

if TYPE_CHECKING:
    from server.auth import Directory
    from server.services import Services
    from storage.cells import Cells
    from tenancy.tenant import Tenant
    from tools.catalogue import Catalogue

OPERATOR_SUBJECT = "cli"


@asynccontextmanager
async def services_for(data_dir: Path | None) -> "AsyncIterator[Services]":
    """Services of this process, open; raises `Misconfigured` where isolation cannot hold."""
    with stores_for(data_dir) as (settings, stores):
        from server.wiring import build_services
        from storage.checks import refuse_unsafe

        services = build_services(settings, stores.app, stores.redis_url)
        await services.open()
        try:
            await refuse_unsafe(services.cells.first.pool)
            yield services
        finally:
            await services.close()


@asynccontextmanager
async def tenant_for(data_dir: Path | None, name: str) -> "AsyncIterator[tuple[Tenant, Cells]]":
    """One tenant and the cells, without the house. Raises `NotFound`, `Misconfigured`."""
    with stores_for(data_dir) as (_, stores):
        from storage.cells import open_cells
        from storage.checks import refuse_unsafe
        from storage.directory import Directory

        async with open_cells(stores.app, stores.redis_url, size=1) as cells:
            await refuse_unsafe(cells.first.pool)
            yield await known_tenant(Directory(cells.first.pool), name), cells


def installed_tools() -> "Catalogue":
    """The tools there are: to be listed and named, not to be run."""
    from tools.builtin import built_ins
    from tools.catalogue import Catalogue

    return Catalogue.discover(built_ins(_EmptyIndex(), _NoMemory()))


class _EmptyIndex:
    """Finds nothing."""

    async def search(
        self, _tenant_id: TenantId, _query: str, _limit: int, _within: object = None
    ) -> Found:
        return Found((), "", 0)


class _NoMemory:
    """Keeps nothing."""

    async def remember(self, _user: object, _text: str, _thread_id: str | None) -> None:
        return None

    async def forget(self, _user: object, _named: str, _thread_id: str | None) -> bool:
        return False


async def known_tenant(directory: "Directory", name: str) -> "Tenant":
    """The tenant called `name`; raises `NotFound`."""
    tenant_id = parse_tenant_id(name, "--tenant")
    tenant = await directory.tenant(tenant_id)
    if tenant is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    return tenant


def as_subject(
    tenant_id: TenantId, subject: str = OPERATOR_SUBJECT, role: Role = Role.MEMBER
) -> Principal:
    """Who a command acts as inside a tenant: whoever may run it owns the deployment."""
    subject_id: SubjectId = parse_subject_id(subject, "--subject")
    return Principal(tenant_id, subject_id, role, SCOPES_OF_ROLE[role], "cli")
