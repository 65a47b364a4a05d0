"""Quotas on a real Redis: exact under concurrency, once per run, honest about when to come back."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from storage.quota import RedisQuota
from storage.redis_client import connect
from storage.redis_keys import Area, redis_key
from tenancy.errors import Invalid
from tenancy.ids import RunId, TenantId
from tenancy.plan import FREE
from tenancy.quota import (
    HOLD_SECONDS,
    SLOT_SECONDS,
    Claim,
    Period,
    Standing,
    period_end,
    whole_seconds,
)
from tests.storage.quota_model import START, Clock
from tests.storage.redis_server import RedisServer

OPEN = replace(
    FREE,
    requests_per_minute=-1,
    concurrent_runs=-1,
    tokens_per_minute=-1,
    tokens_per_day=-1,
    tokens_per_month=-1,
)
TENANTS = count()
DICE = random.Random(7)  # noqa: S311  # the same game every time


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(server.url) as redis:
        yield redis


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(f"tenant-{next(TENANTS)}")


@pytest.fixture
async def known(quota: RedisQuota, tenant: TenantId) -> TenantId:
    """A tenant of which Redis has figures."""
    await quota.standings(tenant, OPEN)
    return tenant


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quota(redis: Redis, clock: Clock) -> RedisQuota:
    return RedisQuota(redis, clock=clock)


def new_run() -> RunId:
    return RunId(uuid4())


def tokens(standings: tuple[Standing, ...]) -> list[tuple[int, int]]:
    return [(standing.used, standing.held) for standing in standings[2:]]


async def snapshot(redis: Redis) -> dict[bytes, bytes | None]:
    return {key: await redis.dump(key) for key in sorted(await redis.keys())}


# -- keys


def test_a_key_carries_its_tenant_as_hash_tag() -> None:
    assert redis_key(TenantId("acme"), Area.QUOTA, "rate") == "{acme}:quota:rate"


@pytest.mark.parametrize("name", ["a:b", "a}:quota", "{a}", "", "A", "a b", "a\n"])
def test_a_name_that_could_reach_another_tenants_keys_makes_no_key(name: str) -> None:
    with pytest.raises(Invalid):
        redis_key(TenantId(name), Area.QUOTA, "rate")


async def test_every_key_of_a_tenant_carries_its_tag_and_expires(
    redis: Redis, quota: RedisQuota, tenant: TenantId
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    await quota.reserve(tenant, FREE, run_id=run, call=1, offers=[Claim(50)])
    await quota.settle(tenant, run_id=run, call=1, actual=Claim(50))
    keys = await redis.keys(f"*{tenant}*")
    assert len(keys) == 5
    assert all(key.startswith(f"{{{tenant}}}:quota:".encode()) for key in keys)
    assert all([await redis.pttl(key) > 0 for key in keys])


async def test_two_tenants_share_nothing(quota: RedisQuota, tenant: TenantId) -> None:
    other, run, plan = TenantId(f"{tenant}-b"), new_run(), replace(FREE, burst=1)
    assert (await quota.admit(tenant, plan, run_id=run, offers=[Claim(10)])).admitted
    assert (await quota.admit(other, plan, run_id=run, offers=[Claim(7)])).admitted
    await quota.settle(other, run_id=run, call=0, actual=Claim(3))
    assert tokens(await quota.standings(tenant, plan)) == [(0, 10)] * 3
    assert tokens(await quota.standings(other, plan)) == [(3, 0)] * 3


# -- rate


async def test_of_fifty_requests_at_once_exactly_the_burst_is_admitted(
    redis: Redis, tenant: TenantId
) -> None:
    quota, plan = RedisQuota(redis), replace(OPEN, requests_per_minute=1, burst=10)
    verdicts = await asyncio.gather(
        *(quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(1)]) for _ in range(50))
    )
    assert Counter(v.refused_by for v in verdicts) == {None: 10, "requests": 40}


@pytest.mark.parametrize("requests_per_minute", [1, 7, 20, 300, 70_000_000])
async def test_a_client_that_waits_as_long_as_it_is_told_gets_the_plans_rate(
    quota: RedisQuota, clock: Clock, tenant: TenantId, requests_per_minute: int
) -> None:
    plan = replace(OPEN, requests_per_minute=requests_per_minute, burst=3)
    for _ in range(20):
        verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
        if not verdict.admitted:
            clock.now += verdict.retry_after - timedelta(microseconds=1)
            early = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
            assert early.retry_after == timedelta(microseconds=1)
            clock.now += early.retry_after
            assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])).admitted


async def test_what_remains_of_requests_is_what_is_admitted_now(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan = replace(OPEN, requests_per_minute=20, burst=5)
    for left in (4, 3, 2, 1, 0):
        verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
        assert verdict.standings[0].remaining == left
    clock.sleep(3.5)
    requests = (await quota.standings(tenant, plan))[0]
    assert (requests.limit, requests.used, requests.remaining) == (20, 4, 1)
    assert requests.resets_at == clock.now + timedelta(seconds=11.5)
    clock.now = requests.resets_at
    assert (await quota.standings(tenant, plan))[0].remaining == 5


async def test_a_rate_of_none_refuses_always(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan = replace(OPEN, requests_per_minute=0)
    for _ in range(3):
        verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
        assert (verdict.refused_by, verdict.standings[0].remaining) == ("requests", 0)
        clock.sleep(whole_seconds(verdict.retry_after))


# -- slots


async def test_never_more_runs_than_slots(redis: Redis, tenant: TenantId) -> None:
    quota, plan = RedisQuota(redis), replace(OPEN, concurrent_runs=10)
    running: set[RunId] = set()
    refused = 0

    async def client() -> None:
        nonlocal refused
        for _ in range(15):
            run = new_run()
            if not (await quota.admit(tenant, plan, run_id=run, offers=[Claim(0)])).admitted:
                refused += 1
                continue
            running.add(run)
            assert len(running) <= 10
            await asyncio.sleep(DICE.random() / 200)
            running.discard(run)
            await quota.release(tenant, run)

    await asyncio.gather(*(client() for _ in range(40)))
    assert refused > 0
    assert (await quota.standings(tenant, plan))[1].used == 0


async def test_a_full_house_of_which_nothing_is_known_says_come_again_in_five_seconds(
    quota: RedisQuota, tenant: TenantId
) -> None:
    plan = replace(OPEN, concurrent_runs=1)
    await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
    verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
    assert verdict.refused_by == "concurrent_runs"
    assert verdict.retry_after == timedelta(seconds=5)


async def test_who_finds_the_house_full_is_told_when_a_run_has_probably_ended(
    quota: RedisQuota, tenant: TenantId, clock: Clock
) -> None:
    plan = replace(OPEN, concurrent_runs=1)

    async def run_for(seconds: float) -> None:
        run = new_run()
        assert (await quota.admit(tenant, plan, run_id=run, offers=[Claim(0)])).admitted
        clock.sleep(seconds)
        await quota.release(tenant, run)

    async def told() -> float:
        verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
        return verdict.retry_after.total_seconds()

    for _ in range(40):
        await run_for(6)
    await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])
    assert await told() == pytest.approx(6, abs=0.1)
    clock.sleep(4)
    assert await told() == pytest.approx(2, abs=0.1)
    clock.sleep(4)
    assert await told() == pytest.approx(8, abs=0.1)  # late already: perhaps as late again


async def test_a_dead_runs_slot_is_free_after_its_time_and_a_living_ones_is_not(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan, dead, living = replace(OPEN, concurrent_runs=2), new_run(), new_run()
    await quota.admit(tenant, plan, run_id=dead, offers=[Claim(0)])
    await quota.admit(tenant, plan, run_id=living, offers=[Claim(0)])
    clock.sleep(SLOT_SECONDS - 1)
    assert await quota.renew(tenant, living)
    assert not (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])).admitted
    clock.sleep(1)
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])).admitted
    assert not (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(0)])).admitted
    assert not await quota.renew(tenant, dead)


async def test_a_run_that_was_released_takes_a_slot_again_only_if_one_is_free(
    quota: RedisQuota, tenant: TenantId
) -> None:
    plan, first, second = replace(OPEN, concurrent_runs=1), new_run(), new_run()
    await quota.admit(tenant, plan, run_id=first, offers=[Claim(0)])
    await quota.release(tenant, first)
    assert (await quota.admit(tenant, plan, run_id=second, offers=[Claim(0)])).admitted
    verdict = await quota.admit(tenant, plan, run_id=first, offers=[Claim(0)])
    assert verdict.refused_by == "concurrent_runs"
    await quota.release(tenant, second)
    assert (await quota.admit(tenant, plan, run_id=first, offers=[Claim(0)])).admitted


async def test_thousands_of_dead_runs_are_cleared_a_few_per_call(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    for _ in range(120):
        await quota.admit(tenant, OPEN, run_id=new_run(), offers=[Claim(1)])
    clock.sleep(HOLD_SECONDS)
    seen = [tokens(await quota.standings(tenant, OPEN))[1] for _ in range(4)]
    assert seen == [(50, 70), (100, 20), (120, 0), (120, 0)]


# -- budgets


@pytest.mark.parametrize("period", Period)
async def test_a_budget_is_held_to_the_token_and_free_again_when_its_period_ends(
    quota: RedisQuota, clock: Clock, tenant: TenantId, period: Period
) -> None:
    plan, run = replace(OPEN, **{f"tokens_per_{period}": 100}), new_run()
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(60)])
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(60))
    refused = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(41)])
    assert refused.refused_by == f"tokens per {period}"
    assert refused.retry_after == period_end(period, clock.now) - clock.now
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(40)])).admitted
    clock.sleep(whole_seconds(refused.retry_after))
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(100)])).admitted


async def test_when_only_holds_are_in_the_way_the_wait_is_short(
    quota: RedisQuota, tenant: TenantId
) -> None:
    plan = replace(OPEN, tokens_per_day=100)
    await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(60)])
    verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(60)])
    assert (verdict.refused_by, verdict.retry_after) == ("tokens per day", timedelta(seconds=2))


async def test_of_several_refusals_the_longest_wait_is_told(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan = replace(OPEN, requests_per_minute=6, burst=1, concurrent_runs=1, tokens_per_day=100)
    run = new_run()
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(100)])
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(9)])).refused_by == (
        "requests"
    )
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(100))
    verdict = await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(9)])
    assert verdict.refused_by == "tokens per day"
    assert verdict.retry_after == period_end(Period.DAY, clock.now) - clock.now


async def test_unlimited_budgets_are_counted_all_the_same(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    run = new_run()
    verdict = await quota.admit(tenant, OPEN, run_id=run, offers=[Claim(10**15)])
    assert verdict.admitted
    assert tokens(verdict.standings) == [(0, 10**15)] * 3
    assert [s.limit for s in verdict.standings] == [-1] * 5
    assert [s.meter for s in verdict.standings] == [
        "requests",
        "concurrent_runs",
        *["tokens"] * 3,
    ]
    assert [s.period for s in verdict.standings] == ["minute", "", "minute", "day", "month"]
    assert [s.resets_at for s in verdict.standings[2:]] == [
        period_end(period, clock.now) for period in Period
    ]
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(10**15 - 1))
    assert tokens(await quota.standings(tenant, OPEN)) == [(10**15 - 1, 0)] * 3


@pytest.mark.parametrize("amount", [-1, 10**15 + 1])
async def test_what_is_no_number_of_tokens_is_not_counted(
    quota: RedisQuota, tenant: TenantId, amount: int
) -> None:
    with pytest.raises(ValueError, match="no number of tokens"):
        await quota.settle(tenant, run_id=new_run(), call=0, actual=Claim(amount))


async def test_a_refusal_writes_nothing(redis: Redis, quota: RedisQuota, tenant: TenantId) -> None:
    plan = replace(OPEN, requests_per_minute=20, burst=2, concurrent_runs=2, tokens_per_minute=100)
    run = new_run()
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(60)])
    before = await snapshot(redis)
    assert not (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(60)])).admitted
    assert not (await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(101)])).admitted
    assert not (await quota.reserve(tenant, plan, run_id=run, call=1, offers=[Claim(41)])).admitted
    no_slot = replace(plan, concurrent_runs=1)
    assert not (await quota.admit(tenant, no_slot, run_id=new_run(), offers=[Claim(1)])).admitted
    no_rate = replace(plan, burst=1)
    assert not (await quota.admit(tenant, no_rate, run_id=new_run(), offers=[Claim(1)])).admitted
    assert await snapshot(redis) == before


# -- once per run


async def test_a_run_is_admitted_once_however_often_it_asks(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan = replace(FREE, burst=1, concurrent_runs=1, tokens_per_minute=100)
    run = new_run()
    verdicts = await asyncio.gather(
        *(quota.admit(tenant, plan, run_id=run, offers=[Claim(80)]) for _ in range(10))
    )
    assert all(verdict.admitted for verdict in verdicts)
    assert [(s.used, s.held) for s in verdicts[-1].standings] == [(1, 0), (1, 0), *[(0, 80)] * 3]
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(70))
    clock.sleep(SLOT_SECONDS + 1)
    again = await quota.admit(tenant, plan, run_id=run, offers=[Claim(80)])
    assert again.admitted
    assert tokens(again.standings) == [(70, 0)] * 3


async def test_a_run_that_reserved_before_it_was_admitted_is_still_admitted_properly(
    quota: RedisQuota, tenant: TenantId
) -> None:
    plan, run = replace(FREE, burst=1), new_run()
    await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(30)])
    verdict = await quota.admit(tenant, plan, run_id=run, offers=[Claim(50)])
    assert [(s.used, s.held) for s in verdict.standings] == [(1, 0), (1, 0), *[(0, 50)] * 3]


async def test_a_call_is_settled_exactly_once(quota: RedisQuota, tenant: TenantId) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    settled = await asyncio.gather(
        *(quota.settle(tenant, run_id=run, call=0, actual=Claim(30)) for _ in range(20))
    )
    assert Counter(settled) == {True: 1, False: 19}
    assert await quota.settle(tenant, run_id=run, call=1, actual=Claim(5))
    assert tokens(await quota.standings(tenant, FREE)) == [(35, 0)] * 3


async def test_a_settled_call_is_remembered_twice_as_long_as_a_hold_lives(
    quota: RedisQuota, clock: Clock, known: TenantId
) -> None:
    run = new_run()
    await quota.settle(known, run_id=run, call=0, actual=Claim(30))
    clock.sleep(2 * HOLD_SECONDS - 1)
    await quota.standings(known, FREE)
    assert not await quota.settle(known, run_id=run, call=0, actual=Claim(30))


@pytest.mark.parametrize("actual", [0, 40, 150])
async def test_a_settle_replaces_the_hold_with_the_actual_figure(
    quota: RedisQuota, tenant: TenantId, actual: int
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(actual))
    assert tokens(await quota.standings(tenant, FREE)) == [(actual, 0)] * 3


async def test_a_settle_without_a_hold_is_charged_now(quota: RedisQuota, known: TenantId) -> None:
    assert await quota.settle(known, run_id=new_run(), call=3, actual=Claim(12))
    assert tokens(await quota.standings(known, FREE)) == [(12, 0)] * 3


# -- expired holds


@pytest.mark.parametrize("actual", [0, 40, 150])
async def test_a_lost_settle_costs_the_hold_and_a_late_one_corrects_it(
    quota: RedisQuota, clock: Clock, tenant: TenantId, actual: int
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    clock.sleep(HOLD_SECONDS)
    assert tokens(await quota.standings(tenant, FREE)) == [(0, 0), (100, 0), (100, 0)]
    assert await quota.settle(tenant, run_id=run, call=0, actual=Claim(actual))
    assert not await quota.settle(tenant, run_id=run, call=0, actual=Claim(actual))
    assert tokens(await quota.standings(tenant, FREE)) == [(0, 0), (actual, 0), (actual, 0)]


async def test_a_living_runs_hold_does_not_expire(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    for _ in range(5):
        clock.sleep(HOLD_SECONDS - 1)
        await quota.renew(tenant, run)
    assert tokens(await quota.standings(tenant, FREE))[1] == (0, 100)


async def test_an_expired_hold_that_is_used_after_all_is_a_hold_again(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    clock.sleep(HOLD_SECONDS)
    await quota.standings(tenant, FREE)
    verdict = await quota.reserve(tenant, FREE, run_id=run, call=0, offers=[Claim(120)])
    assert tokens(verdict.standings)[1] == (0, 120)
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(7))
    assert tokens(await quota.standings(tenant, FREE))[1] == (7, 0)


async def test_a_hold_whose_record_is_gone_counts_as_spent(
    redis: Redis, quota: RedisQuota, tenant: TenantId
) -> None:
    await quota.admit(tenant, FREE, run_id=new_run(), offers=[Claim(100)])
    await redis.delete(*(redis_key(tenant, Area.QUOTA, name) for name in ("runs", "due")))
    assert tokens(await quota.standings(tenant, FREE)) == [(100, 0)] * 3


# -- periods


async def test_a_hold_is_settled_in_the_periods_it_was_taken_in(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    clock.sleep(60)
    await quota.reserve(tenant, FREE, run_id=run, call=0, offers=[Claim(130)])
    assert tokens(await quota.standings(tenant, FREE)) == [(0, 0), (0, 130), (0, 130)]
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(40))
    assert tokens(await quota.standings(tenant, FREE)) == [(0, 0), (40, 0), (40, 0)]
    clock.now -= timedelta(seconds=60)
    assert tokens(await quota.standings(tenant, FREE)) == [(40, 0)] * 3


async def test_a_hold_of_a_past_period_grows_only_within_that_periods_budget(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan, run = replace(OPEN, tokens_per_minute=100), new_run()
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(40)])
    await quota.settle(tenant, run_id=new_run(), call=0, actual=Claim(50))
    clock.sleep(60)
    assert not (await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(51)])).admitted
    assert (await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(50)])).admitted
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(100)])).admitted


async def test_a_run_over_the_end_of_the_year_is_charged_to_the_old_one(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    clock.now, run = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), new_run()
    plan = replace(OPEN, tokens_per_month=100)
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(100)])
    assert not (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(1)])).admitted
    clock.sleep(1)
    assert (await quota.admit(tenant, plan, run_id=new_run(), offers=[Claim(100)])).admitted
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(90))
    assert tokens(await quota.standings(tenant, plan)) == [(0, 100)] * 3


async def test_past_periods_are_forgotten_before_they_pile_up(
    redis: Redis, quota: RedisQuota, clock: Clock, known: TenantId
) -> None:
    for minutes in range(200):
        clock.now = START + timedelta(minutes=37 * minutes)
        await quota.settle(known, run_id=new_run(), call=0, actual=Claim(1))
    assert await redis.hlen(redis_key(known, Area.QUOTA, "counters")) <= 64
    in_month = sum((START + timedelta(minutes=37 * m)).month == clock.now.month for m in range(200))
    assert tokens(await quota.standings(known, FREE))[2] == (in_month, 0)


# -- reserve and release


async def test_a_reserve_tops_up_to_what_is_asked_and_no_further(
    quota: RedisQuota, tenant: TenantId
) -> None:
    plan, run = replace(OPEN, tokens_per_day=100), new_run()
    await quota.admit(tenant, plan, run_id=run, offers=[Claim(40)])
    for asked, held in ((30, 40), (70, 70), (70, 70), (100, 100)):
        verdict = await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(asked)])
        assert verdict.admitted
        assert tokens(verdict.standings)[1] == (0, held)
    refused = await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(101)])
    assert refused.refused_by == "tokens per day"
    assert tokens(refused.standings)[1] == (0, 100)


async def test_a_settled_call_holds_nothing_any_more(quota: RedisQuota, known: TenantId) -> None:
    run = new_run()
    await quota.settle(known, run_id=run, call=1, actual=Claim(5))
    assert (await quota.reserve(known, FREE, run_id=run, call=1, offers=[Claim(50)])).admitted
    assert tokens(await quota.standings(known, FREE)) == [(5, 0)] * 3


@pytest.mark.parametrize("late", [False, True])
async def test_a_release_gives_back_slot_and_holds_but_not_what_was_spent(
    quota: RedisQuota, clock: Clock, tenant: TenantId, late: bool
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    await quota.settle(tenant, run_id=run, call=0, actual=Claim(30))
    await quota.reserve(tenant, FREE, run_id=run, call=1, offers=[Claim(500)])
    await quota.reserve(tenant, FREE, run_id=run, call=2, offers=[Claim(600)])
    if late:
        clock.sleep(HOLD_SECONDS)
        assert tokens(await quota.standings(tenant, FREE))[1] == (1130, 0)
    for _ in range(2):
        await quota.release(tenant, run)
        standings = await quota.standings(tenant, FREE)
        assert standings[1].used == 0
        assert tokens(standings)[1] == (30, 0)
    assert await quota.settle(tenant, run_id=run, call=1, actual=Claim(11))
    assert tokens(await quota.standings(tenant, FREE))[1] == (41, 0)


async def test_what_was_never_there_can_be_released_and_renewed(
    redis: Redis, quota: RedisQuota, tenant: TenantId
) -> None:
    await quota.release(tenant, new_run())
    assert not await quota.renew(tenant, new_run())
    assert await redis.keys(f"*{tenant}*") == []


# -- everything at once


async def test_a_budget_is_never_a_token_over_whatever_the_interleaving(
    quota: RedisQuota, clock: Clock, tenant: TenantId
) -> None:
    plan = replace(OPEN, tokens_per_month=1000)
    spent = refused = 0
    lost: set[RunId] = set()

    async def turn() -> None:
        nonlocal spent, refused
        run, hold = new_run(), DICE.randint(1, 60)
        if not (await quota.admit(tenant, plan, run_id=run, offers=[Claim(hold)])).admitted:
            refused += 1
            return
        if DICE.random() < 0.5:
            more = hold + DICE.randint(0, 40)
            verdict = await quota.reserve(tenant, plan, run_id=run, call=0, offers=[Claim(more)])
            hold = more if verdict.admitted else hold
        fate = DICE.random()
        if fate < 0.1:
            lost.add(run)
            spent += hold
        elif fate < 0.6:
            actual = DICE.randint(0, hold)
            spent += actual
            await quota.settle(tenant, run_id=run, call=0, actual=Claim(actual))
        await asyncio.sleep(0)
        if run not in lost:
            await quota.release(tenant, run)

    async def watch() -> None:
        for _ in range(100):
            standing = (await quota.standings(tenant, plan))[4]
            assert standing.used + standing.held <= 1000
            await asyncio.sleep(0)

    await asyncio.gather(watch(), *(turn() for _ in range(300)))
    clock.sleep(HOLD_SECONDS)
    month = (await quota.standings(tenant, plan))[4]
    assert (month.used, month.held) == (spent, 0)
    assert refused > 0


# -- Redis itself


async def test_each_decision_is_one_command(redis: Redis, quota: RedisQuota) -> None:
    tenant, run = TenantId(f"tenant-{next(TENANTS)}"), new_run()

    async def turn() -> None:
        await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
        await quota.reserve(tenant, FREE, run_id=run, call=0, offers=[Claim(120)])
        await quota.renew(tenant, run)
        await quota.settle(tenant, run_id=run, call=0, actual=Claim(90))
        await quota.release(tenant, run)
        await quota.standings(tenant, FREE)

    await turn()
    before = (await redis.info("stats"))["total_reads_processed"]
    await turn()
    after = (await redis.info("stats"))["total_reads_processed"]
    assert after - before == 6 + 1  # and INFO itself


async def test_scripts_that_redis_forgot_are_sent_again(
    redis: Redis, quota: RedisQuota, tenant: TenantId
) -> None:
    run = new_run()
    await quota.admit(tenant, FREE, run_id=run, offers=[Claim(100)])
    await redis.script_flush()
    assert (await quota.admit(tenant, FREE, run_id=new_run(), offers=[Claim(100)])).admitted
    await redis.script_flush()
    assert await quota.settle(tenant, run_id=run, call=0, actual=Claim(1))
    assert tokens(await quota.standings(tenant, FREE)) == [(1, 100)] * 3
