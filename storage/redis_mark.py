"""Whether a node of Redis is well, and by what one knows that it is still the same one."""

from itertools import count

from redis.asyncio import Redis

from storage.redis_client import AnyRedis, node_of
from storage.redis_cluster import ClusterRedis
from storage.redis_keys import watch_key

KEPT_MS = 10_000
EMPTIED = ("cmdstat_flushall", "cmdstat_flushdb")

Mark = tuple[str, int]  # the process that answered, and how often it was emptied


async def mark_of(redis: AnyRedis, name: str, node: Redis, *, cell_id: str) -> Mark:
    """Have a node take a write, and tell what it is: another mark is another node's, or data gone.

    Raises what redis-py raises when it does not answer or does not take the write.
    """
    try:
        async with node.pipeline(transaction=False) as pipe:
            pipe.set(_key(redis, name, cell_id), 1, px=KEPT_MS)
            pipe.info("server")
            pipe.info("commandstats")
            _, server, commands = await pipe.execute()
    except BaseException:
        if isinstance(redis, ClusterRedis):
            redis.doubt()
        raise
    emptied = sum(commands[name]["calls"] for name in EMPTIED if name in commands)
    return server["run_id"], emptied


def _key(redis: AnyRedis, name: str, cell_id: str) -> str:
    """A key that this node holds: as far as is known, it holds some."""
    keys = (watch_key(cell_id, number) for number in count())
    return next(key for key in keys if node_of(redis, key) in {name, None})
