"""`tenantry corpus …`"""

from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, show
from tenancy.corpus import MAX_TITLE_CHARACTERS
from tenancy.errors import Invalid
from tenancy.ids import parse_plan_id, parse_tenant_id
from tenancy.text import clean

corpora = typer.Typer(help="Documents that tenants may subscribe to.", no_args_is_help=True)
app.add_typer(corpora, name="corpus")

Name = Annotated[str, typer.Argument(metavar="CORPUS")]
Reader = Annotated[str, typer.Option("--tenant", help="Who subscribes.")]
COLUMNS = ("corpus_id", "title", "tenants", "created_at")


@corpora.command("create")
def create(
    name: Name,
    title: Annotated[str, typer.Option("--title", help="As tenants see it.")],
    plan: Annotated[str, typer.Option("--plan", help="Its limits of documents.")] = "pro",
    data_dir: DataDir = None,
) -> None:
    """Create a corpus. Its documents are added like a tenant's: `documents add --tenant CORPUS`."""
    corpus_id, plan_id = parse_tenant_id(name, "CORPUS"), parse_plan_id(plan, "--plan")
    if not 0 < len(title) <= MAX_TITLE_CHARACTERS or clean(title) != title:
        raise Invalid("--title", f"must be 1 to {MAX_TITLE_CHARACTERS} characters of text")
    with control_for(data_dir) as control:
        control.create_corpus(corpus_id, title, plan_id)


@corpora.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all corpora, and how many tenants subscribe to each."""
    with control_for(data_dir) as control:
        show(control.corpora(), as_json=as_json, columns=COLUMNS)


@corpora.command("subscribe")
def subscribe(name: Name, tenant: Reader, data_dir: DataDir = None) -> None:
    """Have a tenant search a corpus beside its own documents."""
    corpus_id, tenant_id = parse_tenant_id(name, "CORPUS"), parse_tenant_id(tenant, "--tenant")
    with control_for(data_dir) as control:
        control.subscribe(tenant_id, corpus_id)


@corpora.command("unsubscribe")
def unsubscribe(name: Name, tenant: Reader, data_dir: DataDir = None) -> None:
    """Have a tenant search a corpus no more."""
    corpus_id, tenant_id = parse_tenant_id(name, "CORPUS"), parse_tenant_id(tenant, "--tenant")
    with control_for(data_dir) as control:
        control.unsubscribe(tenant_id, corpus_id)
