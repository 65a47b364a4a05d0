"""Threads and runs of a tenant in its cell."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    empty_checkpoint,
)

from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.ledger import dump, insert_events, rows_of
from storage.limits import document
from storage.postgres import Row, TenantConnection
from storage.queries import call, query
from storage.turn import Lease, TurnRecord
from tenancy.assistant import NO_ASSISTANT, WHOEVER, Chosen, Speaking, Wanted
from tenancy.audit import AuditEvent
from tenancy.errors import Conflict, Invalid, NotFound, ThreadBusy, ThreadQuarantined
from tenancy.ids import RunId, SubjectId, TenantId, ThreadId
from tenancy.memory import Recall
from tenancy.page import Cursor
from tenancy.principal import Principal
from tenancy.summary import Summary
from tenancy.usage import Tokens

LEASE_SECONDS = 15
RENEW_SECONDS = 5
CHECKPOINT_FORMAT = 4  # of the LangGraph that is pinned


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation."""

    thread_id: ThreadId
    title: str
    owner: SubjectId
    shared: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """What a new thread begins with: values of LangGraph's channels, and the words in them."""

    values: Mapping[str, Any]
    said: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One execution on a thread."""

    run_id: RunId
    thread_id: ThreadId
    status: str
    created_at: datetime
    finished_at: datetime | None
    tokens: Tokens
    assistant: Chosen


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that a request with the same idempotency key was given before."""

    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's key and the SHA-256 of the request that it stands for."""

    key: str
    digest: bytes


