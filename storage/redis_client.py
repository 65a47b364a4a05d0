"""Redis as we use it: a client that fails fast and heals by itself, and scripts."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from storage.cancellation import heeding
from storage.redis_cluster import ClusterRedis
from storage.redis_url import is_cluster, node_url, seeds_of
from tenancy.errors import Unavailable

SCRIPTS = Path(__file__).parent / "scripts"
POOL_SIZE = 64
ACQUIRE_SECONDS = 1.0
SILENCE_SECONDS = 1.5
ANSWER_SECONDS = 2.5  # for all of it: redis-py tries a silent handshake twice, whatever it is told
AWAY = (RedisError, OSError)

Argument = str | int | bytes
Reply = list[int]
AnyRedis = Redis | ClusterRedis


def connect(url: str) -> AnyRedis:
    """A client of the server or cluster at `url`, not connected yet; close it with `aclose()`.

    A connection found dead is replaced once; silence is not tried again.
    """
    if not is_cluster(url):
        return _connect(url)
    return ClusterRedis(seeds_of(url), lambda address: _connect(node_url(url, address)))


def _connect(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE,
        timeout=ACQUIRE_SECONDS,
        socket_timeout=SILENCE_SECONDS,
        socket_connect_timeout=SILENCE_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionLost,)),
        # with them on, redis-py no longer looks whether a pooled connection is dead
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        decode_responses=False,
    )
    pool.connection_class = _heeding(pool.connection_class)
    return Redis.from_pool(pool)


def _heeding(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A kind of connection that loses no cancellation while it sends."""

    class Heeding(kind):  # type: ignore[valid-type,misc]  # TCP, TLS or a Unix socket
        async def send_packed_command(self, *command: Any, **options: Any) -> None:
            sending = super().send_packed_command(*command, **options)
            # its answer would be taken for another's
            await heeding(sending, lambda _sent: self.disconnect(nowait=True))

    return Heeding


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the digest by which Redis remembers it."""

    text: str
    digest: str

    async def run(self, redis: AnyRedis, keys: Sequence[str], *arguments: Argument) -> Reply:
        """Run it in one round trip, two when Redis has forgotten it; raises `Unavailable`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._evaluate(redis, len(keys), *keys, *arguments)
        except AWAY as error:
            raise Unavailable from error

    async def _evaluate(self, redis: AnyRedis, keys: int, *arguments: Argument) -> Reply:
        try:
            reply: Reply = await redis.evalsha(self.digest, keys, *arguments)
        except NoScriptError:
            reply = await redis.eval(self.text, keys, *arguments)
        return reply


@cache
def script(*names: str) -> Script:
    """The script made of these files of `scripts/`, one after the other."""
    text = "".join((SCRIPTS / f"{name}.lua").read_text(encoding="utf-8") for name in names)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def nodes_of(redis: AnyRedis) -> Mapping[str, Redis]:
    """The client of each node that holds keys, by the node's name; one server has the name ''."""
    if isinstance(redis, Redis):
        return {"": redis}
    return {_name(*address): client for address, client in (await redis.nodes()).items()}


def node_of(redis: AnyRedis, key: str) -> str | None:
    """The name of the node that holds `key`; None where that is not known yet."""
    if isinstance(redis, Redis):
        return ""
    owner = redis.owner_of(key)
    return None if owner is None else _name(*owner)


def _name(host: str, port: int) -> str:
    return f"{host}:{port}"


async def ping(redis: AnyRedis, *, every_node: bool = False) -> None:
    """Raise `Unavailable` unless Redis answers now; of a cluster, one node or `every_node`."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            nodes = await nodes_of(redis)
            answers = await asyncio.gather(
                *(node.ping() for node in nodes.values()), return_exceptions=True
            )
    except AWAY as error:
        raise Unavailable from error
    silent = [answer for answer in answers if isinstance(answer, BaseException)]
    if silent and (every_node or len(silent) == len(answers)):
        raise Unavailable from silent[0]
