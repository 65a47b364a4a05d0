"""On a Redis Cluster every node serves its tenants, and a lost one takes no other along."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from storage.cells import Cell
from storage.hot import HotThreads, drop_copies
from storage.postgres import Pool
from storage.quota import RedisQuota
from storage.redis_client import AnyRedis, connect, nodes_of, ping
from storage.redis_keys import Area, redis_key
from storage.seal import AppDatabase
from tenancy.errors import Unavailable
from tenancy.ids import RunId, TenantId
from tenancy.plan import FREE
from tenancy.quota import Claim
from tests.storage.redis_cluster import ClusterNode, RedisClusterServers
from tests.support.stores import SEAL_KEY
from tests.support.waiting import HANG_SECONDS

TENANTS = [TenantId(f"tenant-{number}") for number in range(60)]
WIDE = replace(FREE, requests_per_minute=-1, concurrent_runs=-1, tokens_per_minute=-1)


@pytest.fixture(scope="module")
def servers() -> Iterator[RedisClusterServers]:
    servers = RedisClusterServers()
    yield servers
    servers.close()


@pytest.fixture
async def redis(servers: RedisClusterServers) -> AsyncIterator[AnyRedis]:
    async with connect(servers.url) as redis:
        yield redis


@pytest.fixture
def node(servers: RedisClusterServers) -> Iterator[ClusterNode]:
    """A node to be ill-treated; it is well again afterwards."""
    node = servers.nodes[0]
    yield node
    node.send(signal.SIGCONT)
    if node.process.poll() is not None:
        node.start()
    servers.wait()


def key_of(tenant: TenantId) -> str:
    return redis_key(tenant, Area.QUOTA, "rate")


def of_node(servers: RedisClusterServers, node: ClusterNode) -> list[TenantId]:
    return [tenant for tenant in TENANTS if servers.owner(key_of(tenant)) is node]


async def turn(redis: AnyRedis, tenant: TenantId) -> bool:
    """A run from admission to release; whether its tokens were settled."""
    quota, run = RedisQuota(redis), RunId(uuid4())
    verdict = await quota.admit(tenant, WIDE, run_id=run, offers=[Claim(100)])
    settled = await quota.settle(tenant, run_id=run, call=0, actual=Claim(7))
    await quota.release(tenant, run)
    return verdict.admitted and settled


async def outcomes(redis: AnyRedis, tenants: list[TenantId]) -> Counter[type]:
    done = await asyncio.gather(*(turn(redis, t) for t in tenants), return_exceptions=True)
    return Counter(type(outcome) for outcome in done)


async def test_every_node_keeps_the_counters_of_its_own_tenants(
    servers: RedisClusterServers, redis: AnyRedis
) -> None:
    assert await outcomes(redis, TENANTS) == {bool: len(TENANTS)}
    assert {servers.owner(key_of(tenant)) for tenant in TENANTS} == set(servers.nodes)
    for tenant in TENANTS:
        with servers.owner(key_of(tenant)).spoken_to() as node:
            assert list(node.scan_iter(match=f"{{{tenant}}}:*"))


async def test_two_hundred_at_once_wait_for_a_connection_each(redis: AnyRedis) -> None:
    assert await outcomes(redis, TENANTS * 4) == {bool: 4 * len(TENANTS)}


async def test_scripts_that_the_nodes_forgot_are_sent_again(redis: AnyRedis) -> None:
    await outcomes(redis, TENANTS)
    for client in (await nodes_of(redis)).values():
        await client.script_flush()
    assert await outcomes(redis, TENANTS) == {bool: len(TENANTS)}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_lost_node_takes_its_own_tenants_along_and_no_others(
    servers: RedisClusterServers, redis: AnyRedis, node: ClusterNode, how: signal.Signals
) -> None:
    await outcomes(redis, TENANTS)
    lost = of_node(servers, node)
    others = [tenant for tenant in TENANTS if tenant not in lost]
    node.send(how)
    doomed = asyncio.create_task(outcomes(redis, lost))
    for _ in range(5):
        assert await outcomes(redis, others) == {bool: len(others)}
    async with asyncio.timeout(HANG_SECONDS):
        assert await doomed == {Unavailable: len(lost)}


async def test_a_node_that_is_back_serves_without_a_restart_of_ours(
    servers: RedisClusterServers, redis: AnyRedis, node: ClusterNode
) -> None:
    await outcomes(redis, TENANTS)
    node.kill()
    await outcomes(redis, TENANTS)
    node.start()
    servers.wait()
    assert await outcomes(redis, TENANTS) == {bool: len(TENANTS)}


async def test_a_ping_is_answered_by_who_is_left_and_a_ping_of_all_is_not(
    redis: AnyRedis, node: ClusterNode
) -> None:
    await ping(redis, every_node=True)
    node.kill()
    await ping(redis)
    with pytest.raises(Unavailable):
        await ping(redis, every_node=True)


async def test_a_cluster_that_is_not_there_is_unavailable(node: ClusterNode) -> None:
    node.kill()
    async with connect(f"redis+cluster://127.0.0.1:{node.port}/") as redis:
        with pytest.raises(Unavailable):
            await ping(redis)
        with pytest.raises(Unavailable):
            await turn(redis, TENANTS[0])


async def test_a_cancelled_request_leaves_no_answer_for_the_next_tenant(
    servers: RedisClusterServers, redis: AnyRedis
) -> None:
    neighbours = of_node(servers, servers.nodes[1])[:2]
    await turn(redis, neighbours[1])
    quota = RedisQuota(redis)
    expected = [s.used for s in await quota.standings(neighbours[1], WIDE)]
    for turns in range(12):
        task = asyncio.create_task(quota.standings(neighbours[0], WIDE))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [s.used for s in await quota.standings(neighbours[1], WIDE)] == expected


async def test_a_slot_is_followed_while_it_moves_and_when_it_has_moved(
    servers: RedisClusterServers, redis: AnyRedis
) -> None:
    tenant = TENANTS[0]
    await turn(redis, tenant)
    key = redis_key(tenant, Area.QUOTA, "counters")
    source = servers.owner(key)
    target = next(node for node in servers.nodes if node is not source)
    for way in ((source, target), (target, source)):
        with servers.moving(key, *way) as move_keys:
            assert await redis.dump(key)  # still at home
            move_keys()
            assert await redis.dump(key)  # sent on
        assert await outcomes(redis, [tenant]) == {bool: 1}
        assert servers.owner(key) is way[1]


async def test_a_tenant_whose_keys_are_half_moved_is_refused_until_they_are_moved(
    servers: RedisClusterServers, redis: AnyRedis
) -> None:
    await turn(redis, TENANTS[0])
    key = key_of(TENANTS[0])
    source = servers.owner(key)
    target = next(node for node in servers.nodes if node is not source)
    with servers.moving(key, source, target):
        assert await outcomes(redis, [TENANTS[0]]) == {Unavailable: 1}
    assert await outcomes(redis, [TENANTS[0]]) == {bool: 1}


async def test_a_replica_that_takes_over_is_followed() -> None:
    servers = RedisClusterServers(replicas=1)
    try:
        async with connect(servers.url) as redis:
            await outcomes(redis, TENANTS)
            lost = servers.owner(key_of(TENANTS[0]))
            lost.kill()
            servers.wait()
            deadline = time.monotonic() + 10
            while await outcomes(redis, TENANTS) != {bool: len(TENANTS)}:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
            assert servers.owner(key_of(TENANTS[0])) is not lost
    finally:
        servers.close()


async def test_copies_of_threads_are_made_and_dropped_on_every_node(redis: AnyRedis) -> None:
    cell = Cell("first", Pool(AppDatabase("", SEAL_KEY)), redis)
    for tenant in TENANTS[:9]:
        for thread in ("one", "two"):
            row = {"thread_id": thread, "checkpoint_id": "c", "channel_values": []}
            await HotThreads().put(cell, tenant, row)
            assert await HotThreads().get(cell, tenant, thread, "c") is not None
        await drop_copies(redis, tenant)
        for thread in ("one", "two"):
            assert await HotThreads().get(cell, tenant, thread, "c") is None
