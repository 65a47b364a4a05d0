"""The two tenants of a bench: made for it, and erased to the last trace."""

import asyncio
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server import api_keys
from server.noisy_neighbour.phases import ROOMY
from server.stores import Stores
from server.throwaway import add_key, erase, erase_leftovers, forget_in_redis
from storage import redis_client
from storage.control import Control, control
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan
from tenancy.principal import ADMIN_SCOPES

NAME = re.compile(r"(?P<plan>bench-(?:noisy|quiet)-[0-9a-f]{8})")
SUBJECT = "bench"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One of the two; its plan has its name."""

    tenant_id: TenantId
    key: str = field(repr=False)

    @property
    def plan_id(self) -> PlanId:
        """The plan that it alone is on."""
        return PlanId(self.tenant_id)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Both."""

    noisy: Neighbour
    quiet: Neighbour


@contextmanager
def made(stores: Stores) -> Iterator[Neighbours]:
    """Two tenants on plans of their own; gone at the end, whatever happens."""
    suffix = secrets.token_hex(4)
    noisy, quiet = (TenantId(f"bench-{kind}-{suffix}") for kind in ("noisy", "quiet"))
    try:
        with control(stores.owner()) as admin:
            erase_leftovers(admin, stores, NAME)
            pair = Neighbours(_make(admin, noisy), _make(admin, quiet))
        yield pair
    finally:
        erase(stores, [noisy, quiet], [PlanId(noisy), PlanId(quiet)])
        asyncio.run(_forget(stores, [noisy, quiet]))


def _make(admin: Control, tenant_id: TenantId) -> Neighbour:
    key = api_keys.mint()
    admin.put_plan(new_plan(PlanId(tenant_id), ROOMY))
    admin.create_tenant(tenant_id, tenant_id, PlanId(tenant_id))
    add_key(admin, tenant_id, key, SUBJECT, ADMIN_SCOPES)
    return Neighbour(tenant_id, key.text)


async def _forget(stores: Stores, tenant_ids: list[TenantId]) -> None:
    redis = redis_client.connect(stores.redis_url)
    try:
        await forget_in_redis(redis, tenant_ids)
    finally:
        await redis.aclose()
