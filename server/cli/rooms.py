"""A command's own copy of the house, for what is done inside a tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from server.cli.terminal import stores_for
from tenancy.errors import NotFound
from tenancy.ids import SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import SCOPES_OF_ROLE, Principal, Role

if TYPE_CHECKING:
    from server.services import Services
    from tenancy.tenant import Tenant

OPERATOR_SUBJECT = "cli"


@asynccontextmanager
async def services_for(data_dir: Path | None) -> "AsyncIterator[Services]":
    """Services of this process, open; raises `Misconfigured` where isolation cannot hold."""
    with stores_for(data_dir) as (settings, stores):
        from server.wiring import build_services
        from storage.checks import refuse_unsafe

        services = build_services(settings, database_url=stores.app_url, redis_url=stores.redis_url)
        await services.open()
        try:
            await refuse_unsafe(services.cells.first.pool)
            yield services
        finally:
            await services.close()


async def known_tenant(services: "Services", name: str) -> "Tenant":
    """The tenant called `name`; raises `NotFound`."""
    tenant_id = parse_tenant_id(name, "--tenant")
    tenant = await services.directory.tenant(tenant_id)
    if tenant is None:
        raise NotFound(f"There is no tenant {tenant_id}.")
    return tenant


def as_subject(
    tenant_id: TenantId, subject: str = OPERATOR_SUBJECT, role: Role = Role.MEMBER
) -> Principal:
    """Who a command acts as inside a tenant: whoever may run it owns the deployment."""
    subject_id: SubjectId = parse_subject_id(subject, "--subject")
    return Principal(tenant_id, subject_id, role, SCOPES_OF_ROLE[role], "cli")
