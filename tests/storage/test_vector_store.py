"""The LangChain face of the passages: one tenant, one model, reading only."""

import asyncio
import gc
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.embeddings import Embeddings
from langchain_postgres.v2.async_vectorstore import AsyncPGVectorStore
from langchain_postgres.v2.engine import PGEngine
from langchain_postgres.v2.hybrid_search_config import (
    HybridSearchConfig,
    reciprocal_rank_fusion,
)
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from knowledge.embed import MiniLmEmbedder
from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.vector_store import TenantPGVectorStore, tenant_engine
from tenancy.document import Document, DocumentStatus, NewPassage
from tenancy.errors import Invalid, Unavailable
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tests.storage.makers import ACME, GLOBEX, away, kill_backends, superuser
from tests.support.stores import Cluster

PAGE = Path(__file__).parents[2] / "docs" / "vector-store.md"
MODEL = "offline-minilm"
AXES = ("east", "north", "up")
EAST = [1.0, 0.0, 0.0]
ROUNDS = 200
LATEST = 0.01  # seconds: by then a search, or a connection, is under way

UNSAFE_FILTERS: dict[str, Any] = {
    "another tenant": {"tenant_id": "acme"},
    "another tenant or any": {"$or": [{"tenant_id": "acme"}, {"document_id": str(uuid4())}]},
    "not this tenant": {"$not": {"tenant_id": "globex"}},
    "another model": {"embedding_model": {"$ne": MODEL}},
    "a column": {"body": {"$like": "%"}},
    "a keyword of SQL": {"current_user": "tenantry_app"},
    "a closing quote": {"document_id' or '1'='1": "x"},
    "a comment": {"document_id) or true --": "x"},
    "a bind": {":tenant_id": "x"},
    "a dotted name": {"document_id.tenant_id": "x"},
    "a schema": {"tenantry.passages": "x"},
    "an operator as a field": {"$where": "true"},
    "an upper case operator": {"$OR": [{"tenant_id": "acme"}]},
    "SQL as a value": {"document_id": "x' or true --"},
    "SQL in a list": {"document_id": {"$in": ["x') or true --"]}},
    "SQL as an operator": {"document_id": {"= '' or true --": "x"}},
    "an operator for text": {"document_id": {"$like": "%"}},
    "two operators": {"document_id": {"$ne": str(uuid4()), "$exists": True}},
    "an ordinal in words": {"ordinal": "0 or true"},
    "an ordinal that is true": {"ordinal": True},
    "an empty list": {"document_id": {"$in": []}},
    "an empty alternative": {"$or": []},
    "an empty part": {"$and": [{}]},
    "a part that is text": {"$or": ["true"]},
    "text": "true",
    "a list": [{"tenant_id": "acme"}],
    "a number as a field": {1: 1},
}
NASTY_QUERIES = (
    "'",
    "''; select set_config('app.tenant_id', 'acme', true); --",
    "east') or true --",
    'east" :query_embedding :tenant %(x)s %s {0} $1',
    "&|!():*<->\\",
    "",
    "🦜 the of and",
)


class Compass(Embeddings):
    """How often a text names each direction; never nothing."""

    def embed_query(self, text: str) -> list[float]:
        return [text.count(axis) + 0.01 for axis in AXES]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(each) for each in texts]


@dataclass(frozen=True, slots=True)
class Shelf:
    """What one tenant has."""

    documents: tuple[DocumentId, ...]
    passages: tuple[str, ...]


async def put(
    documents: PostgresDocuments,
    tenant: TenantId,
    *texts: str,
    model: str = MODEL,
    vectors: Sequence[Sequence[float]] = (),
) -> Shelf:
    """A document with these passages."""
    made = Document(
        document_id=DocumentId(uuid4()),
        title=texts[0],
        media_type="text/plain",
        size=1,
        sha256=sha256(f"{model} {texts}".encode()).digest(),
        passages=len(texts),
        created_at=datetime.now(UTC),
        status=DocumentStatus.READY,
    )
    found = vectors or Compass().embed_documents(list(texts))
    passages = [
        NewPassage(PassageId(uuid4()), ordinal, body, vector)
        for ordinal, (body, vector) in enumerate(zip(texts, found, strict=True))
    ]
    await documents.add(
        tenant,
        made,
        passages,
        embedding_model=model,
        subject_id=SubjectId("alice"),
        usage=(),
        max_documents=-1,
    )
    return Shelf((made.document_id,), tuple(str(p.passage_id) for p in passages))


