"""A vector index of its own for each large tenant; everybody else is scanned exactly.

An approximate index is never shared: another tenant's upload would change, even erase, results.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import args_row, tuple_row

from storage.postgres import translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.errors import Conflict
from tenancy.ids import TenantId

PROMOTE_AT = {512: 10_000, 2000: 3_000}  # passages, by the largest dimension each figure is for
MAX_DIMENSIONS = 2000  # what pgvector's HNSW takes
LEAST_PROMOTED = 1_000  # passages: fewer are searched as fast without
MAX_INDEXES = 200  # more make every small tenant's search slow to plan
PREFIX = "passages_hnsw_"
LOCK = 7_264_113_906  # advisory: one worker at a time

_SIZES = """
select embedding_model as model, dimensions, count(*) as passages
  from tenantry.passages where tenant_id = %s group by 1, 2"""
_INDEXES = """
select c.relname, i.indisvalid, pg_relation_size(c.oid)
  from pg_index i join pg_class c on c.oid = i.indexrelid
 where i.indrelid = %s::regclass and c.relname like %s"""
Wishes = Mapping[TenantId, bool]  # of an operator: whether a tenant is promoted, whatever its size
NO_WISHES: Wishes = {}
Conn = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Size:
    """How many passages of one model and dimension a tenant has."""

    tenant_id: TenantId
    model: str
    dimensions: int
    passages: int

    @property
    def index(self) -> str:
        """The name of its index."""
        return self.named(PREFIX)

    def named(self, prefix: str) -> str:
        """A name for it: derived, so that no process has to remember it."""
        text = f"{self.tenant_id}/{self.model}/{self.dimensions}"
        return prefix + sha256(text.encode()).hexdigest()[:32]

    @property
    def threshold(self) -> int | None:
        """The number of passages from which an index pays; None when there can be none."""
        for largest, passages in PROMOTE_AT.items():
            if self.dimensions <= largest:
                return passages
        return None


@dataclass(frozen=True, slots=True)
class Index:
    """An index in the database; one that is not valid was left by a build that was interrupted."""

    valid: bool
    size: int  # bytes


def sizes_and_indexes(
    owner_url: str, database: AppDatabase, tenants: Sequence[TenantId]
) -> tuple[list[Size], dict[str, Index]]:
    """How large the tenants are, and the indexes that there are, by name."""
    with translated(), psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
        return sizes_of(database, tenants), present_on(conn)


def promote(owner_url: str, database: AppDatabase, tenant_id: TenantId) -> list[Size]:
    """Make the indexes of one tenant, and say of what; raises `Conflict` where it cannot be."""
    with translated(), tending(owner_url) as conn:
        if conn is None:
            raise Conflict("A worker is making indexes now. Try again in a minute.")
        present = present_on(conn)
        wanted = [size for size in sizes_of(database, [tenant_id]) if _can_have(size)]
        if not wanted:
            raise Conflict(
                f"{tenant_id} has fewer than {LEAST_PROMOTED} passages of a model with at most"
                f" {MAX_DIMENSIONS} dimensions: an index would make nothing faster."
            )
        missing = [size for size in wanted if size.index not in present]
        if len(present) + len(missing) > MAX_INDEXES:
            raise Conflict(f"There are {len(present)} indexes of {MAX_INDEXES}. Demote another.")
        for size in wanted:
            if size in missing or not present[size.index].valid:
                drop_index(conn, size.index)
                conn.execute(creation(size))
    return wanted


def demote(owner_url: str, database: AppDatabase, tenant_id: TenantId) -> None:
    """Drop the indexes of one tenant; raises `Conflict` while a worker makes indexes."""
    with translated(), tending(owner_url) as conn:
        if conn is None:
            raise Conflict("A worker is making indexes now. Try again in a minute.")
        for size in sizes_of(database, [tenant_id]):
            drop_index(conn, size.index)


def tend_indexes(
    owner_url: str,
    database: AppDatabase,
    tenants: Sequence[TenantId],
    wishes: Wishes = NO_WISHES,
) -> tuple[int, int]:
    """Make the indexes that are due and drop those that no longer pay: how many of each.

    The owner makes indexes but sees no row; the app counts rows, one tenant at a time. While
    another worker is at it, nothing is done: two concurrent builds on a table block each other.
    """
    with translated():
        sizes = sizes_of(database, tenants)
        with tending(owner_url) as conn:
            if conn is None:
                return 0, 0
            present = {name: index.valid for name, index in present_on(conn).items()}
            make, drop = plan(sizes, present, wishes)
            for name in drop:
                drop_index(conn, name)
            for size in make:
                conn.execute(creation(size))
    return len(make), len(drop)


def plan(
    sizes: Sequence[Size], present: Mapping[str, bool], wishes: Wishes = NO_WISHES
) -> tuple[list[Size], list[str]]:
    """What to make, within the cap, and what to drop: what is wished for first, then the largest.

    An index is kept until its tenant shrinks to half the threshold; a broken one is made anew.
    """
    ordered = sorted(_by_size(sizes), key=lambda size: not wishes.get(size.tenant_id, False))
    wanted = {size.index: size for size in ordered if pays(size, present, wishes)}
    kept = dict(list(wanted.items())[:MAX_INDEXES])
    drop = [name for name, valid in present.items() if name not in kept or not valid]
    make = [size for name, size in kept.items() if not present.get(name, False)]
    return make, drop


def pays(size: Size, present: Mapping[str, bool], wishes: Wishes) -> bool:
    """Whether a tenant is to have an index, by an operator's wish or by its size."""
    if size.threshold is None:
        return False
    if size.tenant_id in wishes:
        return wishes[size.tenant_id] and _can_have(size)
    share = 2 if size.index in present else 1
    return size.passages * share >= size.threshold


