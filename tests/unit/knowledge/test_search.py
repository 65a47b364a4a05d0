"""What a search asks of its ports."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.fusion import fused
from knowledge.ports import Embedded
from knowledge.search import Search
from tenancy.document import Found, Neighbour, Passage, Reasons
from tenancy.errors import IsolationBreach, Unavailable
from tenancy.ids import DocumentId, PassageId, TenantId
from tenancy.search_filter import SearchFilter

ACME, LAW, AWAY = TenantId("acme"), TenantId("law"), TenantId("away")
PASSAGE = Passage(ACME, PassageId(uuid4()), DocumentId(uuid4()), "Returns", "30 days", 0.9)


class Ports:
    """An embedder and an index that write down what they are asked."""

    model = "tiny"
    owner: TenantId | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.corpora: list[TenantId] = []
        self.answers: dict[TenantId, TenantId] = {}

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
        if tenant_id == AWAY:
            raise Unavailable
        return [replace(PASSAGE, tenant_id=self.answers.get(tenant_id, tenant_id))]

    async def subscribed(self, tenant_id: TenantId) -> Sequence[TenantId]:
        return self.corpora

    async def neighbours(
        self, tenant_id: TenantId, passage_ids: Sequence[PassageId], distance: int
    ) -> Sequence[Neighbour]:
        self.asked.append((tenant_id, *passage_ids, distance))
        return [
            Neighbour(self.owner or tenant_id, PASSAGE.document_id, PASSAGE.passage_id, 0, "found")
        ]


async def test_the_tenants_passages_are_found_with_the_querys_vector() -> None:
    ports = Ports()
    found = await Search(Embedders(ports), ports, ports).search(ACME, " How long?\0 ", 5)
    assert found == Found([PASSAGE], "tiny", 7)
    assert ports.texts == ["How long?"]
    assert ports.asked == [(ACME, "How long?", [1.0, 0.0], "tiny", 5, None)]


async def test_a_filter_reaches_the_index() -> None:
    ports, within = Ports(), SearchFilter(media_types=["text/plain"])
    await Search(Embedders(ports), ports, ports).search(ACME, "How long?", 5, within)
    assert ports.asked == [(ACME, "How long?", [1.0, 0.0], "tiny", 5, within)]


async def test_neighbours_are_asked_for_what_was_found() -> None:
    ports = Ports()
    [made] = await Search(Embedders(ports), ports, ports).surround(ACME, [PASSAGE], 2)
    assert (made.passage, made.text) == (PASSAGE, "found")
    assert await Search(Embedders(ports), ports, ports).surround(ACME, [], 2) == []
    assert ports.asked == [(ACME, PASSAGE.passage_id, 2)]


async def test_anothers_neighbour_is_a_breach() -> None:
    ports = Ports()
    ports.owner = TenantId("globex")
    with pytest.raises(IsolationBreach):
        await Search(Embedders(ports), ports, ports).surround(ACME, [PASSAGE], 1)


@pytest.mark.parametrize(("query", "limit"), [("", 5), (" \0\n", 5), ("How long?", 0)])
async def test_nothing_asked_costs_nothing(query: str, limit: int) -> None:
    ports = Ports()
    assert await Search(Embedders(ports), ports, ports).search(ACME, query, limit) == Found(
        (), "tiny", 0
    )
    assert ports.asked == []


async def test_of_a_long_query_both_ends_are_read() -> None:
    ports = Ports()
    await Search(Embedders(ports), ports, ports).search(ACME, f"First{'x' * 30_000}last?", 5)
    assert len(ports.texts[0]) < 1100
    assert ports.texts[0].startswith("First")
    assert ports.texts[0].endswith("last?")


async def test_a_corpus_is_asked_as_itself_and_lends_what_it_has() -> None:
    ports = Ports()
    ports.corpora = [LAW, AWAY]
    found = await Search(Embedders(ports), ports, ports).search(ACME, "How long?", 5)
    assert [asked[0] for asked in ports.asked] == [ACME, LAW, AWAY]
    assert {each.tenant_id for each in found.passages} == {ACME}
    await Search(Embedders(ports), ports, ports).surround(
        ACME, [PASSAGE, replace(PASSAGE, corpus_id=LAW)], 1
    )
    assert [asked[0] for asked in ports.asked[-2:]] == [ACME, LAW]


@pytest.mark.parametrize("of", [ACME, LAW])
async def test_a_search_that_answers_with_anothers_passage_is_a_breach(of: TenantId) -> None:
    ports = Ports()
    ports.corpora, ports.answers = [LAW], {of: TenantId("globex")}
    with pytest.raises(IsolationBreach):
        await Search(Embedders(ports), ports, ports).search(ACME, "How long?", 5)


def passage(distance: float | None, word: float | None) -> Passage:
    places = None if distance is None else 1, None if word is None else 1
    reasons = Reasons(distance, places[0], word, places[1])
    return replace(PASSAGE, passage_id=PassageId(uuid4()), reasons=reasons)


def test_hits_of_two_searches_are_ranked_as_those_of_one() -> None:
    near, far = passage(0.1, None), passage(0.4, None)
    both, word = passage(0.2, 3.0), passage(None, 9.0)
    found = fused([[far, both], [near, word]], 3)
    assert [each.passage_id for each in found[:1]] == [both.passage_id]
    assert {each.passage_id for each in found[1:]} == {near.passage_id, word.passage_id}
    assert [each.score for each in found] == [1 / 12 + 1 / 12, 1 / 11, 1 / 11]
    assert found[0].reasons == Reasons(0.2, 2, 3.0, 2)


def test_hits_of_one_search_keep_their_order() -> None:
    one = [passage(0.1, 5.0), passage(0.2, 4.0), passage(0.3, None), passage(None, 1.0)]
    assert [each.passage_id for each in fused([one, []], 9)][:2] == [
        each.passage_id for each in one[:2]
    ]
