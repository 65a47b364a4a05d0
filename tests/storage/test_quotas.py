"""The counters go away under runs, and come back: nothing is lost, kept or given twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest

from server.quota_fallback import LocalQuota
from server.quota_watch import QuotaWatch
from server.quotas import Quotas
from storage.quota import RedisQuota, nothing_spent
from storage.redis_client import connect
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import FREE, UNLIMITED
from tenancy.quota import Claim
from tests.storage.redis_server import RedisServer

ACME, ALICE = TenantId("acme"), SubjectId("alice")
PLAN = replace(
    FREE, requests_per_minute=UNLIMITED, tokens_per_minute=UNLIMITED, tokens_per_day=4000
)


@dataclass
class Counters:
    """Quotas on a Redis that may be killed, and what they asked to be reconciled."""

    server: RedisServer
    shared: RedisQuota
    watch: QuotaWatch
    quotas: Quotas
    reconciled: list[TenantId] = field(default_factory=list)

    def lose(self) -> None:
        self.server.kill()
        self.watch.failed(ACME)

    async def find_again(self) -> None:
        self.server.start()
        async with asyncio.timeout(10):
            while self.watch.away:
                await self.watch.look()

    async def admit(self, run: RunId, tokens: int = 100) -> str | None:
        verdict = await self.quotas.admit(
            ACME, PLAN, run_id=run, subject_id=ALICE, offers=[Claim(tokens)]
        )
        return verdict.refused_by

    async def settle(self, run: RunId, call: int, tokens: int) -> None:
        await self.quotas.settle(
            ACME, run_id=run, subject_id=ALICE, call=call, actual=Claim(tokens)
        )

    async def release(self, run: RunId, last: tuple[int, Claim] | None = None) -> None:
        await self.quotas.release(ACME, run, subject_id=ALICE, last=last)

    async def day(self) -> tuple[int, int]:
        standings = await self.quotas.standings(ACME, PLAN, ALICE)
        return next((s.used, s.held) for s in standings if s.period == "day")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
async def counters(server: RedisServer) -> AsyncIterator[Counters]:
    reconciled: list[TenantId] = []
    async with connect(server.url) as redis:
        watch, shared = QuotaWatch(redis), RedisQuota(redis)
        local = LocalQuota(nothing_spent, replicas=lambda: 1, outage=lambda: watch.outage)
        quotas = Quotas(shared, local, watch, reconcile=reconciled.append)
        await watch.look()
        yield Counters(server, shared, watch, quotas, reconciled)


def new_run() -> RunId:
    return RunId(uuid4())


async def test_a_run_that_began_before_gives_its_local_slot_back(counters: Counters) -> None:
    run = new_run()
    assert await counters.admit(run) is None
    counters.lose()
    await counters.quotas.renew(ACME, run, subject_id=ALICE, holds={0: Claim(100)})
    assert await counters.admit(new_run()) == "concurrent_runs"
    await counters.release(run)
    assert await counters.admit(new_run()) is None


async def test_a_run_that_is_refused_more_gives_its_local_slot_back(counters: Counters) -> None:
    run = new_run()
    assert await counters.admit(run) is None
    counters.lose()
    verdict = await counters.quotas.reserve(
        ACME, PLAN, run_id=run, subject_id=ALICE, call=1, offers=[Claim(9000)]
    )
    assert not verdict.admitted
    await counters.release(run)
    assert await counters.admit(new_run()) is None


async def test_what_a_call_from_before_took_counts_as_spent(counters: Counters) -> None:
    run = new_run()
    assert await counters.admit(run, 1000) is None
    counters.lose()
    await counters.quotas.renew(ACME, run, subject_id=ALICE, holds={0: Claim(1000)})
    assert await counters.day() == (1000, 0)
    await counters.release(run, last=(0, Claim(700)))
    assert await counters.day() == (700, 0)


@pytest.mark.parametrize("with_release", [False, True])
async def test_a_settle_that_redis_missed_reaches_it_when_it_is_back(
    counters: Counters, with_release: bool
) -> None:
    run = new_run()
    assert await counters.admit(run, 1000) is None
    counters.lose()
    if not with_release:
        await counters.settle(run, 0, 700)
    await counters.release(run, last=(0, Claim(700)) if with_release else None)
    await counters.find_again()
    # this Redis keeps nothing over a restart: what it is told now is for the ledger to correct
    assert counters.reconciled == [ACME]
    assert (await counters.shared.standings(ACME, PLAN))[1].used == 0


async def test_a_local_run_ends_where_it_began_and_its_tenant_is_reconciled(
    counters: Counters,
) -> None:
    counters.lose()
    run = new_run()
    assert await counters.admit(run) is None
    await counters.find_again()
    await counters.settle(run, 0, 60)
    await counters.release(run)
    assert set(counters.reconciled) == {ACME}
    assert await counters.admit(new_run()) is None


async def test_what_ends_while_redis_is_told_of_others_is_told_as_well(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, honest = new_run(), new_run(), RedisQuota.release
    plan = replace(PLAN, concurrent_runs=2)
    for run in (first, second):
        await counters.shared.admit(ACME, plan, run_id=run, subject_id=ALICE, offers=[Claim(100)])
    counters.watch.failed(ACME)

    async def release(shared: RedisQuota, tenant_id: TenantId, run: RunId, **more: Any) -> None:
        if run == first:
            await counters.release(second, last=(0, Claim(30)))
        await honest(shared, tenant_id, run, **more)

    monkeypatch.setattr(RedisQuota, "release", release)
    await counters.release(first, last=(0, Claim(70)))
    await counters.watch.look()
    assert not counters.watch.away
    assert await counters.day() == (100, 0)
