"""500 histories of 30 steps: the scripts do what the rules say, on one Redis and in a cluster."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from storage.redis_client import connect
from tests.storage.quota_machine import QuotaMachine
from tests.storage.redis_cluster import RedisClusterServers
from tests.storage.redis_server import RedisServer

HISTORIES = settings(max_examples=500, stateful_step_count=30, deadline=None)


@contextmanager
def machine_on(url: str) -> Iterator[type[QuotaMachine]]:
    """The machine on the Redis at `url`, with a loop of its own."""
    with asyncio.Runner() as runner:

        class Machine(QuotaMachine):
            pass

        Machine.runner, Machine.redis = runner, connect(url)
        yield Machine
        runner.run(Machine.redis.aclose())


def test_redis_agrees_with_the_rules() -> None:
    with closing(RedisServer()) as server, machine_on(server.url) as machine:
        run_state_machine_as_test(machine, settings=HISTORIES)


def test_a_cluster_agrees_with_the_rules() -> None:
    with closing(RedisClusterServers()) as servers, machine_on(servers.url) as machine:
        run_state_machine_as_test(machine, settings=HISTORIES)
