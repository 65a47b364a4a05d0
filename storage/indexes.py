"""A vector index of its own for each large tenant; everybody else is scanned exactly.

An approximate index is never shared: another tenant's upload would change, even erase, results.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import psycopg
from psycopg import sql

from storage.postgres import translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.ids import TenantId

PROMOTE_AT = {512: 10_000, 2000: 3_000}  # passages, by the largest dimension each figure is for
MAX_DIMENSIONS = 2000  # what pgvector's HNSW takes
MAX_INDEXES = 200  # more make every small tenant's search slow to plan
PREFIX = "passages_hnsw_"
LOCK = 7_264_113_906  # advisory: one worker at a time

_SIZES = """
select embedding_model as model, dimensions, count(*) as passages
  from tenantry.passages where tenant_id = %s group by 1, 2"""
_INDEXES = """
select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid
 where i.indrelid = 'tenantry.passages'::regclass and c.relname like %s"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many passages of one model and dimension a tenant has."""

    tenant_id: TenantId
    model: str
    dimensions: int
    passages: int

    @property
    def index(self) -> str:
        """The name of its index: derived, so that no process has to remember it."""
        text = f"{self.tenant_id}/{self.model}/{self.dimensions}"
        return PREFIX + sha256(text.encode()).hexdigest()[:32]

    @property
    def threshold(self) -> int | None:
        """The number of passages from which an index pays; None when there can be none."""
        for largest, passages in PROMOTE_AT.items():
            if self.dimensions <= largest:
                return passages
        return None


def tend_indexes(
    owner_url: str, database: AppDatabase, tenants: Sequence[TenantId]
) -> tuple[int, int]:
    """Make the indexes that are due and drop those that no longer pay: how many of each.

    The owner makes indexes but sees no row; the app counts rows, one tenant at a time. While
    another worker is at it, nothing is done: two concurrent builds on a table block each other.
    """
    with translated():
        sizes = [size for tenant_id in tenants for size in _sizes(database, tenant_id)]
        with psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
            if conn.execute("select pg_try_advisory_lock(%s)", [LOCK]).fetchone() != (True,):
                return 0, 0
            present = {str(n): bool(v) for n, v in conn.execute(_INDEXES, [f"{PREFIX}%"])}
            make, drop = plan(sizes, present)
            for name in drop:
                conn.execute(
                    sql.SQL("drop index concurrently if exists tenantry.{}").format(
                        sql.Identifier(name)
                    )
                )
            for size in make:
                conn.execute(_create(size))
    return len(make), len(drop)


def plan(sizes: Sequence[Size], present: Mapping[str, bool]) -> tuple[list[Size], list[str]]:
    """What to make, largest first and within the cap, and what to drop.

    An index is kept until its tenant shrinks to half the threshold; a broken one is made anew.
    """
    wanted = {size.index: size for size in _by_size(sizes) if _pays(size, present)}
    kept = dict(list(wanted.items())[:MAX_INDEXES])
    drop = [name for name, valid in present.items() if name not in kept or not valid]
    make = [size for name, size in kept.items() if not present.get(name, False)]
    return make, drop


def _pays(size: Size, present: Mapping[str, bool]) -> bool:
    if size.threshold is None:
        return False
    share = 2 if size.index in present else 1
    return size.passages * share >= size.threshold


def _by_size(sizes: Sequence[Size]) -> Iterator[Size]:
    yield from sorted(sizes, key=lambda size: -size.passages)


def _sizes(database: AppDatabase, tenant_id: TenantId) -> list[Size]:
    with psycopg.connect(database.url, connect_timeout=5) as conn:
        conn.execute(query("enter").sql, database.entry(tenant_id))
        if conn.execute(query("current_tenant").sql).fetchone() != (tenant_id,):
            raise database.not_believed()  # to see no passage would be to drop every index
        rows = conn.execute(_SIZES, [tenant_id]).fetchall()
    return [Size(tenant_id, *row) for row in rows]


def _create(size: Size) -> sql.Composed:
    return sql.SQL(
        "create index concurrently {} on tenantry.passages"
        " using hnsw ((embedding::public.vector({})) public.vector_cosine_ops)"
        " where tenant_id = {} and embedding_model = {} and dimensions = {}"
    ).format(
        sql.Identifier(size.index),
        sql.Literal(size.dimensions),
        sql.Literal(size.tenant_id),
        sql.Literal(size.model),
        sql.Literal(size.dimensions),
    )
