"""Postgres or Redis goes away and comes back: limited or 503 in time, and no restart after it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from server.reconciler import reconciler_for
from server.stores import Stores
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.proxy import Proxy
from tests.http.speech import (
    answer,
    ask,
    assert_problem,
    audit,
    eventually,
    messages,
    quota,
    usage,
)
from tests.storage.redis_server import RedisServer
from tests.support.house import House, house
from tests.support.model_server import ModelServer
from tests.support.waiting import HANG_SECONDS

ADMIN = Role.ADMIN


async def in_time(asked: Awaitable[httpx.Response]) -> httpx.Response:
    """The answer, which must come soon, and say when to try again."""
    async with asyncio.timeout(HANG_SECONDS):
        response = await asked
    assert_problem(response, 503)
    return response


async def works(client: httpx.AsyncClient) -> None:
    """Within a few seconds, without a restart, the product serves again."""

    async def served() -> bool:
        return (await ask(client)).status_code == 200

    await eventually(served, 5)


async def agrees(product: House, client: httpx.AsyncClient, tenant: TenantId) -> bool:
    """Whether counters, ledger and usage page say the same."""
    await quota(client)  # a Redis that kept nothing is told what the ledger knows
    reconciler = reconciler_for(product.services.cells)
    rows = await reconciler.reconcile(tenant, repair=False)
    return bool(rows) and all(row.agrees and not row.held for row in rows)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
async def lonely(
    redis: RedisServer, stores: Stores, model: ModelServer, tmp_path: Path
) -> AsyncIterator[House]:
    """A house on that Redis."""
    async with house(replace(stores, redis_url=redis.url), tmp_path, model) as running:
        yield running


@pytest.fixture(scope="module")
async def wire(stores: Stores) -> AsyncIterator[Proxy]:
    """The way to Postgres, which a test may cut: the session's own is not ours to stop."""
    async with Proxy(int(conninfo_to_dict(stores.app_url)["port"])) as proxy:
        yield proxy


@pytest.fixture
async def bereft(
    wire: Proxy, stores: Stores, model: ModelServer, tmp_path: Path
) -> AsyncIterator[House]:
    """A house at the end of that way."""
    url = make_conninfo(stores.app_url, host="127.0.0.1", port=wire.port)
    async with house(replace(stores, app_url=url), tmp_path, model) as running:
        yield running


class TestPostgresBackends:
    async def test_killed_between_turns_is_not_noticed(
        self, product: House, stores: Stores
    ) -> None:
        async with product.client("acme") as acme:
            thread = (await answer(acme, "one"))["thread_id"]
            for number in ("two", "three"):
                _kill_backends(stores)
                assert (await ask(acme, number, thread_id=thread)).status_code == 200
            assert len(await messages(acme, thread)) == 6

    async def test_killed_under_many_turns_is_not_noticed(
        self, product: House, stores: Stores
    ) -> None:
        async with product.client("acme") as acme:
            await asyncio.gather(*(answer(acme, str(n)) for n in range(12)))
            _kill_backends(stores)
            answers = await asyncio.gather(*(ask(acme, str(n)) for n in range(12)))
        assert [response.status_code for response in answers] == [200] * 12


def _kill_backends(stores: Stores) -> None:
    """Every backend of the app role in this database dies, as in a fail-over."""
    with psycopg.connect(stores.app_url, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and usename = current_user"
            " and pid <> pg_backend_pid()"
        )


class TestRedisAway:
    async def test_a_dead_redis_limits_and_stops_nobody(
        self, lonely: House, redis: RedisServer
    ) -> None:
        tenant = await lonely.new_tenant("quiet", concurrent_runs=8, tokens_per_day=-1)
        async with lonely.client(tenant) as client, lonely.client("acme", role=ADMIN) as acme:
            thread = (await answer(client, "one"))["thread_id"]
            redis.kill()
            await answer(client, "two", thread_id=thread)
            assert (await ask(client, stream=True)).status_code == 200
            assert (await quota(client))["requests minute"]["used"] > 0
            assert (await client.get("/readyz")).status_code == 200
            many = await asyncio.gather(*(ask(client) for _ in range(20)))
            statuses = {response.status_code for response in many}
            assert statuses == {200, 429}, "limited, and never unlimited"
            redis.start()
            await works(acme)
            await eventually(lambda: agrees(lonely, client, tenant), 10)
            assert (await client.get("/readyz")).status_code == 200

    async def test_hard_limits_are_not_guessed(self, lonely: House, redis: RedisServer) -> None:
        tenant = await lonely.new_tenant("strict", hard_limits=1)
        async with lonely.client(tenant) as client:
            await answer(client)
            redis.kill()
            await in_time(ask(client))
            await in_time(ask(client, stream=True))
            redis.start()
            await works(client)

    async def test_a_silent_redis_limits_and_stops_nobody(
        self, lonely: House, redis: RedisServer
    ) -> None:
        tenant = await lonely.new_tenant(
            "patient-one", requests_per_minute=6000, burst=100, concurrent_runs=64
        )
        async with lonely.client(tenant) as client:
            await works(client)
            redis.process.send_signal(signal.SIGSTOP)
            try:
                asked = [ask(client, stream=bool(n % 2)) for n in range(8)]
                answers = await asyncio.gather(*asked)
            finally:
                redis.process.send_signal(signal.SIGCONT)
            assert {response.status_code for response in answers} == {200}
            await eventually(lambda: agrees(lonely, client, tenant), 10)
            assert (await quota(client))["concurrent_runs"]["used"] == 0

    async def test_a_flushed_redis_asks_the_ledger(self, lonely: House, redis: RedisServer) -> None:
        tenant = await lonely.new_tenant("flushed")
        async with lonely.client(tenant) as client:
            await answer(client)
            before = (await quota(client))["tokens day"]["used"]
            await lonely.services.cells.first.redis.flushall()
            assert before == (await quota(client))["tokens day"]["used"] == 150
            await answer(client)
            assert (await quota(client))["tokens day"]["used"] == 300

    async def test_a_redis_that_dies_under_a_run_costs_no_answer(
        self, lonely: House, redis: RedisServer
    ) -> None:
        lonely.model.hold()
        async with lonely.client("acme") as acme:
            turn = asyncio.create_task(ask(acme))
            await lonely.model.wait_in_flight(1)
            redis.kill()
            lonely.model.release()
            assert (await turn).status_code == 200
            redis.start()
            await works(acme)
            assert (await quota(acme))["concurrent_runs"]["used"] == 0
        run_id = turn.result().json()["run_id"]
        trail = [e["outcome"] for e in await audit(lonely, "acme") if e["run_id"] == run_id]
        assert trail == ["allowed"]


