"""A thread's latest checkpoint in Redis, beside the one in Postgres that counts.

Whoever opens a run is told by Postgres which checkpoint is the latest and that nothing waits on it;
the copy is used only if it is of that very checkpoint. A checkpoint is never changed under its id,
so a copy that is old, lost or somebody else's is one that is not used. Each tenant's copies are
listed, so that they can be dropped without looking through everybody's keys.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

import orjson
import ormsgpack

from storage.cells import Cell
from storage.ledger import dump
from storage.redis_client import ANSWER_SECONDS, AWAY, AnyRedis, script
from storage.redis_keys import Area, redis_key
from tenancy.errors import Unavailable
from tenancy.ids import TenantId

LIFE_SECONDS = 900  # a conversation that rests longer is read from Postgres again
MAX_BYTES = 65_536  # beyond, packing a copy takes more than it saves
PATIENCE_SECONDS = 0.1  # a Redis that takes longer is slower than Postgres
REST_SECONDS = 5.0  # after it did
MAC_BYTES = 16
CLOSED_SECONDS = 60  # no copies after they were dropped: what ran then ends within a second
DROPPED_AT_ONCE = 500

Row = Mapping[str, Any]


@dataclass(slots=True)
class Trail:
    """What a run knows of its thread's latest checkpoint: as it was read, and as it was committed.

    Only of the main graph, and only of what is in Postgres already.
    """

    read: bool  # whether it is known what there was before
    pieces: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    latest: dict[str, Any] | None = None

    def found(self, row: Row) -> None:
        """Take down a checkpoint that was read."""
        self.read = True
        versions = row["checkpoint"]["channel_versions"]
        for channel, type_, content in row["channel_values"] or ():
            name = channel.decode()
            self.pieces[name, str(versions[name])] = (type_.decode(), content)

    def committed(self, rows: Mapping[str, Any], blobs: Sequence[bytes]) -> None:
        """Take down what `commit_turn` stored."""
        for b in rows.get("b", ()):
            if not b["ns"]:
                self.pieces[b["ch"], b["v"]] = (b["ty"], blobs[b["i"] - 1])
        for c in rows.get("c", ()):
            if not c["ns"] and (self.latest is None or c["id"] > self.latest["id"]):
                self.latest = c

    def row(self) -> dict[str, Any] | None:
        """The latest checkpoint as Postgres would give it; None where that is not known."""
        if not self.read or self.latest is None:
            return None
        checkpoint, metadata = self.latest["cp"], self.latest["meta"]
        if checkpoint["v"] < 4 or "counters_since_delta_snapshot" in metadata:
            return None
        wanted = [(name, str(v)) for name, v in checkpoint["channel_versions"].items()]
        return {
            "thread_id": self.latest["t"],
            "checkpoint_ns": "",
            "checkpoint_id": self.latest["id"],
            "parent_checkpoint_id": self.latest["parent"],
            "checkpoint": checkpoint,
            "metadata": metadata,
            "channel_values": [
                (name, *self.pieces[name, version])
                for name, version in wanted
                if (name, version) in self.pieces
            ],
        }


class HotThreads:
    """The copies of a process; one that Redis does not give in time is one that is not there.

    `on` is whether copies are made and used at all.
    """

    def __init__(self, *, on: bool = True) -> None:
        self._on = on
        self._rests_until = 0.0

    async def get(
        self, cell: Cell, tenant_id: TenantId, thread: str, checkpoint_id: str
    ) -> Row | None:
        """The checkpoint as Postgres would give it, or None."""
        if not self._on:
            return None
        packed = await self._ask(cell.redis.execute_command, "GET", _key(tenant_id, thread))
        if not isinstance(packed, bytes):
            return None
        row = _unpacked(packed, _secret(cell, tenant_id))
        if row is None or (row["thread_id"], row["checkpoint_id"]) != (thread, checkpoint_id):
            return None
        return row

    async def put(self, cell: Cell, tenant_id: TenantId, row: Row) -> None:
        """Keep a copy of a checkpoint that is committed; one too large is dropped."""
        if not self._on:
            return
        packed, thread = _packed(row, _secret(cell, tenant_id)), row["thread_id"]
        if len(packed) > MAX_BYTES:
            await self.forget(cell, tenant_id, thread)
            return
        keys = [_key(tenant_id, thread), _copies(tenant_id), _closed(tenant_id)]
        await self._ask(script("hot_put").run, cell.redis, keys, packed, LIFE_SECONDS)

    async def forget(self, cell: Cell, tenant_id: TenantId, thread: str) -> None:
        """Drop the copy of a thread that is gone; where Redis is away it ends by itself."""
        await self._ask(cell.redis.execute_command, "UNLINK", _key(tenant_id, thread))

    async def _ask(self, question: Callable[..., Awaitable[object]], *told: Any) -> object:
        """What Redis answers; None at once while it rests, and when it takes too long."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await question(*told)
        except (*AWAY, Unavailable):  # a time-out is an OSError
            self._rests_until = loop.time() + REST_SECONDS
            return None


async def drop_copies(redis: AnyRedis, tenant_id: TenantId) -> None:
    """Drop all copies of a tenant that is to be served no more; raises `Unavailable`.

    For a minute none is made: what still runs must not leave one behind.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await redis.execute_command("SET", _closed(tenant_id), "1", "EX", CLOSED_SECONDS)
            while found := await _next_copies(redis, tenant_id):
                await redis.execute_command("UNLINK", *found)
    except AWAY as error:
        raise Unavailable from error


async def _next_copies(redis: AnyRedis, tenant_id: TenantId) -> list[Any]:
    """The keys of some copies, which are listed no more."""
    found = await redis.execute_command("ZPOPMIN", _copies(tenant_id), DROPPED_AT_ONCE)
    return [key for key, _ends_at in found]


def _key(tenant_id: TenantId, thread: str) -> str:
    return redis_key(tenant_id, Area.HOT, f"thread/{thread}")


def _copies(tenant_id: TenantId) -> str:
    return redis_key(tenant_id, Area.HOT, "copies")


def _closed(tenant_id: TenantId) -> str:
    return redis_key(tenant_id, Area.HOT, "closed")


def _secret(cell: Cell, tenant_id: TenantId) -> bytes:
    """What Redis never sees: a copy that this deployment did not make for the tenant is none."""
    return sha256(cell.pool.database.entry(tenant_id)["seal"].encode()).digest()


def _packed(row: Row, secret: bytes) -> bytes:
    about = {name: value for name, value in row.items() if name != "channel_values"}
    body = ormsgpack.packb([dump(about), row["channel_values"]])
    return _mac(body, secret) + body


def _unpacked(packed: bytes, secret: bytes) -> dict[str, Any] | None:
    mac, body = packed[:MAC_BYTES], packed[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(body, secret)):
        return None
    about, values = ormsgpack.unpackb(body)
    pieces = [(name.encode(), type_.encode(), content) for name, type_, content in values]
    row: dict[str, Any] = orjson.loads(about)
    return row | {"channel_values": pieces or None, "pending_writes": None}


def _mac(body: bytes, secret: bytes) -> bytes:
    return blake2b(body, key=secret, digest_size=MAC_BYTES).digest()
