"""What knowledge needs from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tenancy.audit import AuditEvent
from tenancy.document import Document, Neighbour, NewPassage, Passage
from tenancy.ids import MemoryId, PassageId, SubjectId, TenantId, ThreadId
from tenancy.memory import Memory, NewMemory
from tenancy.plan import UNLIMITED
from tenancy.search_filter import SearchFilter
from tenancy.usage import UsageEvent


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors, one per text in the texts' order, and the tokens the texts were."""

    vectors: Sequence[Sequence[float]]
    tokens: int


class Embedder(Protocol):
    """Turns text into vectors. Raises `ModelFailed` or `ModelTimeout`."""

    @property
    def model(self) -> str:
        """The name stored beside each vector: vectors of two models never meet."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed `texts`; an empty sequence costs nothing."""
        ...


class Documents(Protocol):
    """Where documents and their passages are kept, per tenant. Raises `Unavailable`."""

    async def twin_or_room(
        self,
        tenant_id: TenantId,
        sha256: bytes,
        size: int,
        *,
        max_documents: int,
        max_bytes: int = UNLIMITED,
    ) -> Document | None:
        """The tenant's document with this content; raises `QuotaExceeded` as `add` would.

        What it says holds until another upload: `add` looks again.
        """
        ...

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
        """Store all of it or nothing; the twin when another upload of it won the race.

        `text` is what the passages' offsets count in.

        Raises `QuotaExceeded` when the tenant has `max_documents` already, or this one makes it
        more than `max_bytes` of files (-1 is unlimited).
        """
        ...


class PassageIndex(Protocol):
    """Finds passages by meaning and by word, within one tenant. Raises `Unavailable`."""

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
        """The best `limit` passages, best first; of documents that `within` lets through."""
        ...

    async def neighbours(
        self, tenant_id: TenantId, passage_ids: Sequence[PassageId], distance: int
    ) -> Sequence[Neighbour]:
        """The passages and what stands at most so far from them, document by document in order."""
        ...


class Served(Protocol):
    """Knows what searches of a tenant, or its recalls, look through."""

    async def has_model(self, tenant_id: TenantId, embedding_model: str) -> bool:
        """Whether it is vectors of this model that they compare."""
        ...


class Corpora(Protocol):
    """Knows the shared corpora."""

    async def subscribed(self, tenant_id: TenantId) -> Sequence[TenantId]:
        """The corpora that the tenant subscribes to."""
        ...


class MemoryStore(Protocol):
    """Where memories are kept, per tenant and person. Raises `Unavailable`."""

    async def enabled(self, tenant_id: TenantId, subject_id: SubjectId) -> bool:
        """Whether the person lets itself be remembered."""
        ...

    async def put(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        new: NewMemory,
        *,
        most: int,
        thread_id: ThreadId | None,
        audit: AuditEvent,
        usage: Sequence[UsageEvent],
    ) -> Memory:
        """Store it, or write anew what says the same; raises `QuotaExceeded` beyond `most`."""
        ...

    async def change(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        memory_id: MemoryId,
        memory: NewMemory,
        *,
        audit: AuditEvent,
        usage: Sequence[UsageEvent],
    ) -> Memory:
        """Give one that the person may see another text; raises `NotFound`, `Conflict`."""
        ...

    async def forget(
        self, tenant_id: TenantId, subject_id: SubjectId, named: str, audit: AuditEvent
    ) -> bool:
        """Delete the person's own memory of this id or text; False where there is none."""
        ...

    async def recall(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId,
        vector: Sequence[float] | None,
        *,
        embedding_model: str,
        limit: int,
        anyway: bool,
    ) -> Sequence[Memory]:
        """The nearest, or the latest, of the person and its tenant.

        None for a person who switched memory off, unless `anyway`.
        """
        ...
