"""An index of a large tenant's next vectors: a change of models makes none of its searches slow.

Before a large tenant's passages get their next vectors, the copies beside them are indexed. Adding
them to an index that is there already takes eight times as long as building one (2.3 ms a passage
instead of 0.28), with the tenant's documents locked. So the copies are searched until the passages
have an index of their own.
"""

from collections.abc import Sequence

import psycopg

from storage.indexes import (
    NO_WISHES,
    Conn,
    Wishes,
    creation,
    drop_index,
    entered,
    pays,
    plan,
    present_on,
    sizes_of,
    tending,
)
from storage.postgres import translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.ids import TenantId

TABLE, PREFIX = "next_vectors", "next_hnsw_"
_SIZES = """
select embedding_model as model, dimensions, count(*) as passages
  from tenantry.next_vectors where tenant_id = %s group by 1, 2"""


def index_next(
    owner_url: str, database: AppDatabase, tenant_id: TenantId, wishes: Wishes = NO_WISHES
) -> bool | None:
    """Make the indexes that pay, and whether there is one; None while another worker makes some."""
    with translated():
        sizes = sizes_of(database, [tenant_id], _SIZES)
        paying = [size for size in sizes if pays(size, {}, wishes)]
        if not paying:
            return False
        with tending(owner_url) as conn:
            if conn is None:
                return None
            present = present_on(conn, TABLE, PREFIX)
            for size in paying:
                found = present.get(size.named(PREFIX))
                if found is None or not found.valid:
                    drop_index(conn, size.named(PREFIX))
                    conn.execute(creation(size, TABLE, PREFIX))
    return True


def settle_next(
    owner_url: str,
    database: AppDatabase,
    tenants: Sequence[TenantId],
    wishes: Wishes = NO_WISHES,
) -> int:
    """Search passages themselves again where they have their index: how many tenants' copies go."""
    with translated(), tending(owner_url) as conn:
        if conn is None or not (present := present_on(conn, TABLE, PREFIX)):
            return 0
        settled = _settle(conn, database, tenants, wishes)
        sizes = sizes_of(database, tenants, _SIZES)
        for name in present.keys() - {size.named(PREFIX) for size in sizes}:
            drop_index(conn, name)
    return settled


def _settle(conn: Conn, database: AppDatabase, tenants: Sequence[TenantId], wishes: Wishes) -> int:
    with psycopg.connect(database.url, autocommit=True, connect_timeout=5) as app:
        copied = [each for each in tenants if _has_copies(app, database, each)]
        valid = {name: index.valid for name, index in present_on(conn).items()}
        missing, _ = plan(sizes_of(database, tenants), valid, wishes)  # after what was copied
        ready = [each for each in copied if each not in {size.tenant_id for size in missing}]
        for tenant_id in ready:
            with entered(app, database, tenant_id):
                app.execute(query("settle_copied").sql, {"tenant_id": tenant_id})
    return len(ready)


def _has_copies(app: Conn, database: AppDatabase, tenant_id: TenantId) -> bool:
    with entered(app, database, tenant_id):
        row = app.execute(query("has_copied").sql, {"tenant_id": tenant_id}).fetchone()
    return row == (True,)
