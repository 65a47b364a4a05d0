"""Threads and runs of a tenant in its cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.ledger import dump, insert_events, rows_of
from storage.postgres import Row
from storage.queries import call, query
from storage.turn import Lease, TurnRecord
from tenancy.audit import AuditEvent
from tenancy.errors import Conflict, Invalid, NotFound, ThreadBusy, ThreadQuarantined
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.page import Cursor
from tenancy.principal import Principal
from tenancy.usage import Tokens

LEASE_SECONDS = 15
RENEW_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation."""

    thread_id: ThreadId
    title: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """One execution on a thread."""

    run_id: RunId
    thread_id: ThreadId
    status: str
    created_at: datetime
    finished_at: datetime | None
    tokens: Tokens


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
    ) -> Lease | Replay:
        """Take the thread's lease for a run, in one round trip.

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
            },
        )
        if row["outcome"] == "replay":
            return Replay(row["result"])
        if row["outcome"] != "opened":
            raise _refusal(row["outcome"])
        return Lease(principal.tenant_id, thread_id, run_id, row["fence"], new_thread)

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
        tokens = Tokens(row["input_tokens"], row["output_tokens"])
        fields = ("run_id", "thread_id", "status", "created_at", "finished_at")
        return Run(**{name: row[name] for name in fields}, tokens=tokens)

    async def create(self, principal: Principal, thread_id: ThreadId, title: str) -> Thread:
        """Make an empty thread; raises `Conflict` when the id is taken in this tenant."""
        row = await self._one(principal, "create_thread", {"thread_id": thread_id, "title": title})
        if row is None:
            raise Conflict("The thread id is taken.")
        return Thread(**row)

    async def get(self, principal: Principal, thread_id: ThreadId) -> Thread:
        """A visible thread; raises `NotFound`."""
        row = await self._one(principal, "get_thread", {"thread_id": thread_id})
        if row is None:
            raise NotFound
        return Thread(**row)

    async def page(self, principal: Principal, after: Cursor | None, limit: int) -> list[Thread]:
        """Visible threads, latest first."""
        params = _visible(principal) | {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        cell = self._cells.for_tenant(principal.tenant_id)
        async with cell.as_tenant(principal.tenant_id) as conn:
            return [Thread(**row) for row in await conn.fetch(query("list_threads"), params)]

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

    async def _one(
        self, principal: Principal, name: str, params: Mapping[str, object]
    ) -> Row | None:
        cell = self._cells.for_tenant(principal.tenant_id)
        async with cell.as_tenant(principal.tenant_id) as conn:
            return await conn.fetch_one(query(name), _visible(principal) | dict(params))


def _visible(principal: Principal) -> dict[str, object]:
    return {"subject_id": principal.subject_id, "sees_all": principal.sees_all_threads}


def _lease_params(lease: Lease) -> dict[str, Any]:
    return {"run_id": lease.run_id, "thread_id": lease.thread_id}


def _refusal(outcome: str) -> Exception:
    if outcome == "missing":
        return NotFound()
    if outcome == "busy":
        return ThreadBusy()
    if outcome == "quarantined":
        return ThreadQuarantined()
    if outcome == "in_progress":
        return ThreadBusy(timedelta(seconds=1))
    return Invalid("Idempotency-Key", "was used before with another request")
