"""Memories by their meaning: what is put in is embedded, and what bears on a question is found."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from knowledge.embedders import Embedders
from knowledge.plaintext import clean
from knowledge.ports import MemoryStore
from tenancy.audit import AuditEvent
from tenancy.errors import Forbidden, Invalid, require_own
from tenancy.ids import MemoryId, SubjectId, ThreadId
from tenancy.memory import MAX_CHARACTERS, Memory, NewMemory, Recalled
from tenancy.principal import Principal
from tenancy.usage import UsageEvent, embedding_usage

_QUESTION_CHARACTERS = 1000  # as much as MiniLM reads
OFF = "Memory is off."


class Memories:
    """Remembers, recalls and forgets."""

    def __init__(self, embedders: Embedders, store: MemoryStore) -> None:
        self._embedders = embedders
        self._store = store

    async def remember(
        self,
        principal: Principal,
        text: str,
        *,
        most: int,
        audit: AuditEvent,
        of_tenant: bool = False,
        thread_id: ThreadId | None = None,
    ) -> Memory:
        """Remember a text of the person, or of the tenant itself; `most` is what the plan allows.

        Raises `Forbidden` where memory is off, `QuotaExceeded`, `Invalid`.
        """
        subject_id = None if of_tenant else principal.subject_id
        if not most or (
            subject_id and not await self._store.enabled(principal.tenant_id, subject_id)
        ):
            raise Forbidden(OFF)
        new, usage = await self._embedded(text, principal)
        return await self._store.put(
            principal.tenant_id,
            subject_id,
            new,
            most=most,
            thread_id=thread_id,
            audit=audit,
            usage=usage,
        )

    async def change(
        self, principal: Principal, memory_id: MemoryId, text: str, audit: AuditEvent
    ) -> Memory:
        """Give a memory another text. Raises `NotFound`, `Conflict`, `Invalid`."""
        new, usage = await self._embedded(text, principal)
        return await self._store.change(
            principal.tenant_id, principal.subject_id, memory_id, new, audit=audit, usage=usage
        )

    async def forget(self, principal: Principal, named: str, audit: AuditEvent) -> bool:
        """Forget the person's own memory of this id or text; False where there is none."""
        return await self._store.forget(principal.tenant_id, principal.subject_id, named, audit)

    async def recall(self, principal: Principal, question: str, limit: int) -> Recalled:
        """The memories of a person and its tenant that bear most on a question.

        Where there are no more than `limit` nothing has to be embedded: all of them do.
        """
        found = await self._found(principal, None, limit + 1)
        if len(found) <= limit:
            return Recalled(found)
        return await self.search(principal, question, limit, anyway=False)

    async def search(
        self, principal: Principal, question: str, limit: int, *, anyway: bool = True
    ) -> Recalled:
        """The memories nearest to a question, best first; none for a blank one.

        `anyway` also finds those of a person who switched memory off.
        """
        text = clean(question).strip()[-_QUESTION_CHARACTERS:]
        if not text:
            return Recalled(())
        embedder = await self._embedders.of(principal.tenant_id)
        embedded = await embedder.embed([text])
        vector, model = embedded.vectors[0], embedder.model
        found = await self._found(principal, vector, limit, model=model, anyway=anyway)
        return Recalled(found, model, embedded.tokens)

    async def _found(
        self,
        principal: Principal,
        vector: Sequence[float] | None,
        limit: int,
        *,
        model: str = "",
        anyway: bool = False,
    ) -> Sequence[Memory]:
        found = await self._store.recall(
            principal.tenant_id,
            principal.subject_id,
            vector,
            embedding_model=model,
            limit=limit,
            anyway=anyway,
        )
        require_own(principal.tenant_id, (memory.tenant_id for memory in found), "memory")
        _require_own_person(principal, found)
        return found

    async def _embedded(
        self, text: str, principal: Principal
    ) -> tuple[NewMemory, list[UsageEvent]]:
        said = " ".join(clean(text).split())
        if not 0 < len(said) <= MAX_CHARACTERS:
            raise Invalid("text", f"must have 1 to {MAX_CHARACTERS} characters")
        embedder = await self._embedders.of(principal.tenant_id)
        embedded, model = await embedder.embed([said]), embedder.model
        new = NewMemory(said, model, tuple(embedded.vectors[0]))
        return new, memory_usage(model, embedded.tokens, principal.subject_id)


def memory_usage(model: str, tokens: int, subject_id: SubjectId) -> list[UsageEvent]:
    """What embedding a memory, or a question to find some, consumed."""
    return embedding_usage(
        uuid4(),
        "memory",
        model=model,
        tokens=tokens,
        subject_id=subject_id,
        at=datetime.now(UTC),
    )


def _require_own_person(principal: Principal, found: Sequence[Memory]) -> None:
    owner = f"{principal.tenant_id}/{principal.subject_id}"
    persons = (memory for memory in found if memory.subject_id is not None)
    named = (f"{memory.tenant_id}/{memory.subject_id}" for memory in persons)
    require_own(owner, named, "memory")
