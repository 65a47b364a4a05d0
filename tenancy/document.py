"""What a tenant knows: documents and the passages they become."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tenancy.errors import Refusal
from tenancy.ids import DocumentId, PassageId, TenantId
from tenancy.search_filter import Scalar


class DocumentStatus(StrEnum):
    """How far a document has come."""

    QUEUED = "queued"
    READING = "reading"
    EMBEDDING = "embedding"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document. `size` is the length in bytes of the file as it was uploaded.

    `done` of `total` passages are embedded of one that is not ready. `url` is where it was fetched,
    or will be: until then its `sha256` is of that alone.
    """

    document_id: DocumentId
    title: str
    media_type: str
    size: int
    sha256: bytes
    passages: int
    status: DocumentStatus
    created_at: datetime
    error: str | None = None
    done: int = 0
    total: int = 0
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one of several files: a document, new or not, or a refusal."""

    source: str
    outcome: Document | Refusal
    added: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tenant's documents come to: how many, and the bytes of the files as they were sent."""

    documents: int
    size: int


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A passage about to be stored; `vector` is its embedding, of the model's dimension.

    `path` are the headings above it, `page` counts from 1, `start` and `end` are characters of the
    document's text.
    """

    passage_id: PassageId
    ordinal: int
    text: str
    vector: Sequence[float]
    path: Sequence[str] = ()
    page: int | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class PlacedPassage:
    """A passage as its document is read: `start` and `end` are None where its text is not kept."""

    passage_id: PassageId
    ordinal: int
    path: Sequence[str]
    page: int | None
    start: int | None
    end: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a passage was found: its places, from 1, among the nearest by meaning and by word.

    `distance` is the cosine distance, 0 to 2; a place is None where it is not among the fifty.
    """

    distance: float | None
    distance_rank: int | None
    word_score: float | None
    word_rank: int | None


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a tenant's document, as found by a search. `score` grows with relevance.

    Where it stands is told as in `NewPassage`.
    """

    tenant_id: TenantId
    passage_id: PassageId
    document_id: DocumentId
    title: str
    text: str
    score: float
    path: Sequence[str] = ()
    page: int | None = None
    start: int | None = None
    end: int | None = None
    ordinal: int = 0
    corpus_id: TenantId | None = None
    reasons: Reasons | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A passage of the same document as a found one."""

    tenant_id: TenantId
    document_id: DocumentId
    passage_id: PassageId
    ordinal: int
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first, and what embedding the query consumed."""

    passages: Sequence[Passage]
    embedding_model: str
    embedding_tokens: int


@dataclass(frozen=True, slots=True)
class Ingestion:
    """A document that is read in the background, and how often that went wrong.

    `tries` failed because something was away, at `deaths` the process died.
    """

    tenant_id: TenantId
    document_id: DocumentId
    tries: int
    deaths: int


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent; a `title` replaces the one found in the file."""

    name: str
    data: bytes
    title: str | None = None
    media_type: str | None = None
    url: str | None = None  # where it was fetched
