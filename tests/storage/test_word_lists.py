"""Word lists: who gets them, and that a search finds by them what it found without."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.queries import query
from storage.word_lists import LIST_AT, MOST_SEGMENTS, NEW_ENOUGH, Listed, Step, tend_word_lists
from tenancy.ids import DocumentId, TenantId
from tenancy.search_filter import SearchFilter
from tests.storage.makers import ACME, GLOBEX, rows, value

# Of each passage one word of fifty, one of seven and one that all have, a number of times.
ADD = """
with d as (
    insert into documents (document_id, subject_id, title, media_type, size, sha256, passages,
                           embedding_model, status)
    values (gen_random_uuid(), 'alice', 'many', 'text/plain', 1,
            sha256(convert_to(%(name)s::text, 'UTF8')), %(passages)s, 'm', 'ready')
    returning document_id)
insert into passages (document_id, passage_id, ordinal, body, embedding_model, embedding)
select document_id, md5(%(name)s::text || g)::uuid, g,
       'rare' || g * 7919 %% 50 || ' some' || g %% 7 || repeat(' common', 1 + g %% 5)
       || repeat(' filler', g %% 11) || ' ' || %(name)s::text, 'm', '[1,0]'
  from d, generate_series(1, %(passages)s::int) g returning 1"""
ALL, RARE = "rare7 rare8 some3 common filler", "rare7 rare8"
BY_LIST = """
select array(select passage_id from tenantry.rank_by_list('acme', q.words, '{}', null))
  from (select tsvector_to_array(to_tsvector('english', %(question)s)) as words) q"""
BY_WORD = "select array(select passage_id from tenantry.rank_by_word('acme', %(question)s, null))"
LIST, ANEW = (f"select tenantry.list_words('acme', {anew})" for anew in ("false", "true"))
OF_SIZE = "select document_id from documents where passages = %(size)s"
LISTS = "select count(*) from word_lists where word = ''"


@pytest.fixture
async def small(cells: Cells) -> None:
    """Of acme, as many as can still be compared one by one."""
    for tenant in (ACME, GLOBEX):
        await rows(cells, "delete from documents returning 1", tenant)
        await rows(cells, f"select tenantry.forget_words('{tenant}')", tenant)
    await rows(cells, ADD, name="first", passages=900)


async def ranked(cells: Cells, statement: str, question: str) -> list[UUID]:
    found = await value(cells, statement, question=question)
    assert isinstance(found, list)
    return found


# -- the decision


def listed(passages: int, unlisted: int = 0, segments: int = 1, **more: Any) -> Listed:
    entries = passages - unlisted if segments else 0
    return Listed(passages, unlisted, segments, **{"entries": entries, **more})


@pytest.mark.parametrize(
    ("of", "due"),
    [
        (listed(LIST_AT - 1, LIST_AT - 1, segments=0), Step.NOTHING),
        (listed(LIST_AT, LIST_AT, segments=0), Step.ANEW),
        (listed(LIST_AT // 2), Step.NOTHING),
        (listed(LIST_AT // 2 - 1), Step.FORGET),
        (listed(LIST_AT, NEW_ENOUGH - 1), Step.NOTHING),
        (listed(LIST_AT, NEW_ENOUGH), Step.ADD),
        (listed(LIST_AT, NEW_ENOUGH, segments=MOST_SEGMENTS), Step.ANEW),
        (listed(LIST_AT, 0, segments=MOST_SEGMENTS), Step.NOTHING),
        (listed(8_000, entries=10_000), Step.NOTHING),
        (listed(7_999, entries=10_000), Step.ANEW),
    ],
)
def test_what_is_due(of: Listed, due: Step) -> None:
    assert of.next_step() is due


@pytest.mark.parametrize(
    ("of", "wish", "due"),
    [
        (listed(LIST_AT // 2, LIST_AT // 2, segments=0), True, Step.ANEW),
        (listed(LIST_AT // 2 - 1, 0, segments=0), True, Step.NOTHING),
        (listed(LIST_AT), False, Step.FORGET),
        (listed(LIST_AT, LIST_AT, segments=0), False, Step.NOTHING),
    ],
)
def test_an_operators_wish_counts_more_than_the_size(of: Listed, wish: bool, due: Step) -> None:
    assert of.next_step(wish) is due


# -- the lists


@pytest.mark.parametrize(
    "question", [ALL, RARE, "rare7", "common", "nothing of it", "it's a 'rare9"]
)
async def test_passages_rank_by_list_as_they_rank_one_by_one(
    cells: Cells, small: None, question: str
) -> None:
    await rows(cells, LIST)
    assert await ranked(cells, BY_LIST, question) == await ranked(cells, BY_WORD, question)


async def test_lists_made_in_parts_rank_as_one(cells: Cells, small: None) -> None:
    await rows(cells, LIST)
    await rows(cells, ADD, name="second", passages=300)
    await rows(cells, LIST)
    assert await value(cells, LISTS) == 2
    assert await ranked(cells, BY_LIST, ALL) == await ranked(cells, BY_WORD, ALL)


async def test_lists_made_anew_are_one(cells: Cells, small: None) -> None:
    await rows(cells, LIST)
    await rows(cells, ADD, name="second", passages=300)
    await rows(cells, ANEW)
    assert await value(cells, LISTS) == 1
    assert await ranked(cells, BY_LIST, ALL) == await ranked(cells, BY_WORD, ALL)


async def test_a_passage_that_is_not_listed_yet_is_found(
    cells: Cells, stores: Stores, small: None
) -> None:
    await rows(cells, ADD, name="large", passages=LIST_AT)
    await asyncio.to_thread(tend_word_lists, stores.app, [ACME])
    await rows(cells, ADD, name="walrus", passages=8)
    new = UUID(hex=await value(cells, "select md5('walrus3')"))
    assert new in await ranked(cells, BY_WORD, "some3 walrus")


async def test_a_passage_that_is_gone_is_not_found(cells: Cells, small: None) -> None:
    await rows(cells, ADD, name="second", passages=300)
    await rows(cells, LIST)
    await rows(cells, "delete from documents where passages = 900 returning 1")
    found = await ranked(cells, BY_LIST, RARE)
    assert found
    assert found == await ranked(cells, BY_WORD, RARE)


async def test_what_another_tenant_has_listed_is_in_no_list(cells: Cells, small: None) -> None:
    await rows(cells, LIST)
    alone = await ranked(cells, BY_LIST, ALL)
    await rows(cells, ADD, GLOBEX, name="theirs", passages=400)
    await rows(cells, "select tenantry.list_words('globex', false)", GLOBEX)
    assert await ranked(cells, BY_LIST, ALL) == alone


async def test_a_large_tenant_is_listed_and_a_small_one_is_not(
    cells: Cells, stores: Stores, small: None
) -> None:
    await rows(cells, ADD, name="large", passages=LIST_AT)
    assert await asyncio.to_thread(tend_word_lists, stores.app, [ACME, GLOBEX]) == 1
    assert await asyncio.to_thread(tend_word_lists, stores.app, [ACME, GLOBEX]) == 0
    assert await value(cells, LISTS) == 1
    assert await value(cells, "select count(*) from documents where not word_listed") == 0
    for question in (RARE, ALL):
        assert await ranked(cells, BY_WORD, question) == await ranked(cells, BY_LIST, question)
    await rows(cells, "delete from documents where passages = %(all)s returning 1", all=LIST_AT)
    assert await asyncio.to_thread(tend_word_lists, stores.app, [ACME]) == 1
    assert await value(cells, LISTS) == 0


async def test_lists_are_read_where_they_are_kept(cells: Cells, small: None) -> None:
    await rows(cells, ADD, name="second", passages=LIST_AT // 2 - 900)
    await rows(cells, LIST)
    await rows(cells, "delete from word_lists where word = 'rare7' returning 1")
    assert await ranked(cells, BY_WORD, "rare7")
    await rows(cells, ADD, name="third", passages=1)
    assert await ranked(cells, BY_WORD, "rare7") == []


async def test_a_filter_holds_in_the_lists_too(cells: Cells, stores: Stores, small: None) -> None:
    await rows(cells, ADD, name="large", passages=LIST_AT)
    await asyncio.to_thread(tend_word_lists, stores.app, [ACME])
    large, few = [DocumentId(await value(cells, OF_SIZE, size=size)) for size in (LIST_AT, 900)]
    documents = PostgresDocuments(cells)
    for only in (large, few):
        within = SearchFilter(document_ids=[only])
        found = await documents.search(
            ACME, ALL, [1.0, 0.0], embedding_model="m", limit=50, within=within
        )
        assert {passage.document_id for passage in found} == {only}
        assert {passage.reasons and passage.reasons.word_rank for passage in found} > {1, 2, 3}


async def test_a_tenant_that_another_worker_is_at_is_left_to_it(
    cells: Cells, stores: Stores, small: None
) -> None:
    await rows(cells, ADD, name="large", passages=LIST_AT)
    async with cells.for_tenant(ACME).as_tenant(ACME) as conn:
        await conn.fetch(query("lock_word_lists"), {"tenant_id": TenantId("acme")})
        assert await asyncio.to_thread(tend_word_lists, stores.app, [ACME]) == 0
