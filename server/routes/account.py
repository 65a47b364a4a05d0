"""Where the tenant stands: its tools, quota, usage and audit."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from server.access import ScopedRoute, needs
from server.routes.wire import LIMIT, Caller, Cursor, Limit, Rooms, reply, reply_page, utc
from tenancy.audit import AuditEvent
from tenancy.document import Stored
from tenancy.errors import Invalid
from tenancy.page import Cursor as PageCursor
from tenancy.page import page_of, parse_cursor
from tenancy.plan import UNLIMITED, Plan
from tenancy.principal import Scope
from tenancy.quota import Level, Standing

router = APIRouter(route_class=ScopedRoute, tags=["account"])

Instant = Annotated[datetime | None, Query(description="RFC 3339")]


@router.get("/v1/tools", response_model=None)
@needs(Scope.THREADS_READ)
async def list_tools(caller: Caller, rooms: Rooms) -> Response:
    """The tools the tenant's plan entitles to, and which of them are enabled."""
    listed = rooms.toolboxes.listing(await rooms.tenant(caller), caller)
    fields = ("name", "description", "enabled", "scope")
    items = [{name: getattr(each, name) for name in fields} for each in listed]
    return reply({"items": items, "next_cursor": None})


@router.get("/v1/quota", response_model=None)
@needs(Scope.THREADS_READ)
async def get_quota(caller: Caller, rooms: Rooms) -> Response:
    """What tenant, user and run may take, how much is used and held, and what refuses now."""
    tenant = (await rooms.tenant(caller)).for_user(caller.subject_id)
    standings = await rooms.orchestrator.standings(tenant, caller.subject_id)
    stored = await rooms.documents.stored(tenant.tenant_id)
    items = [_standing(each) for each in (*standings, *_shelf(tenant.plan, stored))]
    items += _run_limits(tenant.plan)
    return reply({"items": items, "next_cursor": None})


def _standing(standing: Standing) -> dict[str, Any]:
    fields = ("meter", "period", "limit", "used", "held", "level")
    refuses = standing.limit != UNLIMITED and not standing.remaining
    return {name: getattr(standing, name) for name in fields} | {
        "resets_at": utc(standing.resets_at),
        "refuses": refuses,
    }


def _shelf(plan: Plan, stored: Stored) -> list[Standing]:
    """What the tenant may store: no period gives any of it back."""
    return [
        Standing("documents", "", plan.documents, stored.documents, 0, None),
        Standing("document_bytes", "", plan.document_bytes, stored.size, 0, None),
    ]


def _run_limits(plan: Plan) -> list[dict[str, Any]]:
    """What one run may take: nothing is used of it between runs."""
    limits = {"tokens": plan.tokens_per_run, "tool_calls": plan.tool_calls_per_run}
    return [
        _standing(Standing(meter, "run", limit, 0, 0, None, level=Level.RUN))
        for meter, limit in (limits | {"steps": plan.steps_per_run}).items()
        if limit != UNLIMITED
    ]


@router.get("/v1/usage", response_model=None)
@needs(Scope.USAGE_READ)
async def get_usage(
    caller: Caller,
    rooms: Rooms,
    start: Annotated[Instant, Query(alias="from")] = None,
    end: Annotated[Instant, Query(alias="to")] = None,
) -> Response:
    """What was used from `from` on and before `to`; without them, this month so far.

    Each `cost` is in micro-units of a minor unit of `currency`.
    """
    now = datetime.now(UTC)
    until = _aware("to", end) or now + timedelta(seconds=1)
    since = _aware("from", start) or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if since > until:
        raise Invalid("from", "must not be after `to`")
    meters = await rooms.ledger.usage(caller.tenant_id, since, until)
    return reply({"from": since, "to": until, "meters": meters, "currency": rooms.currency})


@router.get("/v1/audit", response_model=None)
@needs(Scope.AUDIT_READ)
async def list_audit(
    caller: Caller, rooms: Rooms, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """Who did what in this tenant, latest first."""
    events = await rooms.ledger.audit(caller.tenant_id, parse_cursor(cursor), limit + 1)
    page = page_of(events, limit, lambda event: PageCursor(event.created_at, event.event_id))
    return reply_page(page, audit_item)


def audit_item(event: AuditEvent) -> dict[str, Any]:
    """An audit event as it is read."""
    return {
        "event_id": event.event_id,
        "actor": event.actor,
        "subject": event.subject_id,
        "action": event.action,
        "resource": event.resource,
        "outcome": event.outcome,
        "run_id": event.run_id,
        "thread_id": event.thread_id,
        "attributes": dict(event.attributes),
        "created_at": utc(event.created_at),
    }


def _aware(field: str, instant: datetime | None) -> datetime | None:
    if instant is not None and instant.tzinfo is None:
        raise Invalid(field, "must name its offset, like 2026-01-31T00:00:00Z")
    try:
        return utc(instant)
    except OverflowError:
        raise Invalid(field, "must be within the years 1 to 9999") from None
