"""`tenantry seal …`"""

from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, say, show, stores_for
from tenancy.errors import Conflict

seals = typer.Typer(
    help="List, add and remove the keys that tenants are sealed with.", no_args_is_help=True
)
app.add_typer(seals, name="seal")

COLUMNS = ("key_id", "created_at", "ours")


@seals.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """The keys that the database believes, and which of them is the one used here."""
    with stores_for(data_dir) as (_, stores):
        from storage.control import control

        ours = stores.seal_key.key_id if stores.seal_key else None
        with control(stores.owner()) as admin:
            found = [{**row, "ours": row["key_id"] == ours} for row in admin.seal_keys()]
    show(found, as_json=as_json, columns=COLUMNS)


@seals.command("add")
def add(data_dir: DataDir = None) -> None:
    """Have the database believe the key used here too: the first step of changing it."""
    with stores_for(data_dir) as (_, stores):
        from storage.control import control

        if stores.seal_key is None:
            raise stores.app.not_believed()
        with control(stores.owner()) as admin:
            admin.add_seal_key(stores.seal_key)
    say(f"{stores.seal_key.key_id} is believed.")


@seals.command("remove")
def remove(
    key_id: Annotated[str, typer.Argument(help="As `tenantry seal list` names it.")],
    data_dir: DataDir = None,
) -> None:
    """Believe a key no longer; servers that still use it see nothing from then on."""
    with stores_for(data_dir) as (_, stores):
        from storage.control import control

        if stores.seal_key and stores.seal_key.key_id == key_id:
            raise Conflict(f"The seal key {key_id} is the one used here.")
        with control(stores.owner()) as admin:
            admin.remove_seal_key(key_id)
    say(f"{key_id} is believed no longer.")