@pytest.fixture(scope="module")
def documents(cells: Cells) -> PostgresDocuments:
    return PostgresDocuments(cells)


@pytest.fixture(scope="module")
async def acme(documents: PostgresDocuments) -> Shelf:
    """Two documents of acme, and passages of other models that its searches must not meet."""
    east = await put(documents, ACME, "acme goes east", "acme goes east and north")
    north = await put(documents, ACME, "acme goes north", "acme climbs up")
    await put(documents, ACME, "acme once went east", model="another-model")
    await put(documents, ACME, "acme was flat, east", vectors=[[1.0, 0.0]])
    return Shelf(east.documents + north.documents, east.passages + north.passages)


@pytest.fixture(scope="module")
async def globex(documents: PostgresDocuments) -> Shelf:
    return await put(documents, GLOBEX, "globex goes east", "globex goes up")


@pytest.fixture
async def engine(stores: Stores, acme: Shelf, globex: Shelf) -> AsyncIterator[AsyncEngine]:
    engine = tenant_engine(stores.app, size=2)
    yield engine
    await engine.dispose()


async def open_store(engine: AsyncEngine, tenant: TenantId, **more: Any) -> TenantPGVectorStore:
    return await TenantPGVectorStore.for_tenant(
        engine, tenant, Compass(), embedding_model=MODEL, **more
    )


@pytest.fixture
async def store(engine: AsyncEngine) -> TenantPGVectorStore:
    return await open_store(engine, ACME)


@pytest.fixture
async def rival(engine: AsyncEngine) -> TenantPGVectorStore:
    return await open_store(engine, GLOBEX)


def bodies(found: Sequence[Any]) -> list[str]:
    return [(each[0] if isinstance(each, tuple) else each).page_content for each in found]


def hybrid(**more: Any) -> HybridSearchConfig:
    return HybridSearchConfig(
        fusion_function=reciprocal_rank_fusion, primary_top_k=9, secondary_top_k=9, **more
    )


# -- searching, as LangChain expects it


async def test_the_nearest_passage_comes_first(store: TenantPGVectorStore) -> None:
    found = await store.asimilarity_search("east", k=2)
    assert bodies(found) == ["acme goes east", "acme goes east and north"]


async def test_a_passage_is_a_document_fit_for_json(
    store: TenantPGVectorStore, acme: Shelf
) -> None:
    [found] = await store.asimilarity_search("up", k=1)
    assert found.id == acme.passages[3]
    assert found.metadata == {"document_id": str(acme.documents[1]), "ordinal": 1}
    assert json.dumps(found.to_json())


async def test_scores_are_cosine_distances(store: TenantPGVectorStore) -> None:
    found = await store.asimilarity_search_with_score("east", k=9)
    scores = [score for _, score in found]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(0, abs=1e-6)


async def test_a_vector_finds_what_its_question_finds(store: TenantPGVectorStore) -> None:
    vector = Compass().embed_query("north")
    by_question = await store.asimilarity_search_with_score("north")
    assert await store.asimilarity_search_with_score_by_vector(vector) == by_question
    assert bodies(await store.asimilarity_search_by_vector(vector)) == bodies(by_question)


async def test_a_search_gives_at_most_k(store: TenantPGVectorStore, engine: AsyncEngine) -> None:
    assert len(await store.asimilarity_search("east", k=1)) == 1
    assert len(await store.asimilarity_search("east")) == 4
    assert await store.asimilarity_search("east", k=0) == []
    assert len(await (await open_store(engine, ACME, k=2)).asimilarity_search("east")) == 2


async def test_a_tenant_without_documents_finds_nothing(engine: AsyncEngine) -> None:
    empty = await open_store(engine, TenantId("empty"))
    assert await empty.asimilarity_search("east") == []
    assert await empty.amax_marginal_relevance_search("east") == []
    assert await empty.aget() == {"ids": [], "metadatas": [], "documents": []}


