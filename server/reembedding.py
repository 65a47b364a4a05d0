"""Embeds passages and memories anew when the deployment has another embedding model than before."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog

from knowledge.ports import Embedder
from server.models import DeploymentModels
from server.settings import Settings
from server.stores import Stores
from storage.cells import Cells, open_cells
from storage.indexes import NO_WISHES, Wishes
from storage.next_indexes import index_next
from storage.reembedding import Kind, PostgresReembedding, Progress
from tenancy.errors import ModelFailed
from tenancy.ids import TenantId

log = structlog.get_logger()
T = TypeVar("T")

BATCH_TEXTS = 64
ROUND_SECONDS = 45.0  # the worker has other things to do


@dataclass(slots=True)
class Reembedder:
    """Goes through tenants, a batch of each in turn, until all are done or its time is over."""

    books: Sequence[PostgresReembedding]
    embedder: Embedder
    _after: dict[tuple[TenantId, Kind], UUID] = field(default_factory=dict)

    async def work(self, tenants: Sequence[TenantId], seconds: float = ROUND_SECONDS) -> int:
        """Embed for so long; how many tenants still have the former model.

        Raises `ModelFailed` and `Unavailable`; what is embedded by then is kept.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        every = [(tenant_id, books) for tenant_id in tenants for books in self.books]
        waiting = [(each, books) for each, books in every if await books.pending(each)]
        while waiting and loop.time() < until:
            waiting = [
                (each, books) for each, books in waiting if not await self._batch(each, books)
            ]
        return len({tenant_id for tenant_id, _ in waiting})

    async def _batch(self, tenant_id: TenantId, books: PostgresReembedding) -> bool:
        """Embed a batch of a tenant's; whether the tenant has the new model now."""
        place = tenant_id, books.kind
        due = await books.due(tenant_id, self._after.get(place), BATCH_TEXTS)
        if not due:
            self._after.pop(place, None)  # what was added behind us is found from the start
            return await books.switch(tenant_id)
        embedded = await self.embedder.embed([each.text for each in due])
        await books.keep(tenant_id, due, embedded.vectors)
        self._after[place] = due[-1].id
        return False


async def reembed(
    stores: Stores, settings: Settings, tenants: Sequence[TenantId], wishes: Wishes = NO_WISHES
) -> int:
    """One round; how many tenants still have the former model. Raises `Unavailable`."""

    async def work(reembedder: Reembedder) -> int:
        try:
            return await reembedder.work(tenants)
        except ModelFailed as error:
            log.warning("reembedding_postponed", reason=error.detail)
            return len(tenants)

    return await _with(stores, settings, work, wishes) or 0


async def progress_of(
    stores: Stores, settings: Settings, tenants: Sequence[TenantId]
) -> dict[TenantId, dict[Kind, Progress]]:
    """How far each tenant is that has the former model."""

    async def count(reembedder: Reembedder) -> dict[TenantId, dict[Kind, Progress]]:
        found = {
            each: {books.kind: await books.progress(each) for books in reembedder.books}
            for each in tenants
        }
        return {each: of for each, of in found.items() if any(p.total for p in of.values())}

    return await _with(stores, settings, count) or {}


async def _with(
    stores: Stores,
    settings: Settings,
    use: Callable[[Reembedder], Awaitable[T]],
    wishes: Wishes = NO_WISHES,
) -> T | None:
    if settings.former_embedding_model is None:
        return None
    models = DeploymentModels(settings)
    try:
        if models.former is None:  # the two settings name one model
            return None
        async with open_cells(stores.app, stores.redis_url, size=2) as cells:
            books = _books(cells, stores, models.former.model, models.embedder.model, wishes)
            return await use(Reembedder(books, models.embedder))
    finally:
        await models.aclose()


def _books(
    cells: Cells, stores: Stores, former: str, model: str, wishes: Wishes
) -> list[PostgresReembedding]:
    copied = partial(index_next, stores.owner(), stores.app, wishes=wishes)
    return [
        PostgresReembedding(cells, Kind.PASSAGES, former, model, copied),
        PostgresReembedding(cells, Kind.MEMORIES, former, model),
    ]
