"""Replicas share an endpoint's slots: by demand, never more than there are, numbers only."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from redis.asyncio import Redis

from server.model_slots import ModelSlots
from server.stores import Stores
from storage.cell_numbers import REPLICA_MILLISECONDS, CellNumbers
from storage.redis_client import connect
from storage.redis_keys import slots_key
from tenancy.errors import Invalid, Unavailable
from tenancy.throttle import Load, Share
from tests.storage.redis_server import RedisServer
from tests.support.slots import PATIENT, Model, tenant

MODEL = "https://model.example/v1"
SEEDS = range(5)


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    async with connect(stores.redis_url) as redis:
        await redis.flushall()
        yield redis


class Replica:
    """A process that keeps to its part, and has in flight as much as it may and needs."""

    def __init__(self, redis: Redis, cell_id: str = "first") -> None:
        self.numbers = CellNumbers(redis, cell_id)
        self.share = Share(1, 32.0, 1, 0.0)
        self.in_flight = 0
        self.demand = 0
        self.weight = 1
        self.limit = 32.0
        self.paused_seconds = 0.0

    async def round(self, most: int) -> Share:
        load = Load(
            self.in_flight,
            max(self.in_flight, self.demand),
            self.weight,
            self.limit,
            self.share.part,
            self.paused_seconds,
        )
        self.share = await self.numbers.share(MODEL, load, most)
        self.limit = self.share.limit
        return self.share

    def work(self) -> None:
        self.in_flight = max(self.in_flight, min(self.demand, self.share.part))

    def rest(self) -> None:
        self.in_flight = min(self.in_flight, self.demand, self.share.part)


async def rounds(replicas: list[Replica], most: int, times: int = 4) -> list[int]:
    """The parts after some rounds in which running calls end."""
    for _ in range(times):
        for replica in replicas:
            await replica.round(most)
            replica.rest()
            replica.work()
    return [replica.share.part for replica in replicas]


async def test_alone_a_replica_has_all(redis: Redis) -> None:
    replica = Replica(redis)
    share = await replica.round(20)
    assert share == Share(20, 32.0, 1, 0.0)


@pytest.mark.parametrize(
    ("calls", "weights", "parts"),
    [
        ((60, 60, 60), (1, 1, 1), (6.7, 6.7, 6.7)),
        ((60, 60, 60), (1, 3, 6), (2, 6, 12)),
        ((60, 60, 2), (1, 3, 6), (4.5, 13.5, 2)),
        ((1000, 1, 1), (1, 1, 1), (18, 1, 1)),
    ],
    ids=["equal", "by weight", "not more than needed", "a flood"],
)
async def test_parts_follow_the_weight_of_who_asks(
    redis: Redis, calls: tuple[int, ...], weights: tuple[int, ...], parts: tuple[float, ...]
) -> None:
    replicas = [Replica(redis) for _ in calls]
    for replica, demand, weight in zip(replicas, calls, weights, strict=True):
        replica.demand, replica.weight = demand, weight
    found = await rounds(replicas, 20)
    assert sum(found) == 20
    assert all(abs(part - ideal) < 1 for part, ideal in zip(found, parts, strict=True))


async def test_what_nobody_needs_is_divided_equally(redis: Redis) -> None:
    replicas = [Replica(redis) for _ in range(2)]
    replicas[0].demand = 8
    parts = await rounds(replicas, 20)
    assert sum(parts) == 20
    assert parts[0] >= 13


async def test_the_limit_is_agreed_on_by_who_is_busy(redis: Redis) -> None:
    busy, idle = Replica(redis), Replica(redis)
    busy.in_flight, busy.demand, busy.limit, idle.limit = 9, 100, 10.0, 32.0
    await idle.round(100)
    assert (await busy.round(100)).limit == 12.0
    assert (await idle.round(100)).limit == pytest.approx(12.0, abs=2)


@pytest.mark.parametrize("seed", SEEDS)
async def test_together_they_never_have_more_than_there_are(redis: Redis, seed: int) -> None:
    random, most = Random(seed), 24  # noqa: S311
    replicas = [Replica(redis) for _ in range(5)]
    for replica in replicas:
        await replica.round(most)
    for _ in range(300):
        replica = random.choice(replicas)
        match random.choice(["round", "round", "work", "rest", "demand"]):
            case "round":
                await replica.round(most)
            case "work":
                replica.work()
            case "rest":
                replica.rest()
            case "demand":
                replica.demand = random.choice([0, 1, 5, 50])
        assert all(replica.share.part >= 1 for replica in replicas)
        assert sum(replica.in_flight for replica in replicas) <= most + len(replicas) - 1
    for replica in replicas:
        replica.demand = replica.in_flight = 50
    for replica in replicas:
        replica.in_flight = min(replica.in_flight, replica.share.part)
    assert sum(await rounds(replicas, most)) == most


async def test_a_replica_gets_only_what_nobody_claims(redis: Redis) -> None:
    old, new = Replica(redis), Replica(redis)
    old.demand = 100
    await rounds([old], 10, times=1)
    assert old.in_flight == 10
    new.demand = 100
    assert (await new.round(10)).part == 1  # at least one, although all ten are in use
    assert (await old.round(10)).part == 5
    assert (await new.round(10)).part == 1  # the ten still run
    old.in_flight = 7
    await old.round(10)
    assert (await new.round(10)).part == 3
    old.rest()
    await old.round(10)
    assert (await new.round(10)).part == 5


async def test_more_replicas_than_slots_have_one_each(redis: Redis) -> None:
    replicas = [Replica(redis) for _ in range(4)]
    assert await rounds(replicas, 2) == [1, 1, 1, 1]


async def test_who_is_silent_leaves_its_part(redis: Redis) -> None:
    gone, replica = Replica(redis), Replica(redis)
    gone.demand = replica.demand = 100
    await rounds([gone, replica], 10)
    assert replica.share.part == 5
    key = slots_key("first", MODEL)
    assert 0 < await redis.pttl(key) <= REPLICA_MILLISECONDS
    await asyncio.sleep(REPLICA_MILLISECONDS / 1000 + 0.05)
    assert await replica.round(10) == Share(10, 32.0, 1, 0.0)
    assert len(await redis.hkeys(key)) == 1


async def test_what_the_endpoint_told_one_is_told_to_the_others_and_not_back(redis: Redis) -> None:
    told, other = Replica(redis), Replica(redis)
    told.paused_seconds = 60.0
    assert (await told.round(10)).paused_seconds == 0
    assert 55 < (await other.round(10)).paused_seconds <= 60
    assert (await told.round(10)).paused_seconds == 0


async def test_cells_and_endpoints_are_apart_and_the_key_names_neither_tenant_nor_address(
    redis: Redis,
) -> None:
    for cell_id in ("first", "second"):
        assert (await Replica(redis, cell_id).round(10)).replicas == 1
    keys = sorted(key.decode() for key in await redis.keys())
    assert [key.split(":slots:")[0] for key in keys] == ["{cell:first}", "{cell:second}"]
    assert not any("model.example" in key for key in keys)
    with pytest.raises(Invalid):
        slots_key("first}:{acme", MODEL)


async def test_processes_that_share_serve_no_more_at_once_than_there_are_slots(
    redis: Redis,
) -> None:
    sides = [Model(ModelSlots(most=6), tokens_per_second=20_000) for _ in range(3)]
    acme = tenant("acme", PATIENT)
    numbers = [CellNumbers(redis, "first") for _ in sides]
    runs = [asyncio.create_task(side.run(acme, 200)) for side in sides for _ in range(60)]
    await asyncio.sleep(0)  # each has asked for as much as there is
    peak = 0
    while not all(run.done() for run in runs):
        for side, own in zip(sides, numbers, strict=True):
            await side.slots.share_once(own)
            if all(len(side.order) > 12 for side in sides):  # what ran before has ended
                peak = max(peak, sum(side.in_flight for side in sides))
    assert 3 <= peak <= 6


async def test_while_redis_is_away_the_last_part_holds() -> None:
    server = RedisServer()
    try:
        async with connect(server.url) as redis:
            sides = [Model(ModelSlots(most=4), tokens_per_second=10_000) for _ in range(2)]
            numbers = [CellNumbers(redis, "first") for _ in sides]
            acme = tenant("acme", PATIENT)
            runs = [asyncio.create_task(side.run(acme, 200)) for side in sides for _ in range(40)]
            for _ in range(4):
                for side, own in zip(sides, numbers, strict=True):
                    await side.slots.share_once(own)
                await asyncio.sleep(0.03)
            server.kill()
            with pytest.raises(Unavailable):
                await numbers[0].share(MODEL, Load(0, 0, 0, 4.0, 2, 0.0), 4)
            for side, own in zip(sides, numbers, strict=True):
                await side.slots.share_once(own)
                side.most_in_flight = 0
            await asyncio.gather(*runs)
            assert [side.most_in_flight for side in sides] == [2, 2]
            server.start()
    finally:
        server.close()
