"""LangGraph's memory, keyed by tenant and thread, committed where it matters.

`for_tenant` gives a write-through saver: every put and write commits at once. `for_run` gives a
coalescing one: steps that are free to recompute stay in memory and ride with the next commit,
nothing at all is written before the run is admitted, and each commit carries the fence of the
run's lease, its usage and its audit events.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.postgres import base as upstream
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, _DeltaSnapshot
from psycopg import AsyncConnection, AsyncCursor, IsolationLevel
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from storage.cells import Cell, Cells
from storage.durability import Buffer, Put, Rules, kind_of, must_commit
from storage.hot import HotThreads, Trail
from storage.ledger import dump
from storage.postgres import ANSWER_SECONDS, STATEMENT_SECONDS, Pool, translated
from storage.queries import call, query
from storage.turn import Lease, TurnRecord
from tenancy.durability import Durability
from tenancy.errors import require_own
from tenancy.ids import TenantId

_PULL = "~__pregel_pull, "  # how Pregel writes the path of a node's own task
_CALLERS_TASK = "00000000-0000-0000-0000-000000000000"  # a resume value, written by no node
_SIBLING_TICKS = 8  # loop iterations after which a task's put would have come, were it alone
_FREE = (Durability.FREE, Durability.CLOSING)
_isolation: ContextVar[IsolationLevel | None] = ContextVar("isolation", default=None)


def _tenant_leads(statement: str) -> str:
    changed = statement.replace("ON CONFLICT (thread_id,", "ON CONFLICT (tenant_id, thread_id,")
    if changed == statement:
        raise RuntimeError("langgraph-checkpoint-postgres changed its SQL: review this subclass")
    return changed


def _as_upstream(pool: Pool) -> AsyncConnectionPool[AsyncConnection[DictRow]]:
    """The pool as upstream wants it typed: it takes any connection, but not any pool of one."""
    return cast("AsyncConnectionPool[AsyncConnection[DictRow]]", pool)


class TenantPostgresSaver(AsyncPostgresSaver):
    """A saver bound to one tenant. The base object has none and refuses to touch a row."""

    UPSERT_CHECKPOINT_BLOBS_SQL = _tenant_leads(upstream.UPSERT_CHECKPOINT_BLOBS_SQL)
    UPSERT_CHECKPOINTS_SQL = _tenant_leads(upstream.UPSERT_CHECKPOINTS_SQL)
    UPSERT_CHECKPOINT_WRITES_SQL = _tenant_leads(upstream.UPSERT_CHECKPOINT_WRITES_SQL)
    INSERT_CHECKPOINT_WRITES_SQL = _tenant_leads(upstream.INSERT_CHECKPOINT_WRITES_SQL)

    def __init__(self, cells: Cells, hot: HotThreads | None = None) -> None:
        super().__init__(_as_upstream(cells.first.pool))
        self._cells = cells
        self._tenant_id: TenantId | None = None
        self._rules: Rules | None = None
        self._lease: Lease | None = None
        self._record = TurnRecord()
        self._hot = hot or HotThreads()
        self._reset()

    def _reset(self) -> None:
        self.lock = asyncio.Lock()  # of this clone: keeps one run's commits in order
        self._buffer = Buffer()
        self._puts = 0
        self._paid: set[tuple[str, str]] = set()
        self._held = False
        self._owed = False
        self._trail = Trail(read=False)

    def for_tenant(self, tenant_id: TenantId) -> "TenantPostgresSaver":
        """A write-through clone: reads, `update_state`, administration."""
        clone = copy.copy(self)
        clone._tenant_id, clone._rules, clone._lease = tenant_id, None, None
        clone.conn = _as_upstream(self._cells.for_tenant(tenant_id).pool)
        clone._record = TurnRecord()
        clone._reset()
        return clone

    def for_run(self, lease: Lease, rules: Rules, record: TurnRecord) -> "TenantPostgresSaver":
        """A coalescing clone for one run, which writes nothing until `admit`."""
        clone = self.for_tenant(lease.tenant_id)
        clone._rules, clone._lease, clone._record = rules, lease, record
        clone._held = True
        clone._trail = Trail(read=lease.new_thread)
        return clone

    @property
    def tenant_id(self) -> TenantId:
        """The tenant; raises `RuntimeError` on the base object."""
        if self._tenant_id is None:
            raise RuntimeError("no tenant: use for_tenant or for_run")
        return self._tenant_id

    @property
    def _cell(self) -> Cell:
        return self._cells.for_tenant(self.tenant_id)

    async def admit(self) -> None:
        """The run was admitted: from now on durable points commit."""
        self._held = False
        if self._owed:
            await self.flush()

    def drop(self) -> None:
        """The run was refused: nothing of it reaches the thread."""
        self._reset()
        self._held = True

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Hold a checkpoint, and commit all that is held when it is a durable point."""
        configurable = config["configurable"]
        thread, namespace = str(configurable["thread_id"]), configurable.get("checkpoint_ns", "")
        inline, blobs, delta = self._split(checkpoint, metadata, new_versions)
        self._buffer.puts[(thread, namespace, checkpoint["id"])] = Put(
            parent=configurable.get("checkpoint_id"),
            checkpoint={**checkpoint, "channel_values": inline},
            metadata=self._about(config, metadata),
            blobs=blobs,
            delta=delta,
        )
        self._puts += 1
        if self._is_durable_point(thread, namespace, checkpoint, metadata.get("source")):
            await self.flush()
        return {
            "configurable": {
                "thread_id": configurable["thread_id"],
                "checkpoint_ns": namespace,
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def rows_of(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> tuple[dict[str, Any], list[bytes]]:
        """What `aput` would commit, for a transaction of the caller's own."""
        clone = self.for_tenant(self.tenant_id)
        clone._held = True
        await clone.aput(config, checkpoint, metadata, new_versions)
        return clone._buffer.rows(merge=False)

    def _about(self, config: RunnableConfig, metadata: CheckpointMetadata) -> dict[str, Any]:
        """The metadata, with the run by which `adelete_for_runs` finds what it wrote."""
        about: dict[str, Any] = dict(get_serializable_checkpoint_metadata(config, metadata))
        if self._lease is not None:
            about["run_id"] = str(self._lease.run_id)
        return about

    def _split(
        self,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> tuple[dict[str, Any], list[tuple[str, str, str, bytes]], bool]:
        """Channel values as upstream stores them: plain ones inline, the rest as blobs."""
        inline: dict[str, Any] = {}
        blobs = []
        delta = "counters_since_delta_snapshot" in metadata
        for channel, value in checkpoint["channel_values"].items():
            if value is None or isinstance(value, (str, int, float, bool)):
                inline[channel] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                inline[channel], delta = True, True
            if channel in new_versions:
                version = str(new_versions[channel])
                blobs.append((channel, version, *self.serde.dumps_typed(value)))
        return inline, blobs, delta

    def _is_durable_point(
        self, thread: str, namespace: str, checkpoint: Checkpoint, source: str | None
    ) -> bool:
        if self._rules is None or source not in ("input", "loop"):
            return True  # an update or a fork: a caller waits for it
        if source == "input":
            return False  # the next put, a moment later, holds the input in its state
        paid = (thread, namespace) in self._paid
        self._paid.discard((thread, namespace))
        return must_commit(self._rules, namespace, checkpoint, paid=paid)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Hold a task's writes; those of a paid node among siblings are committed at once."""
        configurable = config["configurable"]
        thread, namespace = str(configurable["thread_id"]), configurable.get("checkpoint_ns", "")
        for index, (channel, value) in enumerate(writes):
            place = WRITES_IDX_MAP.get(channel, index)
            self._buffer.add_write(
                (thread, namespace, configurable["checkpoint_id"], task_id, place),
                (task_path, channel, *self.serde.dumps_typed(value)),
            )
        if self._rules is None or task_id == _CALLERS_TASK:
            await self.flush()
        elif not any(channel in (INTERRUPT, ERROR) for channel, _ in writes):
            await self._commit_among_siblings(thread, namespace, task_path)

    async def _commit_among_siblings(self, thread: str, namespace: str, task_path: str) -> None:
        node = task_path.removeprefix(_PULL)
        if node != task_path and kind_of(self._rules or {}, namespace, node) in _FREE:
            return
        self._paid.add((thread, namespace))
        seen = self._puts
        for _ in range(_SIBLING_TICKS):
            await asyncio.sleep(0)
            if self._puts != seen:
                return  # it was alone: the put that came carries it, or the run's end will
        await self.flush()

    async def flush(self) -> None:
        """Commit everything held in one statement; what fails to commit is held again.

        Raises `LeaseLost` when another run took the thread, `Unavailable` without a database.
        """
        if self._held:
            self._owed = True
            return
        async with self.lock:
            if self._buffer or self._record:
                await self._commit()

    async def _commit(self) -> None:
        buffer, self._buffer = self._buffer, Buffer()
        record = self._record.take()
        try:
            rows, blobs = buffer.rows(merge=self._rules is not None)
            lease = self._lease
            await self._cell.call(
                call("commit_turn"),
                self.tenant_id,
                {
                    "thread_id": lease and lease.thread_id,
                    "run_id": lease and lease.run_id,
                    "fence": lease and lease.fence,
                    "rows": dump(rows | record.rows()),
                    "blobs": blobs,
                },
            )
        except BaseException:
            self._buffer = buffer.followed_by(self._buffer)
            self._record.put_back(record)
            raise
        if lease is not None and not lease.new_thread:  # most threads have one turn only
            self._trail.committed(rows, blobs)
            if record.ending is not None:
                await self._keep_hot()

    async def _keep_hot(self) -> None:
        row = self._trail.row()
        if row is not None:
            await self._hot.put(self._cell, self.tenant_id, row)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """One checkpoint, the latest when the config names none.

        Raises `IsolationBreach` when a row of it is another tenant's.
        """
        configurable = config["configurable"]
        thread, namespace = str(configurable["thread_id"]), configurable.get("checkpoint_ns", "")
        if self._lease is not None and self._lease.new_thread and not self._puts:
            return None  # this run made the thread a moment ago
        if self._buffer.holds(thread, namespace):
            await self.flush()
        if (hot := await self._hot_row(thread, config)) is not None:
            self._trail.found(hot)
            return await self._load_checkpoint_tuple(cast("DictRow", hot))
        rows = await self._cell.call(
            call("get_checkpoint"),
            self.tenant_id,
            {
                "thread_id": thread,
                "checkpoint_ns": namespace,
                "checkpoint_id": get_checkpoint_id(config),
            },
            binary=True,
        )
        if not rows:
            return None
        row = rows[0]
        require_own(self.tenant_id, row["tenant_ids"], "checkpoint")
        if row["checkpoint"]["v"] < 4 and row["parent_checkpoint_id"]:
            return await super().aget_tuple(config)  # pending sends of rows older than format 4
        if not namespace:
            self._trail.found(row)
        return await self._load_checkpoint_tuple(row)

    async def forget_copy(self, tenant_id: TenantId, thread: str) -> None:
        """Drop what Redis has of a thread that is deleted."""
        await self._hot.forget(self._cells.for_tenant(tenant_id), tenant_id, thread)

    async def _hot_row(self, thread: str, config: RunnableConfig) -> Mapping[str, Any] | None:
        """The thread's latest checkpoint from Redis, before this run has written any."""
        lease = self._lease
        if lease is None or lease.checkpoint_id is None or self._puts:
            return None
        if config["configurable"].get("checkpoint_ns") or thread != str(lease.thread_id):
            return None
        if get_checkpoint_id(config) not in (None, lease.checkpoint_id):
            return None
        return await self._hot.get(self._cell, self.tenant_id, thread, lease.checkpoint_id)

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[AsyncCursor[DictRow]]:
        """Where everything inherited (list, delete, prune) comes through."""
        await self.flush()
        with translated():
            pool, level = self._cell.pool, _isolation.get()
            async with pool.connection() as conn:
                await conn.set_isolation_level(level)
                try:
                    async with conn.transaction(), conn.cursor(binary=True) as cursor:
                        cursor.row_factory = dict_row
                        entry = pool.database.entry(self.tenant_id)
                        await cursor.execute(query("enter").sql, entry)
                        conn.patience = STATEMENT_SECONDS
                        yield cursor
                finally:
                    conn.patience = ANSWER_SECONDS
                    await conn.set_isolation_level(None)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """As upstream, whose first statement asks for a level the transaction must already have."""
        token = _isolation.set(IsolationLevel.REPEATABLE_READ)
        try:
            await super().aprune(thread_ids, strategy=strategy)
        finally:
            _isolation.reset(token)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs wrote."""
        async with self._cursor() as cursor:
            await cursor.execute(_DELETE_FOR_RUNS, ([str(run_id) for run_id in run_ids],))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every checkpoint of a thread of this tenant to another one."""
        pair = {"source": str(source_thread_id), "target": str(target_thread_id)}
        async with self._cursor() as cursor:
            for statement in _COPY_THREAD:
                await cursor.execute(statement, pair)


_DELETE_FOR_RUNS = """
with gone as (delete from checkpoints where metadata->>'run_id' = any(%s)
              returning tenant_id, thread_id, checkpoint_ns, checkpoint_id)
delete from checkpoint_writes w using gone g
 where (w.tenant_id, w.thread_id, w.checkpoint_ns, w.checkpoint_id)
     = (g.tenant_id, g.thread_id, g.checkpoint_ns, g.checkpoint_id)"""
_COPY_THREAD = (
    """insert into checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
                                type, checkpoint, metadata)
       select %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint,
              case when metadata ? 'thread_id'
                   then jsonb_set(metadata, '{thread_id}', to_jsonb(%(target)s::text))
                   else metadata end
         from checkpoints where thread_id = %(source)s""",
    """insert into checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
       select %(target)s, checkpoint_ns, channel, version, type, blob
         from checkpoint_blobs where thread_id = %(source)s""",
    """insert into checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx,
                                      channel, type, blob, task_path)
       select %(target)s, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
         from checkpoint_writes where thread_id = %(source)s""",
)
