"""`tenantry tool …`"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, TenantName, control_for, pairs, show
from tenancy.errors import NotFound
from tenancy.ids import parse_tenant_id
from tenancy.principal import Role

if TYPE_CHECKING:
    from tools.spec import ToolSpec

tools = typer.Typer(help="Enable and configure the tools of a tenant.", no_args_is_help=True)
app.add_typer(tools, name="tool")

ToolName = Annotated[str, typer.Argument(metavar="TOOL")]
COLUMNS = ("name", "enabled", "scope", "description")


@tools.command("list")
def list_tools(tenant: TenantName, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the tools that the tenant's plan includes."""
    show(asyncio.run(_listing(tenant, data_dir)), as_json=as_json, columns=COLUMNS)


async def _listing(tenant: str, data_dir: Path | None) -> list[dict[str, Any]]:
    from server.cli.rooms import as_subject, installed_tools, tenant_for
    from tools.toolbox import Toolboxes

    async with tenant_for(data_dir, tenant) as (known, _):
        caller = as_subject(known.tenant_id, role=Role.ADMIN)
        listed = Toolboxes(installed_tools()).listing(known, caller)
    return [{name: getattr(tool, name) for name in COLUMNS} for tool in listed]


@tools.command("enable")
def enable(tool: ToolName, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Let the tenant use a tool."""
    _decide(tool, tenant, data_dir, enabled=True)


@tools.command("disable")
def disable(tool: ToolName, tenant: TenantName, data_dir: DataDir = None) -> None:
    """Take a tool away from the tenant."""
    _decide(tool, tenant, data_dir, enabled=False)


@tools.command("configure")
def configure(
    tool: ToolName,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE")],
    tenant: TenantName,
    data_dir: DataDir = None,
) -> None:
    """Give a tool what it needs to know for this tenant; an empty value removes."""
    tenant_id, said = parse_tenant_id(tenant, "--tenant"), pairs(settings)
    spec = _spec(tool)
    for key, value in said.items():
        spec.parse_setting(key, value or "false")
    with control_for(data_dir) as control:
        control.tenant(tenant_id)
        control.configure_tool(tenant_id, tool, said)


def _decide(tool: str, tenant: str, data_dir: Path | None, *, enabled: bool) -> None:
    tenant_id = parse_tenant_id(tenant, "--tenant")
    _spec(tool)
    with control_for(data_dir) as control:
        control.tenant(tenant_id)
        control.enable_tool(tenant_id, tool, enabled=enabled)


def _spec(tool: str) -> "ToolSpec":
    """The installed tool of that name; raises `NotFound`."""
    from server.cli.rooms import installed_tools

    spec = installed_tools().spec(tool)
    if spec is None:
        raise NotFound(f"There is no tool {tool}.")
    return spec
