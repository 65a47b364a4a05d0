"""`tenantry tenant …`"""

from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, pairs, show
from tenancy.ids import parse_plan_id, parse_tenant_id
from tenancy.tenant import TenantStatus, parse_preference

tenants = typer.Typer(help="Create, list, change and suspend tenants.", no_args_is_help=True)
app.add_typer(tenants, name="tenant")

Name = Annotated[str, typer.Argument(metavar="TENANT")]
COLUMNS = ("tenant_id", "status", "plan", "placement", "created_at")


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


@tenants.command("suspend")
def suspend(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Refuse a tenant's requests from now on; its data stays."""
    _set_status(name, TenantStatus.SUSPENDED, data_dir, as_json)


@tenants.command("resume")
def resume(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Serve a suspended tenant again."""
    _set_status(name, TenantStatus.ACTIVE, data_dir, as_json)


def _set_status(name: str, status: TenantStatus, data_dir: DataDir, as_json: bool) -> None:
    with control_for(data_dir) as control:
        show(control.set_status(parse_tenant_id(name, "TENANT"), status), as_json=as_json)
