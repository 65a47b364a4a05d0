"""Memories get the vectors of another model while they are recalled by the old ones."""

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.memories import Memories
from server.reembedding import Reembedder
from storage.cells import Cells
from storage.memories import PostgresMemories
from storage.reembedding import Kind, PostgresReembedding, Progress
from tenancy.errors import ModelFailed
from tenancy.memory import Memory
from tests.storage.makers import audit_event, principal
from tests.storage.store_makers import store_of
from tests.storage.word_counts import StoreCounts, WordCounts

SAID = ("tea tea salt", "salt salt tea", "wine wine salt")


class Company:
    """A tenant whose deployment changes its model, and one of its people."""

    def __init__(self, cells: Cells) -> None:
        self.alice = principal(f"tenant-{uuid4().hex[:8]}")
        self.tenant = self.alice.tenant_id
        self.store = PostgresMemories(cells)
        self.former, self.model = WordCounts("former"), WordCounts("next", extra=3)
        self.books = PostgresReembedding(cells, Kind.MEMORIES, "former", "next")
        self.before = Memories(Embedders(self.former), self.store)
        self.after = Memories(Embedders(self.model, self.former, self.store), self.store)

    async def remember(self, text: str, memories: Memories) -> Memory:
        return await memories.remember(self.alice, text, most=-1, audit=audit_event())

    async def nearest(self, question: str, limit: int = 1) -> tuple[list[str], str]:
        found = await self.after.search(self.alice, question, limit)
        return [memory.text for memory in found.memories], found.embedding_model

    async def embed(self, texts: Sequence[str]) -> None:
        """As a worker that is about to be stopped."""
        due = await self.books.due(self.tenant, None, len(texts))
        assert {each.text for each in due} == set(texts)
        embedded = await self.model.embed([each.text for each in due])
        await self.books.keep(self.tenant, due, embedded.vectors)

    def worker(self) -> Reembedder:
        return Reembedder([self.books], self.model)


@pytest.fixture
async def company(cells: Cells) -> Company:
    company = Company(cells)
    for text in SAID:
        await company.remember(text, company.before)
    return company


async def test_the_former_model_recalls_until_all_is_embedded_anew(company: Company) -> None:
    assert await company.nearest("tea") == ([SAID[0]], "former")
    await company.embed(SAID)
    await company.remember("rice", company.after)
    assert not await company.books.switch(company.tenant)
    assert await company.books.progress(company.tenant) == Progress(4, 3)
    assert await company.nearest("tea") == ([SAID[0]], "former")
    assert await company.nearest("rice") == (["rice"], "former")
    assert await company.worker().work([company.tenant]) == 0
    assert await company.nearest("tea") == ([SAID[0]], "next")
    assert await company.nearest("rice") == (["rice"], "next")
    assert await company.books.progress(company.tenant) == Progress(0, 0)


async def test_each_is_recalled_by_the_same_after_the_change(company: Company) -> None:
    before = [await company.nearest(word, 3) for word in ("tea", "salt", "wine")]
    await company.worker().work([company.tenant])
    after = [await company.nearest(word, 3) for word in ("tea", "salt", "wine")]
    assert [texts for texts, _ in after] == [texts for texts, _ in before]


async def test_what_says_something_else_meanwhile_is_recalled_by_that(company: Company) -> None:
    memory = await company.remember("rice", company.after)
    await company.embed([*SAID, "rice"])
    await company.after.change(
        company.alice, memory.memory_id, "wine wine wine", audit_event("memory.change")
    )
    assert not await company.books.switch(company.tenant)
    await company.worker().work([company.tenant])
    assert await company.nearest("wine") == (["wine wine wine"], "next")


async def test_what_changes_while_it_is_embedded_is_embedded_again(company: Company) -> None:
    due = await company.books.due(company.tenant, None, 3)
    await company.remember(SAID[0].upper(), company.after)  # it says the same: one memory
    await company.books.keep(company.tenant, due, [[1.0] * 8] * 3)
    assert [each.text for each in await company.books.due(company.tenant, None, 3)] == [
        SAID[0].upper()
    ]


async def test_vectors_for_a_model_that_was_given_up_are_not_used(
    company: Company, cells: Cells
) -> None:
    given_up = PostgresReembedding(cells, Kind.MEMORIES, "former", "given up")
    due = await given_up.due(company.tenant, None, 3)
    await given_up.keep(company.tenant, due, [[1.0] * 8] * 3)
    assert await company.books.progress(company.tenant) == Progress(3, 0)
    assert not await company.books.switch(company.tenant)
    await company.worker().work([company.tenant])
    assert company.model.asked == 3
    assert await company.nearest("wine") == ([SAID[2]], "next")


async def test_one_that_comes_late_with_the_former_model_changes_no_recall(
    company: Company,
) -> None:
    await company.worker().work([company.tenant])
    await company.remember("tea", company.before)  # it was embedded before the change
    assert await company.nearest("tea") == ([SAID[0]], "next")
    assert await company.worker().work([company.tenant]) == 0
    assert await company.nearest("tea") == (["tea"], "next")


async def test_a_new_tenant_remembers_with_the_new_model(cells: Cells) -> None:
    company = Company(cells)
    await company.remember("tea", company.after)
    assert await company.nearest("tea") == (["tea"], "next")
    assert company.former.asked == 0


async def test_who_goes_on_embeds_nothing_twice(company: Company) -> None:
    for number in range(100):
        await company.remember(f"salt {number}", company.before)
    company.model.fails_at = 100
    with pytest.raises(ModelFailed):
        await company.worker().work([company.tenant])
    kept = (await company.books.progress(company.tenant)).done
    assert kept == 64
    company.model.fails_at, company.model.asked = None, 0
    assert await company.worker().work([company.tenant]) == 0
    assert company.model.asked == 103 - kept


async def test_whoever_is_stopped_leaves_what_the_next_one_finishes(
    company: Company, cells: Cells
) -> None:
    for number in range(150):
        await company.remember(f"rice {number}", company.before)
    for pause in (0.0, 0.001, 0.005, 0.01, 0.02, 0.05):
        working = asyncio.create_task(company.worker().work([company.tenant]))
        await asyncio.sleep(pause)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        [nearest], _ = await company.nearest("wine")
        assert nearest == SAID[2]
    assert await company.worker().work([company.tenant]) == 0
    everything = PostgresReembedding(cells, Kind.MEMORIES, "next", "x")
    assert await everything.progress(company.tenant) == Progress(153, 0)


async def test_an_item_of_a_store_is_embedded_anew_by_what_it_was_found_by(
    company: Company, cells: Cells
) -> None:
    notes = ("person", "notes")
    before = store_of(cells, company.tenant, embedder=StoreCounts("former"))
    await before.aput(notes, "order", {"title": "tea tea", "body": "wine"}, index=["title"])
    await company.worker().work([company.tenant])
    after = store_of(cells, company.tenant, embedder=StoreCounts("next", extra=3))
    [found] = await after.asearch(notes, query="tea tea")
    assert found.score == pytest.approx(1.0)
