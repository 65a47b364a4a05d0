"""The rows of a store, on a connection that has its tenant: the caller's own and the tenant's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from langgraph.store.base import GetOp, Item, ListNamespacesOp, SearchItem, SearchOp

from storage.memories import refuse_over
from storage.postgres import Row, TenantConnection
from storage.queries import query
from storage.store_filter import conditions_of
from storage.store_names import OF_TENANT, Labels, Place, namespace_of, owners_below, place_of
from storage.store_values import NewItem, dumped, window_of
from storage.vectors import vector_text
from tenancy.errors import require_own
from tenancy.ids import ThreadId
from tenancy.principal import Principal


@dataclass(frozen=True, slots=True)
class StoreRows:
    """Reads and writes for one caller; what comes back is known again to be the caller's to see."""

    conn: TenantConnection
    caller: Principal
    embedding_model: str

    async def is_on(self) -> bool:
        """Whether the caller lets itself be remembered."""
        params = {"subject_id": self.caller.subject_id}
        row = await self.conn.fetch_one(query("get_memory_switch"), params)
        return bool(row and row["enabled"])

    async def get(self, op: GetOp) -> Item | None:
        """The item of this name."""
        place = place_of(op.namespace, self.caller.subject_id)
        row = await self.conn.fetch_one(query("get_item"), _name(place, op.key))
        return Item(**self._seen(row)) if row else None

    async def search(self, op: SearchOp, vector: Sequence[float] | None) -> list[SearchItem]:
        """The items that match, those nearest to `vector` first; without one the latest."""
        owners, labels = owners_below(op.namespace_prefix, self.caller.subject_id)
        params = {
            "owners": owners,
            "prefix": list(labels),
            "conditions": dumped([each._asdict() for each in conditions_of(op.filter)], "filter"),
            "model": self.embedding_model,
            "vector": None if vector is None else vector_text(vector),
            **window_of(op),
        }
        rows = await self.conn.fetch(query("search_items"), params)
        return [SearchItem(**self._seen(row), score=row["score"]) for row in rows]

    async def namespaces(self, op: ListNamespacesOp) -> list[Labels]:
        """The namespaces that the conditions fit, cut to a depth, each once."""
        conditions = [
            {"is_suffix": each.match_type == "suffix", "labels": list(each.path)}
            for each in op.match_conditions or ()
        ]
        params = {
            "subject_id": self.caller.subject_id,
            "depth": op.max_depth,
            "conditions": dumped(conditions, "match_conditions"),
            **window_of(op),
        }
        rows = await self.conn.fetch(query("list_namespaces"), params)
        return [tuple(row["namespace"]) for row in rows]

    async def lock(self, owner: str) -> None:
        """Be the only one that writes to an owner's until the transaction ends."""
        await self.conn.execute(query("lock_memories"), {"subject_id": owner or None})

    async def put(
        self,
        place: Place,
        key: str,
        item: NewItem,
        vector: Sequence[float] | None,
        *,
        most: int,
        thread_id: ThreadId | None,
    ) -> UUID:
        """Store an item; raises `QuotaExceeded` where its owner has `most` others."""
        params = _name(place, key) | {
            "subject_id": place.owner or None,
            "memory_id": uuid4(),
            "value": item.value,
            "embedded": item.text if vector else None,
            "model": self.embedding_model if vector else "",
            "vector": vector_text(vector) if vector else None,
            "thread_id": thread_id,
        }
        await refuse_over(self.conn, params, most)
        [row] = await self.conn.fetch(query("put_item"), params)
        memory_id: UUID = row["memory_id"]
        return memory_id

    async def delete(self, place: Place, key: str) -> list[UUID]:
        """Delete the item of this name, if there is one."""
        rows = await self.conn.fetch(query("delete_item"), _name(place, key))
        return [row["memory_id"] for row in rows]

    def _seen(self, row: Row) -> dict[str, Any]:
        place = Place(row["owner"], tuple(row["namespace"]))
        own = f"{self.caller.tenant_id}/{self.caller.subject_id}"
        require_own(self.caller.tenant_id, [row["tenant_id"]], "memory")
        if place.owner != OF_TENANT:
            require_own(own, [f"{row['tenant_id']}/{place.owner}"], "memory")
        names = ("key", "value", "created_at", "updated_at")
        return {"namespace": namespace_of(place), **{name: row[name] for name in names}}


def _name(place: Place, key: str) -> dict[str, Any]:
    return {"owner": place.owner, "namespace": list(place.labels), "key": key}
