"""Limits as they are stored, and what the admins of a tenant change of them."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import orjson
import structlog

from storage.cells import Cells
from storage.ledger import insert_events
from storage.postgres import Row
from storage.queries import query
from tenancy.audit import AuditEvent
from tenancy.errors import Conflict, Invalid, NotFound
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.limits import (
    MAX_LIMITED_USERS,
    USER_LIMITS,
    Limits,
    Said,
    limits_of_user,
    require_narrower,
    text_of,
)
from tenancy.plan import FIELDS, FIRST_LIMITS, Plan, change_plan, parse_field

log = structlog.get_logger()

COLUMNS = ("plan_id", *FIRST_LIMITS, "models", "tools")  # of control.plans


class PostgresLimits:
    """Limits of a tenant's users, through definer functions bound to the tenant.

    Whatever is stored here narrows: a value above the tenant's own does not count.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def page(
        self, tenant_id: TenantId, plan: Plan, after: SubjectId | None, limit: int
    ) -> list[tuple[SubjectId, Said]]:
        """Users with limits of their own, by name, and what holds for each on top of `plan`."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            params = {"limit": limit, "after": after}
            rows = await conn.fetch(query("list_user_limits"), params)
        return [(SubjectId(row["subject_id"]), _of_user(plan, row, tenant_id)) for row in rows]

    async def narrow(
        self, tenant_id: TenantId, plan: Plan, subject_id: SubjectId, said: Said, audit: AuditEvent
    ) -> Said:
        """Narrow what `plan` allows a user, and return what holds.

        Raises `Invalid` for more than that, and `Conflict` for too many users.
        """
        user = {"subject_id": subject_id}
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            known = await conn.fetch_one(query("find_user_limits"), user)
            given = sound(known["limits"], USER_LIMITS, tenant=tenant_id) if known else {}
            require_narrower(plan, given, said)
            done = await conn.fetch_one(query("narrow_user"), {**user, "said": document(said)})
            require_done(done)
            await insert_events(conn, audit=[audit])
            row = await conn.fetch_one(query("find_user_limits"), user)
        return _of_user(plan, row, tenant_id) if row else {}

    async def forget(self, tenant_id: TenantId, subject_id: SubjectId, audit: AuditEvent) -> None:
        """Take back what was narrowed for a user; raises `NotFound` where nothing was."""
        async with self._cells.for_tenant(tenant_id).as_tenant(tenant_id) as conn:
            row = await conn.fetch_one(query("forget_narrowed"), {"subject_id": subject_id})
            if not row or not row["done"]:
                raise NotFound
            await insert_events(conn, audit=[audit])


def limits_of(row: Row) -> Limits:
    """A row of `control.limits_of` as limits."""
    tenant_id, bought = row["tenant_id"], plan_of(row["plan"], row["plan_limits"])
    own = sound(row["limits"], tenant=tenant_id)
    plan = change_plan(bought, own)
    users = {
        SubjectId(subject): _of_user(plan, {"limits": given, "narrowed": narrowed}, tenant_id)
        for subject, (given, narrowed) in (row["users"] or {}).items()
    }
    return Limits(plan, own, users)


def plan_of(plan: Row, limits: Mapping[str, Any]) -> Plan:
    """A row of `control.plans`, and the limits beside it, as a plan."""
    lists = {"models": tuple(plan["models"]), "tools": tuple(plan["tools"])}
    first = Plan(**{**plan, **lists, "plan_id": PlanId(plan["plan_id"])})
    said = {name: text_of(value) for name, value in limits.items()}
    return change_plan(first, sound(said, plan=first.plan_id))


def plan_row(plan: Plan) -> Row:
    """A plan as the statements that store one take it."""
    fields = asdict(plan)
    columns = {name: fields.pop(name) for name in COLUMNS}
    return {"plan_id": plan.plan_id, "plan": document(columns), "limits": document(fields)}


def document(fields: Mapping[str, Any]) -> str:
    """Fields as JSON text."""
    return orjson.dumps(dict(fields)).decode()


def require_done(row: Row | None) -> None:
    """Raise what the outcome of a change of limits is: `NotFound` or `Conflict`."""
    outcome = row["outcome"] if row else None
    if outcome == "full":
        raise Conflict(f"At most {MAX_LIMITED_USERS} users of a tenant have limits of their own.")
    if outcome != "done":
        raise NotFound


def sound(
    stored: Mapping[str, Any], names: Collection[str] = FIELDS, **whose: str
) -> dict[str, str]:
    """What is stored, without what this program cannot read: a limit of before is in its place."""
    kept = {}
    for name, text in stored.items():
        try:
            if name not in names or not isinstance(text, str):
                raise Invalid(name, "is no limit here")
            parse_field(name, text)
        except Invalid as invalid:
            log.error("limit_invalid", field=name, reason=invalid.message, **whose)
        else:
            kept[name] = text
    return kept


def _of_user(plan: Plan, row: Row, tenant_id: TenantId) -> Said:
    given = sound(row["limits"], USER_LIMITS, tenant=tenant_id)
    return limits_of_user(plan, given, sound(row["narrowed"], USER_LIMITS, tenant=tenant_id))
