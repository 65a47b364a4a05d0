"""The product on a Redis Cluster."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from server.stores import Stores
from storage.redis_keys import Area, redis_key
from tests.http.speech import answer, eventually, quota
from tests.storage.redis_cluster import RedisClusterServers
from tests.support.house import house
from tests.support.model_server import ModelServer


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisClusterServers]:
    cluster = RedisClusterServers()
    yield cluster
    cluster.close()


async def test_nodes_are_lost_and_found_and_everybody_is_served(
    cluster: RedisClusterServers, stores: Stores, model: ModelServer, tmp_path: Path
) -> None:
    on_cluster = replace(stores, redis_url=cluster.url)
    async with house(on_cluster, tmp_path, model) as product, AsyncExitStack() as open_clients:
        watch = product.services.watch
        tenants = [
            await product.new_tenant(f"member-{number}", tokens_per_day=-1) for number in range(8)
        ]
        clients = [
            await open_clients.enter_async_context(product.client(tenant)) for tenant in tenants
        ]
        for _ in range(2):
            await asyncio.gather(*map(answer, clients))
        assert not watch.away
        lost = cluster.owner(redis_key(tenants[0], Area.QUOTA, "counters"))
        lost.kill()
        await asyncio.gather(*map(answer, clients))
        assert watch.away_for(tenants[0])
        assert not all(watch.away_for(tenant) for tenant in tenants)
        assert (await clients[0].get("/readyz")).status_code == 200
        lost.start()

        async def is_back() -> bool:
            return not watch.away

        await eventually(is_back, 15)
        await asyncio.gather(*map(answer, clients))
        used = [(await quota(client))["tokens day"]["used"] for client in clients]
        assert used == [4 * 150] * len(clients)


async def test_who_never_reached_it_is_not_ready(
    cluster: RedisClusterServers, stores: Stores, model: ModelServer, tmp_path: Path
) -> None:
    nowhere = replace(stores, redis_url="redis+cluster://127.0.0.1:1/")
    async with house(nowhere, tmp_path, model) as product, product.client("acme") as client:
        assert (await client.get("/readyz")).status_code == 503
