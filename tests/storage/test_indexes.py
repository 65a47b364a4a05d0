"""Vector indexes: who gets one, and that a search uses it and finds the same."""

import asyncio
import time
from math import cos
from uuid import UUID

import psycopg
import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.indexes import (
    LEAST_PROMOTED,
    LOCK,
    MAX_INDEXES,
    PREFIX,
    PROMOTE_AT,
    Index,
    Size,
    demote,
    plan,
    promote,
    sizes_and_indexes,
    tend_indexes,
)
from tenancy.errors import Conflict, Unavailable
from tenancy.ids import TenantId
from tests.storage.makers import ACME, GLOBEX, rows, superuser
from tests.support.stores import Cluster

SMALL, LARGE = 384, 520  # dimensions on either side of the first threshold
DUE = PROMOTE_AT[2000]
USED = "select idx_scan from pg_stat_user_indexes where indexrelname = %s"
KILL = """
select pg_terminate_backend(pid) from pg_stat_progress_create_index
 where relid = 'tenantry.passages'::regclass and datname = current_database()
   and phase like 'building index%'"""
BREAK = "update pg_index set indisvalid = false where indexrelid = %s::regclass"


def size(passages: int, tenant: str = "acme", dimensions: int = SMALL, model: str = "m") -> Size:
    return Size(TenantId(tenant), model, dimensions, passages)


# -- the decision


@pytest.mark.parametrize(
    ("dimensions", "due"), [(SMALL, 10_000), (512, 10_000), (513, 3_000), (2000, 3_000)]
)
def test_a_tenant_gets_an_index_when_it_pays(dimensions: int, due: int) -> None:
    large = size(due, dimensions=dimensions)
    assert plan([large], {}) == ([large], [])
    assert plan([size(due - 1, dimensions=dimensions)], {}) == ([], [])


def test_a_dimension_that_no_index_takes_gets_none() -> None:
    assert plan([size(1_000_000, dimensions=3072)], {}) == ([], [])


def test_an_index_is_kept_until_its_tenant_shrinks_to_half() -> None:
    half = size(5_000)
    assert plan([half], {half.index: True}) == ([], [])
    fewer = size(4_999)
    assert plan([fewer], {fewer.index: True}) == ([], [fewer.index])


def test_the_index_of_a_tenant_without_passages_is_dropped() -> None:
    assert plan([], {f"{PREFIX}x": True}) == ([], [f"{PREFIX}x"])


def test_a_broken_index_is_made_anew() -> None:
    large = size(10_000)
    assert plan([large], {large.index: False}) == ([large], [large.index])


def test_no_more_indexes_are_made_than_the_cap_and_the_largest_first() -> None:
    many = [size(10_000 + number, f"t{number}") for number in range(MAX_INDEXES + 7)]
    make, drop = plan(many, {})
    assert make == many[:6:-1]
    assert drop == []


def test_an_index_beyond_the_cap_makes_room_for_a_larger_tenants() -> None:
    many = [size(10_000 + number, f"t{number}") for number in range(MAX_INDEXES)]
    largest = size(50_000, "largest")
    make, drop = plan([*many, largest], {each.index: True for each in many})
    assert (make, drop) == ([largest], [many[0].index])


def test_every_tenant_model_and_dimension_has_an_index_of_its_own() -> None:
    sizes = [
        size(1, tenant, dimensions, model)
        for tenant in ("acme", "globex")
        for dimensions in (SMALL, LARGE)
        for model in ("m", "n")
    ]
    assert len({each.index for each in sizes}) == len(sizes)


def test_what_an_operator_wishes_counts_more_than_the_size() -> None:
    large, small = size(50_000, "large"), size(LEAST_PROMOTED, "small")
    wishes = {large.tenant_id: False, small.tenant_id: True}
    assert plan([large, small], {large.index: True}, wishes) == ([small], [large.index])


def test_no_wish_makes_an_index_that_makes_nothing_faster() -> None:
    tiny, wide = size(LEAST_PROMOTED - 1, "tiny"), size(50_000, "wide", dimensions=3072)
    assert plan([tiny, wide], {}, {tiny.tenant_id: True, wide.tenant_id: True}) == ([], [])


def test_what_is_wished_for_is_kept_before_the_largest() -> None:
    many = [size(10_000 + number, f"t{number}") for number in range(MAX_INDEXES)]
    wished = size(LEAST_PROMOTED, "wished")
    present = {each.index: True for each in [*many, wished]}
    make, drop = plan([*many, wished], present, {wished.tenant_id: True})
    assert (make, drop) == ([], [many[0].index])


# -- the index


ADD = """
with d as (
    insert into documents (document_id, subject_id, title, media_type, size, sha256, passages,
                           embedding_model, status)
    values (gen_random_uuid(), 'alice', 'many', 'text/plain', 1, sha256('many'), 1, 'm', 'ready')
    returning document_id)
insert into passages (document_id, passage_id, ordinal, body, embedding_model, embedding)
select document_id, gen_random_uuid(), g, 'passage', 'm',
       (select array_agg(cos(i * g * 0.0007))
          from generate_series(1, %(dimensions)s::int) i)::vector
  from d, generate_series(1, %(passages)s::int) g returning 1"""


@pytest.fixture(scope="module")
async def documents(cells: Cells) -> PostgresDocuments:
    """Of acme, as many passages as make an index pay; of globex, too few."""
    await rows(cells, ADD, dimensions=LARGE, passages=DUE)
    await rows(cells, ADD, GLOBEX, dimensions=LARGE, passages=50)
    return PostgresDocuments(cells)


