"""`tenantry index …`"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, say, show, stores_for
from tenancy.ids import TenantId, parse_tenant_id

if TYPE_CHECKING:
    from server.stores import Stores
    from storage.indexes import Index, Size

indexes = typer.Typer(
    help="List, promote and demote the tenants that are searched by an index of their own.",
    no_args_is_help=True,
)
app.add_typer(indexes, name="index")

Tenant = Annotated[str, typer.Argument(help="The tenant.")]
COLUMNS = ("tenant_id", "model", "dimensions", "passages", "index", "bytes", "promoted_by")


@indexes.command("list")
def list_(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Who has an index, or should: `ready`, `broken`, or `missing` until a worker comes."""
    with stores_for(data_dir) as (_, stores):
        from storage.control import control
        from storage.indexes import sizes_and_indexes

        with control(stores.owner()) as admin:
            tenants = [TenantId(row["tenant_id"]) for row in admin.tenants()]
            wishes = admin.wishes()
        sizes, present = sizes_and_indexes(stores.owner(), stores.app, tenants)
    rows = [_row(size, present.get(size.index), wishes.get(size.tenant_id)) for size in sizes]
    show([row for row in rows if row["index"]], as_json=as_json, columns=COLUMNS)


def _row(size: "Size", index: "Index | None", wish: bool | None) -> dict[str, Any]:
    due = size.threshold is not None and size.passages >= size.threshold
    missing = "missing" if wish or (due and wish is None) else None
    return {
        "tenant_id": size.tenant_id,
        "model": size.model,
        "dimensions": size.dimensions,
        "passages": size.passages,
        "index": ("ready" if index.valid else "broken") if index else missing,
        "bytes": index.size if index else 0,
        "promoted_by": "size" if wish is None else "operator",
    }


@indexes.command("promote")
def promote(tenant: Tenant, data_dir: DataDir = None) -> None:
    """Search a tenant by an index of its own, made now, whatever its size from now on."""
    with stores_for(data_dir) as (_, stores):
        from storage.indexes import promote as make

        tenant_id = _known(stores, tenant)
        sizes = make(stores.owner(), stores.app, tenant_id)
        _wish(stores, tenant_id, promoted=True)
    passages = sum(size.passages for size in sizes)
    say(f"{tenant_id} is promoted: {passages} passages are searched by index.")


@indexes.command("demote")
def demote(tenant: Tenant, data_dir: DataDir = None) -> None:
    """Compare every passage of a tenant again, however many it has from now on."""
    with stores_for(data_dir) as (_, stores):
        from storage.indexes import demote as drop

        tenant_id = _known(stores, tenant)
        _wish(stores, tenant_id, promoted=False)  # first: a worker would make it again
        drop(stores.owner(), stores.app, tenant_id)
    say(f"{tenant_id} is demoted: every passage is compared.")


@indexes.command("auto")
def auto(tenant: Tenant, data_dir: DataDir = None) -> None:
    """Leave it to the tenant's size again, and to the worker's next round."""
    with stores_for(data_dir) as (_, stores):
        tenant_id = _known(stores, tenant)
        _wish(stores, tenant_id, promoted=None)
    say(f"{tenant_id} is promoted when it is large.")


def _known(stores: "Stores", tenant: str) -> TenantId:
    from storage.control import control

    tenant_id = parse_tenant_id(tenant, "TENANT")
    with control(stores.owner()) as admin:
        admin.tenant(tenant_id)
    return tenant_id


def _wish(stores: "Stores", tenant_id: TenantId, *, promoted: bool | None) -> None:
    """Keep the operator's wish, and see to the word lists at once."""
    from storage.control import control
    from storage.word_lists import tend_word_lists

    with control(stores.owner()) as admin:
        admin.wish(tenant_id, promoted)
    if promoted is not None:
        tend_word_lists(stores.app, [tenant_id], {tenant_id: promoted})
