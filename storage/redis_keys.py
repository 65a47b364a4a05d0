"""The names of everything in Redis, so that no key can belong to two tenants."""

from enum import StrEnum
from hashlib import sha256

from tenancy.ids import TenantId, parse_cell_id, parse_tenant_id


class Area(StrEnum):
    """What a key is for."""

    QUOTA = "quota"
    LEASES = "leases"
    EVENTS = "events"
    IDEMPOTENCY = "idempotency"
    REVOCATION = "revocation"
    THREADS = "threads"
    HOT = "hot"


def redis_key(tenant_id: TenantId, area: Area, id: str) -> str:
    """The key of one tenant's thing: `{tenant}:area:id`, so that all of a tenant share a hash slot.

    The id is parsed again, against a cast: a brace in it would reach another tenant's keys.
    """
    return f"{{{parse_tenant_id(tenant_id)}}}:{area}:{id}"


def slots_key(cell_id: str, endpoint: str) -> str:
    """The key of what a cell's replicas share about one model endpoint: numbers, never tenant data.

    No tenant id has a colon, so it is no tenant's; the endpoint, which may be secret, is digested.
    """
    digest = sha256(endpoint.encode()).hexdigest()[:32]
    return f"{{cell:{parse_cell_id(cell_id)}}}:slots:{digest}"


def watch_key(cell_id: str, number: int) -> str:
    """The key that is written to see whether Redis takes writes; `number` finds it a node."""
    return f"{{cell:{parse_cell_id(cell_id)}/{number}}}:watch"
