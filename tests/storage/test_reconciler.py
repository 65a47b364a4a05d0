"""Counters, ledger and usage page on real stores: what is lost is found, and nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from server.reconciler import Reconciler
from storage.cells import Cells
from storage.ledger import PostgresLedger
from storage.quota import RedisQuota
from storage.quota_books import QuotaBooks
from storage.redis_client import connect
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import PRO
from tenancy.quota import HOLD_SECONDS, Claim
from tenancy.reconciliation import call_events
from tests.storage.makers import ACME, GLOBEX, new_run
from tests.storage.redis_server import RedisServer

ANN = SubjectId("ann")
HELD = Claim(100, 50, 60, "m")
OPEN = replace(PRO, requests_per_minute=-1, concurrent_runs=-1)


class Interrupted(PostgresLedger):
    """A ledger in which something happens right before it is read beside a snapshot, once."""

    happens: Callable[[], Awaitable[Any]] | None = None

    async def booked(self, *args: Any, without: Any = None, **more: Any) -> Any:
        if without is None:
            return await super().booked(*args, **more)
        if self.happens:
            happens, self.happens = self.happens, None
            await happens()
        return await super().booked(*args, without=without, **more)


class Later:
    """The present, moved on: a hold ends without anybody waiting for it."""

    seconds = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    server = RedisServer()
    async with connect(server.url) as redis:
        yield redis
    server.close()


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def ledger(cells: Cells) -> PostgresLedger:
    return PostgresLedger(cells)


@pytest.fixture
def quota(redis: Redis, ledger: PostgresLedger, clock: Later) -> RedisQuota:
    return RedisQuota(redis, spent=ledger.spent, clock=clock)


@pytest.fixture
def reconciler(redis: Redis, ledger: PostgresLedger, clock: Later) -> Reconciler:
    return Reconciler(QuotaBooks(redis, clock=clock), ledger)


async def admitted(quota: RedisQuota, tenant: TenantId = ACME) -> RunId:
    run = new_run()
    verdict = await quota.admit(tenant, OPEN, run_id=run, subject_id=ANN, offers=[HELD])
    assert verdict.admitted
    return run


async def used(quota: RedisQuota, tenant: TenantId = ACME) -> int:
    [month] = [s for s in await quota.standings(tenant, PRO) if s.period == "month"]
    return month.used


async def test_a_run_that_died_is_billed_as_it_was_held_and_once(
    quota: RedisQuota, reconciler: Reconciler, ledger: PostgresLedger, clock: Later
) -> None:
    before = await used(quota)
    await admitted(quota)
    clock.seconds = HOLD_SECONDS + 1
    assert await used(quota) == before + HELD.tokens
    for _ in range(2):
        rows = await reconciler.reconcile(ACME)
        assert all(row.agrees for row in rows)
        assert await used(quota) == before + HELD.tokens
        booked = await ledger.spent(ACME, None, datetime.now(UTC))
        assert booked[-1].tokens == before + HELD.tokens


async def test_what_the_ledger_has_of_a_dead_run_is_what_it_costs(
    quota: RedisQuota, reconciler: Reconciler, ledger: PostgresLedger, clock: Later
) -> None:
    before = await used(quota)
    run = await admitted(quota)
    took = Claim(30, 5, 20, "m")
    await ledger.record(ACME, usage=call_events(run, ANN, 0, took, datetime.now(UTC)))
    clock.seconds = HOLD_SECONDS + 1
    await reconciler.reconcile(ACME)
    assert await used(quota) == before + took.tokens


async def test_an_open_run_is_left_alone(quota: RedisQuota, reconciler: Reconciler) -> None:
    before = await used(quota)
    run = await admitted(quota)
    rows = await reconciler.reconcile(ACME)
    assert [row.held for row in rows] == [HELD.tokens] * 3
    await quota.settle(ACME, run_id=run, subject_id=ANN, call=0, actual=Claim(40))
    assert await used(quota) == before + 40


async def test_a_dry_run_repairs_nothing(
    quota: RedisQuota, reconciler: Reconciler, ledger: PostgresLedger
) -> None:
    before = await used(quota)
    events = call_events(new_run(), ANN, 0, Claim(70, 0, 70), datetime.now(UTC))
    await ledger.record(ACME, usage=events)
    rows = await reconciler.reconcile(ACME, repair=False)
    assert not any(row.agrees for row in rows[1:])
    assert await used(quota) == before
    assert all(row.agrees for row in await reconciler.reconcile(ACME))
    assert await used(quota) == before + 70


async def test_reconciling_under_load_loses_and_doubles_nothing(
    quota: RedisQuota, reconciler: Reconciler, ledger: PostgresLedger
) -> None:
    before = await used(quota, GLOBEX)

    async def turn(tokens: int) -> None:
        run = await admitted(quota, GLOBEX)
        took = Claim(tokens, 0, tokens, "m")
        await ledger.record(GLOBEX, usage=call_events(run, ANN, 0, took, datetime.now(UTC)))
        await asyncio.sleep(tokens / 2000)
        await quota.release(GLOBEX, run, subject_id=ANN, last=(0, took))

    async def reconcile() -> None:
        for _ in range(8):
            await reconciler.reconcile(GLOBEX)
            await asyncio.sleep(0.01)

    await asyncio.gather(reconcile(), *(turn(tokens) for tokens in range(1, 60)))
    assert await used(quota, GLOBEX) == before + sum(range(1, 60))
    assert all(row.agrees and not row.drift for row in await reconciler.reconcile(GLOBEX))


async def test_a_turn_between_the_snapshot_and_the_ledger_is_not_counted_twice(
    cells: Cells, redis: Redis, quota: RedisQuota
) -> None:
    ledger = Interrupted(cells)
    took = Claim(33, 0, 33, "m")
    before = await used(quota)

    async def turn() -> None:
        run = await admitted(quota)
        await ledger.record(ACME, usage=call_events(run, ANN, 0, took, datetime.now(UTC)))
        await quota.release(ACME, run, subject_id=ANN, last=(0, took))

    ledger.happens = turn
    await Reconciler(QuotaBooks(redis), ledger).reconcile(ACME)
    assert ledger.happens is None
    assert await used(quota) == before + took.tokens
