"""A large tenant changes its embedding model: each of its searches has an index."""

import asyncio
import time
from math import cos
from uuid import UUID, uuid4

import psycopg
import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.indexes import LOCK, PROMOTE_AT, Size, tend_indexes
from storage.next_indexes import PREFIX, index_next, settle_next
from storage.reembedding import Kind, PostgresReembedding
from tenancy.ids import TenantId
from tenancy.search_filter import SearchFilter
from tests.storage.makers import rows, value

DIMENSIONS, DUE = 520, PROMOTE_AT[2000]
FACTOR = 0.0007  # of the next model; the former one has another
USED = "select idx_scan from pg_stat_user_indexes where indexrelname = %s"
ADD = """
with d as (
    insert into documents (document_id, subject_id, title, media_type, size, sha256, passages,
                           embedding_model, status)
    values (gen_random_uuid(), 'alice', 'many', 'text/plain', 1, sha256(%(name)s::text::bytea), 1,
            %(model)s, 'ready')
    returning document_id)
insert into passages (document_id, passage_id, ordinal, body, embedding_model, embedding)
select document_id, gen_random_uuid(), g, %(name)s::text, %(model)s,
       (select array_agg(cos(i * g * %(factor)s::float8))
          from generate_series(1, %(dimensions)s::int) i)::vector
  from d, generate_series(%(first)s::int, %(last)s::int) g returning document_id"""
EMBED = """
insert into next_vectors (passage_id, embedding_model, embedding)
select passage_id, 'next', (select array_agg(cos(i * ordinal * %(factor)s::float8))
                              from generate_series(1, %(dimensions)s::int) i)::vector
  from passages returning 1"""


class Change:
    """A large tenant whose next vectors are all there."""

    def __init__(self, cells: Cells, stores: Stores, owner: psycopg.Connection) -> None:
        self.tenant = TenantId(f"large-{uuid4().hex[:8]}")
        self.documents = PostgresDocuments(cells)
        self.books = PostgresReembedding(cells, Kind.PASSAGES, "former", "next", self.index)
        self.beside = Size(self.tenant, "next", DIMENSIONS, DUE).named(PREFIX)
        self.own = Size(self.tenant, "next", DIMENSIONS, DUE).index
        self._cells, self._stores, self._owner = cells, stores, owner

    def index(self, tenant_id: TenantId) -> bool | None:
        return index_next(self._stores.owner(), self._stores.app, tenant_id)

    async def add(self, first: int, last: int, model: str, factor: float = FACTOR) -> UUID:
        params = {"first": first, "last": last, "model": model, "factor": factor}
        name = {"name": f"{first} to {last}", "dimensions": DIMENSIONS}
        found = await rows(self._cells, ADD, self.tenant, **params, **name)
        return UUID(str(found[0]["document_id"]))

    async def embed(self) -> None:
        await rows(self._cells, EMBED, self.tenant, factor=FACTOR, dimensions=DIMENSIONS)

    async def nearest(self, at: float, limit: int = 50, only: UUID | None = None) -> list[int]:
        """The ordinals of the passages nearest to where one of `at` would be."""
        within = SearchFilter(document_ids=[only]) if only else None
        found = await self.documents.search(
            self.tenant,
            "nothing",
            [cos(i * at * FACTOR) for i in range(1, DIMENSIONS + 1)],
            embedding_model="next",
            limit=limit,
            within=within,
        )
        return [passage.ordinal for passage in found]

    async def tend(self) -> int:
        urls = self._stores.owner(), self._stores.app
        await asyncio.to_thread(tend_indexes, *urls, [self.tenant])
        return await asyncio.to_thread(settle_next, *urls, [self.tenant])

    def indexes(self) -> set[str]:
        named = "select indexname from pg_indexes where indexname in (%s, %s)"
        return {name for (name,) in self._owner.execute(named, [self.beside, self.own]).fetchall()}

    async def uses(self, index: str) -> bool:
        deadline = time.monotonic() + 10  # Postgres publishes its counters about once a second
        while time.monotonic() < deadline:
            await self.nearest(1200.4, 5)
            if self._owner.execute(USED, [index]).fetchone() != (0,):
                return True
            await asyncio.sleep(0.2)
        return False


@pytest.fixture
async def change(cells: Cells, stores: Stores, owner: psycopg.Connection) -> Change:
    change = Change(cells, stores, owner)
    await change.add(1, DUE, "former", 0.0011)
    await change.embed()
    return change


