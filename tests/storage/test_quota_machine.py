"""500 histories of 30 steps: the scripts do what the rules say, on one Redis and in a cluster."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from storage.redis_client import connect
from tests.storage.quota_machine import QuotaMachine
from tests.storage.redis_cluster import RedisClusterServers
from tests.storage.redis_server import RedisServer

HISTORIES = settings(max_examples=500, stateful_step_count=30, deadline=None)


class OnOneServer(QuotaMachine):
    """One Redis."""


class InACluster(QuotaMachine):
    """Three nodes; each history's tenants live on any of them."""


@pytest.fixture
def one_server() -> Iterator[type[QuotaMachine]]:
    server = RedisServer()
    with asyncio.Runner() as runner:
        OnOneServer.runner, OnOneServer.redis = runner, connect(server.url)
        yield OnOneServer
        runner.run(OnOneServer.redis.aclose())
    server.close()


def test_redis_agrees_with_the_rules(one_server: type[QuotaMachine]) -> None:
    run_state_machine_as_test(one_server, settings=HISTORIES)


@pytest.fixture
def a_cluster() -> Iterator[type[QuotaMachine]]:
    servers = RedisClusterServers()
    with asyncio.Runner() as runner:
        InACluster.runner, InACluster.redis = runner, connect(servers.url)
        yield InACluster
        runner.run(InACluster.redis.aclose())
    servers.close()


def test_a_cluster_agrees_with_the_rules(a_cluster: type[QuotaMachine]) -> None:
    run_state_machine_as_test(a_cluster, settings=HISTORIES)
