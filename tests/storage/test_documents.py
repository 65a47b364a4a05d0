"""Documents and search on a real database: one of each, within the plan, nobody else's."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import pytest

from storage.cells import Cells
from storage.documents import PostgresDocuments
from tenancy.document import Document, DocumentStatus, NewPassage, Passage
from tenancy.errors import NotFound, QuotaExceeded
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tenancy.page import Cursor
from tenancy.usage import Meter, UsageEvent, usage_event_id
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event, value, warm

MODEL, ALICE = "test-model", SubjectId("alice")
MANY = 10
EAST, NORTH, SOUTH = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
UP = (0.0, 0.0, 1.0)
NASTY = {
    "a quote": "'",
    "two quotes": "''",
    "operators": "&|!():*<->",
    "a backslash": "\\",
    "only stop words": "the of and",
    "emoji": "🦜🔗",
    "nothing": "",
    "4k characters": "lorem ipsum " * 340,
    "a format directive": "%s %L $1 {0}",
    "a comment": "-- */ /*",
    "an address with ampersands": "https://example.com/a?b=1&c=2 & more",
    "one long word": "x" * 3000,
}


@pytest.fixture(scope="module")
def documents(cells: Cells) -> PostgresDocuments:
    return PostgresDocuments(cells)


@pytest.fixture
def tenant() -> TenantId:
    """A tenant of the test's own: rows need no record in the control tables."""
    return TenantId(f"tenant-{uuid4().hex[:8]}")


def document(content: str, passages: int = 1, **more: object) -> Document:
    fields = {"created_at": datetime.now(UTC), "status": DocumentStatus.READY, **more}
    return Document(
        document_id=DocumentId(uuid4()),
        title=f"About {content[:20]}",
        media_type="text/plain",
        size=len(content),
        sha256=sha256(content.encode()).digest(),
        passages=passages,
        **fields,
    )


def passages(*texts: tuple[str, Sequence[float]]) -> list[NewPassage]:
    return [
        NewPassage(PassageId(uuid4()), ordinal, text, vector)
        for ordinal, (text, vector) in enumerate(texts)
    ]


async def add(
    documents: PostgresDocuments,
    tenant: TenantId,
    *texts: tuple[str, Sequence[float]],
    of: Document | None = None,
    model: str = MODEL,
    usage: Sequence[UsageEvent] = (),
    max_documents: int = -1,
) -> Document:
    """A document with these passages."""
    made = of or document(" ".join(text for text, _ in texts), len(texts))
    return await documents.add(
        tenant,
        made,
        passages(*texts),
        embedding_model=model,
        subject_id=ALICE,
        usage=usage,
        max_documents=max_documents,
    )


async def search(
    documents: PostgresDocuments,
    tenant: TenantId,
    query: str,
    vector: Sequence[float] = EAST,
    *,
    limit: int = 10,
    model: str = MODEL,
) -> Sequence[Passage]:
    return await documents.search(tenant, query, vector, embedding_model=model, limit=limit)


def texts(found: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in found]


def embedding_usage(made: Document) -> UsageEvent:
    meter = Meter.EMBEDDING_TOKENS
    event_id = usage_event_id(made.document_id, meter, "ingest")
    return UsageEvent(event_id, meter, 5, MODEL, None, ALICE, made.created_at)


# -- adding


