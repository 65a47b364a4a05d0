"""A file to a stored document, its passages, their vectors and what they cost: all or nothing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4, uuid5
from weakref import WeakValueDictionary

from knowledge.embedders import Embedders
from knowledge.large import LARGE_BYTES, read_large
from knowledge.media import base_name, media_type_of
from knowledge.parse import Parsed, parse, title_of
from knowledge.pieces import Piece
from knowledge.ports import Documents, Embedded
from knowledge.split import split
from tenancy.document import Document, DocumentStatus, NewPassage, Upload
from tenancy.errors import Invalid, PayloadTooLarge, QuotaExceeded
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.quota import Period, period_end
from tenancy.usage import embedding_usage

MAX_UPLOAD_BYTES = 25 * 1024 * 1024
_READERS = 2  # files read at once: the threads they take are also those that resolve host names
UNTITLED = "Untitled"
_NOT_EMBEDDED: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file says, and its passages before they are embedded."""

    title: str
    media_type: str
    text: str
    passages: Sequence[NewPassage]


class Library:
    """Takes files in."""

    def __init__(self, embedders: Embedders, documents: Documents) -> None:
        self._embedders = embedders
        self._documents = documents
        self._readers = asyncio.Semaphore(_READERS)
        self._lines: WeakValueDictionary[TenantId, asyncio.Lock] = WeakValueDictionary()

    async def add(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        upload: Upload,
        *,
        max_documents: int,
        max_bytes: int = UNLIMITED,
        max_pages: int = UNLIMITED,
    ) -> tuple[Document, bool]:
        """The document of this content, and whether it is new to the tenant.

        Raises `PayloadTooLarge`, `UnsupportedMedia`, `Invalid` or `QuotaExceeded`; then nothing
        is stored.
        """
        digest = await self._digest(upload)
        room = {"max_documents": max_documents, "max_bytes": max_bytes}
        size = len(upload.data)
        if twin := await self._documents.twin_or_room(tenant_id, digest, size, **room):
            return twin, False
        async with self._line(tenant_id):
            parsed, pieces = await self._parse(upload, max_pages)
        embedder = await self._embedders.of(tenant_id)
        embedded = await embedder.embed([piece.text for piece in pieces])
        document = _document(upload, parsed, digest, passages=len(pieces))
        stored = await self._documents.add(
            tenant_id,
            document,
            _passages(document.document_id, pieces, embedded.vectors),
            embedding_model=embedder.model,
            subject_id=subject_id,
            usage=embedding_usage(
                document.document_id,
                "document",
                model=embedder.model,
                tokens=embedded.tokens,
                subject_id=subject_id,
                at=document.created_at,
            ),
            text=parsed.text,
            **room,
        )
        return stored, stored.document_id == document.document_id

    async def embedding_model(self, tenant_id: TenantId) -> str:
        """The model that a tenant's passages are embedded with."""
        return (await self._embedders.of(tenant_id)).model

    async def announce(self, upload: Upload) -> Document:
        """The document that a file will be, by what can be said without reading it.

        Raises `PayloadTooLarge`, `UnsupportedMedia` or `Invalid`.
        """
        digest = await self._digest(upload)
        if not upload.data.strip():
            raise Invalid("file", "is empty")
        return Document(
            document_id=DocumentId(uuid4()),
            title=title_of(upload.title) or title_of(base_name(upload.name)) or UNTITLED,
            media_type=media_type_of(upload.name, upload.data, upload.media_type),
            size=len(upload.data),
            sha256=digest,
            passages=0,
            status=DocumentStatus.QUEUED,
            created_at=datetime.now(UTC),
            url=upload.url,
        )

    async def read(
        self, upload: Upload, document_id: DocumentId, *, max_pages: int = UNLIMITED
    ) -> Reading:
        """Read a file as a document's; raises `UnsupportedMedia`, `Invalid` or `QuotaExceeded`."""
        parsed, pieces = await self._parse(upload, max_pages)
        passages = _passages(document_id, pieces, [_NOT_EMBEDDED] * len(pieces))
        title = title_of(upload.title) or parsed.title or UNTITLED
        return Reading(title, parsed.media_type, parsed.text, passages)

    async def embed(self, texts: Sequence[str], model: str) -> Embedded:
        """Vectors of some passages; raises `ModelFailed` or `ModelTimeout`."""
        return await self._embedders.named(model).embed(texts)

    def _line(self, tenant_id: TenantId) -> asyncio.Lock:
        """Files of a tenant wait for each other first: however many, others wait for one of them.

        What is read in the background is one of each tenant already.
        """
        return self._lines.setdefault(tenant_id, asyncio.Lock())

    async def _parse(self, upload: Upload, max_pages: int) -> tuple[Parsed, list[Piece]]:
        async with self._readers:
            return await asyncio.to_thread(_read, upload, max_pages)

    async def _digest(self, upload: Upload) -> bytes:
        if len(upload.data) > MAX_UPLOAD_BYTES:
            raise PayloadTooLarge(f"Files may have up to {MAX_UPLOAD_BYTES // 1024**2} MiB.")
        return await asyncio.to_thread(_digest, upload.data)


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()


def _read(upload: Upload, max_pages: int) -> tuple[Parsed, list[Piece]]:
    if len(upload.data) > LARGE_BYTES:
        parsed, pieces = read_large(upload.name, upload.data, upload.media_type)
        _refuse_over(max_pages, len(parsed.pages))
        return parsed, pieces
    parsed = parse(upload.name, upload.data, upload.media_type)
    _refuse_over(max_pages, len(parsed.pages))
    return parsed, split(parsed.text, parsed.media_type, pages=parsed.pages)


def _refuse_over(max_pages: int, pages: int) -> None:
    if max_pages == UNLIMITED or pages <= max_pages:
        return
    now = datetime.now(UTC)
    raise QuotaExceeded(
        "pages_per_document",
        period_end(Period.DAY, now) - now,  # as with documents: no period gives more of them
        f"The plan allows {max_pages} pages a document; this one has {pages}.",
    )


def _document(upload: Upload, parsed: Parsed, digest: bytes, *, passages: int) -> Document:
    return Document(
        document_id=DocumentId(uuid4()),
        title=title_of(upload.title) or parsed.title or UNTITLED,
        media_type=parsed.media_type,
        size=len(upload.data),
        sha256=digest,
        passages=passages,
        status=DocumentStatus.READY,
        created_at=datetime.now(UTC),
        url=upload.url,
    )


def _passages(
    document_id: DocumentId, pieces: Sequence[Piece], vectors: Sequence[Sequence[float]]
) -> list[NewPassage]:
    return [
        NewPassage(
            PassageId(uuid5(document_id, str(ordinal))),
            ordinal,
            piece.text,
            vector,
            path=piece.path,
            page=piece.page,
            start=piece.start,
            end=piece.end,
        )
        for ordinal, (piece, vector) in enumerate(zip(pieces, vectors, strict=True))
    ]
