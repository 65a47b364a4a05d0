"""Passages get the vectors of another model while the old ones are searched; then all at once."""

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.ingest import Library
from knowledge.search import Search
from server.reembedding import Reembedder
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.reembedding import Kind, PostgresReembedding, Progress
from tenancy.document import Upload
from tenancy.errors import ModelFailed
from tenancy.ids import SubjectId, TenantId
from tests.storage.makers import ACME
from tests.storage.word_counts import WordCounts

ALICE = SubjectId("alice")


class Shop:
    """A tenant whose deployment changes its model."""

    def __init__(self, cells: Cells) -> None:
        self.tenant = TenantId(f"tenant-{uuid4().hex[:8]}")
        self.documents = PostgresDocuments(cells)
        self.former, self.model = WordCounts("former"), WordCounts("next", extra=3)
        self.books = PostgresReembedding(cells, Kind.PASSAGES, "former", "next")
        self.before = Embedders(self.former)
        self.after = Embedders(self.model, self.former, self.documents)

    async def add(self, text: str, embedders: Embedders) -> None:
        library = Library(embedders, self.documents)
        upload = Upload("a.txt", text.encode(), None, None)
        await library.add(self.tenant, ALICE, upload, max_documents=-1)

    async def found(self, query: str = "tea") -> tuple[list[str], str]:
        search = Search(self.after, self.documents, self)
        answer = await search.search(self.tenant, query, 10)
        near = [p for p in answer.passages if p.reasons and p.reasons.distance_rank]
        return sorted(p.text for p in near), answer.embedding_model

    async def subscribed(self, tenant_id: TenantId) -> Sequence[TenantId]:
        return ()

    def worker(self) -> Reembedder:
        return Reembedder([self.books], self.model)


@pytest.fixture
async def shop(cells: Cells) -> Shop:
    shop = Shop(cells)
    for number in range(3):
        await shop.add(f"tea of shelf {number}", shop.before)
    return shop


async def test_the_former_model_is_searched_until_all_is_embedded_anew(shop: Shop) -> None:
    everything = [f"tea of shelf {number}" for number in range(3)]
    assert await shop.found() == (everything, "former")
    half = await shop.books.due(shop.tenant, None, 2)
    await shop.books.keep(shop.tenant, half, [[1.0] * 8] * len(half))
    assert not await shop.books.switch(shop.tenant)
    assert await shop.books.progress(shop.tenant) == Progress(3, 2)
    assert await shop.found() == (everything, "former")
    await shop.add("tea that came meanwhile", shop.after)
    everything.append("tea that came meanwhile")
    assert await shop.found() == (everything, "former")
    assert await shop.worker().work([shop.tenant]) == 0
    assert await shop.found() == (everything, "next")
    assert await shop.books.progress(shop.tenant) == Progress(0, 0)
    await shop.add("tea of later", shop.after)
    assert await shop.found() == (sorted([*everything, "tea of later"]), "next")


async def test_a_new_tenant_has_the_new_model(cells: Cells) -> None:
    shop = Shop(cells)
    await shop.add("tea of today", shop.after)
    assert await shop.found() == (["tea of today"], "next")
    assert shop.former.asked == 0


async def test_who_goes_on_embeds_nothing_twice(shop: Shop) -> None:
    for number in range(200):
        await shop.add(f"salt {number}", shop.before)
    shop.model.fails_at = 100
    with pytest.raises(ModelFailed):
        await shop.worker().work([shop.tenant])
    kept = (await shop.books.progress(shop.tenant)).done
    assert kept == 64
    shop.model.fails_at, shop.model.asked = None, 0
    assert await shop.worker().work([shop.tenant]) == 0
    assert shop.model.asked == 203 - kept
    assert len((await shop.found("salt"))[0]) == 10


async def test_vectors_for_a_model_that_was_given_up_are_not_used(shop: Shop, cells: Cells) -> None:
    given_up = PostgresReembedding(cells, Kind.PASSAGES, "former", "given up")
    due = await given_up.due(shop.tenant, None, 3)
    await given_up.keep(shop.tenant, due, [[1.0] * 8] * 3)
    assert await shop.books.progress(shop.tenant) == Progress(3, 0)
    assert not await shop.books.switch(shop.tenant)
    await shop.worker().work([shop.tenant])
    assert shop.model.asked == 3
    assert (await shop.found())[1] == "next"


async def test_one_that_comes_late_with_the_former_model_changes_no_search(shop: Shop) -> None:
    await shop.worker().work([shop.tenant])
    await shop.add("tea of yesterday", shop.before)  # it was embedded before the change
    assert await shop.found() == ([f"tea of shelf {number}" for number in range(3)], "next")
    assert await shop.worker().work([shop.tenant]) == 0
    assert "tea of yesterday" in (await shop.found())[0]


async def test_one_that_comes_early_with_the_next_model_changes_no_search(shop: Shop) -> None:
    await shop.add("tea of tomorrow", Embedders(shop.model))  # as of a process told of one model
    assert (await shop.found())[1] == "former"
    await shop.worker().work([shop.tenant])
    assert "tea of tomorrow" in (await shop.found())[0]


async def test_a_round_ends_and_the_next_goes_on(shop: Shop) -> None:
    assert await shop.worker().work([shop.tenant], seconds=0) == 1
    assert await shop.worker().work([shop.tenant, ACME]) == 0


async def test_whoever_is_stopped_leaves_what_the_next_one_finishes(
    shop: Shop, cells: Cells
) -> None:
    for number in range(300):
        await shop.add(f"wine {number}", shop.before)
    for pause in (0.0, 0.001, 0.005, 0.01, 0.02, 0.05):
        working = asyncio.create_task(shop.worker().work([shop.tenant]))
        await asyncio.sleep(pause)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        texts, model = await shop.found("wine")
        assert (len(texts), model) in ((10, "former"), (10, "next"))
    assert await shop.worker().work([shop.tenant]) == 0
    assert (await shop.found("wine"))[1] == "next"
    assert await shop.books.progress(shop.tenant) == Progress(0, 0)
    everything = await PostgresReembedding(cells, Kind.PASSAGES, "next", "x").progress(shop.tenant)
    assert everything == Progress(303, 0)
