"""What becomes of an upload; the stores are the storage tests' concern."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import uuid4, uuid5

import pytest

from knowledge.embedders import Embedders
from knowledge.ingest import MAX_UPLOAD_BYTES, Library
from knowledge.ports import Embedded
from tenancy.document import Document, DocumentStatus, NewPassage, Upload
from tenancy.errors import Invalid, ModelFailed, PayloadTooLarge, UnsupportedMedia
from tenancy.ids import DocumentId, SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.usage import Meter, UsageEvent, usage_event_id

ACME, GLOBEX, ALICE = TenantId("acme"), TenantId("globex"), SubjectId("alice")
GUIDE = Upload("guide.md", b"# Guide\n\nOne.\n\n## Two\n\nMore.")


class Tiny:
    """An embedder of two dimensions."""

    model = "tiny"
    tokens = 11
    fails = False

    async def embed(self, texts: Sequence[str]) -> Embedded:
        if self.fails:
            raise ModelFailed
        return Embedded([[float(len(text)), 1.0] for text in texts], self.tokens)


class Shelf:
    """Writes down what it is given; `race` is what another upload stored first."""

    race: Document | None = None

    def __init__(self) -> None:
        self.added: list[tuple[TenantId, Document, Sequence[NewPassage]]] = []
        self.usage: list[UsageEvent] = []
        self.texts: list[str | None] = []

    async def twin_or_room(
        self,
        tenant_id: TenantId,
        digest: bytes,
        size: int,
        *,
        max_documents: int,
        max_bytes: int = UNLIMITED,
    ) -> Document | None:
        assert max_documents == 50
        mine = (doc for tenant, doc, _ in self.added if tenant == tenant_id)
        return next((doc for doc in mine if doc.sha256 == digest), None)

    async def add(
        self,
        tenant_id: TenantId,
        document: Document,
        passages: Sequence[NewPassage],
        *,
        embedding_model: str,
        subject_id: SubjectId,
        usage: Sequence[UsageEvent],
        max_documents: int,
        max_bytes: int = UNLIMITED,
        text: str | None = None,
    ) -> Document:
        assert (embedding_model, subject_id, max_documents) == ("tiny", ALICE, 50)
        if self.race:
            return self.race
        self.added.append((tenant_id, document, passages))
        self.usage.extend(usage)
        self.texts.append(text)
        return document


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def add(shelf: Shelf, upload: Upload, tenant: TenantId = ACME) -> tuple[Document, bool]:
    return await Library(Embedders(Tiny()), shelf).add(tenant, ALICE, upload, max_documents=50)


async def test_a_file_is_stored_with_its_passages_and_its_cost(shelf: Shelf) -> None:
    document, is_new = await add(shelf, GUIDE)
    [(tenant, stored, passages)] = shelf.added
    assert is_new
    assert (tenant, stored) == (ACME, document)
    assert datetime.now(UTC) - document.created_at < timedelta(minutes=1)
    assert document == Document(
        document_id=document.document_id,
        title="Guide",
        media_type="text/markdown",
        size=len(GUIDE.data),
        sha256=sha256(GUIDE.data).digest(),
        passages=2,
        status=DocumentStatus.READY,
        created_at=document.created_at,
    )
    ids = [uuid5(document.document_id, ordinal) for ordinal in "01"]
    one, two = ("Guide",), ("Guide", "Two")
    assert passages == [
        NewPassage(ids[0], 0, "Guide\nOne.", [10.0, 1.0], one, None, 9, 13),
        NewPassage(ids[1], 1, "Guide > Two\nMore.", [17.0, 1.0], two, None, 23, 28),
    ]
    assert shelf.texts == [GUIDE.data.decode()]
    meter = Meter.EMBEDDING_TOKENS
    event_id = usage_event_id(document.document_id, meter, "document")
    assert shelf.usage == [
        UsageEvent(event_id, meter, 11, "tiny", None, ALICE, document.created_at)
    ]


async def test_the_same_content_is_stored_once_a_tenant(shelf: Shelf) -> None:
    first, _ = await add(shelf, GUIDE)
    again, is_new = await add(shelf, replace(GUIDE, name="copy.md", title="Copy"))
    assert (again, is_new) == (first, False)
    other, is_new = await add(shelf, GUIDE, GLOBEX)
    assert is_new
    assert other.document_id != first.document_id


async def test_the_loser_of_a_race_gets_the_winners_document(shelf: Shelf) -> None:
    winner, _ = await add(shelf, GUIDE)
    shelf.race = replace(winner, document_id=DocumentId(uuid4()))
    assert await add(shelf, GUIDE, GLOBEX) == (shelf.race, False)


@pytest.mark.parametrize(
    ("title", "stored"),
    [(" My\n guide\0 ", "My guide"), ("\ud800", "Guide"), ("", "Guide"), ("x" * 500, "x" * 200)],
)
async def test_a_given_title_is_cleaned_and_cut(shelf: Shelf, title: str, stored: str) -> None:
    document, _ = await add(shelf, replace(GUIDE, title=title))
    assert document.title == stored


async def test_a_document_without_any_title_is_untitled(shelf: Shelf) -> None:
    document, _ = await add(shelf, Upload("", b"text"))
    assert document.title == "Untitled"


async def test_free_embeddings_are_no_usage(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tiny, "tokens", 0)
    await add(shelf, GUIDE)
    assert shelf.usage == []


@pytest.mark.parametrize(
    ("upload", "refusal"),
    [
        (Upload("a.txt", bytes(MAX_UPLOAD_BYTES + 1)), PayloadTooLarge),
        (Upload("a.docx", b"PK\x03\x04"), UnsupportedMedia),
        (Upload("a.pdf", b"%PDF-"), Invalid),
        (Upload("a.txt", b""), Invalid),
    ],
)
async def test_a_refused_file_leaves_nothing(
    shelf: Shelf, upload: Upload, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await add(shelf, upload)
    assert shelf.added == []


async def test_a_failed_embedding_leaves_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tiny, "fails", True)
    with pytest.raises(ModelFailed):
        await add(shelf, GUIDE)
    assert shelf.added == []


async def test_nobody_waits_until_all_that_another_tenant_sent_is_read(shelf: Shelf) -> None:
    library = Library(Embedders(Tiny()), shelf)

    async def adding(tenant: TenantId, number: int) -> None:
        upload = Upload("long.md", f"# Guide {number}\n\n{'Words. ' * 40_000}".encode())
        await library.add(tenant, ALICE, upload, max_documents=50)

    flood = [asyncio.create_task(adding(ACME, number)) for number in range(16)]
    await asyncio.sleep(0)
    await adding(GLOBEX, 0)
    assert sum(each.done() for each in flood) < 8  # one or two, where both threads get their turns
    await asyncio.gather(*flood)
