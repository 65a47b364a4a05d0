"""Two rival tenants whose documents contradict each other."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from server.dev_issuer import load_or_create
from server.settings import Settings
from server.stores import Stores
from storage.contents import contents
from storage.control import Control, control
from tenancy.errors import Conflict, Failure
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.principal import Role

FOLDER = Path(__file__).parent
TENANTS = {
    TenantId("acme"): ("Acme Office Supply", PlanId("pro")),
    TenantId("globex"): ("Globex Workspace", PlanId("free")),
}
QUESTION = "What does the standing desk cost?"
ORDERS = "orders.csv"
ORDER_TOOL = "order_status"
TOKEN_LIFE = timedelta(hours=12)


def prepare_demo(settings: Settings, stores: Stores) -> None:
    """Make the two tenants, and give each those of its documents that it does not have."""
    with control(stores.owner()) as admin:
        for tenant_id, (display_name, plan_id) in TENANTS.items():
            _create(admin, tenant_id, display_name, plan_id)
    if missing := {t: files for t in TENANTS if (files := _missing(stores, t))}:
        asyncio.run(_ingest(settings, stores, missing))


def greeting(settings: Settings, url: str) -> str:
    """A ready-to-paste command for each tenant of the server at `url`, and where people look."""
    issuer = load_or_create(settings.data_dir, settings.audience)
    lines = ["", "Ask the same question as each tenant:", ""]
    for tenant_id in TENANTS:
        token = issuer.sign(tenant_id, SubjectId("demo"), Role.ADMIN, TOKEN_LIFE)
        body = shlex.quote(f'{{"message": "{QUESTION}"}}')
        lines += [
            f"# {tenant_id}",
            f"curl -s {url}/v1/chat"
            f" -H 'Authorization: Bearer {token}'"
            f" -H 'Content-Type: application/json' -d {body}",
            "",
        ]
    lines += [f"Their documents are at {url}/console: paste one of the tokens there.", "", ""]
    return "\n".join(lines)


def _create(admin: Control, tenant_id: TenantId, display_name: str, plan_id: PlanId) -> None:
    """Make a tenant the first time; what an operator changed on it since stays."""
    try:
        admin.create_tenant(tenant_id, display_name, plan_id)
    except Conflict:
        return
    admin.enable_tool(tenant_id, ORDER_TOOL, enabled=True)
    orders = str(FOLDER / tenant_id / ORDERS)
    admin.configure_tool(tenant_id, ORDER_TOOL, {"orders_file": orders})


def _missing(stores: Stores, tenant_id: TenantId) -> list[Path]:
    """The demo files whose content the tenant does not have yet."""
    present = contents(stores.app, tenant_id)
    files = sorted(p for p in (FOLDER / tenant_id).iterdir() if p.name != ORDERS)
    return [path for path in files if sha256(path.read_bytes()).digest() not in present]


async def _ingest(
    settings: Settings, stores: Stores, missing: Mapping[TenantId, Sequence[Path]]
) -> None:
    from server.loading import load_files  # noqa: PLC0415  # seconds that a later start can save
    from server.wiring import build_services  # noqa: PLC0415

    services = build_services(settings, stores.app, stores.redis_url)
    await services.open()
    try:
        for tenant_id, files in missing.items():
            tenant = await services.directory.tenant(tenant_id)
            if tenant is None:
                raise Failure(f"The demo tenant {tenant_id} is gone.")
            counts = await load_files(services, tenant, files)
            if counts["failed"]:
                raise Failure(f"Demo documents failed: {counts['failed']}")
    finally:
        await services.close()
