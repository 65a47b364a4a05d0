"""The store that nodes and tools are given: one object, which is each run's own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from langgraph.store.base import BaseStore, Op, Result

from knowledge.ports import Embedder
from server.components import Components
from server.entrance import Entrance
from server.memory import run_event
from server.turns import RunTurn
from storage.cells import Cells
from storage.store import TenantMemoryStore, Terms
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


class RunStore(BaseStore):
    """Whoever holds it can do what the run at work may, and nothing where none is.

    Every call raises `NotAuthenticated` outside of a run, and after its end.
    """

    supports_ttl = False

    def __init__(
        self, entrance: Entrance, cells: Cells, embedder: Embedder, components: Components
    ) -> None:
        self._entrance = entrance
        self._cells = cells
        self._embedder = embedder
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
        turn = at_work.turn
        terms = Terms(
            turn.principal,
            turn.tenant.plan.memories,
            turn.thread_id,
            lambda action: run_event(self._components, turn.principal, action, turn.thread_id),
        )
        embedder = BilledEmbedder(self._embedder, turn)
        return TenantMemoryStore(self._cells, embedder, terms, at_work.loop)
