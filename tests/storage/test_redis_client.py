"""Redis away, silent, restarted or read-only: refused quickly, healed without a restart."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from storage.quota import RedisQuota
from storage.redis_client import connect
from tenancy.errors import Unavailable
from tenancy.ids import RunId, TenantId
from tenancy.plan import FREE
from tenancy.quota import Claim
from tests.storage.redis_server import RedisServer
from tests.support.waiting import HANG_SECONDS

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url) as redis:
        yield redis


async def ask(redis: Redis, *, at_once: int = 1) -> list[object]:
    """The outcomes of questions asked at the same time."""
    questions = (RedisQuota(redis).standings(ACME, FREE) for _ in range(at_once))
    return await asyncio.gather(*questions, return_exceptions=True)


async def test_a_dead_redis_is_unavailable_at_once_and_back_without_a_restart(
    server: RedisServer, redis: Redis
) -> None:
    await ask(redis, at_once=20)
    server.kill()
    async with asyncio.timeout(HANG_SECONDS):
        outcomes = await ask(redis, at_once=200)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    server.start()
    assert {type(outcome) for outcome in await ask(redis, at_once=200)} == {tuple}


async def test_connections_that_died_while_nobody_looked_cost_no_request(
    server: RedisServer, redis: Redis
) -> None:
    await ask(redis, at_once=20)
    server.kill()
    server.start()
    assert {type(outcome) for outcome in await ask(redis, at_once=20)} == {tuple}


async def test_a_silent_redis_is_unavailable_in_time(server: RedisServer, redis: Redis) -> None:
    await ask(redis)
    server.process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(HANG_SECONDS):
        outcomes = await ask(redis, at_once=200)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    server.process.send_signal(signal.SIGCONT)
    assert {type(outcome) for outcome in await ask(redis)} == {tuple}


async def test_a_redis_that_may_not_write_is_unavailable(redis: Redis) -> None:
    await redis.replicaof("127.0.0.1", "1")
    with pytest.raises(Unavailable):
        await RedisQuota(redis).admit(ACME, FREE, run_id=RunId(uuid4()), offers=[Claim(1)])


async def test_a_cancelled_request_leaves_no_answer_for_the_next_tenant(redis: Redis) -> None:
    quota = RedisQuota(redis)
    await quota.standings(GLOBEX, FREE)
    await quota.settle(GLOBEX, run_id=RunId(uuid4()), call=0, actual=Claim(7))
    for turns in range(12):
        task = asyncio.create_task(quota.standings(ACME, FREE))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await quota.standings(GLOBEX, FREE))[4].used == 7


async def test_a_cancellation_while_a_command_is_sent_is_not_lost(redis: Redis) -> None:
    await redis.ping()
    for turns in range(20):  # of the loop, before the cancellation
        waiting = asyncio.create_task(redis.blpop(["nothing"], 0.5))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled(), turns
    assert await redis.ping()
