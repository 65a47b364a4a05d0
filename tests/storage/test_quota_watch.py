"""Redis killed, silent, emptied, restarted, demoted: noticed, and relied on again when mended."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from server.quota_watch import Concerns, QuotaWatch
from storage.redis_client import AnyRedis, connect
from storage.redis_keys import Area, redis_key
from tenancy.errors import Unavailable
from tenancy.ids import TenantId
from tests.storage.redis_cluster import RedisClusterServers
from tests.storage.redis_server import RedisServer

ACME = TenantId("acme")
PATIENCE = 15.0


class Repairs:
    """What a watch asked to be repaired, and whether that can be done."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.concerned: list[bool] = []
        self.works = True

    def of(self, name: str) -> Callable[[Concerns], Awaitable[None]]:
        async def repair(concerns: Concerns) -> None:
            self.asked.append(name)
            self.concerned.append(concerns(ACME))
            if not self.works:
                raise Unavailable

        return repair


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.close()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[AnyRedis]:
    async with connect(server.url) as redis:
        yield redis


@pytest.fixture
def repairs() -> Repairs:
    return Repairs()


@pytest.fixture
async def watch(redis: AnyRedis, repairs: Repairs) -> AsyncIterator[QuotaWatch]:
    watch = QuotaWatch(redis, on_return=[repairs.of("return")], on_loss=[repairs.of("loss")])
    await watch.look()
    keeping = asyncio.create_task(watch.keep())
    yield watch
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_a_redis_that_is_there_is_relied_on(watch: QuotaWatch, repairs: Repairs) -> None:
    assert (watch.away, watch.away_for(ACME), watch.outage) == (False, False, 0)
    assert repairs.asked == []


async def test_one_failed_call_is_enough_and_the_next_look_brings_it_back(
    watch: QuotaWatch, repairs: Repairs
) -> None:
    watch.failed(ACME)
    assert (watch.away, watch.away_for(ACME), watch.outage) == (True, True, 1)
    await until(lambda: not watch.away)
    assert (repairs.asked, repairs.concerned) == (["return"], [True])


async def test_a_killed_redis_is_away_until_it_is_back_and_mended(
    server: RedisServer, watch: QuotaWatch, repairs: Repairs
) -> None:
    server.kill()
    await until(lambda: watch.away)
    repairs.works = False
    server.start()
    await until(lambda: len(repairs.asked) > 2)
    assert watch.away
    assert set(repairs.asked) == {"loss"}
    repairs.works = True
    await until(lambda: not watch.away)
    assert repairs.asked[-2:] == ["loss", "return"]


async def test_a_silent_redis_is_away_and_has_lost_nothing(
    server: RedisServer, watch: QuotaWatch, repairs: Repairs
) -> None:
    server.process.send_signal(signal.SIGSTOP)
    await until(lambda: watch.away)
    server.process.send_signal(signal.SIGCONT)
    await until(lambda: not watch.away)
    assert set(repairs.asked) == {"return"}


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
async def test_an_emptied_redis_is_noticed(
    redis: AnyRedis, watch: QuotaWatch, repairs: Repairs, command: str
) -> None:
    await redis.execute_command(command)
    await until(lambda: repairs.asked == ["loss", "return"] and not watch.away)


async def test_a_restart_between_two_looks_is_noticed(
    server: RedisServer, watch: QuotaWatch, repairs: Repairs
) -> None:
    server.kill()
    server.start()
    await until(lambda: "loss" in repairs.asked and not watch.away)


async def test_forgotten_scripts_are_no_loss(
    redis: AnyRedis, watch: QuotaWatch, repairs: Repairs
) -> None:
    await redis.execute_command("SCRIPT FLUSH")
    for _ in range(2):
        await watch.look()
    assert repairs.asked == []


async def test_a_redis_that_takes_no_writes_is_away(redis: AnyRedis, watch: QuotaWatch) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    await until(lambda: watch.away)
    await redis.execute_command("REPLICAOF", "NO", "ONE")
    await until(lambda: not watch.away)


async def test_a_redis_that_comes_and_goes_is_one_outage(watch: QuotaWatch) -> None:
    for _ in range(3):
        watch.failed()
        await until(lambda: not watch.away)
    assert watch.outage == 1


async def test_a_redis_that_was_never_there_is_away_from_the_first_look(
    server: RedisServer, redis: AnyRedis, repairs: Repairs
) -> None:
    server.kill()
    watch = QuotaWatch(redis, on_return=[repairs.of("return")], on_loss=[repairs.of("loss")])
    watch.failed()
    await watch.look()
    assert (watch.away_for(ACME), watch.outage) == (True, 1)
    server.start()
    await until_back(watch)
    assert repairs.asked == ["loss", "return"]


async def until_back(watch: QuotaWatch) -> None:
    async with asyncio.timeout(PATIENCE):
        while watch.away:
            await watch.look()
            await asyncio.sleep(0.05)


async def test_a_lost_node_of_a_cluster_is_away_for_its_own_tenants() -> None:
    servers = RedisClusterServers()
    repairs = Repairs()
    try:
        async with connect(servers.url) as redis:
            watch = QuotaWatch(redis, on_return=[repairs.of("return")])
            await watch.look()
            tenants = [TenantId(f"tenant-{number}") for number in range(30)]
            lost = servers.owner(redis_key(ACME, Area.QUOTA, "counters"))
            own = {
                t for t in tenants if servers.owner(redis_key(t, Area.QUOTA, "counters")) is lost
            }
            lost.kill()
            watch.failed(ACME)
            await watch.look()
            assert watch.away
            assert {tenant for tenant in tenants if watch.away_for(tenant)} == own
            assert own < set(tenants)
            lost.start()
            servers.wait()
            await until_back(watch)
            assert set(repairs.concerned) == {True}
    finally:
        servers.close()
