"""What a search asks of its ports."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from knowledge.ports import Embedded
from knowledge.search import Search
from tenancy.document import Found, Passage
from tenancy.ids import DocumentId, PassageId, TenantId

ACME = TenantId("acme")
PASSAGE = Passage(ACME, PassageId(uuid4()), DocumentId(uuid4()), "Returns", "30 days", 0.9)


class Ports:
    """An embedder and an index that write down what they are asked."""

    model = "tiny"

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
    ) -> Sequence[Passage]:
        self.asked.append((tenant_id, query, vector, embedding_model, limit))
        return [PASSAGE]


async def test_the_tenants_passages_are_found_with_the_querys_vector() -> None:
    ports = Ports()
    found = await Search(ports, ports).search(ACME, " How long?\0 ", 5)
    assert found == Found([PASSAGE], "tiny", 7)
    assert ports.texts == ["How long?"]
    assert ports.asked == [(ACME, "How long?", [1.0, 0.0], "tiny", 5)]


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
