"""`tenantry plan …`"""

from dataclasses import asdict
from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, pairs, show
from tenancy.errors import NotFound
from tenancy.ids import parse_plan_id
from tenancy.plan import new_plan

plans = typer.Typer(help="List, show and change plans.", no_args_is_help=True)
app.add_typer(plans, name="plan")

Name = Annotated[str, typer.Argument(metavar="PLAN")]
COLUMNS = (
    "plan_id",
    "requests_per_minute",
    "burst",
    "concurrent_runs",
    "tokens_per_day",
    "tokens_per_month",
    "money_per_month",
    "weight",
)


@plans.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all plans."""
    with control_for(data_dir) as control:
        found = [asdict(plan) for plan in control.plans()]
    show(found, as_json=as_json, columns=COLUMNS)


@plans.command("show")
def show_one(name: Name, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show a plan."""
    with control_for(data_dir) as control:
        plan = control.plan(parse_plan_id(name, "PLAN"))
    if plan is None:
        raise NotFound(f"There is no plan {name}.")
    show(asdict(plan), as_json=as_json)


@plans.command("set")
def change(
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create or change a plan; running servers follow within a second."""
    plan_id, said = parse_plan_id(name, "PLAN"), pairs(settings)
    new_plan(plan_id, said)  # refused before anything is reached
    with control_for(data_dir) as control:
        plan = control.change_plan(plan_id, said)
    show(asdict(plan), as_json=as_json)
