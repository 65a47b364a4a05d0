"""Embeds passages anew when the deployment has another embedding model than before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from knowledge.ports import Embedder
from server.models import DeploymentModels
from server.settings import Settings
from server.stores import Stores
from storage import redis_client
from storage.cells import Cell, Cells
from storage.documents import PostgresDocuments
from storage.postgres import Pool
from storage.reembedding import PostgresReembedding, Progress
from tenancy.errors import ModelFailed
from tenancy.ids import PassageId, TenantId
from tenancy.placement import FIRST_CELL

log = structlog.get_logger()
T = TypeVar("T")

BATCH_PASSAGES = 64
ROUND_SECONDS = 45.0  # the worker has other things to do


@dataclass(slots=True)
class Reembedder:
    """Goes through tenants, a batch of each in turn, until all are done or its time is over."""

    books: PostgresReembedding
    documents: PostgresDocuments
    former: str
    embedder: Embedder
    _after: dict[TenantId, PassageId | None] = field(default_factory=dict)

    async def work(self, tenants: Sequence[TenantId], seconds: float = ROUND_SECONDS) -> int:
        """Embed for so long; how many tenants still have the former model.

        Raises `ModelFailed` and `Unavailable`; what is embedded by then is kept.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        waiting = [each for each in tenants if await self.documents.has_model(each, self.former)]
        while waiting and loop.time() < until:
            waiting = [each for each in waiting if not await self._batch(each)]
        return len(waiting)

    async def _batch(self, tenant_id: TenantId) -> bool:
        """Embed a batch of a tenant's; whether the tenant has the new model now."""
        due = await self.books.due(tenant_id, self._after.get(tenant_id), BATCH_PASSAGES)
        if not due:
            self._after.pop(tenant_id, None)  # what was added behind us is found from the start
            return await self.books.switch(tenant_id)
        embedded = await self.embedder.embed([*due.values()])
        await self.books.keep(tenant_id, dict(zip(due, embedded.vectors, strict=True)))
        self._after[tenant_id] = [*due][-1]
        return False


async def reembed(stores: Stores, settings: Settings, tenants: Sequence[TenantId]) -> int:
    """One round; how many tenants still have the former model. Raises `Unavailable`."""

    async def work(reembedder: Reembedder) -> int:
        try:
            return await reembedder.work(tenants)
        except ModelFailed as error:
            log.warning("reembedding_postponed", reason=error.detail)
            return len(tenants)

    return await _with(stores, settings, work) or 0


async def progress_of(
    stores: Stores, settings: Settings, tenants: Sequence[TenantId]
) -> dict[TenantId, Progress]:
    """How far each tenant is that has the former model."""

    async def count(reembedder: Reembedder) -> dict[TenantId, Progress]:
        found = {each: await reembedder.books.progress(each) for each in tenants}
        return {each: progress for each, progress in found.items() if progress.passages}

    return await _with(stores, settings, count) or {}


async def _with(
    stores: Stores, settings: Settings, use: Callable[[Reembedder], Awaitable[T]]
) -> T | None:
    if settings.former_embedding_model is None:
        return None
    models = DeploymentModels(settings)
    if models.former is None:  # the two settings name one model
        await models.aclose()
        return None
    cells = Cells(
        Cell(FIRST_CELL, Pool(stores.app, size=2), redis_client.connect(stores.redis_url))
    )
    await cells.first.open()
    try:
        former, model = models.former.model, models.embedder.model
        books = PostgresReembedding(cells, former, model)
        return await use(Reembedder(books, PostgresDocuments(cells), former, models.embedder))
    finally:
        await cells.first.close()
        await models.aclose()
