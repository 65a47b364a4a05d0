"""`tenantry tenant …`"""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, pairs, show, stores_for
from tenancy.ids import SubjectId, parse_plan_id, parse_subject_id, parse_tenant_id
from tenancy.limits import Limits, parse_limits, parse_user_limits
from tenancy.tenant import TenantStatus, parse_preference

tenants = typer.Typer(help="Create, list, change and suspend tenants.", no_args_is_help=True)
app.add_typer(tenants, name="tenant")

Name = Annotated[str, typer.Argument(metavar="TENANT")]
User = Annotated[
    str | None, typer.Option("--user", metavar="SUBJECT", help="One user of the tenant.")
]
COLUMNS = ("tenant_id", "status", "plan", "placement", "created_at")
LIMIT_COLUMNS = ("field", "value", "source", "user")


@tenants.command("create")
def create(
    name: Name,
    plan: Annotated[str, typer.Option("--plan")] = "free",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create a tenant; its name is its id."""
    tenant_id, plan_id = parse_tenant_id(name, "NAME"), parse_plan_id(plan, "--plan")
    with control_for(data_dir) as control:
        row = control.create_tenant(tenant_id, name, plan_id)
    show(row, as_json=as_json)


@tenants.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all tenants."""
    with control_for(data_dir) as control:
        show(control.tenants(), as_json=as_json, columns=COLUMNS)


@tenants.command("show")
def show_one(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show a tenant."""
    with control_for(data_dir) as control:
        show(control.tenant(parse_tenant_id(name, "TENANT")), as_json=as_json)


@tenants.command("set")
def change(
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Set persona, language, instructions, model, plan or display_name; empty removes."""
    tenant_id, said = parse_tenant_id(name, "TENANT"), pairs(settings)
    plan, display_name = said.pop("plan", None), said.pop("display_name", None)
    preferences = dict(parse_preference(key, value) for key, value in said.items())
    with control_for(data_dir) as control:
        control.tenant(tenant_id)
        if plan is not None:
            control.set_plan(tenant_id, parse_plan_id(plan))
        if display_name is not None:
            control.set_display_name(tenant_id, display_name)
        control.set_preferences(tenant_id, preferences)
        show(control.tenant(tenant_id), as_json=as_json)


@tenants.command("limit")
def limit(
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE")],
    user: User = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put limits on top of a tenant's plan, or of one of its users; an empty value removes."""
    tenant_id, subject_id, said = parse_tenant_id(name, "TENANT"), _subject(user), pairs(settings)
    said = parse_limits(said) if subject_id is None else parse_user_limits(said)
    with control_for(data_dir) as control:
        limits = control.limit(tenant_id, said, subject_id)
    rows = [row for row in _rows(limits, subject_id) if row["field"] in said]
    show(rows, as_json=as_json, columns=LIMIT_COLUMNS)


@tenants.command("limits")
def list_limits(
    name: Name, user: User = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """List a tenant's limits as they hold, with where each comes from: plan, tenant or user."""
    subject_id = _subject(user)
    with control_for(data_dir) as control:
        limits = control.limits(parse_tenant_id(name, "TENANT"))
    rows = _rows(limits, subject_id)
    if subject_id is None:
        for each in sorted(limits.users):
            rows += [row for row in _rows(limits, each) if row["source"] == "user"]
    show(rows, as_json=as_json, columns=LIMIT_COLUMNS)


def _subject(user: str | None) -> SubjectId | None:
    return None if user is None else parse_subject_id(user, "--user")


def _rows(limits: Limits, subject_id: SubjectId | None) -> list[dict[str, Any]]:
    return [asdict(each) | {"user": subject_id} for each in limits.effective(subject_id)]


@tenants.command("suspend")
def suspend(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Refuse a tenant's requests from now on; its data stays, but for copies in Redis."""
    tenant_id = parse_tenant_id(name, "TENANT")
    with stores_for(data_dir) as (_, stores):
        from server.hot_copies import drop_hot_at
        from storage.control import control

        with control(stores.owner()) as admin:
            row = admin.set_status(tenant_id, TenantStatus.SUSPENDED)
        asyncio.run(drop_hot_at(stores.redis_url, tenant_id))
    show(row, as_json=as_json)


@tenants.command("resume")
def resume(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Serve a suspended tenant again."""
    tenant_id = parse_tenant_id(name, "TENANT")
    with control_for(data_dir) as control:
        show(control.set_status(tenant_id, TenantStatus.ACTIVE), as_json=as_json)
