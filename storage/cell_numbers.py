"""What the replicas of a cell tell each other about model endpoints: numbers, never tenant data."""

from uuid import uuid4

from storage.redis_client import AnyRedis, script
from storage.redis_keys import slots_key
from tenancy.throttle import Load, Share

REPLICA_MILLISECONDS = 2000  # a replica that says nothing for so long has no part any more


class CellNumbers:
    """One replica's view of its cell; each replica has a random name."""

    def __init__(self, redis: AnyRedis, cell_id: str) -> None:
        self._redis = redis
        self._cell_id = cell_id
        self._replica = uuid4().hex

    async def share(self, endpoint: str, load: Load, most: int) -> Share:
        """Tell the others and take a part, in one round trip; raises `Unavailable`.

        All parts together are at most `most`, or one for each replica.
        """
        part, limit, replicas, paused = await script("share").run(
            self._redis,
            [slots_key(self._cell_id, endpoint)],
            self._replica,
            load.in_flight,
            load.calls,
            load.weight,
            round(load.limit * 1000),
            load.part,
            round(load.paused_seconds * 1000),
            most,
            REPLICA_MILLISECONDS,
        )
        return Share(part, limit / 1000, replicas, paused / 1000)