class PostgresThreads:
    """Opens runs and keeps threads. What a principal may not see does not exist."""

    def __init__(self, cells: Cells, saver: TenantPostgresSaver) -> None:
        self._cells = cells
        self._saver = saver

    async def open_run(
        self,
        principal: Principal,
        *,
        run_id: RunId,
        thread_id: ThreadId,
        new_thread: bool,
        idempotency: Idempotency | None,
        wanted: Wanted = WHOEVER,
    ) -> Lease | Replay:
        """Take the thread's lease for a run and find its assistant, in one round trip.

        Raises `NotFound`, `ThreadBusy`, `ThreadQuarantined`, or `Invalid` for a reused
        idempotency key.
        """
        [row] = await self._cells.for_tenant(principal.tenant_id).call(
            call("open_run"),
            principal.tenant_id,
            {
                "run_id": run_id,
                "thread_id": thread_id,
                "new_thread": new_thread,
                "subject_id": principal.subject_id,
                "sees_all": principal.sees_all_threads,
                "lease_seconds": LEASE_SECONDS,
                "idempotency_key": idempotency and idempotency.key,
                "digest": idempotency and idempotency.digest,
                **_wanted(wanted),
            },
        )
        if row["outcome"] == "replay":
            return Replay(row["result"])
        if row["outcome"] != "opened":
            raise _refusal(row["outcome"])
        return Lease(
            principal.tenant_id,
            thread_id,
            run_id,
            row["fence"],
            new_thread,
            speaking=_speaking(row, wanted),
            memory=Recall(row["memory"]),
            checkpoint_id=row["checkpoint_id"],
        )

    async def renew(self, lease: Lease) -> bool:
        """Extend the lease; False when another run has it."""
        params = _lease_params(lease) | {
            "fence": lease.fence,
            "lease_seconds": LEASE_SECONDS,
        }
        cell = self._cells.for_tenant(lease.tenant_id)
        [row] = await cell.call(call("renew_lease"), lease.tenant_id, params)
        return bool(row["held"])

    async def discard_run(self, lease: Lease, audit: AuditEvent) -> None:
        """Undo an opened run that was refused: only the audit record stays."""
        params = _lease_params(lease) | {
            "new_thread": lease.new_thread,
            "rows": dump(rows_of(audit=[audit])),
        }
        cell = self._cells.for_tenant(lease.tenant_id)
        await cell.call(call("discard_run"), lease.tenant_id, params)

    async def quarantine(self, lease: Lease, record: TurnRecord) -> None:
        """End a run and close its thread: of the run, only usage and audit of `record` stay."""
        params = _lease_params(lease) | {"title": record.title, "rows": dump(record.rows())}
        cell = self._cells.for_tenant(lease.tenant_id)
        await cell.call(call("quarantine_run"), lease.tenant_id, params)

    async def release(self, tenant_id: TenantId, thread_id: ThreadId, audit: AuditEvent) -> None:
        """Open a quarantined thread again; raises `NotFound` when there is none of that id."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            if not await conn.execute(query("release_thread"), {"thread_id": thread_id}):
                raise NotFound("No quarantined thread has this id.")
            await insert_events(conn, audit=[audit])

    async def run(self, principal: Principal, run_id: RunId) -> Run:
        """A run of a visible thread; raises `NotFound`."""
        row = await self._one(principal, "get_run", {"run_id": run_id})
        if row is None:
            raise NotFound
        return _run(row)

    async def create(self, principal: Principal, thread_id: ThreadId, title: str) -> Thread:
        """Make an empty thread; raises `Conflict` when the id is taken in this tenant."""
        async with self._as(principal) as conn:
            return await _created(conn, principal, thread_id, title)

    async def create_with(
        self,
        principal: Principal,
        thread_id: ThreadId,
        source: Thread,
        memory: Memory,
        audit: AuditEvent,
    ) -> Thread:
        """Make a thread that begins with the conversation of `source`, at once and as a whole.

        Raises `ThreadQuarantined` when nothing may go on from there.
        """
        saver = self._saver.for_tenant(principal.tenant_id)
        rows, blobs = await saver.rows_of(*_first_checkpoint(saver, thread_id, memory))
        params = {
            "thread_id": thread_id,
            "said": memory.said,
            "rows": dump(rows | rows_of(audit=[audit])),
            "blobs": blobs,
        }
        async with self._as(principal) as conn:
            if await conn.fetch(query("quarantine_of"), {"thread_id": source.thread_id}):
                raise ThreadQuarantined
            thread = await _created(conn, principal, thread_id, source.title)
            await conn.execute(query("fill_thread"), params)
            return thread

    async def get(self, principal: Principal, thread_id: ThreadId) -> Thread:
        """A thread that the caller may read; raises `NotFound`."""
        row = await self._one(principal, "get_thread", {"thread_id": thread_id})
        if row is None:
            raise NotFound
        return _thread(row)

    async def change(
        self,
        principal: Principal,
        thread_id: ThreadId,
        *,
        title: str | None,
        shared: bool | None,
        audit: Sequence[AuditEvent],
    ) -> Thread:
        """Rename or share a thread that the caller may write to; raises `NotFound`."""
        params = {"thread_id": thread_id, "title": title, "shared": shared}
        async with self._as(principal) as conn:
            row = await conn.fetch_one(query("change_thread"), _visible(principal) | params)
            if row is None:
                raise NotFound
            await insert_events(conn, audit=audit)
            return _thread(row)

    async def give_title(
        self, tenant_id: TenantId, thread_id: ThreadId, title: str, *, instead_of: str
    ) -> bool:
        """Store a model's title; False where a person was faster, or the thread is gone."""
        params = {"thread_id": thread_id, "title": title, "instead_of": instead_of}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return bool(await conn.execute(query("give_title"), params))

    async def summary(self, tenant_id: TenantId, thread_id: ThreadId) -> Summary | None:
        """The summary of a thread that the caller has already been found to see."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("get_summary"), {"thread_id": thread_id})
        return Summary(row["summary"], row["summary_upto"]) if row else None

    async def give_summary(
        self,
        tenant_id: TenantId,
        thread_id: ThreadId,
        summary: Summary,
        *,
        instead_of: Summary | None,
    ) -> bool:
        """Store a summary; False where another came first, or the thread is gone."""
        params = {
            "thread_id": thread_id,
            "summary": summary.text,
            "upto": summary.upto,
            "instead_of": instead_of and instead_of.upto,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return bool(await conn.execute(query("give_summary"), params))

    async def page(
        self,
        principal: Principal,
        after: Cursor | None,
        limit: int,
        *,
        words: str | None = None,
        shared: bool | None = None,
    ) -> list[Thread]:
        """Threads, latest first: the caller's, or those with `words` of all it may read.

        `shared` asks for what anybody shared with the tenant, or for what nobody did.
        """
        params = _visible(principal) | {
            "query": words,
            "shared": shared,
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        own = "list_shared_threads" if shared else "list_threads"
        async with self._as(principal) as conn:
            rows = await conn.fetch(query("search_threads" if words else own), params)
        return [_thread(row) for row in rows]

    async def runs(self, principal: Principal, thread_id: ThreadId) -> list[Run]:
        """The runs of a thread the caller has already been found to read, oldest first."""
        async with self._as(principal) as conn:
            rows = await conn.fetch(query("list_turns"), {"thread_id": thread_id})
        return [_run(row) for row in rows]

    async def prune(self, tenant_id: TenantId, keep: int, limit: int) -> int:
        """Delete superseded checkpoints of some threads that no run holds; how many went."""
        cell, params = self._cells.for_tenant(tenant_id), {"keep": keep, "limit": limit}
        async with cell.as_tenant(tenant_id) as conn:
            crowded = await conn.fetch(query("crowded_threads"), params)
        gone = 0
        for row in crowded:
            [pruned] = await cell.call(call("prune_thread"), tenant_id, {**row, "keep": keep})
            gone += pruned["pruned"]
        return gone

    async def memory(self, principal: Principal, thread_id: ThreadId) -> CheckpointTuple | None:
        """What LangGraph remembers of a thread the caller has already been found to see."""
        saver = self._saver.for_tenant(principal.tenant_id)
        return await saver.aget_tuple({"configurable": {"thread_id": str(thread_id)}})

    async def delete(self, principal: Principal, thread_id: ThreadId, audit: AuditEvent) -> None:
        """Delete a thread and its memory; raises `NotFound`, `ThreadBusy`, `ThreadQuarantined`."""
        cell = self._cells.for_tenant(principal.tenant_id)
        async with cell.as_tenant(principal.tenant_id) as conn:
            params = _visible(principal) | {"thread_id": thread_id}
            row = await conn.fetch_one(query("lock_thread"), params)
            if row is None:
                raise NotFound
            if row["busy"]:
                raise ThreadBusy
            if row["quarantined"]:
                raise ThreadQuarantined
            await conn.execute(query("delete_checkpoints"), {"thread_id": str(thread_id)})
            await conn.execute(query("delete_thread"), {"thread_id": thread_id})
            await insert_events(conn, audit=[audit])
        await self._saver.forget_copy(principal.tenant_id, str(thread_id))

    def _as(self, principal: Principal) -> AbstractAsyncContextManager[TenantConnection]:
        return self._cells.for_tenant(principal.tenant_id).as_tenant(principal.tenant_id)

    async def _one(
        self, principal: Principal, name: str, params: Mapping[str, object]
    ) -> Row | None:
        async with self._as(principal) as conn:
            return await conn.fetch_one(query(name), _visible(principal) | dict(params))


async def _created(
    conn: TenantConnection, principal: Principal, thread_id: ThreadId, title: str
) -> Thread:
    params = {
        "thread_id": thread_id,
        "subject_id": principal.subject_id,
        "title": title,
        "titled_by": "person" if title else "message",
    }
    row = await conn.fetch_one(query("create_thread"), params)
    if row is None:
        raise Conflict("The thread id is taken.")
    return _thread(row)


def _first_checkpoint(
    saver: TenantPostgresSaver, thread_id: ThreadId, memory: Memory
) -> tuple[RunnableConfig, Checkpoint, CheckpointMetadata, ChannelVersions]:
    versions: ChannelVersions = dict.fromkeys(memory.values, saver.get_next_version(None, None))
    blank = empty_checkpoint()
    checkpoint = Checkpoint(
        v=CHECKPOINT_FORMAT,
        id=blank["id"],
        ts=blank["ts"],
        channel_values=dict(memory.values),
        channel_versions=versions,
        versions_seen={},
        updated_channels=None,
    )
    metadata: CheckpointMetadata = {"source": "fork", "step": memory.step, "parents": {}}
    return {"configurable": {"thread_id": str(thread_id)}}, checkpoint, metadata, versions


def _thread(row: Row) -> Thread:
    return Thread(
        row["thread_id"],
        row["title"],
        SubjectId(row["subject_id"]),
        row["shared"],
        row["created_at"],
        row["updated_at"],
    )


def _run(row: Row) -> Run:
    fields = ("run_id", "thread_id", "status", "created_at", "finished_at")
    tokens = Tokens(row["input_tokens"], row["output_tokens"])
    named = row["assistant"]
    chosen = Chosen(named, row["assistant_version"]) if named else Chosen()
    return Run(**{name: row[name] for name in fields}, tokens=tokens, assistant=chosen)


def _wanted(wanted: Wanted) -> dict[str, Any]:
    return {
        "assistant": wanted.name,
        "draft": wanted.draft,
        "goes_on": wanted.goes_on,
        "universal": document({slug: each.version for slug, each in wanted.universal.items()}),
    }


def _speaking(row: Row, wanted: Wanted) -> Speaking:
    name, preferences = row["assistant"], row["preferences"] or {}
    if name is None:
        return Speaking(preferences=preferences)
    if row["content"] is None:
        return Speaking(wanted.universal[name], preferences)
    return Speaking(Chosen(name, row["version"], row["content"]), preferences)


def _visible(principal: Principal) -> dict[str, object]:
    return {"subject_id": principal.subject_id, "sees_all": principal.sees_all_threads}


def _lease_params(lease: Lease) -> dict[str, Any]:
    return {"run_id": lease.run_id, "thread_id": lease.thread_id}


def _refusal(outcome: str) -> Exception:
    if outcome == "missing":
        return NotFound()
    if outcome == "unknown":
        return NotFound(NO_ASSISTANT)
    if outcome == "busy":
        return ThreadBusy()
    if outcome == "quarantined":
        return ThreadQuarantined()
    if outcome == "in_progress":
        return ThreadBusy(timedelta(seconds=1))
    return Invalid("Idempotency-Key", "was used before with another request")