async def test_only_passages_of_the_named_model_and_dimension_are_seen(
    engine: AsyncEngine, store: TenantPGVectorStore
) -> None:
    assert not re.search("once|flat", str(bodies(await store.asimilarity_search("east", k=99))))
    assert bodies(await store.asimilarity_search_by_vector([1.0, 0.0])) == ["acme was flat, east"]
    assert await store.asimilarity_search_by_vector([1.0]) == []
    other = await TenantPGVectorStore.for_tenant(
        engine, ACME, Compass(), embedding_model="another-model"
    )
    assert bodies(await other.asimilarity_search("up")) == ["acme once went east"]
    assert (await other.aget())["documents"] == ["acme once went east"]


async def test_marginal_relevance_prefers_what_differs(store: TenantPGVectorStore) -> None:
    found = [
        set(bodies(await store.amax_marginal_relevance_search("east east north", k=2, **more)))
        for more in ({"lambda_mult": 1.0}, {}, {"lambda_mult": 0.0})
    ]
    first = "acme goes east and north"
    assert found == [
        {first, "acme goes east"},
        {first, "acme goes east"},
        {first, "acme climbs up"},
    ]


async def test_marginal_relevance_looks_at_more_than_it_returns(engine: AsyncEngine) -> None:
    store = await open_store(engine, ACME, k=2)
    assert "acme goes east and north" not in bodies(
        await store.amax_marginal_relevance_search("east", lambda_mult=0)
    )


async def test_passages_are_got_by_id(store: TenantPGVectorStore, acme: Shelf) -> None:
    found = await store.aget_by_ids([acme.passages[0], str(uuid4()), "1", "'; --", ""])
    assert [(each.id, each.page_content) for each in found] == [
        (acme.passages[0], "acme goes east")
    ]
    assert found[0].metadata == {"document_id": str(acme.documents[0]), "ordinal": 0}
    assert await store.aget_by_ids([]) == []
    assert (await store.aget(ids=[]))["ids"] == []


async def test_a_retriever_searches(store: TenantPGVectorStore) -> None:
    plain = store.as_retriever(search_kwargs={"k": 1})
    assert bodies(await plain.ainvoke("up")) == ["acme climbs up"]
    marginal = store.as_retriever(search_type="mmr", search_kwargs={"k": 1})
    assert bodies(await marginal.ainvoke("up")) == ["acme climbs up"]


async def test_a_retriever_keeps_to_its_threshold(store: TenantPGVectorStore) -> None:
    near = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9}
    )
    assert bodies(await near.ainvoke("up")) == ["acme climbs up"]


@pytest.mark.parametrize("vector", [[-1.0, -1.0, -1.0], EAST])
async def test_relevance_is_between_nothing_and_one(
    engine: AsyncEngine, vector: list[float]
) -> None:
    class Fixed(Compass):
        def embed_query(self, text: str) -> list[float]:
            return vector

    store = await TenantPGVectorStore.for_tenant(engine, ACME, Fixed(), embedding_model=MODEL)
    found = await store.asimilarity_search_with_relevance_scores("any")
    assert all(0 <= score <= 1 for _, score in found)


# -- filters


async def test_filters_choose_documents(store: TenantPGVectorStore, acme: Shelf) -> None:
    first, second = map(str, acme.documents)
    asked: list[tuple[Any, int]] = [
        ({"document_id": first}, 2),
        ({"document_id": acme.documents[0]}, 2),
        ({"document_id": {"$eq": first}}, 2),
        ({"document_id": {"$ne": first}}, 2),
        ({"document_id": {"$in": [first, second]}}, 4),
        ({"document_id": {"$nin": [first, str(uuid4())]}}, 2),
        ({"document_id": first, "ordinal": 1}, 1),
        ({"$or": [{"document_id": first}, {"ordinal": {"$gte": 1}}]}, 3),
        ({"$not": {"$or": [{"document_id": first}, {"ordinal": 1}]}}, 1),
        ({"$and": [{"document_id": first}, {"$not": {"ordinal": 0}}]}, 1),
        ({"document_id": str(uuid4())}, 0),
        ({}, 4),
        (None, 4),
    ]
    found = [len(await store.asimilarity_search("east", k=9, filter=each)) for each, _ in asked]
    assert found == [expected for _, expected in asked]
    assert len(await store.amax_marginal_relevance_search("east", k=9, filter=asked[0][0])) == 2
    assert (
        len((await store.aget(where=asked[0][0], where_document={"$like": "%north"}))["ids"]) == 1
    )