async def test_a_document_comes_back_as_it_was_stored(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    made = await add(documents, tenant, ("east", EAST))
    assert await documents.get(tenant, made.document_id) == made
    found = await documents.twin_or_room(tenant, made.sha256, made.size, max_documents=0)
    assert found == made


async def test_the_same_content_again_is_its_twin(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    first = await add(documents, tenant, ("east", EAST))
    assert (await add(documents, tenant, ("east", EAST))).document_id == first.document_id


async def test_many_uploads_of_one_content_at_once_are_one_document(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    await warm(cells, MANY)
    stored = await asyncio.gather(*(add(documents, tenant, ("east", EAST)) for _ in range(MANY)))
    assert len({made.document_id for made in stored}) == 1
    assert await value(cells, "select count(*) from passages", tenant) == 1


async def test_a_twin_that_was_embedded_is_billed(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    """As it is where uploads of one file run at once: each asked the model."""
    for _ in range(2):
        made = document("east")
        await add(documents, tenant, ("east", EAST), of=made, usage=[embedding_usage(made)])
    assert await value(cells, "select sum(quantity)::int from usage_events", tenant) == 10


async def test_two_tenants_may_store_the_same_content(documents: PostgresDocuments) -> None:
    one = await add(documents, ACME, ("shared words", EAST))
    two = await add(documents, GLOBEX, ("shared words", EAST))
    assert one.document_id != two.document_id


async def test_a_plan_of_five_documents_takes_exactly_five_of_many_at_once(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    await warm(cells, MANY)
    uploads = (
        add(documents, tenant, (f"number {number}", EAST), max_documents=5)
        for number in range(MANY)
    )
    outcomes = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(isinstance(outcome, Document) for outcome in outcomes) == 5
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == MANY - 5
    assert await value(cells, "select count(*) from documents", tenant) == 5


async def test_a_twin_is_found_when_the_plan_is_full(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    first = await add(documents, tenant, ("east", EAST), max_documents=1)
    again = await add(documents, tenant, ("east", EAST), max_documents=1)
    assert again.document_id == first.document_id


async def test_a_refused_document_leaves_nothing_but_its_bill(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    made = document("east")
    with pytest.raises(QuotaExceeded):
        await add(
            documents,
            tenant,
            ("east", EAST),
            of=made,
            usage=[embedding_usage(made)],
            max_documents=0,
        )
    for table, rows in (("documents", 0), ("passages", 0), ("usage_events", 1)):
        found = await value(cells, f"select count(*) from {table}", tenant)  # noqa: S608
        assert found == rows


async def test_another_tenants_documents_do_not_count(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, TenantId(f"{tenant}-b"), ("east", EAST), max_documents=1)
    assert await add(documents, tenant, ("north", NORTH), max_documents=1)


async def test_a_vector_of_3072_dimensions_is_stored_and_found(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    long = [1 / math.sqrt(3072 + place) for place in range(3072)]
    await add(documents, tenant, ("long", long), model="long")
    assert texts(await search(documents, tenant, "?", long, model="long")) == ["long"]


# -- deleting and listing


async def test_deleting_a_document_deletes_its_passages(
    cells: Cells, documents: PostgresDocuments, tenant: TenantId
) -> None:
    made = await add(documents, tenant, ("east", EAST), ("north", NORTH))
    await documents.delete(tenant, made.document_id, audit_event())
    assert await value(cells, "select count(*) from passages", tenant) == 0
    assert await search(documents, tenant, "east") == []


async def test_a_deleted_document_may_be_added_again(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    made = await add(documents, tenant, ("east", EAST))
    await documents.delete(tenant, made.document_id, audit_event())
    assert (await add(documents, tenant, ("east", EAST))).document_id != made.document_id


@pytest.mark.parametrize("who", [GLOBEX, ACME], ids=["another tenant's", "one that never was"])
async def test_a_document_that_is_not_ones_own_is_not_there(
    documents: PostgresDocuments, who: TenantId
) -> None:
    made = await add(documents, ACME, ("mine", EAST))
    wanted = made.document_id if who == GLOBEX else DocumentId(uuid4())
    with pytest.raises(NotFound):
        await documents.get(who, wanted)
    with pytest.raises(NotFound):
        await documents.delete(who, wanted, audit_event())
    assert await documents.get(ACME, made.document_id)


async def test_pages_are_complete_at_one_and_the_same_time(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = [await add(documents, tenant, of=document(f"{n}", 0, created_at=at)) for n in range(7)]
    seen: list[DocumentId] = []
    after: Cursor | None = None
    while page := await documents.page(tenant, after, 3):
        seen += [found.document_id for found in page]
        after = Cursor(page[-1].created_at, page[-1].document_id)
    assert sorted(seen) == sorted(found.document_id for found in made)


# -- searching


async def test_the_nearest_in_meaning_comes_first(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, tenant, ("east", EAST), ("north", NORTH), ("north-east", (0.7, 0.7, 0)))
    assert texts(await search(documents, tenant, "?", NORTH)) == ["north", "north-east", "east"]


async def test_a_word_finds_what_meaning_would_not(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    many = [(f"filler {number}", (1.0, number / 1000, 0.0)) for number in range(60)]
    await add(documents, tenant, *many, ("the zanzibar clause", UP))
    assert "the zanzibar clause" in texts(await search(documents, tenant, "Zanzibar clauses?"))


async def test_a_hit_by_meaning_and_word_comes_before_either_alone(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(
        documents,
        tenant,
        ("nothing alike", (1.0, 0.01, 0.0)),
        ("a parrot", (1.0, 0.02, 0.0)),
        ("a parrot far away", UP),
    )
    found = await search(documents, tenant, "parrot")
    assert texts(found)[0] == "a parrot"
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


async def test_passages_equally_near_come_by_id_however_they_lie_on_disk(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    """Where rows lie depends on what other tenants write between them; nobody's answers may."""
    texts_ = [(f"text {number}", EAST) for number in range(MANY)]
    same = sorted(passages(*texts_), key=lambda passage: passage.passage_id, reverse=True)
    await documents.add(
        tenant,
        document(str(tenant), MANY),
        [replace(passage, ordinal=ordinal) for ordinal, passage in enumerate(same)],
        embedding_model=MODEL,
        subject_id=ALICE,
        usage=[],
        max_documents=-1,
    )
    found = await search(documents, tenant, "nothing", EAST, limit=MANY)
    ids = [passage.passage_id for passage in found]
    assert ids == sorted(passage.passage_id for passage in same)
    assert [each.score for each in found] == [
        pytest.approx(1 / (11 + place)) for place in range(MANY)
    ]


async def test_a_rare_word_says_more_than_a_common_one(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    common = [(f"The price of delivery to zone {n}, of delivery", SOUTH) for n in range(20)]
    await add(documents, tenant, *common, ("One line on the xylophone, at some length", SOUTH))
    asked = "price of delivery of a xylophone"
    [first] = await search(documents, tenant, asked, limit=1, model="another")  # by word only
    assert "xylophone" in first.text


@pytest.mark.parametrize("known", [2, 9_000])  # beyond some thousand passages all words are alike
async def test_a_name_in_code_is_found_by_the_words_in_it(
    documents: PostgresDocuments, tenant: TenantId, known: int
) -> None:
    code = ("class SlidingWindowLimiter: window_length = 3", SOUTH)
    prose = ("Something else entirely", SOUTH)
    await add(documents, tenant, prose, code, of=document("code", known))
    for question in ("sliding limiter", "SlidingWindowLimiter", "the length of windowLength"):
        assert texts(await search(documents, tenant, question, limit=1)) == [code[0]]


async def test_any_word_of_a_question_is_enough(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    many = [(f"filler {number}", (1.0, number / 1000, 0.0)) for number in range(60)]
    await add(documents, tenant, *many, ("refunds take a week", UP))
    found = await search(documents, tenant, "how many unicorns do my refunds need")
    assert "refunds take a week" in texts(found)


async def test_an_address_with_ampersands_is_found_by_its_text(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    many = [(f"filler {number}", (1.0, number / 1000, 0.0)) for number in range(60)]
    await add(documents, tenant, *many, ("see /pay?from=a&to=b", UP))
    assert "see /pay?from=a&to=b" in texts(await search(documents, tenant, "/pay?from=a&to=b"))


async def test_a_search_gives_no_more_than_it_was_asked_for(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, tenant, ("east", EAST), ("north", NORTH), ("up", UP))
    assert len(await search(documents, tenant, "east", limit=2)) == 2


async def test_a_search_is_one_round_trip(
    documents: PostgresDocuments, tenant: TenantId, trips: Trips
) -> None:
    await add(documents, tenant, ("east", EAST))
    trips.clear()
    await search(documents, tenant, "east")
    assert trips == ["search_passages"]


async def test_a_passage_says_whose_it_is_and_where_it_stands(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    made = await add(documents, tenant, ("east", EAST))
    [found] = await search(documents, tenant, "east")
    assert (found.tenant_id, found.document_id, found.title) == (
        tenant,
        made.document_id,
        made.title,
    )


async def test_a_passage_says_where_in_its_document_it_stands(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    path = ("Prices", 'Of "tea" {and} \\', "")
    [bare, placed] = passages(("bare", NORTH), ("placed", EAST))
    placed = replace(placed, path=path, page=3, start=10, end=16)
    made = document("both", 2)
    await documents.add(
        tenant,
        made,
        [bare, placed],
        embedding_model=MODEL,
        subject_id=ALICE,
        usage=[],
        max_documents=-1,
    )
    [first, second] = await search(documents, tenant, "?")
    assert (first.path, first.page, first.start, first.end) == (path, 3, 10, 16)
    assert (second.path, second.page, second.start, second.end) == ((), None, None, None)


async def test_another_tenants_passages_are_never_found(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, TenantId(f"{tenant}-b"), ("the secret of the east", EAST))
    await add(documents, tenant, ("north", NORTH))
    assert texts(await search(documents, tenant, "secret east", EAST)) == ["north"]


async def test_passages_of_another_model_are_found_by_word_only(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, tenant, ("east", EAST))
    await add(documents, tenant, ("parrot", (1.0, 0.0)), model="two dimensions")
    assert texts(await search(documents, tenant, "nothing")) == ["east"]
    assert sorted(texts(await search(documents, tenant, "parrot"))) == ["east", "parrot"]


async def test_a_model_that_changed_its_dimension_breaks_no_search(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    await add(documents, tenant, ("short", (1.0, 0.0)))
    await add(documents, tenant, ("east", EAST))
    assert texts(await search(documents, tenant, "nothing", EAST)) == ["east"]
    assert texts(await search(documents, tenant, "nothing", (1.0, 0.0))) == ["short"]


@pytest.mark.parametrize("query", NASTY.values(), ids=NASTY.keys())
async def test_any_text_is_a_question(documents: PostgresDocuments, query: str) -> None:
    await add(documents, ACME, ("a landmark", EAST))
    assert "a landmark" in texts(await search(documents, ACME, query))


async def test_a_tenant_without_documents_finds_nothing(
    documents: PostgresDocuments, tenant: TenantId
) -> None:
    assert await search(documents, tenant, "anything") == []
