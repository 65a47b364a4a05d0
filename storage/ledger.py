"""Usage and audit events: append-only, inserted where their cause commits."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from storage.cells import Cells
from storage.postgres import Row, TenantConnection
from storage.queries import call, query
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import Refusal
from tenancy.ids import RunId, SubjectId, TenantId, ThreadId
from tenancy.page import Cursor
from tenancy.quota import Claim, Period, period_start
from tenancy.text import clean
from tenancy.usage import UsageEvent

Rows = dict[str, list[dict[str, Any]]]


def rows_of(usage: Sequence[UsageEvent] = (), audit: Sequence[AuditEvent] = ()) -> Rows:
    """The events as `commit_turn` takes them: `u` and `a`, each left out when empty."""
    rows: Rows = {}
    if usage:
        rows["u"] = [_usage_row(event) for event in usage]
    if audit:
        rows["a"] = [_audit_row(event) for event in audit]
    return rows


def _usage_row(event: UsageEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "meter": event.meter,
        "quantity": event.quantity,
        "model": event.model,
        "run_id": event.run_id,
        "subject_id": event.subject_id,
        "created_at": event.created_at,
        "cost": event.cost,
    }


def _audit_row(event: AuditEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "actor": event.actor,
        "subject_id": event.subject_id,
        "action": event.action,
        "resource": event.resource,
        "outcome": event.outcome,
        "run_id": event.run_id,
        "thread_id": event.thread_id,
        "attributes": dict(event.attributes),
        "created_at": event.created_at,
    }


def dump(rows: Mapping[str, Any]) -> str:
    """Rows as JSON text that Postgres takes: its jsonb refuses NUL and lone surrogates."""
    try:
        text = orjson.dumps(rows)
    except TypeError:  # a lone surrogate, or a number of more than 64 bits
        return json.dumps(_clean(rows), default=_plain)
    if b"\\u0000" in text:
        text = orjson.dumps(_clean(orjson.loads(text)))
    return text.decode()


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _plain(value: Any) -> str:
    if isinstance(value, (UUID, datetime)):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


async def insert_events(
    conn: TenantConnection,
    *,
    usage: Sequence[UsageEvent] = (),
    audit: Sequence[AuditEvent] = (),
) -> None:
    """Insert events in the transaction of what caused them."""
    if rows := rows_of(usage, audit):
        await conn.execute(query("record_events"), {"rows": dump(rows)})


@asynccontextmanager
async def billed(
    cells: Cells, tenant_id: TenantId, usage: Sequence[UsageEvent]
) -> AsyncIterator[None]:
    """Records what was consumed for something where that is refused, and leaves no more behind."""
    try:
        yield
    except Refusal:
        async with cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            await insert_events(conn, usage=usage)
        raise


class PostgresLedger:
    """The tenant's usage and audit, read and written."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def record(
        self,
        tenant_id: TenantId,
        *,
        usage: Sequence[UsageEvent] = (),
        audit: Sequence[AuditEvent] = (),
    ) -> None:
        """Insert events that have no transaction of their own to ride in."""
        if rows := rows_of(usage, audit):
            cell = self._cells.for_tenant(tenant_id)
            await cell.call(call("record"), tenant_id, {"rows": dump(rows)})

    async def record_first(self, tenant_id: TenantId, event: AuditEvent) -> bool:
        """Insert an event that several processes may have, unless one of them did; whether we did.

        Each writer's event needs attributes of its own. Events of runs are none of these.
        """
        cell = self._cells.for_tenant(tenant_id)
        params = {"event": dump(_audit_row(event))}
        [row] = await cell.call(call("record_first"), tenant_id, params)
        return bool(row["first"])

    async def usage(self, tenant_id: TenantId, start: datetime, end: datetime) -> list[Row]:
        """Quantities and costs per meter and model from `start` on and before `end`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return await conn.fetch(query("sum_usage"), {"from": start, "to": end})

    async def booked(
        self,
        tenant_id: TenantId,
        now: datetime,
        *,
        subject_id: SubjectId | None = None,
        without: Sequence[RunId] = (),
    ) -> dict[SubjectId, list[Claim]]:
        """What each user's model calls took in the minute, day and month of `now`.

        `without` names runs to leave out.
        """
        starts = {str(period): period_start(period, now) for period in Period}
        params = {**starts, "subject_id": subject_id, "without": list(without)}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            rows = await conn.fetch(query("booked_usage"), params)
        return {
            SubjectId(row["subject_id"]): [
                Claim(row[f"{period}_tokens"], row[f"{period}_micros"]) for period in Period
            ]
            for row in rows
        }

    async def spent(
        self, tenant_id: TenantId, subject_id: SubjectId | None, now: datetime
    ) -> list[Claim]:
        """What the tenant, or a user of it, took in the minute, day and month of `now`."""
        booked = await self.booked(tenant_id, now, subject_id=subject_id)
        return [
            Claim(sum(c.tokens for c in claims), sum(c.micros for c in claims))
            for claims in zip(*booked.values(), strict=True)
        ] or [Claim(0)] * len(Period)

    async def audit(
        self, tenant_id: TenantId, after: Cursor | None, limit: int
    ) -> list[AuditEvent]:
        """Audit events, latest first."""
        params = {
            "limit": limit,
            "after_time": after and after.time,
            "after_id": after and after.id,
        }
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            return [_event(row) for row in await conn.fetch(query("list_audit"), params)]


def _event(row: Row) -> AuditEvent:
    return AuditEvent(
        event_id=row["event_id"],
        actor=row["actor"],
        subject_id=SubjectId(row["subject_id"]),
        action=row["action"],
        resource=row["resource"],
        outcome=Outcome(row["outcome"]),
        created_at=row["created_at"],
        run_id=None if row["run_id"] is None else RunId(row["run_id"]),
        thread_id=None if row["thread_id"] is None else ThreadId(row["thread_id"]),
        attributes=row["attributes"],
    )
