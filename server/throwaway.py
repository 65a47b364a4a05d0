"""Tenants that are made for an occasion: whatever becomes of it, they are gone afterwards."""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from server.api_keys import MintedKey
from server.stores import Stores
from storage.control import Control, control
from storage.redis_client import AnyRedis
from tenancy.credentials import ApiKey
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.principal import Role, Scope
from tenancy.tenant import TenantStatus

LIFE = timedelta(hours=1)  # of the keys, should this process die before it removes them


def add_key(
    admin: Control, tenant_id: TenantId, key: MintedKey, subject: str, scopes: Collection[Scope]
) -> None:
    """Let `key` into the tenant, for the occasion."""
    names = tuple(sorted(scope.value for scope in scopes))
    now = datetime.now(UTC)
    until = now + LIFE
    stored = ApiKey(key.key_id, tenant_id, SubjectId(subject), Role.ADMIN, names, now, until)
    admin.add_key(stored, key.digest)


def suspend(stores: Stores, tenant_ids: Iterable[TenantId]) -> None:
    """Have running servers stop what the tenants still run."""
    with control(stores.owner()) as admin:
        for tenant_id in tenant_ids:
            admin.set_status(tenant_id, TenantStatus.SUSPENDED)


def erase(stores: Stores, tenant_ids: Iterable[TenantId], plan_ids: Iterable[PlanId]) -> None:
    """Delete all that the database holds of tenants, and then the plans they were on."""
    with control(stores.owner()) as admin:
        for tenant_id in tenant_ids:
            admin.erase(stores.app, tenant_id)
        for plan_id in plan_ids:
            admin.forget_plan(plan_id)


def erase_leftovers(admin: Control, stores: Stores, name: re.Pattern[str]) -> None:
    """Delete what an occasion left behind that was killed before its end.

    Its tenants match `name`, whose group `plan` is the plan they are on.
    """
    matches = [(row, name.fullmatch(row["tenant_id"])) for row in admin.tenants()]
    ours = [(row, match["plan"]) for row, match in matches if match]
    old = [each for each in ours if each[0]["created_at"] < datetime.now(UTC) - LIFE]
    for row, _ in old:
        admin.erase(stores.app, TenantId(row["tenant_id"]))
    in_use = {row["plan"] for row in admin.tenants()}
    for plan in {plan for _, plan in old} - in_use:
        admin.forget_plan(PlanId(plan))


async def forget_in_redis(redis: AnyRedis, tenant_ids: Iterable[TenantId]) -> None:
    """Delete all that Redis holds of tenants."""
    for tenant_id in tenant_ids:
        async for key in redis.scan_iter(match=f"{{{tenant_id}}}:*", count=1000):
            await redis.delete(key)
