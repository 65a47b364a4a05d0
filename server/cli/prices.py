"""`tenantry price …`"""

from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, pairs, show
from tenancy.errors import Invalid
from tenancy.price import Price, parse_model, parse_price, price_document

prices = typer.Typer(
    help="List and set what models cost, in minor units for a million tokens.",
    no_args_is_help=True,
)
app.add_typer(prices, name="price")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model, or '*' for any.")]
COLUMNS = ("model", "input", "output")


@prices.command("list")
def list_all(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List all prices."""
    with control_for(data_dir) as control:
        found = [price_document(price) for price in control.prices()]
    show(found, as_json=as_json, columns=COLUMNS)


@prices.command("set")
def put(
    model: Model,
    amounts: Annotated[list[str], typer.Argument(metavar="input=N output=N")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say what a model costs from now on; running servers follow within a second."""
    price = _price(model, pairs(amounts))
    with control_for(data_dir) as control:
        control.put_price(price)
    show(price_document(price), as_json=as_json)


@prices.command("remove")
def remove(model: Model, data_dir: DataDir = None) -> None:
    """Remove a price: the model costs what `*` costs, or nothing."""
    named = parse_model("MODEL", model)
    with control_for(data_dir) as control:
        control.remove_price(named)


def _price(model: str, said: dict[str, str]) -> Price:
    unknown = sorted(set(said) - {"input", "output"})
    if unknown:
        raise Invalid(unknown[0], "is no part of a price; one of input, output")
    named = parse_model("MODEL", model)
    parts = (parse_price(part, said.get(part, "")) for part in ("input", "output"))
    return Price(named, *parts)
