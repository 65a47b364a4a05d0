"""What Redis has of a tenant's threads goes when the tenant is suspended."""

import structlog

from storage.hot import drop_copies
from storage.redis_client import AnyRedis, connect
from tenancy.errors import Unavailable
from tenancy.ids import TenantId

log = structlog.get_logger()


async def drop_hot(redis: AnyRedis, tenant_id: TenantId) -> None:
    """Drop a tenant's copies; where Redis is away they end by themselves."""
    try:
        await drop_copies(redis, tenant_id)
    except Unavailable:
        log.warning("hot_copies_left", tenant_id=tenant_id)


async def drop_hot_at(redis_url: str, tenant_id: TenantId) -> None:
    """The same, for a process that has no Redis open."""
    redis = connect(redis_url)
    try:
        await drop_hot(redis, tenant_id)
    finally:
        await redis.aclose()
