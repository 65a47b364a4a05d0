"""Fixtures on real stores; each module has a database and tenants of its own."""

import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import redis

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before langgraph is imported

from server.stores import Stores
from tests.support.house import House, house
from tests.support.model_server import ModelServer
from tests.support.stores import Cluster, cluster

LONGEST = ("test_quota_machine.py",)  # begun first: begun last, all others would wait for them


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def servers() -> Iterator[Cluster]:
    """One Postgres and one Redis for the session."""
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def stores(servers: Cluster) -> Iterator[Stores]:
    """A migrated database with acme (pro) and globex (free), and an empty Redis."""
    with servers.database() as stores:
        client = redis.Redis.from_url(stores.redis_url)
        client.flushall()
        client.close()
        yield stores


@pytest.fixture(scope="module")
def owner(stores: Stores) -> Iterator[psycopg.Connection]:
    """A connection as the owner of the schema."""
    with psycopg.connect(stores.owner(), autocommit=True) as conn:
        yield conn


@pytest.fixture(scope="module")
async def model() -> AsyncIterator[ModelServer]:
    """A scripted model server."""
    async with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
async def product(
    stores: Stores, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """The product, serving over HTTP."""
    async with house(stores, tmp_path_factory.mktemp("data"), model) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> None:
    """Each test that uses the scripted model begins with an empty script."""
    if "model" in request.fixturenames or "product" in request.fixturenames:
        request.getfixturevalue("model").forget()
