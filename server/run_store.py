"""The store that nodes and tools are given: one object, which is each run's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from langgraph.store.base import BaseStore, Op, Result

from knowledge.embedders import Embedders
from knowledge.ports import Embedder
from server.components import Components
from server.entrance import Entrance
from server.memory import run_event
from server.turns import RunTurn
from storage.cells import Cells
from storage.store import TenantMemoryStore, Terms
from tenancy.audit import AuditEvent
from tenancy.ids import TenantId
from tenancy.usage import Meter


@dataclass(frozen=True, slots=True)
class BilledEmbedder:
    """Embeds on the bill of a run."""

    embedder: Embedder
    turn: RunTurn

    @property
    def model(self) -> str:
        """The name stored beside each vector."""
        return self.embedder.model

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """The vectors of the texts, in their order."""
        embedded = await self.embedder.embed(texts)
        part = f"store/{uuid4()}"  # a repeated call embeds again, and is paid for again
        self.turn.used(Meter.EMBEDDING_TOKENS, embedded.tokens, self.model, part)
        return embedded.vectors


@dataclass(frozen=True, slots=True)
class BilledEmbedders:
    """The same, by tenant."""

    embedders: Embedders
    turn: RunTurn

    async def of(self, tenant_id: TenantId) -> BilledEmbedder:
        """The model of the tenant's memories, on the bill of the run."""
        return BilledEmbedder(await self.embedders.of(tenant_id), self.turn)


class RunStore(BaseStore):
    """Whoever holds it can do what the run at work may, and nothing where none is.

    Every call raises `NotAuthenticated` outside of a run, and after its end.
    """

    supports_ttl = False

    def __init__(
        self, entrance: Entrance, cells: Cells, embedders: Embedders, components: Components
    ) -> None:
        self._entrance = entrance
        self._cells = cells
        self._embedders = embedders
        self._components = components

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations, from a thread."""
        return self._of_run().batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations."""
        return await self._of_run().abatch(ops)

    def _of_run(self) -> TenantMemoryStore:
        """The store of the run at work; made for each use, so that nobody keeps another's."""
        at_work = self._entrance.at_work()
        turn, components = at_work.turn, self._components

        def event(action: str) -> AuditEvent:
            return run_event(components, turn.principal, action, turn.thread_id, turn.run_id)

        terms = Terms(turn.principal, turn.tenant.plan.memories, turn.thread_id, event)
        embedders = BilledEmbedders(self._embedders, turn)
        return TenantMemoryStore(self._cells, embedders, terms, at_work.loop)