async def test_no_search_is_without_an_index(change: Change) -> None:
    assert await change.books.switch(change.tenant)
    assert change.indexes() == {change.beside}
    assert await change.uses(change.beside)
    beside = await change.nearest(1200.4)
    assert beside[:3] == [1200, 1201, 1199]
    assert await change.tend() == 1
    assert change.indexes() == {change.own}
    assert await change.uses(change.own)
    assert await change.nearest(1200.4) == beside


async def test_what_comes_and_goes_while_the_copies_are_searched_is_found_or_not(
    change: Change, cells: Cells
) -> None:
    await change.books.switch(change.tenant)
    later = await change.add(DUE + 1, DUE + 5, "next")
    assert (await change.nearest(DUE + 3.2, 1)) == [DUE + 3]
    assert set(await change.nearest(DUE + 3.2, only=later)) == set(range(DUE + 1, DUE + 6))
    gone = "delete from passages where ordinal = 1200 returning 1"
    await rows(cells, gone, change.tenant)
    assert (await change.nearest(1200.4, 1)) == [1201]
    assert await change.tend() == 1
    assert (await change.nearest(DUE + 3.2, 1)) == [DUE + 3]
    assert await value(cells, "select count(*) from next_vectors", change.tenant) == 0


async def test_one_that_comes_late_with_the_former_model_is_compared_with_nothing(
    change: Change,
) -> None:
    await change.books.switch(change.tenant)
    await change.add(DUE + 1, DUE + 5, "former")
    assert await change.nearest(DUE + 3.2, 1) == [DUE]


async def test_the_copies_stay_until_the_passages_have_their_index(
    change: Change, stores: Stores
) -> None:
    await change.books.switch(change.tenant)
    settled = await asyncio.to_thread(settle_next, stores.owner(), stores.app, [change.tenant])
    assert settled == 0
    assert change.indexes() == {change.beside}
    assert not await change.books.pending(change.tenant)


async def test_a_model_that_comes_next_waits_for_the_copies(change: Change, cells: Cells) -> None:
    await change.books.switch(change.tenant)
    third = PostgresReembedding(cells, Kind.PASSAGES, "next", "third")
    assert not await third.pending(change.tenant)
    await change.tend()
    assert await third.pending(change.tenant)


async def test_nothing_changes_while_another_worker_makes_indexes(
    change: Change, owner: psycopg.Connection
) -> None:
    owner.execute("select pg_advisory_lock(%s)", [LOCK])
    try:
        assert not await change.books.switch(change.tenant)
    finally:
        owner.execute("select pg_advisory_unlock(%s)", [LOCK])
    assert change.indexes() == set()
    assert await change.books.switch(change.tenant)


async def test_an_index_that_was_made_early_is_kept_for_the_change(change: Change) -> None:
    assert await asyncio.to_thread(change.index, change.tenant)
    assert await change.tend() == 0
    assert change.indexes() == {change.beside}


async def test_an_operators_wish_counts_here_too(change: Change, stores: Stores) -> None:
    demoted = {change.tenant: False}
    assert not index_next(stores.owner(), stores.app, change.tenant, demoted)
    assert change.indexes() == set()


async def test_a_small_tenant_has_no_copies(cells: Cells, stores: Stores) -> None:
    books = PostgresReembedding(cells, Kind.PASSAGES, "former", "next")
    small = TenantId(f"small-{uuid4().hex[:8]}")
    params = {"first": 1, "last": 3, "model": "former", "factor": 0.0011, "name": "few"}
    await rows(cells, ADD, small, dimensions=4, **params)
    await rows(cells, EMBED, small, factor=FACTOR, dimensions=4)
    assert index_next(stores.owner(), stores.app, small) is False
    assert await books.switch(small)
    assert await value(cells, "select count(*) from next_vectors", small) == 0


async def test_the_copies_of_another_tenant_are_in_no_search(
    change: Change, cells: Cells, stores: Stores, owner: psycopg.Connection
) -> None:
    other = Change(cells, stores, owner)
    await other.add(5000, 5049, "former", 0.0011)
    await other.embed()
    copied = PostgresReembedding(cells, Kind.PASSAGES, "former", "next", lambda _tenant: True)
    assert await copied.switch(other.tenant)
    assert await change.books.switch(change.tenant)
    assert max(await change.nearest(5010.2)) <= DUE
    assert min(await other.nearest(1200.4)) >= 5000


async def test_searches_find_the_same_all_the_while(change: Change) -> None:
    await change.books.switch(change.tenant)
    expected = await change.nearest(1200.4)
    settling = asyncio.create_task(change.tend())
    searches = 0
    while not settling.done():
        assert await change.nearest(1200.4) == expected
        searches += 1
    assert await settling == 1
    assert searches > 3
    assert await change.nearest(1200.4) == expected
