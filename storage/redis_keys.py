"""The names of everything in Redis, so that no key can belong to two tenants."""

from enum import StrEnum

from tenancy.ids import TenantId, parse_tenant_id


class Area(StrEnum):
    """What a key is for."""

    QUOTA = "quota"
    LEASES = "leases"
    EVENTS = "events"
    IDEMPOTENCY = "idempotency"
    REVOCATION = "revocation"
    THREADS = "threads"


def redis_key(tenant_id: TenantId, area: Area, id: str) -> str:
    """The key of one tenant's thing: `{tenant}:area:id`, so that all of a tenant share a hash slot.

    The id is parsed again, against a cast: a brace in it would reach another tenant's keys.
    """
    return f"{{{parse_tenant_id(tenant_id)}}}:{area}:{id}"