class TestPostgresAway:
    async def test_a_dead_postgres_is_a_503_until_it_is_back(
        self, bereft: House, wire: Proxy
    ) -> None:
        async with bereft.client("acme") as acme:
            thread = (await answer(acme, "one"))["thread_id"]
            await asyncio.gather(*(answer(acme, str(n)) for n in range(12)))  # a pool of many
            await wire.cut()
            await in_time(ask(acme, "two", thread_id=thread))
            await asyncio.gather(
                in_time(ask(acme, "two", stream=True)),
                in_time(acme.get("/v1/threads")),
                in_time(acme.get("/readyz")),
                *(in_time(ask(acme)) for _ in range(20)),
            )
            assert (await acme.get("/healthz")).status_code == 200
            await wire.mend()
            await works(acme)
            assert (await ask(acme, "two", thread_id=thread)).status_code == 200
            kept = await messages(acme, thread)
            assert [text for role, text in kept if role == "user"] == ["one", "two"]
            standing = await quota(acme)
        assert standing["concurrent_runs"]["used"] == 0
        assert standing["tokens day"]["held"] == 0

    async def test_a_silent_postgres_is_a_503_until_it_speaks(
        self, bereft: House, wire: Proxy
    ) -> None:
        async with bereft.client("acme") as acme:
            thread = (await answer(acme, "one"))["thread_id"]
            await asyncio.gather(*(answer(acme, str(n)) for n in range(4)))
            wire.silence()
            try:
                await in_time(ask(acme, "two", thread_id=thread))
                await asyncio.gather(
                    in_time(acme.get("/v1/threads")),
                    in_time(acme.get("/readyz")),
                    *(in_time(ask(acme, stream=bool(n % 2))) for n in range(20)),
                )
            finally:
                wire.speak()
            await works(acme)
            assert [text for role, text in await messages(acme, thread) if role == "user"] == [
                "one"
            ]
            standing = await quota(acme)
        assert standing["concurrent_runs"]["used"] == 0
        assert standing["tokens day"]["held"] == 0

    async def test_who_nobody_knows_any_more_is_a_503_and_no_401(
        self, bereft: House, wire: Proxy
    ) -> None:
        async with bereft.client("acme") as acme, bereft.client("globex") as globex:
            await answer(acme)
            await wire.cut()
            await in_time(ask(globex))  # its tenant was never read
            await asyncio.sleep(5.2)  # and what was read is too old by now
            await in_time(ask(acme))
            await wire.mend()
            await works(acme)
            await works(globex)

    async def test_a_postgres_that_dies_under_a_run_fails_it(
        self, bereft: House, wire: Proxy
    ) -> None:
        bereft.model.hold()
        async with bereft.client("acme") as acme:
            thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
            turn = asyncio.create_task(ask(acme, "one", thread_id=thread))
            await bereft.model.wait_in_flight(1)
            await wire.cut()
            bereft.model.release()
            assert_problem(await turn, 503)
            await wire.mend()
            await works(acme)

            async def let_go() -> bool:
                standing = await quota(acme)
                return not standing["concurrent_runs"]["used"] + standing["tokens day"]["held"]

            await eventually(let_go, 5)

    async def test_what_a_run_took_while_postgres_was_away_is_billed_when_it_is_back(
        self, bereft: House, wire: Proxy
    ) -> None:
        tenant = await bereft.new_tenant("owing")
        bereft.model.hold()
        async with bereft.client(tenant) as client:
            turn = asyncio.create_task(ask(client))
            await bereft.model.wait_in_flight(1)
            await wire.cut()
            bereft.model.release()
            assert_problem(await turn, 503)
            await wire.mend()
            await works(client)
            twice = 2 * 150

            async def is_billed() -> bool:
                used = await usage(bereft, tenant)
                return used["input_tokens"] + used["output_tokens"] == twice

            await eventually(is_billed, 10)
            assert (await quota(client))["tokens day"]["used"] == twice
            assert await agrees(bereft, client, tenant)