@pytest.mark.parametrize("unsafe", UNSAFE_FILTERS.values(), ids=UNSAFE_FILTERS)
async def test_a_filter_cannot_say_anything_else(rival: TenantPGVectorStore, unsafe: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await rival.asimilarity_search("east", filter=unsafe)
    with pytest.raises(ValueError, match=r".+"):
        await rival.amax_marginal_relevance_search("east", filter=unsafe)
    with pytest.raises(ValueError, match=r".+"):
        await rival.aget(where=unsafe)


@pytest.mark.parametrize("query", NASTY_QUERIES)
async def test_a_question_is_never_sql(
    engine: AsyncEngine, rival: TenantPGVectorStore, query: str
) -> None:
    both = await open_store(engine, GLOBEX, hybrid_search_config=hybrid())
    for each in (rival, both):
        assert len(await each.asimilarity_search(query, k=9)) == 2
    assert (await rival.aget(where_document={"$like": query}))["ids"] == []


async def test_a_hybrid_configuration_is_never_sql(rival: TenantPGVectorStore) -> None:
    turn = "x', (select set_config('app.tenant_id', 'acme', true))) || to_tsquery('"
    found = await rival.asimilarity_search(
        "east", k=9, hybrid_search_config=hybrid(tsv_lang=turn, tsv_column='lexemes" || "body')
    )
    assert set(bodies(found)) == {"globex goes east", "globex goes up"}
    wrong = hybrid()
    wrong.secondary_top_k = "1; select 1"  # type: ignore[assignment]  # what a caller could do
    with pytest.raises(ValueError, match="invalid literal"):
        await rival.asimilarity_search("east", hybrid_search_config=wrong)


# -- hybrid search


async def test_words_bring_up_what_meaning_alone_does_not(engine: AsyncEngine) -> None:
    both = await open_store(engine, ACME, hybrid_search_config=hybrid())
    assert bodies(await both.asimilarity_search("climbs", k=1)) == ["acme climbs up"]
    found = await both.asimilarity_search_with_score("climbs", k=9)
    assert len(found) == 4
    assert found[0][1] > found[1][1]


async def test_a_hybrid_configuration_keeps_no_question(engine: AsyncEngine) -> None:
    config = hybrid()
    both = await open_store(engine, ACME, hybrid_search_config=config)
    for question in ("climbs", "acme goes north"):
        [first, *_] = bodies(await both.asimilarity_search(question, k=1))
        assert question in first
        [first, *_] = bodies(await both.asimilarity_search_with_score(question, k=1))
        assert question in first
    assert config == hybrid()
    assert both.hybrid_search_config
    assert not both.hybrid_search_config.fts_query
    assert both.hybrid_search_config.fusion_function_parameters == {}


async def test_one_configuration_serves_many_searches_at_once(
    engine: AsyncEngine, store: TenantPGVectorStore
) -> None:
    config = hybrid()
    questions = ["climbs", "north", "east"] * 10
    found = await asyncio.gather(
        *(store.asimilarity_search(each, k=1, hybrid_search_config=config) for each in questions)
    )
    assert all(question in bodies(each)[0] for question, each in zip(questions, found, strict=True))
    assert config == hybrid()


async def test_relevance_and_marginal_relevance_stay_by_meaning(
    engine: AsyncEngine, store: TenantPGVectorStore
) -> None:
    both = await open_store(engine, ACME, hybrid_search_config=hybrid())
    asked = "up climbs"
    assert await both.asimilarity_search_with_relevance_scores(
        asked
    ) == await store.asimilarity_search_with_relevance_scores(asked)
    assert await both.amax_marginal_relevance_search(
        asked
    ) == await store.amax_marginal_relevance_search(asked)


# -- reading only

READING = {
    "aget",
    "aget_by_ids",
    "amax_marginal_relevance_search",
    "amax_marginal_relevance_search_by_vector",
    "amax_marginal_relevance_search_with_score_by_vector",
    "as_retriever",
    "asearch",
    "asimilarity_search",
    "asimilarity_search_by_vector",
    "asimilarity_search_with_relevance_scores",
    "asimilarity_search_with_score",
    "asimilarity_search_with_score_by_vector",
    "embeddings",
    "for_tenant",
    "search",  # calls what is refused
    "similarity_search_with_relevance_scores",  # calls what is refused
}
WRITING = {
    "aadd_documents",
    "aadd_embeddings",
    "aadd_texts",
    "aapply_hybrid_search_index",
    "aapply_vector_index",
    "add_documents",
    "add_texts",
    "adelete",
    "adrop_vector_index",
    "afrom_documents",
    "afrom_texts",
    "areindex",
    "delete",
    "from_documents",
    "from_texts",
    "is_valid_index",
}
SYNCHRONOUS = {name[1:] for name in READING if name.startswith("a")} & set(dir(AsyncPGVectorStore))


def test_every_method_of_upstream_is_a_reading_or_a_refused_one() -> None:
    public = {name for name in dir(TenantPGVectorStore) if not name.startswith("_")}
    assert public == READING | WRITING | SYNCHRONOUS | {"create"}


@pytest.mark.parametrize("name", sorted(WRITING))
async def test_what_writes_says_how_documents_come_in(
    store: TenantPGVectorStore, name: str
) -> None:
    with pytest.raises(NotImplementedError, match="through `Library`"):
        await getattr(store, name)(["a text"], [[1.0]])


async def test_a_retriever_adds_nothing(store: TenantPGVectorStore) -> None:
    with pytest.raises(NotImplementedError, match="through `Library`"):
        await store.as_retriever().aadd_documents([])


@pytest.mark.parametrize("name", sorted(SYNCHRONOUS - {"search"}))
def test_what_is_synchronous_names_its_twin(store: TenantPGVectorStore, name: str) -> None:
    with pytest.raises(NotImplementedError, match="await"):
        getattr(store, name)("east")


# -- whose passages these are

Ask = Callable[[TenantPGVectorStore, Shelf], Awaitable[Any]]
DOORS: dict[str, Ask] = {
    "search": lambda s, _: s.asimilarity_search("east", k=99),
    "scores": lambda s, _: s.asimilarity_search_with_score("east", k=99),
    "relevance": lambda s, _: s.asimilarity_search_with_relevance_scores("east", k=99),
    "vector": lambda s, _: s.asimilarity_search_by_vector(EAST, k=99),
    "vector and scores": lambda s, _: s.asimilarity_search_with_score_by_vector(EAST, k=99),
    "hybrid": lambda s, _: s.asimilarity_search("acme", k=99, hybrid_search_config=hybrid()),
    "marginal": lambda s, _: s.amax_marginal_relevance_search("east", k=99),
    "marginal vector": lambda s, _: s.amax_marginal_relevance_search_by_vector(EAST, k=99),
    "retriever": lambda s, _: s.as_retriever(search_kwargs={"k": 99}).ainvoke("east"),
    "all": lambda s, _: s.aget(),
    "ids": lambda s, shelf: s.aget_by_ids(shelf.passages),
    "document": lambda s, shelf: s.asimilarity_search(
        "east", filter={"document_id": str(shelf.documents[0])}
    ),
    "not a document": lambda s, shelf: s.asimilarity_search(
        "east", k=99, filter={"$not": {"document_id": str(uuid4())}}
    ),
    "an argument": lambda s, _: s.asimilarity_search("east", k=99, tenant_id="acme", scope=()),
}
each_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


@each_door
async def test_another_tenants_passages_do_not_exist(
    store: TenantPGVectorStore, rival: TenantPGVectorStore, acme: Shelf, door: Ask
) -> None:
    assert "acme" in str(await door(store, acme))
    assert "acme" not in str(await door(rival, acme))


@each_door
async def test_the_statement_alone_keeps_tenants_apart(
    servers: Cluster, stores: Stores, acme: Shelf, globex: Shelf, door: Ask
) -> None:
    database = conninfo_to_dict(stores.app_url)["dbname"]
    unbound = make_conninfo(servers.postgres_url, dbname=database)  # no policy binds it
    engine = tenant_engine(replace(stores.app, url=unbound))
    try:
        assert "acme" not in str(await door(await open_store(engine, GLOBEX), acme))
    finally:
        await engine.dispose()


@each_door
async def test_the_policy_alone_keeps_tenants_apart(
    rival: TenantPGVectorStore, acme: Shelf, door: Ask
) -> None:
    rival._scope = ({"embedding_model": MODEL},)
    assert "acme" not in str(await door(rival, acme))


async def test_the_first_statement_of_each_transaction_sets_the_tenant(
    engine: AsyncEngine,
) -> None:
    sent: list[str] = []
    event.listen(
        engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(str(args[2]))
    )
    store = await open_store(engine, ACME, hybrid_search_config=hybrid())
    await store.asimilarity_search("east")
    await store.amax_marginal_relevance_search("east")
    await store.aget_by_ids([str(uuid4())])
    assert len(sent) == 2 * 5
    assert all("tenantry.enter(" in each for each in sent[::2])
    assert not any("tenantry.enter(" in each for each in sent[1::2])
    assert all("tenant_id = %(tenant_id_" in each for each in sent[3::2])


async def test_an_engine_without_a_tenant_refuses(engine: AsyncEngine) -> None:
    for unbound in (engine, engine.execution_options(tenant_id="")):
        async with unbound.connect() as conn:
            with pytest.raises(RuntimeError, match="No tenant"):
                await conn.execute(text("select 1"))
            with pytest.raises(exc.ResourceClosedError):
                await conn.execute(text("select 1"))
    assert engine.sync_engine.pool.checkedout() == 0


async def test_a_transaction_whose_tenant_was_not_set_is_over(
    engine: AsyncEngine, store: TenantPGVectorStore
) -> None:
    """A NUL byte makes the driver refuse the tenant."""
    async with store.engine.execution_options(tenant_id="acme\0").connect() as conn:
        with pytest.raises(exc.DBAPIError):
            await conn.execute(text("select 1"))
        with pytest.raises(exc.ResourceClosedError):
            await conn.execute(text("select 1"))
    assert engine.sync_engine.pool.checkedout() == 0


async def test_a_pooled_connection_keeps_no_tenant(
    store: TenantPGVectorStore,
) -> None:
    """Asked below SQLAlchemy, where nothing sets a tenant."""
    async with store.engine.begin() as conn:
        assert await conn.scalar(text("select tenantry.current_tenant()")) == ACME
    async with store.engine.connect() as conn:
        driver = (await conn.get_raw_connection()).driver_connection
        assert driver
        cursor = await driver.execute("select current_setting('app.tenant_id', true)")
        assert await cursor.fetchone() == ("",)


@pytest.mark.parametrize("wrong", ["", "Acme", "acme'", "acme}globex", None])
async def test_a_store_is_not_made_without_a_tenant(engine: AsyncEngine, wrong: Any) -> None:
    with pytest.raises(Invalid):
        await open_store(engine, wrong)


async def test_a_store_is_not_made_on_another_engine(
    stores: Stores, store: TenantPGVectorStore
) -> None:
    with pytest.raises(TypeError, match="tenant_engine"):
        await open_store(create_async_engine("postgresql+psycopg://"), ACME)
    with pytest.raises(TypeError, match="bound to a tenant"):
        await open_store(store.engine, GLOBEX)


async def test_a_store_is_not_made_by_upstreams_door(engine: AsyncEngine) -> None:
    with pytest.raises(NotImplementedError, match="for_tenant"):
        await TenantPGVectorStore.create(PGEngine.from_engine(engine), Compass(), "passages")


async def test_embeddings_of_the_database_are_refused(engine: AsyncEngine) -> None:
    class Inline(Compass):
        def embed_query_inline_template(self, text: str) -> str:
            return f"embedding({text})"

    with pytest.raises(TypeError, match="database itself"):
        await TenantPGVectorStore.for_tenant(engine, ACME, Inline(), embedding_model=MODEL)


async def test_tenants_on_two_connections_never_see_each_other(
    engine: AsyncEngine, acme: Shelf
) -> None:
    chance = random.Random(7)  # noqa: S311 - which search is cancelled is no secret
    doors = list(DOORS.values())
    opened = [(t, await open_store(engine, t)) for t in (ACME, GLOBEX)]

    async def ask(tenant: TenantId, store: TenantPGVectorStore) -> str:
        return f"{tenant}: {await doors[chance.randrange(len(doors))](store, acme)}"

    finished = cancelled = 0
    for _ in range(ROUNDS):
        tasks = [asyncio.create_task(ask(*each)) for each in opened * 2]
        await asyncio.sleep(chance.uniform(0, LATEST))
        for task in chance.sample(tasks, 2):
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, asyncio.CancelledError):
                cancelled += 1
                continue
            assert isinstance(found, str), found
            tenant, _, rest = found.partition(": ")
            assert ("globex" if tenant == ACME else "acme") not in rest
            finished += 1
    assert finished + cancelled == 4 * ROUNDS
    assert finished > ROUNDS
    assert cancelled > ROUNDS / 10
    assert engine.sync_engine.pool.checkedout() == 0
    for _, store in opened:
        assert await store.asimilarity_search("east")


