"""What a search asks of its ports."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from knowledge.ports import Embedded
from knowledge.search import Search
from tenancy.document import Found, Neighbour, Passage
from tenancy.errors import IsolationBreach
from tenancy.ids import DocumentId, PassageId, TenantId
from tenancy.search_filter import SearchFilter

ACME = TenantId("acme")
PASSAGE = Passage(ACME, PassageId(uuid4()), DocumentId(uuid4()), "Returns", "30 days", 0.9)


class Ports:
    """An embedder and an index that write down what they are asked."""

    model = "tiny"
    owner = ACME

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.texts = list(texts)
        return Embedded([[1.0, 0.0]], 7)

    async def search(
        self,
        tenant_id: TenantId,
        query: str,
        vector: Sequence[float],
        *,
        embedding_model: str,
        limit: int,
        within: SearchFilter | None = None,
    ) -> Sequence[Passage]:
        self.asked.append((tenant_id, query, vector, embedding_model, limit, within))
        return [PASSAGE]

    async def neighbours(
        self, tenant_id: TenantId, passage_ids: Sequence[PassageId], distance: int
    ) -> Sequence[Neighbour]:
        self.asked.append((tenant_id, *passage_ids, distance))
        return [Neighbour(self.owner, PASSAGE.document_id, PASSAGE.passage_id, 0, "found")]


async def test_the_tenants_passages_are_found_with_the_querys_vector() -> None:
    ports = Ports()
    found = await Search(ports, ports).search(ACME, " How long?\0 ", 5)
    assert found == Found([PASSAGE], "tiny", 7)
    assert ports.texts == ["How long?"]
    assert ports.asked == [(ACME, "How long?", [1.0, 0.0], "tiny", 5, None)]


async def test_a_filter_reaches_the_index() -> None:
    ports, within = Ports(), SearchFilter(media_types=["text/plain"])
    await Search(ports, ports).search(ACME, "How long?", 5, within)
    assert ports.asked == [(ACME, "How long?", [1.0, 0.0], "tiny", 5, within)]


async def test_neighbours_are_asked_for_what_was_found() -> None:
    ports = Ports()
    [made] = await Search(ports, ports).surround(ACME, [PASSAGE], 2)
    assert (made.passage, made.text) == (PASSAGE, "found")
    assert await Search(ports, ports).surround(ACME, [], 2) == []
    assert ports.asked == [(ACME, PASSAGE.passage_id, 2)]


async def test_anothers_neighbour_is_a_breach() -> None:
    ports = Ports()
    ports.owner = TenantId("globex")
    with pytest.raises(IsolationBreach):
        await Search(ports, ports).surround(ACME, [PASSAGE], 1)


@pytest.mark.parametrize(("query", "limit"), [("", 5), (" \0\n", 5), ("How long?", 0)])
async def test_nothing_asked_costs_nothing(query: str, limit: int) -> None:
    ports = Ports()
    assert await Search(ports, ports).search(ACME, query, limit) == Found((), "tiny", 0)
    assert ports.asked == []


async def test_of_a_long_query_both_ends_are_read() -> None:
    ports = Ports()
    await Search(ports, ports).search(ACME, f"First{'x' * 30_000}last?", 5)
    assert len(ports.texts[0]) < 1100
    assert ports.texts[0].startswith("First")
    assert ports.texts[0].endswith("last?")
