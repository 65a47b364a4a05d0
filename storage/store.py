"""LangGraph's store on the table of memories, for one run of one person."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import psycopg
from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    validate_op_namespace,
)

from storage.cells import Cells
from storage.ledger import insert_events
from storage.memories import audit_of
from storage.store_names import OF_TENANT, Place, place_of, require_fitting
from storage.store_rows import StoreRows
from storage.store_values import NewItem, asked_for, new_item
from tenancy.audit import AuditEvent
from tenancy.errors import Forbidden, Invalid
from tenancy.ids import TenantId, ThreadId
from tenancy.principal import Principal, Scope

OFF = "Memory is off."

Name = tuple[Place, str]
Puts = Mapping[Name, NewItem | None]  # none: it is deleted
Vectors = Mapping[str, Sequence[float]]


class Embedder(Protocol):
    """Turns texts into vectors, on the run's bill. Raises `ModelFailed` or `ModelTimeout`."""

    @property
    def model(self) -> str:
        """The name stored beside each vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """The vectors of the texts, in their order."""
        ...


class Embedders(Protocol):
    """Knows with which model a tenant's memories are embedded. Raises `Unavailable`."""

    async def of(self, tenant_id: TenantId) -> Embedder:
        """The model of what there is, by which more is found beside it."""
        ...


@dataclass(frozen=True, slots=True)
class Terms:
    """Who uses a store, how much of each owner its plan keeps, and how it is written down."""

    caller: Principal
    most: int
    thread_id: ThreadId | None
    event: Callable[[str], AuditEvent]


class TenantMemoryStore(BaseStore):
    """What is the caller's own, below `person`, and its tenant's, below `tenant`; no other place.

    A batch is one transaction: what it reads is as it was before what it writes, and of writes to
    one name the last counts. Where memory is off it is empty and takes nothing, but still deletes.
    """

    supports_ttl = False

    def __init__(
        self, cells: Cells, embedders: Embedders, terms: Terms, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._cells = cells
        self._embedders = embedders
        self._terms = terms
        self._loop = loop

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """The same from a thread; raises `RuntimeError` on the event loop, which it would stop."""
        if _is_running(self._loop):
            raise RuntimeError("On the event loop, use the asynchronous methods of the store.")
        return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations. Raises `Forbidden`, `QuotaExceeded`, `Invalid`, `Unavailable`."""
        asked = list(ops)
        puts = self._allowed(asked)
        tenant_id = self._terms.caller.tenant_id
        embedder = await self._embedders.of(tenant_id)
        vectors = await self._vectors(embedder, asked, puts)
        try:
            async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
                rows = StoreRows(conn, self._terms.caller, embedder.model)
                is_on = bool(self._terms.most) and await rows.is_on()
                results = [await _read(rows, op, vectors) if is_on else _empty(op) for op in asked]
                done = await self._write(rows, puts, vectors, is_on=is_on)
                await insert_events(conn, audit=done)
        except psycopg.DataError:  # text that Postgres does not take, such as one with a NUL
            raise Invalid("value", "has text that cannot be stored") from None
        return results

    def _allowed(self, ops: Sequence[Op]) -> Puts:
        """The last write to each name, once all are known to be allowed."""
        last: dict[Name, NewItem | None] = {}
        for op in ops:
            validate_op_namespace(op)
            if isinstance(op, PutOp):
                place = place_of(op.namespace, self._terms.caller.subject_id)
                last[place, op.key] = self._parsed(place, op)
        return last

    def _parsed(self, place: Place, op: PutOp) -> NewItem | None:
        if op.ttl is not None:
            raise NotImplementedError("Nothing in this store expires: put without a ttl.")
        if place.owner == OF_TENANT:
            self._terms.caller.require(Scope.SETTINGS_WRITE)
        if op.value is None:
            return None
        if not self._terms.most:
            raise Forbidden(OFF)
        require_fitting(place, op.key)
        return new_item(place.labels, op)

    async def _vectors(self, embedder: Embedder, ops: Sequence[Op], puts: Puts) -> Vectors:
        """The vector of every text that is put or asked for, in one call of the model."""
        queries = [asked_for(op) for op in ops if isinstance(op, SearchOp) and self._terms.most]
        texts = [*queries, *(item.text for item in puts.values() if item)]
        wanted = list(dict.fromkeys(text for text in texts if text))
        if not wanted or not await self._is_on(embedder.model):
            return {}
        return dict(zip(wanted, await embedder.embed(wanted), strict=True))

    async def _is_on(self, model: str) -> bool:
        """Whether it is worth embedding anything: no model is asked inside the transaction."""
        tenant_id = self._terms.caller.tenant_id
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await StoreRows(conn, self._terms.caller, model).is_on()

    async def _write(
        self, rows: StoreRows, puts: Puts, vectors: Vectors, *, is_on: bool
    ) -> list[AuditEvent]:
        """What was done. Deletions come first: they make room."""
        kept = [(name, item) for name, item in puts.items() if item]
        gone = [name for name, item in puts.items() if not item]
        if kept and not is_on:
            raise Forbidden(OFF)
        for owner in sorted({place.owner for place, _ in puts}):
            await rows.lock(owner)
        forgotten = [each for name in gone for each in await rows.delete(*name)]
        made = [await self._put(rows, name, item, vectors) for name, item in kept]
        return [
            *(audit_of(self._terms.event("memory.forget"), each) for each in forgotten),
            *(audit_of(self._terms.event("memory.remember"), each) for each in made),
        ]

    async def _put(self, rows: StoreRows, name: Name, item: NewItem, vectors: Vectors) -> UUID:
        return await rows.put(
            *name,
            item,
            vectors.get(item.text or ""),
            most=self._terms.most,
            thread_id=self._terms.thread_id,
        )


async def _read(rows: StoreRows, op: Op, vectors: Vectors) -> Result:
    if isinstance(op, GetOp):
        return await rows.get(op)
    if isinstance(op, SearchOp):
        return await rows.search(op, vectors.get(asked_for(op) or ""))
    if isinstance(op, ListNamespacesOp):
        return await rows.namespaces(op)
    return None


def _empty(op: Op) -> Result:
    return [] if isinstance(op, SearchOp | ListNamespacesOp) else None


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