async def test_a_cancelled_connecting_leaves_nothing_half_open(
    servers: Cluster, stores: Stores, acme: Shelf
) -> None:
    """What only the garbage collector would end holds a place at the server for a minute."""
    engine = tenant_engine(stores.app, size=1)
    bound = engine.execution_options(tenant_id=ACME)

    async def connect() -> None:
        async with bound.connect() as conn:
            await conn.invalidate()  # the next one opens another

    gc.disable()
    try:
        for each in range(60):
            opening = asyncio.create_task(connect())
            await asyncio.sleep(each / 60 * LATEST)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        assert await _open_besides(servers, stores) == 0
    finally:
        gc.enable()
        await engine.dispose()


async def _open_besides(servers: Cluster, stores: Stores) -> int:
    """How many connections stay in authentication, when they have had time."""
    count = -1
    with superuser(servers, stores) as conn:
        for _ in range(40):
            row = conn.execute(
                "select count(*) from pg_stat_activity where state = 'starting'"
            ).fetchone()
            count = row[0] if row else -1
            if count == 0:
                break
            await asyncio.sleep(0.1)
    return count


# -- when Postgres is away


async def test_connections_that_died_are_replaced(
    stores: Stores, store: TenantPGVectorStore
) -> None:
    await store.asimilarity_search("east")
    kill_backends(stores)
    assert await store.asimilarity_search("east")


async def test_an_absent_database_is_unavailable(
    servers: Cluster, stores: Stores, store: TenantPGVectorStore, acme: Shelf
) -> None:
    with away(servers, stores):
        for door in DOORS.values():
            with pytest.raises(Unavailable):
                await door(store, acme)


async def test_a_full_pool_is_unavailable(engine: AsyncEngine, store: TenantPGVectorStore) -> None:
    async with store.engine.connect(), store.engine.connect():
        with pytest.raises(Unavailable):
            await store.asimilarity_search("east")


async def test_errors_do_not_repeat_the_question(store: TenantPGVectorStore) -> None:
    with pytest.raises(exc.DBAPIError) as caught:
        await store.aget(where_document={"$like": "a secret question"}, limit=-1)
    assert "LIMIT" in str(caught.value)
    assert "a secret question" not in str(caught.value)


# -- the page


async def test_the_pages_example_runs(stores: Stores, acme: Shelf, globex: Shelf) -> None:
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(example, names)  # noqa: S102 - our own page
    found = await names["nearest"](stores.app, GLOBEX, Compass(), "up")
    assert found == ["globex goes up", "globex goes east"]
    assert len(await names["OfflineEmbeddings"]().aembed_query("up")) == MiniLmEmbedder.dimension
