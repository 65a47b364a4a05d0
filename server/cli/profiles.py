"""`tenantry profile …` and `tenantry assistant …`: how assistants speak."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, show
from tenancy.assistant import parse_content, parse_slug
from tenancy.errors import Invalid
from tenancy.ids import parse_plan_id, parse_tenant_id
from tenancy.personalisation import Source, parse_said, sound

if TYPE_CHECKING:
    from storage.control import Control

profiles = typer.Typer(
    help="What is said of all assistants, of a plan's, or of a tenant's.", no_args_is_help=True
)
assistants = typer.Typer(help="The assistants that every tenant sees.", no_args_is_help=True)
app.add_typer(profiles, name="profile")
app.add_typer(assistants, name="assistant")

OfTenant = Annotated[str | None, typer.Option("--tenant", help="What a tenant says.")]
OfPlan = Annotated[str | None, typer.Option("--plan", help="What is said of a plan's.")]
Said = Annotated[
    typer.FileText, typer.Argument(metavar="FILE", help="A JSON object of fields; - reads it here.")
]
Slug = Annotated[str, typer.Argument(metavar="SLUG")]
COLUMNS = ("slug", "version", "changed_at", "content")


@profiles.command("show")
def show_profile(
    tenant: OfTenant = None, plan: OfPlan = None, data_dir: DataDir = None, as_json: Json = False
) -> None:
    """Show what is said of all assistants, or by --plan or --tenant."""
    _one_at_most(tenant, plan)
    with control_for(data_dir) as control:
        says = _said_of_tenant(control, tenant) if tenant else _said_of_plan(control, plan or "")
    show(says, as_json=as_json)


@profiles.command("put")
def put_profile(
    file: Said,
    tenant: OfTenant = None,
    plan: OfPlan = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Replace what is said of all assistants, or by --plan or --tenant; acts within a second."""
    _one_at_most(tenant, plan)
    said = _read(file)
    with control_for(data_dir) as control:
        if tenant:
            tenant_id, says = parse_tenant_id(tenant, "--tenant"), parse_said(Source.TENANT, said)
            control.tenant(tenant_id)
            control.put_tenant_profile(tenant_id, says)
        else:
            name = parse_plan_id(plan, "--plan") if plan else ""
            says = parse_said(Source.PLAN if plan else Source.PLATFORM, said)
            control.put_profile(name, says)
    show(says, as_json=as_json)


@assistants.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the assistants that every tenant sees."""
    with control_for(data_dir) as control:
        found = control.universal_assistants()
    show(found, as_json=as_json, columns=COLUMNS)


@assistants.command("put")
def put(slug: Slug, file: Said, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Make an assistant that every tenant sees, or change it: its version grows."""
    named, content = parse_slug(slug), parse_content(_read(file))
    with control_for(data_dir) as control:
        version = control.put_universal_assistant(named, content)
    show({"slug": named, "version": version, "content": content}, as_json=as_json)


@assistants.command("remove")
def remove(slug: Slug, data_dir: DataDir = None) -> None:
    """Remove an assistant that every tenant sees."""
    named = parse_slug(slug)
    with control_for(data_dir) as control:
        control.remove_universal_assistant(named)


def _one_at_most(tenant: str | None, plan: str | None) -> None:
    if tenant and plan:
        raise Invalid("--plan", "and --tenant exclude each other")


def _said_of_tenant(control: "Control", tenant: str) -> Mapping[str, Any]:
    known = control.tenant(parse_tenant_id(tenant, "--tenant"))
    return sound(Source.TENANT, known["preferences"])


def _said_of_plan(control: "Control", name: str) -> Mapping[str, Any]:
    says: dict[str, Mapping[str, Any]] = {r["name"]: r["says"] for r in control.profiles()}
    return says.get(name, {})


def _read(file: typer.FileText) -> dict[str, Any]:
    """The fields in a file; raises `Invalid`."""
    try:
        said = json.load(file)
    except ValueError as error:
        raise Invalid("FILE", "is not JSON") from error
    if not isinstance(said, dict):
        raise Invalid("FILE", "is not a JSON object")
    return said