def _can_have(size: Size) -> bool:
    return size.threshold is not None and size.passages >= LEAST_PROMOTED


def _by_size(sizes: Sequence[Size]) -> Iterator[Size]:
    yield from sorted(sizes, key=lambda size: -size.passages)


def sizes_of(
    database: AppDatabase, tenants: Sequence[TenantId], statement: LiteralString = _SIZES
) -> list[Size]:
    """How large the tenants are, by what the app sees of them."""
    found: list[Size] = []
    with psycopg.connect(database.url, autocommit=True, connect_timeout=5) as conn:
        for tenant_id in tenants:
            made = args_row(partial(Size, tenant_id))
            with entered(conn, database, tenant_id), conn.cursor(row_factory=made) as cursor:
                found += cursor.execute(statement, [tenant_id]).fetchall()
    return found


@contextmanager
def entered(conn: Conn, database: AppDatabase, tenant_id: TenantId) -> Iterator[None]:
    """A transaction of the app's on one tenant's rows."""
    with conn.transaction():
        conn.execute(query("enter").sql, database.entry(tenant_id))
        if conn.execute(query("current_tenant").sql).fetchone() != (tenant_id,):
            raise database.not_believed()  # to see no passage would be to drop every index
        yield


@contextmanager
def tending(owner_url: str) -> Iterator[Conn | None]:
    """A connection of the owner's that nobody else tends indexes beside; None while one does."""
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=5) as conn:
        row = conn.execute("select pg_try_advisory_lock(%s)", [LOCK]).fetchone()
        yield conn if row == (True,) else None
        conn.execute("select pg_advisory_unlock_all()")  # a connection that closes is slow to


def present_on(conn: Conn, table: str = "passages", prefix: str = PREFIX) -> dict[str, Index]:
    """The indexes of ours that a table has, by name."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        rows = cursor.execute(_INDEXES, [f"tenantry.{table}", f"{prefix}%"]).fetchall()
    return {name: Index(valid, size) for name, valid, size in rows}


def drop_index(conn: Conn, name: str) -> None:
    """Drop an index while searches go on."""
    statement = sql.SQL("drop index concurrently if exists tenantry.{}")
    conn.execute(statement.format(sql.Identifier(name)))


def creation(size: Size, table: str = "passages", prefix: str = PREFIX) -> sql.Composed:
    """The statement that makes an index of one tenant's vectors while searches go on."""
    return sql.SQL(
        "create index concurrently {} on {}"
        " using hnsw ((embedding::public.vector({})) public.vector_cosine_ops)"
        " where tenant_id = {} and embedding_model = {} and dimensions = {}"
    ).format(
        sql.Identifier(size.named(prefix)),
        sql.Identifier("tenantry", table),
        sql.Literal(size.dimensions),
        sql.Literal(size.tenant_id),
        sql.Literal(size.model),
        sql.Literal(size.dimensions),
    )
