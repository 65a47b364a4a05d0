"""What is remembered beyond a thread: of a person, or of the tenant for all its people."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tenancy.ids import MemoryId, SubjectId, TenantId, ThreadId

MAX_CHARACTERS = 500  # of one memory: a fact, not a document
RECALLED = 8  # that go into a prompt, so at most 4,000 characters
SHOWN = ("memories",)  # the namespace of what models are shown; what tools keep is in others


class Recall(StrEnum):
    """What a run may know of its person's memory when it opens."""

    OFF = "off"  # by the plan, or by the person
    EMPTY = "empty"
    SOME = "some"


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing remembered. Without a subject it is the tenant's own, for all its people."""

    tenant_id: TenantId
    memory_id: MemoryId
    subject_id: SubjectId | None
    text: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """One item of an owner as it is kept: a memory, or what a tool put into the store."""

    memory_id: MemoryId
    subject_id: SubjectId | None
    namespace: tuple[str, ...]
    key: str
    value: Mapping[str, Any]
    thread_id: ThreadId | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Recalled:
    """Memories that bear on a question, and what finding them consumed."""

    memories: Sequence[Memory]
    embedding_model: str = ""
    embedding_tokens: int = 0


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A text to remember, with the vector by which it is found."""

    text: str
    embedding_model: str
    vector: tuple[float, ...]

    @property
    def key(self) -> str:
        """The same for texts that say the same: one of them is kept."""
        return key_of(self.text)


def key_of(text: str) -> str:
    """A digest of the text's words, whatever their case and the space between them."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()