async def nearest(documents: PostgresDocuments, tenant_id: TenantId, limit: int) -> list[UUID]:
    question = [cos(i * 1234.4 * 0.0007) for i in range(1, LARGE + 1)]
    found = await documents.search(tenant_id, "nothing", question, embedding_model="m", limit=limit)
    return [passage.passage_id for passage in found]


@pytest.fixture(scope="module")
async def exact(documents: PostgresDocuments) -> list[UUID]:
    """What a search finds without an index."""
    return await nearest(documents, ACME, 50)


async def tend(stores: Stores) -> tuple[int, int]:
    return await asyncio.to_thread(tend_indexes, stores.owner(), stores.app, [ACME, GLOBEX])


@pytest.fixture(scope="module")
async def index(stores: Stores, exact: list[UUID]) -> str:
    """The index of acme, just made."""
    assert await tend(stores) == (1, 0)
    return size(DUE, dimensions=LARGE).index


async def test_only_the_large_tenant_gets_an_index(owner: psycopg.Connection, index: str) -> None:
    made = owner.execute(
        "select indexname from pg_indexes where indexname like %s", [f"{PREFIX}%"]
    ).fetchall()
    assert made == [(index,)]


async def test_a_search_uses_the_index(
    documents: PostgresDocuments, owner: psycopg.Connection, index: str
) -> None:
    deadline = time.monotonic() + 10  # Postgres publishes its counters about once a second
    while time.monotonic() < deadline:
        await nearest(documents, ACME, 5)
        if owner.execute(USED, [index]).fetchone() != (0,):
            return
        await asyncio.sleep(0.2)
    pytest.fail("the index was never used")


async def test_a_search_with_the_index_finds_what_an_exact_one_finds(
    documents: PostgresDocuments, index: str, exact: list[UUID]
) -> None:
    assert await nearest(documents, ACME, 50) == exact


async def test_another_tenants_index_changes_no_search(
    documents: PostgresDocuments, index: str
) -> None:
    assert len(await nearest(documents, GLOBEX, 50)) == 50


async def test_tending_again_changes_nothing(stores: Stores, index: str) -> None:
    assert await tend(stores) == (0, 0)


async def test_two_workers_tend_at_once_without_a_fault(
    stores: Stores, owner: psycopg.Connection, index: str
) -> None:
    owner.execute(f"drop index tenantry.{index}")
    done = await asyncio.gather(tend(stores), tend(stores))
    assert sorted(made for made, _ in done) == [0, 1]


async def test_a_broken_index_in_the_database_is_replaced(
    servers: Cluster, stores: Stores, owner: psycopg.Connection, index: str
) -> None:
    with superuser(servers, stores) as admin:
        admin.execute(BREAK, [f"tenantry.{index}"])  # as an interrupted build leaves it
    assert await tend(stores) == (1, 1)
    valid = owner.execute(
        "select indisvalid from pg_index where indexrelid = %s::regclass", [f"tenantry.{index}"]
    )
    assert valid.fetchone() == (True,)


async def test_a_build_that_is_killed_is_begun_again(
    stores: Stores, owner: psycopg.Connection, index: str
) -> None:
    owner.execute(f"drop index tenantry.{index}")
    building = asyncio.create_task(tend(stores))
    while not building.done():
        killed = owner.execute(KILL).fetchall()
        if killed:
            break
        await asyncio.sleep(0.001)
    assert killed
    with pytest.raises(Unavailable):
        await building
    assert not present(stores)[index].valid
    assert await tend(stores) == (1, 1)
    assert present(stores)[index].valid


def present(stores: Stores) -> dict[str, Index]:
    return sizes_and_indexes(stores.owner(), stores.app, [ACME])[1]


async def test_an_operator_demotes_and_promotes(
    documents: PostgresDocuments, stores: Stores, index: str, exact: list[UUID]
) -> None:
    await asyncio.to_thread(demote, stores.owner(), stores.app, ACME)
    assert present(stores) == {}
    assert await nearest(documents, ACME, 50) == exact
    assert await asyncio.to_thread(promote, stores.owner(), stores.app, ACME) == [
        size(DUE, dimensions=LARGE)
    ]
    assert present(stores)[index].valid
    await asyncio.to_thread(promote, stores.owner(), stores.app, ACME)
    assert await nearest(documents, ACME, 50) == exact


async def test_a_small_tenant_is_not_promoted(stores: Stores, index: str) -> None:
    with pytest.raises(Conflict, match="globex has fewer than 1000 passages"):
        await asyncio.to_thread(promote, stores.owner(), stores.app, GLOBEX)


async def test_nobody_is_promoted_while_a_worker_makes_indexes(
    stores: Stores, owner: psycopg.Connection, index: str
) -> None:
    owner.execute("select pg_advisory_lock(%s)", [LOCK])
    try:
        for act in (promote, demote):
            with pytest.raises(Conflict, match="Try again in a minute"):
                await asyncio.to_thread(act, stores.owner(), stores.app, ACME)
        assert await tend(stores) == (0, 0)
    finally:
        owner.execute("select pg_advisory_unlock(%s)", [LOCK])


async def test_an_index_that_no_longer_pays_is_dropped(
    cells: Cells, stores: Stores, index: str
) -> None:
    shrunk = "delete from passages where ordinal > %(half)s returning 1"
    await rows(cells, shrunk, half=DUE // 2 - 1)
    assert await tend(stores) == (0, 1)
