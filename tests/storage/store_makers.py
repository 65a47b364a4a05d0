"""Stores of a test's own, and an embedder whose vectors count letters."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any
from uuid import uuid4

from storage.cells import Cells
from storage.store import Embedders, TenantMemoryStore, Terms
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.storage.makers import audit_event, principal

MODEL = "letters"


def letters(text: str) -> list[float]:
    """How often each letter is in a text."""
    return [float(text.lower().count(each)) for each in ascii_lowercase]


@dataclass
class Letters:
    """Implements the embedders of a store, one for all, and remembers what it embedded."""

    model: str = MODEL
    embedded: list[str] = field(default_factory=list)

    async def of(self, tenant_id: TenantId) -> "Letters":
        return self

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.embedded += texts
        return [letters(text) for text in texts]


def new_tenant() -> TenantId:
    """A tenant of the test's own: rows need no record in the control tables."""
    return TenantId(f"tenant-{uuid4().hex[:8]}")


def store_of(
    cells: Cells,
    tenant: str,
    subject: str = "alice",
    role: Role = Role.MEMBER,
    *,
    embedder: Embedders | None = None,
    most: int = 100,
) -> TenantMemoryStore:
    """The store as one run of this person has it."""
    terms = Terms(principal(tenant, subject, role), most, None, audit_event)
    return TenantMemoryStore(cells, embedder or Letters(), terms, asyncio.get_running_loop())


def keys(items: Sequence[Any]) -> list[str]:
    """The keys of what was found, in its order."""
    return [item.key for item in items]
